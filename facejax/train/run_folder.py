"""The configuration kept in a run folder, and whether a run may go on with another one."""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from facejax.io.files import atomic_path

# May differ when a run goes on: how long, how often something is written, on what it runs.
FREE_KEYS = ("log_every", "sample_kimg", "checkpoint_kimg", "keep", "parallel", "total_kimg")


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
        return tuples(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}). Delete it and give --config and the same settings again"
        ) from error


def read_system_config(workdir: str | pathlib.Path, system: str) -> ConfigDict:
    """The configuration of a run of one system, for commands that use what was trained.

    Args:
      workdir: a run folder.
      system: the folder in facejax/systems.

    Raises:
      ValueError: the folder holds no run, one of another system, or a damaged config.json.
    """
    config = read_config(workdir)
    if config is None:
        raise ValueError(
            f"{pathlib.Path(workdir) / 'config.json'} is missing: {workdir} holds no run. Train "
            f"one with `facejax train --config={system} --workdir={workdir}`"
        )
    if config.get("system") != system:
        raise ValueError(f"{workdir} holds a run of {config.get('system')!r}, wanted {system!r}")
    return ConfigDict(config)


def check_config(workdir: str | pathlib.Path, config: Any) -> None:
    """Raises a ValueError where a run would go on with settings that change what it computes.

    Args:
      workdir: a run folder with checkpoints.
      config: the configuration asked for.
    """
    old = read_config(workdir)
    if old is None:
        return
    old, new = flatten(as_plain(old)), flatten(as_plain(config))
    absent = object()
    differing = [
        key
        for key in sorted(old.keys() | new.keys())
        if key.split(".")[-1] not in FREE_KEYS and old.get(key, absent) != new.get(key, absent)
    ]
    if differing:
        rows = "; ".join(
            f"{key} was {old.get(key, '(absent)')!r}, now {new.get(key, '(absent)')!r}"
            for key in differing
        )
        raise ValueError(
            f"{workdir} holds a run with another configuration: {rows}. Use --workdir=NEW_FOLDER "
            "for a new run, or give the old values to go on with this one"
        )


def write_config(workdir: str | pathlib.Path, config: Any) -> None:
    """Writes config.json, whole or not at all."""
    with atomic_path(pathlib.Path(workdir) / "config.json") as path:
        path.write_text(json.dumps(as_plain(config), indent=2, sort_keys=True) + "\n")
