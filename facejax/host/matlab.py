"""Variables of Matlab files, versions 4 to 7.2. Not by scipy: damaged files can crash its reader.

Layout: "MAT-File Format", The MathWorks. Everything is a tag (type, bytes) and its content; a
matrix holds further ones; version 7 packs each variable by zlib.
"""

import dataclasses
import math
import os
import pathlib
import struct
import zlib
from collections.abc import Container, Iterator

import numpy as np

from facejax.host.arrays import check_inflated
from facejax.host.files import reading

_WANTED = "a readable Matlab file"
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_MATRIX, _PACKED = 14, 15
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
            15: "u8"}  # fmt: skip
_KINDS4 = ("f8", "f4", "i4", "i2", "u2", "u1")  # of version 4
_COMPLEX, _DEPTH, _HEAD_BYTES = 0x800, 16, 4096


@dataclasses.dataclass(frozen=True)
class _Variable:
    """One variable, not yet read: its content, whether that is packed, and the name in it."""

    name: str
    content: memoryview
    packed: bool


def read_mat(path: str | os.PathLike, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """The variables of a file by name.

    Args:
      path: of the file.
      names: only these; those that the file lacks are not in the result. None for all.

    Returns:
      {name: array}: numbers of the class that Matlab gives them; texts [rows] str; structs and
      cells as arrays of objects, structs with fields. What is neither (sparse matrices, functions,
      objects of classes) is an empty array of objects.

    Raises:
      ValueError: no such file, another format, or damaged.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a Matlab .mat file")
    with reading(path, _WANTED):
        data = memoryview(path.read_bytes())
        if _is_version4(data):
            found = dict(_version4(data))
            return {k: v for k, v in found.items() if names is None or k in names}
        order, variables = _variables(path, data)
        found = {}
        for variable in variables:
            if variable.name and (names is None or variable.name in names):
                try:
                    found[variable.name] = _value(variable, order, len(data))
                except (ValueError, zlib.error, struct.error) as error:
                    raise ValueError(f"variable {variable.name!r}: {error}") from error
        return found


def mat_names(path: str | os.PathLike) -> set[str]:
    """The names of the variables of a file, whose values are not read.

    Raises:
      ValueError, OSError: see `read_mat`.
    """
    path = pathlib.Path(path)
    with reading(path, _WANTED):
        data = memoryview(path.read_bytes())
        if _is_version4(data):
            return {name for name, _ in _version4(data)}
        return {variable.name for variable in _variables(path, data)[1] if variable.name}


# --- Version 5 and later -----------------------------------------------------------------------


def _variables(path: pathlib.Path, data: memoryview) -> tuple[str, list[_Variable]]:
    """The byte order, and what the file holds."""
    order = {b"IM": "<", b"MI": ">"}.get(bytes(data[126:128]), "")
    hdf5 = bytes(data[:8]) == b"\x89HDF\r\n\x1a\n"
    if hdf5 or (order and data[125 if order == "<" else 124] == 2):
        raise ValueError(
            f"{path}: found a Matlab 7.3 (HDF5) file, wanted version 7 or older; save it again in "
            "Matlab with save(..., '-v7')"
        )
    if not order or data[125 if order == "<" else 124] != 1:
        raise ValueError("it does not begin as one")
    found, at = [], 128
    while at < len(data):
        kind, content, at = _element(data, at, order, padded=False)
        if kind not in (_MATRIX, _PACKED):
            raise ValueError(f"damaged at byte {at}: an entry of type {kind}")
        packed = kind == _PACKED
        head = zlib.decompressobj().decompress(content, _HEAD_BYTES) if packed else content
        head = memoryview(head)[8:] if packed else head
        found.append(_Variable(_name(head, order), content, packed))
    return order, found


def _element(
    data: memoryview, at: int, order: str, padded: bool = True
) -> tuple[int, memoryview, int]:
    """(type, content, position behind it) of the element at a place."""
    if at + 8 > len(data):
        raise ValueError(f"cut at byte {len(data)}")
    kind, size = struct.unpack_from(order + "2I", data, at)
    if kind >> 16:  # up to four bytes lie inside the tag
        size, kind = kind >> 16, kind & 0xFFFF
        if size > 4:
            raise ValueError(f"damaged at byte {at}")
        return kind, data[at + 4 : at + 4 + size], at + 8
    end = at + 8 + size
    if end > len(data):
        raise ValueError(f"cut: an entry ends at byte {end} of {len(data)}")
    return kind, data[at + 8 : end], end + (-size % 8 if padded else 0)


def _name(matrix: memoryview, order: str) -> str:
    """Of a matrix, whose end may be missing."""
    at = 0
    for _ in range(2):  # flags, shape
        _, _, at = _element(matrix, at, order)
    return bytes(_element(matrix, at, order)[1]).decode("latin-1")


def _value(variable: _Variable, order: str, size: int) -> np.ndarray:
    if not variable.packed:
        return _Matrix(variable.content, order).read(_DEPTH)
    unpack = zlib.decompressobj()
    head = unpack.decompress(variable.content, 8)
    if len(head) < 8:
        raise ValueError("cut")
    kind, announced = struct.unpack(order + "2I", head)
    check_inflated(announced, size)
    content = unpack.decompress(unpack.unconsumed_tail, max(announced, 1))
    if kind != _MATRIX or len(content) != announced or not _finishes(unpack):
        raise ValueError("damaged")
    return _Matrix(memoryview(content), order).read(_DEPTH)


def _finishes(unpack) -> bool:
    """Whether a stream ends here, by its checksum."""
    unpack.decompress(unpack.unconsumed_tail, 8)
    return unpack.eof


class _Matrix:
    """The entries of a matrix, one after the other."""

    def __init__(self, data: memoryview, order: str):
        self.data, self.order, self.at = data, order, 0

    def next(self) -> tuple[int, memoryview]:
        """(type, content) of the next entry."""
        kind, content, self.at = _element(self.data, self.at, self.order)
        return kind, content

    def numbers(self) -> np.ndarray:
        """The next entry as numbers."""
        kind, content = self.next()
        if kind not in _NUMBERS:
            raise ValueError(f"damaged: type {kind} where numbers belong")
        return np.frombuffer(content, self.order + _NUMBERS[kind])

    def read(self, depth: int) -> np.ndarray:
        """The whole matrix."""
        if not len(self.data):  # an empty cell
            return np.zeros((0, 0))
        if not depth:
            raise ValueError("nested too deeply")
        flags = self.numbers()
        shape = tuple(int(n) for n in self.numbers())
        self.next()  # the name
        if not len(flags) or len(shape) < 2 or min(shape) < 0:
            raise ValueError(f"damaged: an array of shape {list(shape)}")
        kind, count = int(flags[0]) & 0xFF, math.prod(shape)
        if kind in _CLASSES:
            real = self._array(kind, count)
            if int(flags[0]) & _COMPLEX:
                real = real + 1j * self._array(kind, count)
            return real.reshape(shape, order="F")
        if kind == _CHAR:
            return self._texts(shape, count)
        if kind in (_CELL, _STRUCT, _OBJECT):
            if kind == _OBJECT:
                self.next()  # its class
            names = [] if kind == _CELL else self._names()
            return self._objects(shape, count, names, depth)
        return np.zeros(0, object)

    def _array(self, kind: int, count: int) -> np.ndarray:
        found = self.numbers()
        if len(found) != count:
            raise ValueError(f"damaged: {len(found)} numbers of {count}")
        return found.astype(_CLASSES[kind])

    def _texts(self, shape: tuple[int, ...], count: int) -> np.ndarray:
        kind, content = self.next()
        if kind not in _TEXTS:
            raise ValueError(f"damaged: type {kind} where text belongs")
        codec = _TEXTS[kind]
        codec += {"<": "-le", ">": "-be"}[self.order] if codec in ("utf-16", "utf-32") else ""
        letters = list(bytes(content).decode(codec))
        if len(letters) != count or len(shape) != 2:
            raise ValueError(f"damaged: {len(letters)} letters of {count}")
        rows = np.array(letters, np.str_).reshape(shape, order="F")
        return np.array(["".join(row) for row in rows], np.str_)

    def _names(self) -> list[str]:
        """Of the fields of a struct."""
        sizes, (_, content) = self.numbers(), self.next()
        size = int(sizes[0]) if len(sizes) else 0
        if size < 1 or len(content) % size:
            raise ValueError("damaged: names of fields")
        parts = [bytes(content[k : k + size]) for k in range(0, len(content), size)]
        names = [part.partition(b"\0")[0].decode("latin-1") for part in parts]
        if len(set(names)) != len(names) or "" in names:
            raise ValueError("damaged: names of fields")
        return names

    def _objects(
        self, shape: tuple[int, ...], count: int, names: list[str], depth: int
    ) -> np.ndarray:
        """Cells, or structs with the given fields."""
        left = len(self.data) - self.at
        if count * 8 * max(len(names), 1) > max(left, 8):
            raise ValueError(f"damaged: {count} entries in {left} bytes")
        found = np.empty(count, [(name, object) for name in names] if names else object)
        for k in range(count):
            for name in names or [None]:
                kind, content = self.next()
                if kind != _MATRIX:
                    raise ValueError(f"damaged: type {kind} where an array belongs")
                value = _Matrix(content, self.order).read(depth - 1)
                if name is None:
                    found[k] = value
                else:
                    found[name][k] = value
        return found.reshape(shape, order="F")


# --- Version 4 -----------------------------------------------------------------------------------


def _is_version4(data: memoryview) -> bool:
    """It begins with a number below 5000, others with text."""
    return len(data) >= 20 and any(
        0 <= struct.unpack_from(order + "i", data)[0] < 5000 for order in "<>"
    ) and 0 in bytes(data[:4])  # fmt: skip


def _version4(data: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    at = 0
    while at < len(data):
        if at + 20 > len(data):
            raise ValueError(f"cut at byte {len(data)}")
        order = next((o for o in "<>" if 0 <= struct.unpack_from(o + "i", data, at)[0] < 5000), "")
        if not order:
            raise ValueError(f"damaged at byte {at}")
        kind, rows, columns, imaginary, length = struct.unpack_from(order + "5i", data, at)
        _, _, number, layout = (kind // 10**k % 10 for k in (3, 2, 1, 0))
        if (
            min(rows, columns, length - 1) < 0
            or number >= len(_KINDS4)
            or layout > 2
            or length > 1024
        ):
            raise ValueError(f"damaged at byte {at}")
        dtype = np.dtype(order + _KINDS4[number])
        start = at + 20 + length
        size = rows * columns * dtype.itemsize
        at = start + size * (2 if imaginary else 1)
        name = bytes(data[start - length : start]).partition(b"\0")[0].decode("latin-1")
        if at > len(data):
            raise ValueError(
                f"cut: {name} is announced as {rows} x {columns} numbers, the file has {len(data)} "
                "bytes"
            )
        values = np.frombuffer(data[start : start + size], dtype).astype(_KINDS4[number])
        values = values.reshape(rows, columns, order="F")
        if imaginary:
            second = np.frombuffer(data[start + size : at], dtype)
            values = values + 1j * second.reshape(rows, columns, order="F")
        if layout == 1:
            letters = values.astype(np.uint8)
            values = np.array([bytes(row).decode("latin-1") for row in letters], np.str_)
        yield name, values if layout < 2 else np.zeros(0, object)
