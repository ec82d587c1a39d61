"""Files as they come from other machines, and files that are either whole or absent."""

import contextlib
import errno
import json
import os
import pathlib
import re
import uuid
from collections.abc import Container, Iterator
from typing import Any

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DROPPED = {"__macosx", "thumbs.db", "desktop.ini"}  # that file managers leave in folders
_HEAD_BYTES = 512
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # met on writing
_NUMPY_SHORT = re.compile(r"\d+ requested and \d+ written")  # on a full disk


@contextlib.contextmanager
def atomic_path(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error.

    The folder is created. The temporary name keeps the suffix, so that writers that choose a format
    by it see the right one. After an error nothing is left behind, and an older file is untouched.
    A full disk is an error that names `path`, whatever the writer left out.

    Args:
      path: the file to write.

    Yields:
      The path to write to.

    Raises:
      OSError: of the block; it names `path` where it did not name a file, or named the temporary.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        _name_file(error, path, temporary)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _name_file(error: OSError, path: pathlib.Path, temporary: pathlib.Path) -> None:
    """Puts the file that was to be written into an error: that of a full disk names none."""
    if error.errno is None and _NUMPY_SHORT.search(str(error)):
        error.args = (f"{path}: cannot be written whole: {error}",)
    elif error.errno is not None and error.filename in (None, str(temporary), temporary):
        error.filename = str(path)


def is_visible(path: pathlib.Path) -> bool:
    """False for what file managers and version control leave: `._NAME`, `.git`, `Thumbs.db`, ..."""
    return not path.name.startswith(".") and path.name.lower() not in _DROPPED


def list_files(
    folder: str | os.PathLike, suffixes: Container[str] | None = None, *, recursive: bool = False
) -> list[pathlib.Path]:
    """The files of a folder that a user would call its content.

    Args:
      folder: where to look; links to files and folders are followed.
      suffixes: lower-case suffixes that count ('.png'), whatever the case of the file's own; None
        for all.
      recursive: also those of its sub-folders, at any depth.

    Returns:
      Paths below `folder`, sorted by their parts; hidden ones (`is_visible`) are left out.
    """
    folder = pathlib.Path(folder)
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [n for n in folders if recursive and is_visible(pathlib.Path(n))]
        for name in names:
            path = pathlib.Path(place, name)
            if is_visible(path) and (suffixes is None or path.suffix.lower() in suffixes):
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def read_text(path: str | os.PathLike) -> str:
    """The text of a file: UTF-8, or UTF-16 and UTF-8 with a byte order mark; any line ends.

    Raises:
      ValueError: another encoding, or no text at all; names the file and the place in it.
      OSError: it cannot be read.
    """
    raw = pathlib.Path(path).read_bytes()
    encoding = next((name for mark, name in _BOMS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: is not {error.encoding} text ({describe_content(path) or 'byte'}"
            f" {error.start}); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file.

    Raises:
      ValueError: damaged; names the file and the line.
      OSError: it cannot be read.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        what = describe_content(path)
        raise ValueError(
            f"{path}, line {error.lineno}: {what or f'damaged JSON ({error.msg})'}"
        ) from error


def describe_content(path: str | os.PathLike) -> str:
    """What a file is that should be something else, for messages; '' where nothing is remarkable.

    Args:
      path: of a file; one that cannot be read is not remarkable.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "the file is a pointer of git-lfs, not the content: run `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "the file is a web page, not the download: get it again, logged in perhaps"
    if start.startswith(b"# created by octave"):
        return "the file is text of Octave: save it with `save -v7`"
    return "" if head.strip(b"\0") else "the file holds only zeros: the copy is incomplete"
