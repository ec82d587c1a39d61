"""Things that take seconds to make, kept between processes. A cache only ever costs time.

Where the cache cannot be written, or this user has none, everything is made every time, and one
warning says so. A shared cache that can only be read is still read.
"""

import functools
import logging
import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

from facejax.host import machine

_log = logging.getLogger(__name__)
T = TypeVar("T")


def is_usable(folder: Callable[[], str | os.PathLike] = machine.cache_folder) -> bool:
    """Whether new things can be kept; where not, one warning per process says why.

    Args:
      folder: says where they would lie, as `machine.cache_folder` does.
    """
    try:
        machine.check_cache(folder())
    except machine.MachineError as error:
        _say(f"nothing is kept in the cache, which costs time: {error}")
        return False
    return True


@functools.cache
def _say(text: str) -> None:
    _log.warning("%s", text)


def cached(
    name: str,
    what: str,
    make: Callable[[], T],
    read: Callable[[pathlib.Path], T],
    write: Callable[[pathlib.Path, T], None],
) -> T:
    """What a file of the cache holds, or what `make` makes, which is put there.

    Args:
      name: of the file, made from everything that its content depends on.
      what: it is, for warnings.
      make: makes it.
      read: reads it from a path; any exception means that the file is damaged.
      write: writes it to a path, whole or not at all.
    """
    try:
        path = machine.cache_folder(name)
    except machine.MachineError:  # `is_usable` says it below
        path = None
    if path is not None and os.path.isfile(path):
        try:
            return read(path)
        except Exception as error:  # whatever a reader makes of damaged bytes
            reason = " ".join(str(error).split()) or type(error).__name__
            _log.warning("%s: made again, its cached file is damaged: %s", what, reason)
    value = make()
    if is_usable():
        try:
            write(path, value)
        except OSError as error:
            _log.warning("%s: cannot be kept in the cache: %s", what, error)
    return value
