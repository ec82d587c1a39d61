"""The one place that knows the machine: folders of the user, devices, permissions, free disk.

Every question is asked when its answer is needed, and every refusal is one `MachineError` that says
what to set. `facejax doctor` prints the same answers.
"""

import os
import pathlib


class MachineError(ValueError):
    """Something about the machine is in the way: a device, a folder, a permission, the disk."""


def home_folder() -> pathlib.Path:
    """The home folder of the user.

    Raises:
      MachineError: the user is unknown to the system and HOME is not set.
    """
    try:
        return pathlib.Path.home()
    except RuntimeError as error:
        raise MachineError(
            f"this user has no home folder ({error}). Set FACEJAX_CACHE_DIR to a folder for caches"
        ) from error


def cache_folder(*parts: str) -> pathlib.Path:
    """A place in the cache: FACEJAX_CACHE_DIR, else XDG_CACHE_HOME/facejax, else ~/.cache/facejax.

    Nothing is created.

    Args:
      *parts: of the path below it.

    Raises:
      MachineError: see `home_folder`.
    """
    own = os.environ.get("FACEJAX_CACHE_DIR")
    if own:
        return pathlib.Path(own, *parts)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else home_folder() / ".cache").joinpath("facejax", *parts)
