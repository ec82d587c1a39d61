"""Configurations: files by name, and what they share: the trainer's settings, choosing a preset."""

import importlib.machinery
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterable
from types import ModuleType

from ml_collections import ConfigDict

from facejax.host.errors import UsageError, nearest
from facejax.host.paths import split_name

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def train_config(system: str, **overrides) -> ConfigDict:
    """The keys that the trainer reads; a config file adds those of its system.

    Args:
      system: the folder in facejax/systems.
      **overrides: other values for the keys below.
    """
    config = ConfigDict(
        dict(
            system=system,
            seed=0,  # of parameters, data order and every draw while training
            log_every=50,  # steps; averages over them
            sample_kimg=10.0,  # pictures, every so many thousand images
            checkpoint_kimg=10.0,
            keep=3,  # checkpoints
            accumulate=1,  # microbatches per step, for batches that do not fit in memory
            parallel="shard_map",  # or 'pmap'
            dtype="float32",  # in which networks compute; or 'bfloat16'
            init_from="",  # RUN[:GROUP,GROUP]: start from parameters of another run
            init_with="",  # with its 'ema', 'optimizer' or both
        )
    )
    unknown = set(overrides) - set(config)
    if unknown:
        raise ValueError(f"unknown trainer keys {sorted(unknown)}; known: {sorted(config)}")
    config.update(overrides)
    return config


def choose_preset(preset: str | None, presets: Iterable[str]) -> str:
    """The preset asked for, 'default' where none is.

    Args:
      preset: what was asked for.
      presets: what there is.

    Raises:
      ValueError: there is no such preset.
    """
    preset = preset or "default"
    presets = tuple(presets)
    if preset in presets:
        return preset
    hint = nearest(preset, presets)
    raise ValueError(f"unknown preset {preset!r}; wanted one of {', '.join(presets)}.{hint}")


def _config_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """{name: file} of the configurations in a folder; other Python files are none."""
    return {
        file.stem: file
        for file in sorted(folder.glob("*.py"))
        if "def get_config(" in file.read_text(encoding="utf-8", errors="replace")
    }


def find_configs() -> dict[str, pathlib.Path]:
    """{name: file} of every configuration that goes by its name, in order of their names.

    Of equal names, the first counts: of ./configs, of folders `configs` on the path, of the package
    itself (facejax/configs in an installed wheel, the folder beside facejax in a checkout).
    """
    own = _PACKAGE / "configs"
    places = [pathlib.Path("configs"), *(pathlib.Path(p, "configs") for p in sys.path)]
    found: dict[str, pathlib.Path] = {}
    for folder in [*places, own if own.is_dir() else _PACKAGE.parent / "configs"]:
        found = _config_files(folder) | found
    return dict(sorted(found.items()))


def split_config(spec: str) -> tuple[pathlib.Path, str]:
    """The file and the preset ('' for none) of 'NAME[:PRESET]' or 'configs/NAME.py[:PRESET]'.

    A file counts before a name, and a colon may be part of its path, see `split_name`.

    Raises:
      UsageError: there is no such configuration.
    """
    path, preset = split_name(spec, os.path.isfile)
    file = pathlib.Path(path)
    if os.path.isfile(file):
        return file, preset
    known = find_configs()
    if path in known:
        return known[path], preset
    names = ", ".join(known) or "no configuration"
    if file.suffix != ".py" and len(file.parts) < 2:
        raise UsageError(
            f"--config: no configuration {path!r}.{nearest(path, known)} Found: {names}"
        )
    folder = file.parent if file.parent.name == "configs" else pathlib.Path("configs")
    files = [str(f) for f in _config_files(folder).values()]
    hint = nearest(path, files) or nearest(file.stem, known)
    raise UsageError(
        f"--config: {path}: no such file.{hint} Found: "
        f"{', '.join(files) or f'no configuration file; by name: {names}'}"
    )


def config_module(file: pathlib.Path) -> ModuleType:
    """A configuration file as a module: `get_config`, perhaps `PRESETS`."""
    name = f"config_{file.stem}"
    loader = importlib.machinery.SourceFileLoader(name, str(file))  # whatever the file's suffix
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def load_config(spec: str) -> ConfigDict:
    """The configuration of 'NAME[:PRESET]' or 'configs/NAME.py[:PRESET]'.

    Raises:
      UsageError: there is no such configuration.
      ValueError: no such preset.
    """
    file, preset = split_config(spec)
    module = config_module(file)
    return module.get_config(preset) if preset else module.get_config()
