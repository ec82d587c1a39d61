"""Writing files that are either whole or absent."""

import contextlib
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def atomic_path(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error.

    The folder is created. The temporary name keeps the suffix, so that writers that choose a format
    by it see the right one. After an error nothing is left behind, and an older file is untouched.

    Args:
      path: the file to write.

    Yields:
      The path to write to.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
