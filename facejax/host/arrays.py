"""Arrays of .npy and .npz files: headers are checked before memory is asked for.

Nothing is ever unpickled. Every error names the file, and the array in it.
"""

import io
import math
import os
import zipfile
from collections.abc import Container, Sequence
from typing import IO

import numpy as np

from facejax.host.files import reading


def read_npy(path: str | os.PathLike, *, mmap: bool = False) -> np.ndarray:
    """The array of a .npy file, whatever its suffix.

    Args:
      path: of the file.
      mmap: map the file into memory, read-only, instead of reading it.

    Raises:
      ValueError: no such array, a cut one, or one of Python objects.
      OSError: the file cannot be read.
    """
    with reading(path, "a readable .npy array"), open(path, "rb") as file:
        _check_header(file, os.fstat(file.fileno()).st_size)
        if mmap:
            return np.lib.format.open_memmap(path, mode="r")
        file.seek(0)
        return _checked_text(np.lib.format.read_array(file, allow_pickle=False))


_INFLATED_BYTES, _INFLATED_TIMES = 128 << 20, 200


def read_npz(path: str | os.PathLike, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name.

    Args:
      path: of the file.
      names: only these; those that the file lacks are not in the result. None for all.

    Raises:
      ValueError: no such archive, an array is damaged or of Python objects, or so little would
        become so much that nobody can have meant it (a zip bomb).
      OSError: the file cannot be read.
    """
    found = {}
    with reading(path, "a readable .npz archive of arrays"), zipfile.ZipFile(path) as archive:
        wanted = {
            name: info
            for info in archive.infolist()
            for name in [info.filename.removesuffix(".npy")]
            if name != info.filename and (names is None or name in names)
        }
        check_inflated(sum(i.file_size for i in wanted.values()), os.stat(path).st_size)
        for name, info in wanted.items():
            try:
                with archive.open(info) as file:
                    _check_header(file, info.file_size)
                with archive.open(info) as file:
                    found[name] = _checked_text(np.lib.format.read_array(file, allow_pickle=False))
            except ValueError as error:
                raise ValueError(f"array {name!r}: {error}") from error
    return found


def check_inflated(count: int, size: int) -> None:
    """Refuses to unpack so many bytes from a file of another size that nobody can have meant it.

    Args:
      count: bytes that are announced.
      size: bytes of the file.

    Raises:
      ValueError: it is a zip bomb, or a damaged file.
    """
    if count > max(_INFLATED_BYTES, _INFLATED_TIMES * size):
        raise ValueError(
            f"its {size} bytes would become {count}: refused, as a zip bomb is; save it "
            "uncompressed, if it is none"
        )


def npz_names(path: str | os.PathLike) -> set[str]:
    """The names of the arrays of an .npz file, without reading them.

    Raises:
      ValueError: no zip archive.
      OSError: the file cannot be read.
    """
    with reading(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def _check_header(file: IO[bytes], size: int) -> None:
    """Refuses objects, and an array that needs more bytes than the file has."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of the format; wanted plain numbers or texts")
    if dtype.hasobject:
        raise ValueError("holds Python objects, which are never loaded; save numbers or texts")
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size - file.tell():
        raise ValueError(
            f"{dtype}{list(shape)} needs {needed} bytes, found {size - file.tell()}: the file is "
            "cut or damaged"
        )


def _checked_text(array: np.ndarray) -> np.ndarray:
    """The array, if its texts are of letters that exist: Python raises SystemError for others."""
    if array.dtype.kind == "U" and array.dtype.itemsize:
        letters = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder + "u4")
        if letters.size and letters.max() > 0x10FFFF:
            raise ValueError("holds letters that do not exist: damaged")
    return array


def npy_header(dtype: np.dtype | str, shape: Sequence[int]) -> bytes:
    """The bytes before the numbers of a .npy file.

    Args:
      dtype: of the array.
      shape: of the array, in C order.
    """
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    content = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()


class RowWriter:
    """A .npy file that grows by rows, for arrays that are larger than memory; a context manager.

    Ordinary writes: where a file is mapped into memory instead, a full disk ends the process.

    Args:
      path: the file to write.
      dtype: of the array.
      shape: of the array; rows along the first axis.
    """

    def __init__(self, path: str | os.PathLike, dtype: np.dtype | str, shape: Sequence[int]):
        self._dtype, self._shape = np.dtype(dtype), tuple(shape)
        self._path, self._rows = os.fspath(path), 0
        self._file = open(path, "wb", buffering=0)
        self._write(npy_header(dtype, shape))

    def append(self, rows: np.ndarray) -> None:
        """Writes [B, ...] further rows, converted to the dtype.

        Raises:
          ValueError: rows of another shape.
          OSError: the disk is full; names the file.
        """
        if rows.shape[1:] != self._shape[1:]:
            raise ValueError(f"{self._path}: rows {rows.shape[1:]}, wanted {self._shape[1:]}")
        self._rows += len(rows)
        self._write(np.ascontiguousarray(rows, self._dtype).data.cast("B") if rows.size else b"")

    def _write(self, content: bytes | memoryview) -> None:
        left = memoryview(content)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, kind, *unused) -> None:
        self._file.close()
        if kind is None and self._rows != self._shape[0]:
            raise ValueError(f"{self._path}: {self._rows} rows, wanted {self._shape[0]}")


def describe_array(array: np.ndarray) -> str:
    """Type and shape of an array in words, for messages: 'float32 [68, 2]'."""
    return f"{array.dtype} {list(array.shape)}"
