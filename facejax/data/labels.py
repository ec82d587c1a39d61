"""Label files: tables of text (.csv), named rows (.npz) and rows in order (.npy)."""

import csv
import math
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from facejax.host.arrays import describe_array, read_npy, read_npz
from facejax.host.files import name_key, read_text, reading, some_names
from facejax.io.images import IMAGE_SUFFIXES

_ID_HEADERS = ("id", "ids", "name", "file", "filename", "file_name", "image", "stem", "")
_DELIMITERS = (",", ";", "\t")
_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".npz", ".pkl", ".pickle")  # that an id may carry


def read_labels(path: str | os.PathLike, ids: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of the given faces.

    Args:
      path: .csv whose header is `id,name,name,...` (also separated by semicolons or tabs, in any
        Unicode with its byte order mark); .npz with `ids` [N] and `labels` [N, L]; or .npy [N, L]
        with one row per id, in the order given.
      ids: the faces. A row belongs to one if its id is the same, the same with a suffix (a.png), or
        the last part of it (a for happy/a; numbers also without their zeros) where no other face
        has that.

    Returns:
      labels [N, L] float32 in the order of `ids`, and L names.

    Raises:
      ValueError: ids without a label or with two, labels that are not finite numbers, or a file of
        another form; the message names the file and the row.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted labels (.csv, .npz or .npy)")
    if path.suffix.lower() == ".npy":
        rows = read_label_rows(path, len(ids))
        return rows, _numbered(rows)
    keys, rows, names, places = _read_named(path)
    known = _known(ids)
    chosen: dict[int, int] = {}
    for number, key in enumerate(keys):
        face = known.get(_clean(key))
        if face is None:
            continue
        first = chosen.setdefault(face, number)
        if not np.array_equal(rows[first], rows[number]):
            where = [f"line {places[i]}" if places else f"row {i}" for i in (first, number)]
            raise ValueError(
                f"{path}: {ids[face]!r} has two labels, {_words(rows[first])} ({where[0]}) and "
                f"{_words(rows[number])} ({where[1]}); keep one"
            )
    missing = [i for face, i in enumerate(ids) if face not in chosen]
    if missing:
        raise ValueError(
            f"{path}: no label for {some_names(missing)}"
            + (f"; its ids are {some_names(keys)}" if len(missing) == len(ids) else "")
        )
    found = rows[[chosen[face] for face in range(len(ids))]].reshape(len(ids), rows.shape[1])
    return found, names or _numbered(found)


def read_table(path: str | os.PathLike) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """All of a .csv or .npz of labels: N ids as they stand there, [N, L] float32, L names or none.

    Raises:
      ValueError, OSError: see `read_labels`.
    """
    return _read_named(pathlib.Path(path))[:3]


def _read_named(path):
    """(ids, rows, names or none, line of each row or none) of a table with ids."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return *_read_npz(path), (), ()
    if suffix in (".csv", ".tsv"):
        return _read_csv(path)
    raise ValueError(f"{path}: labels are .csv, .npz or .npy")


def read_label_rows(path: str | os.PathLike, count: int) -> np.ndarray:
    """The labels of a .npy file, whatever its suffix, one row per face: [count, L] float32.

    Raises:
      ValueError: another number of rows, other things than finite numbers, a damaged file.
      OSError: the file cannot be read.
    """
    return _checked_rows(path, read_npy(path), count)


def _checked_rows(path, array, count):
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != count or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{path}: found labels {describe_array(array)}, wanted numbers [{count}, L]"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ValueError(f"{path}: row {bad[0]} (from 0) holds NaN or infinity")
    return array.astype(np.float32)


def _numbered(rows):
    return tuple(f"label{k}" for k in range(rows.shape[1]))


def _read_npz(path):
    """(ids, rows)."""
    arrays = read_npz(path, ("ids", "labels"))
    if set(arrays) != {"ids", "labels"} or arrays["ids"].ndim != 1:
        raise ValueError(f"{path}: wanted `ids` [N] and `labels` [N, L], found {sorted(arrays)}")
    ids = arrays["ids"]
    with reading(path, "labels"):
        texts = np.char.decode(ids, "utf-8") if ids.dtype.kind == "S" else ids
    return list(map(str, texts)), _checked_rows(path, arrays["labels"], len(ids))


def _read_csv(path):
    """(ids, rows, names, line of each row)."""
    text = read_text(path)
    start = 0
    delimiter = None
    if text.lower().startswith("sep="):  # Excel's note for itself
        first, _, text = text.partition("\n")
        delimiter, start = first[4:].strip() or None, 1
    head = text.lstrip("\n").partition("\n")[0]
    delimiter = delimiter or max(_DELIMITERS, key=head.count)
    with reading(path, "a table of labels"):
        reader = csv.reader(text.split("\n"), delimiter=delimiter, skipinitialspace=True)
        table = [(start + reader.line_num, row) for row in reader if any(c.strip() for c in row)]
    header = [cell.strip() for cell in table[0][1]] if table else []
    if len(header) < 2 or header[0].lower() not in _ID_HEADERS or not all(header[1:]):
        raise ValueError(f"{path}: wanted a header `id,name,...`, found {header}")
    if len(set(header)) != len(header):
        raise ValueError(f"{path}: two columns of the header {header} have one name")
    keys, rows, places = [], [], []
    for line, row in table[1:]:
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line}: {len(row)} cells, wanted {len(header)}")
        keys.append(row[0])
        rows.append([_number(path, line, cell, delimiter) for cell in row[1:]])
        places.append(line)
    rows = np.array(rows, np.float32).reshape(len(rows), len(header) - 1)
    return keys, rows, tuple(header[1:]), places


def _number(path, line, cell, delimiter):
    text = cell.strip()
    if delimiter != "," and "." not in text:
        text = text.replace(",", ".")  # a decimal comma
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {cell!r} is no number") from error
    if not math.isfinite(value):
        raise ValueError(f"{path}, line {line}: {cell!r} is not finite")
    return value


def _clean(key: str) -> str:
    key = name_key(key.strip()).replace("\\", "/")
    stem, dot, suffix = key.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in _SUFFIXES else key


def _known(ids: Iterable[str]) -> dict[str, int]:
    """Cleaned id -> number of the face; also by its last part, where only one face has that."""
    whole = {_clean(i): face for face, i in enumerate(ids)}
    short: dict[str, list[int]] = {}
    for key, face in whole.items():
        last = key.rpartition("/")[2]
        for name in {last, last.lstrip("0") or "0"} if last.isdecimal() else {last}:
            short.setdefault(name, []).append(face)  # a spreadsheet makes 12 of 00000012
    return {k: faces[0] for k, faces in short.items() if len(faces) == 1} | whole


def _words(row):
    return " ".join(f"{value:g}" for value in row[:8])
