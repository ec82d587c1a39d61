"""Files as they come from other machines, and files that are either whole or absent."""

import contextlib
import errno
import json
import os
import pathlib
import re
import unicodedata
import uuid
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)  # fmt: skip
_DROPPED = {"__macosx", "thumbs.db", "desktop.ini"}  # that file managers leave in folders
_HEAD_BYTES = 512
_NUMPY_SHORT = re.compile(r"\d+ requested and \d+ written")  # on a full disk
_SHOWN = 5  # names in one message


@contextlib.contextmanager
def atomic_path(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error.

    The folder is created. The temporary name keeps the suffix, so that writers that choose a format
    by it see the right one. After an error nothing is left behind, and an older file is untouched.

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


def os_error(error: Exception, path: str | os.PathLike) -> OSError:
    """What a library without error numbers says of a file, as the error that it is.

    Args:
      error: whose text contains the words of the system, 'No space left on device'.
      path: of the file.
    """
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO):
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number), str(path))
    return OSError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}")


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
      Paths below `folder`, sorted by their parts; hidden ones (`is_visible`) are left out. None
      where there is no such folder.

    Raises:
      OSError: a folder cannot be read.
    """
    folder = pathlib.Path(folder)
    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
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


def _raise(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def is_file(path: pathlib.Path) -> bool:
    """Whether there is such a file; False also for a text that no file can have as its name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def name_key(name: str) -> str:
    """A name as it is compared: macOS writes an umlaut as two characters where others write one."""
    return unicodedata.normalize("NFC", name)


def files_by_stem(
    folder: str | os.PathLike, suffixes: Sequence[str]
) -> dict[str, list[pathlib.Path]]:
    """The files of a folder by the `name_key` of their stems.

    Args:
      folder: may be missing.
      suffixes: as for `list_files`; the files of one stem are in their order.
    """
    found: dict[str, list[pathlib.Path]] = {}
    for path in list_files(folder, suffixes):
        found.setdefault(name_key(path.stem), []).append(path)
    for paths in found.values():
        paths.sort(key=lambda path: suffixes.index(path.suffix.lower()))
    return found


def some_names(names: Iterable[Any], shown: int = _SHOWN) -> str:
    """The first few of many names, for messages."""
    names = [str(name) for name in names]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


@contextlib.contextmanager
def reading(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Around a decoder: whatever it makes of a file's content becomes a ValueError with the name.

    Trouble of the disk (an OSError with an errno: no permission, a bad sector) is passed on, with
    the name of the file, and so is an error that names the file already.

    Args:
      path: of the file.
      what: it should be, in words.

    Raises:
      ValueError: the content is damaged, or of another kind.
      OSError: the file cannot be read.
    """
    try:
        yield
    except MemoryError as error:
        raise ValueError(
            f"{path}: asks for more memory than there is: damaged, or too large; wanted {what}"
        ) from error
    except Exception as error:  # decoders raise whatever the damaged bytes lead them to
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            if error.filename is None:
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise  # EINVAL is of a decoder that seeks where the file has nothing
        text = " ".join(str(error).split())
        content = describe_content(path)
        if isinstance(error, ValueError) and str(path) in text and content in text:
            raise
        reason = content or text or "damaged"
        if not isinstance(error, (ValueError, OSError)) and reason == text:
            reason = f"{type(error).__name__}: {text}"
        raise ValueError(f"{path}: not {what}: {reason}") from error


def read_text(path: str | os.PathLike, errors: str = "strict") -> str:
    """The text of a file: UTF-8, UTF-16, or any Unicode with a byte order mark; any line ends.

    Args:
      path: of the file.
      errors: as for `bytes.decode`: 'surrogateescape' keeps bytes of another encoding, for formats
        in which only comments and file names can be other than ASCII.

    Raises:
      ValueError: another encoding, or no text at all; names the file and the place in it.
      OSError: it cannot be read.
    """
    raw = pathlib.Path(path).read_bytes()
    encoding = next((name for mark, name in _BOMS if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8":  # or UTF-16 without a mark, whose every other byte is 0
        zeros = [raw[first:_HEAD_BYTES:2].count(0) for first in (0, 1)]
        if min(zeros) == 0 and max(zeros) > min(len(raw), _HEAD_BYTES) / 4:
            encoding = "utf-16-be" if zeros[0] else "utf-16-le"
    try:
        text = raw.decode(encoding, errors)
        if "\0" in text:
            raise UnicodeDecodeError(encoding, raw, raw.find(b"\0"), len(raw), "binary data")
    except UnicodeDecodeError as error:
        what = describe_content(path)
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}: {what}"
            if what
            else f"{path}, line {line}: is not {encoding.upper()} text "
            f"(byte {error.start}); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_list(path: str | os.PathLike) -> list[str]:
    """The lines of a list, without blank ones, comments (#), and blanks and quotes around them.

    Raises:
      ValueError, OSError: see `read_text`.
    """
    lines = (line.strip().strip("\"'").strip() for line in read_text(path).split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


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
    except RecursionError as error:
        raise ValueError(f"{path}: damaged JSON (nested too deeply)") from error


def read_json_lines(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records of a file with one JSON object per line (metrics.jsonl).

    A last line without an end is left out: its writer was stopped in the middle of it.

    Raises:
      ValueError: a damaged line; names the file and the line.
      OSError: it cannot be read.
    """
    found = []
    for number, line in enumerate(read_text(path).split("\n")[:-1], 1):
        try:
            record = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            what = describe_content(path)
            raise ValueError(f"{path}, line {number}: {what or 'damaged JSON'}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number}: no JSON object")
        found += [record] if record else []
    return found


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
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--", b"<script")):
        return "the file is a web page, not the download: get it again, logged in perhaps"
    if start.startswith(b"# created by octave"):
        return "the file is text of Octave: save it with `save -v7`"
    if head.startswith(b"\x1f\x8b"):
        return "the file is compressed (gzip): unpack it"
    return "" if head.strip(b"\0") else "the file holds only zeros: the copy is incomplete"
