"""Disks that are full: a small file system of its own, where this user may mount one."""

import contextlib
import pathlib
import resource
import subprocess
from collections.abc import Iterator

import pytest


class SmallDisk:
    """A file system in memory.

    Attributes:
      path: where it is mounted.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path

    def resize(self, size: int) -> None:
        """Sets how many bytes it holds."""
        _mount("-o", f"remount,size={size}", str(self.path))

    def used(self) -> int:
        """Bytes in use, in whole pages, folders not counted."""
        found = subprocess.run(["du", "-s", "-B1", str(self.path)], capture_output=True, text=True)
        return int(found.stdout.split()[0])


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(path: pathlib.Path, size: int) -> Iterator[SmallDisk]:
    """A disk of so many bytes while the block runs; skips the test where none can be mounted."""
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a small disk")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def short_files(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: a real failure below all libraries, for any user."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def leftovers(folder: pathlib.Path) -> list[str]:
    """Hidden and unfinished files and folders below a folder."""
    return sorted(
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if p.name.startswith(".") or "tmp" in p.name or p.name.endswith(".partial")
    )
