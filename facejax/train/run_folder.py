"""The configuration kept in a run folder, and whether a run may go on with another one."""

import json
import math
import pathlib
from typing import Any

from facejax.host.files import atomic_path, read_json

# May differ when a run goes on: how often something is written, on what it runs.
FREE_KEYS = ("log_every", "sample_kimg", "checkpoint_kimg", "keep", "parallel")
# May differ too, but the plan follows the new value, which the log says.
PLAN_KEYS = ("schedule.total_kimg", "total_kimg")
# May differ when a finished run is measured, besides those above and evaluate.*: where files lie.
PLACE_KEYS = ("data.path", "data.val_path", "data.model_path")
# What runs of older versions lack, and how they were trained.
_LATER_KEYS = {"dtype": "float32", "init_from": "", "init_with": ""}


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run of any version with today's keys.

    Args:
      config: plain, as config.json has it; not changed.
    """
    config = {**config}
    model = config.get("model")
    if isinstance(model, dict) and "dtype" in model and "dtype" not in config:
        config["dtype"] = model["dtype"]
        config["model"] = {k: v for k, v in model.items() if k != "dtype"}
    recognition = config.get("recognition")
    if isinstance(recognition, dict) and "run" not in recognition:
        kept = recognition.get("weights", "")
        moved = {"run": kept, "weights": ""} if recognition.get("kind") == "idnet" else {"run": ""}
        config["recognition"] = {**recognition, **moved, "train": "idnet"}
    return {**_LATER_KEYS, **config} if "system" in config else config


def as_plain(config: Any) -> dict[str, Any]:
    """A ConfigDict or dict as plain JSON types (tuples become lists)."""
    config = config.to_dict() if hasattr(config, "to_dict") else config
    return json.loads(json.dumps(config))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'model.hidden': value} of nested dicts."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def settings(config: Any) -> dict[str, Any]:
    """{'model.hidden': value} of all that decides what a run computes.

    Args:
      config: ConfigDict or dict.
    """
    return {k: v for k, v in flatten(as_plain(config)).items() if k not in FREE_KEYS}


def check_settings(config: Any) -> None:
    """Whether the numbers that every configuration has make sense.

    Raises:
      ValueError: one is out of its range, or any number is not finite; names the key.
    """
    flat = flatten(as_plain(config))
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"config.{key} is {value}, wanted a finite number")
    least = dict(log_every=1, keep=1, accumulate=1, seed=0, sample_kimg=0, checkpoint_kimg=0)
    for key, bound in least.items():
        if flat.get(key, bound) < bound:
            raise ValueError(f"config.{key} is {flat[key]}, wanted at least {bound}")


def read_config(workdir: str | pathlib.Path) -> dict[str, Any] | None:
    """The configuration of a run folder with tuples for lists; None where there is none.

    Raises:
      ValueError: config.json cannot be parsed.
    """
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        return None

    def tuples(x):
        if isinstance(x, dict):
            return {key: tuples(value) for key, value in x.items()}
        return tuple(tuples(y) for y in x) if isinstance(x, list) else x

    try:
        config = read_json(path)
        if not isinstance(config, dict):
            raise ValueError("no JSON object")
        return tuples(upgraded(config))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}). Delete it and give --config and the same settings again"
        ) from error


def check_config(workdir: str | pathlib.Path, config: Any) -> list[str]:
    """Whether a run may go on with other settings.

    Args:
      workdir: a run folder with checkpoints.
      config: the configuration asked for.

    Returns:
      What changes the plan of the rest of the run and was asked for, a line each.

    Raises:
      ValueError: settings differ that change what a run computes.
    """
    old = read_config(workdir)
    if old is None:
        return []
    rows = _differing(old, config)
    if set(rows) - set(PLAN_KEYS):
        raise ValueError(
            f"{_another_run(workdir, old, config, rows)}. Use --workdir=NEW_FOLDER for a new run, "
            "or give the old values to go on with this one"
        )
    return list(rows.values())


def check_evaluation(workdir: str | pathlib.Path, config: Any) -> None:
    """Whether a run may be measured with other settings.

    Args:
      workdir: a run folder.
      config: the configuration asked for; what only says what to measure, and where files lie, may
        differ from that of the run.

    Raises:
      ValueError: the folder holds no run, or settings differ that change what it computes.
    """
    old = read_config(workdir)
    if old is None:
        raise ValueError(
            f"{pathlib.Path(workdir) / 'config.json'} is missing: {workdir} holds no run and no "
            "checkpoint yet: train first, or give the --workdir of a run"
        )
    rows = {
        key: words
        for key, words in _differing(old, config).items()
        if key not in (*PLAN_KEYS, *PLACE_KEYS) and not key.startswith("evaluate.")
    }
    if rows:
        raise ValueError(
            f"{_another_run(workdir, old, config, rows)}. Leave --config away to measure the run "
            "as it was trained, or give its --workdir"
        )


def _differing(old: dict[str, Any], config: Any) -> dict[str, str]:
    """{key: what it was and is} of the keys that may not change freely."""
    old, new = settings(old), settings(config)
    absent = object()
    return {
        key: f"{key} was {old.get(key, '(absent)')!r}, now {new.get(key, '(absent)')!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    }


def _another_run(workdir, old: dict[str, Any], config: Any, rows: dict[str, str]) -> str:
    if old.get("system") != config["system"]:
        return f"{workdir} holds a run of {old.get('system')!r}, wanted {config['system']!r}"
    return f"{workdir} holds a run with another configuration: {'; '.join(rows.values())}"


def write_config(workdir: str | pathlib.Path, config: Any) -> None:
    """Writes config.json, whole or not at all."""
    with atomic_path(pathlib.Path(workdir) / "config.json") as path:
        path.write_text(
            json.dumps(as_plain(config), indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
