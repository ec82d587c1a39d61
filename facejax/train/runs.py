"""Systems by name, and trained runs: one way in for every command and pipeline that uses a run."""

import dataclasses
import importlib
import pathlib
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from facejax.host.errors import nearest
from facejax.host.shell import command_line
from facejax.train.config import load_config
from facejax.train.run_folder import as_plain, flatten, read_config

if TYPE_CHECKING:  # commands look systems up for --help, which must not wait for jax
    from facejax.train.system import Prerequisite, System

_PACKAGE = "facejax.systems"
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
      folder: of the run.
      config: resolved, as the run was trained.
      system: made from it.
      params: {name: tree of numpy arrays} as `System.predict` takes them: the moving average of a
        group where there is one, its parameters elsewhere, the entries of aux, what is frozen.
      meta: of the checkpoint: 'step', 'images', ...
    """

    folder: pathlib.Path
    config: ConfigDict
    system: "System"
    params: dict[str, Any]
    meta: dict[str, Any]


def find_systems() -> dict[str, pathlib.Path]:
    """{name: folder} of every system that can be imported, in order of their names."""
    package = importlib.import_module(_PACKAGE)
    found: dict[str, pathlib.Path] = {}
    for place in package.__path__:
        for file in sorted(pathlib.Path(place).glob("*/system.py")):
            found.setdefault(file.parent.name, file.parent)
    return dict(sorted(found.items()))


def system_module(name: str, part: str = "system") -> Any:
    """A module of a system's folder: facejax.systems.NAME.PART.

    Raises:
      ValueError: there is no such system.
    """
    found = find_systems()
    if name not in found:
        hint = nearest(str(name), found)
        raise ValueError(f"config.system: no system {name!r}.{hint} Found: {', '.join(found)}")
    return importlib.import_module(f"{_PACKAGE}.{name}.{part}")


def make_system(config: Any) -> "System":
    """The system that a configuration names in `config.system`.

    Raises:
      ValueError: there is no such system.
    """
    return system_module(config.system).make_system(config)


def prerequisites(config: Any) -> "tuple[Prerequisite, ...]":
    """The runs that a configuration's system wants trained on demand: their key says 'auto'.

    A system declares them by a function `prerequisites(config)` in its system.py.
    """
    declared = getattr(system_module(config.system), "prerequisites", lambda config: ())(config)
    return tuple(p for p in declared if _get(config, p.key) == AUTO)


def prerequisite_folder(folder: str | pathlib.Path, prerequisite: "Prerequisite") -> pathlib.Path:
    """Where a run keeps what it needed: <run>/prerequisites/<name>, a run folder of its own."""
    return pathlib.Path(folder) / "prerequisites" / prerequisite.name


def resolve(config: Any, folder: str | pathlib.Path) -> ConfigDict:
    """A copy of a configuration in which 'auto' is replaced by the folders of a run.

    Args:
      config: ConfigDict, as it is kept in config.json.
      folder: of the run.
    """
    resolved = ConfigDict(config.to_dict())  # deep: ConfigDict(config) shares its groups
    places = {p.key: str(prerequisite_folder(folder, p)) for p in prerequisites(config)}
    resolved.update_from_flattened_dict(places)
    return resolved.lock()


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part, {})
    return config


def read_run_config(folder: str | pathlib.Path, system: str | None = None) -> ConfigDict:
    """The configuration of a run folder, for commands that use what was trained.

    Args:
      folder: of a run.
      system: the run must be of this system; None takes any.

    Raises:
      ValueError: the folder holds no run, one of another system, or a damaged config.json.
    """
    config = read_config(folder)
    if config is None or "system" not in config:
        train = command_line(
            "facejax", "train", f"--config={system or 'SYSTEM'}", f"--workdir={folder}"
        )
        raise ValueError(
            f"{pathlib.Path(folder) / 'config.json'} is missing: {folder} holds no run. Train one "
            f"with `{train}`"
        )
    if system is not None and config["system"] != system:
        raise ValueError(f"{folder} holds a run of {config['system']!r}, wanted {system!r}")
    _check_kinds(pathlib.Path(folder) / "config.json", config)
    return ConfigDict(config)


def _check_kinds(path: pathlib.Path, config: dict[str, Any]) -> None:
    """Whether every value is of the kind that its key has: a section, a number, a text, a list.

    Raises:
      ValueError: the file was damaged or written by hand.
    """
    try:
        usual = flatten(as_plain(load_config(str(config["system"]))))
    except Exception:  # a file of the user, elsewhere or unfinished: then there is no comparison
        return
    found = flatten(as_plain(config))
    for key, value in usual.items():
        parts = key.split(".")
        outer = [k for k in (".".join(parts[:n]) for n in range(1, len(parts))) if k in found]
        inner = [k for k in found if k.startswith(f"{key}.")]
        kinds = (_kind(value), _kind(found.get(key)))
        if outer or (inner and value) or (None not in kinds and kinds[0] != kinds[1]):
            odd = (outer or [key])[0]
            raise ValueError(
                f"{path}: {odd} is {found.get(odd, 'a section')!r}, and the configuration of "
                f"{config['system']} has {'a section' if outer else repr(value)} there: damaged"
            )


def _kind(value: Any) -> str | None:
    """'number', 'text' or 'list'; None for what says nothing."""
    if isinstance(value, bool | int | float):
        return "number"
    return {str: "text", list: "list"}.get(type(value))


def load_params(
    system: "System", folder: str | pathlib.Path, step: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What networks need of a checkpoint: the `params` and `meta` of a `Run`.

    Args:
      system: made from the configuration of the run.
      folder: of the run.
      step: which checkpoint; None takes the newest good one.

    Raises:
      ValueError: there is no checkpoint yet, or something frozen is not what it was trained with.
      CheckpointError: no checkpoint can be read.
    """
    from facejax.io.checkpoints import Checkpoints
    from facejax.train.frozen import check_frozen, describe_frozen, frozen_trees
    from facejax.train.state import as_used

    folder = pathlib.Path(folder)
    checkpoints, only = Checkpoints(folder / "checkpoints"), ("params", "ema", "aux")
    if step is not None:
        found = checkpoints.restore(step, only=only)
    else:
        found = checkpoints.restore_latest(only=only)
    if found is None:
        raise ValueError(f"{folder} has no checkpoint yet: train first, or wait for the first one")
    tree, meta = found
    frozen = frozen_trees(system)
    check_frozen(meta.get("frozen", {}), describe_frozen(system), folder)
    aux = {name: value for name, value in tree.get("aux", {}).items() if name not in frozen}
    return as_used(tree.get("params", {}), tree.get("ema", {}), aux, frozen), meta


def load_run(folder: str | pathlib.Path, system: str | None = None, step: int | None = None) -> Run:
    """Reads config.json and a checkpoint; needs none of the training data.

    Args:
      folder: of the run.
      system: the run must be of this system; None takes any.
      step: which checkpoint; None takes the newest good one.

    Raises:
      ValueError: the folder holds no run, one of another system, or no checkpoint yet.
      CheckpointError: no checkpoint can be read.
    """
    config = read_run_config(folder, system)
    made = make_system(resolve(config, folder))
    params, meta = load_params(made, folder, step)
    return Run(pathlib.Path(folder), config, made, params, meta)
