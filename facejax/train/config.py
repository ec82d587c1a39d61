"""What configuration files share: the settings of the trainer, and choosing a preset."""

import difflib
from collections.abc import Iterable

from ml_collections import ConfigDict


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
            parallel="jit",  # or 'pmap'
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
    near = difflib.get_close_matches(preset, presets, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown preset {preset!r}; wanted one of {', '.join(presets)}.{hint}")
