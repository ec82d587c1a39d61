"""The arrays of HDF5 files as face models are published in them, without the HDF5 library.

What h5py and the Java library write by default is read: numbers and texts, contiguous, compact or
in chunks, compressed by deflate, with shuffle and checksums. What only newer or other writers make
(groups in fractal heaps, other chunk indices, compounds) is named where it is asked for. No code of
the file is run and no link to another file is followed. Source: HDF5 File Format Specification 3.0.
"""

import itertools
import math
import mmap
import os
import struct
import zlib
from collections.abc import Container, Iterator

import numpy as np

from facejax.host.arrays import check_inflated
from facejax.host.files import reading

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = {4: 2**32 - 1, 8: 2**64 - 1}
_MOST_OBJECTS, _MOST_CHUNKS, _MOST_TEXTS, _MOST_DEPTH = 100_000, 1_000_000, 100_000, 32
_REPACK = "write it again with h5repack --low=0 --high=0 IN.h5 OUT.h5"
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x08
_FILTERS, _CONTINUED, _SYMBOLS = 0x0B, 0x10, 0x11


def read_hdf5(
    path: str | os.PathLike, names: Container[str] | None = None
) -> dict[str, np.ndarray]:
    """The data sets of a file by their paths, 'shape/model/mean'.

    Args:
      path: of the file.
      names: only these; those that the file lacks are not in the result. None for all whose types
        are numbers or texts.

    Returns:
      Arrays in the byte order of this machine; texts as arrays of str.

    Raises:
      ValueError: no HDF5 file, a damaged one, or a data set asked for is written in a way that is
        not read.
      OSError: the file cannot be read.
    """
    with reading(path, "a readable HDF5 file"), _File(path) as file:
        return {
            name: file.dataset(messages, name)
            for name, messages in file.datasets()
            if (names is not None and name in names)
            or (names is None and file.is_plain(messages))
        }  # fmt: skip


def is_hdf5(path: str | os.PathLike) -> bool:
    """Whether a file begins like an HDF5 file."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def hdf5_names(path: str | os.PathLike) -> set[str]:
    """The paths of all data sets of a file.

    Raises:
      ValueError: no HDF5 file, or a damaged one.
      OSError: the file cannot be read.
    """
    with reading(path, "a readable HDF5 file"), _File(path) as file:
        return {name for name, _ in file.datasets()}


class _File:
    """An open file: every access is checked against its size."""

    def __init__(self, path):
        self._path = path

    def __enter__(self) -> "_File":
        with open(self._path, "rb") as file:
            self._size = os.fstat(file.fileno()).st_size
            if file.read(8) != SIGNATURE:
                raise ValueError("it does not begin like an HDF5 file")
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._open()
        except BaseException:
            self._content.close()
            raise
        return self

    def __exit__(self, *unused) -> None:
        self._content.close()

    def _bytes(self, start: int, count: int) -> bytes:
        if start < 0 or count < 0 or start + count > self._size:
            raise ValueError(f"{count} bytes at {start} lie beyond its end: cut or damaged")
        return self._content[start : start + count]

    def _open(self) -> None:
        version = self._bytes(8, 1)[0]
        if version in (0, 1):
            self._offset, self._length = self._bytes(13, 2)
            at = 24 if version == 0 else 28
            self._check_sizes()
            base = self._number(at)
            self._root = self._number(at + 5 * self._offset)
        elif version in (2, 3):
            self._offset, self._length = self._bytes(9, 2)
            self._check_sizes()
            base = self._number(12)
            self._root = self._number(12 + 3 * self._offset)
        else:
            raise ValueError(f"version {version} of the format is not known")
        if base:
            raise ValueError(f"its data begin at byte {base}, wanted 0: {_REPACK}")

    def _check_sizes(self) -> None:
        if self._offset not in _UNDEFINED or self._length not in _UNDEFINED:
            raise ValueError("found addresses that are neither 4 nor 8 bytes long: damaged")

    def _number(self, at: int, size: int | None = None) -> int:
        return int.from_bytes(self._bytes(at, size or self._offset), "little")

    # --- objects and groups --------------------------------------------------------------------

    def datasets(self) -> Iterator[tuple[str, dict[int, bytes]]]:
        """(path, messages) of all data sets; an object with several names comes by its first."""
        waiting, seen = [("", self._root)], set()
        while waiting:
            prefix, address = waiting.pop()
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS or prefix.count("/") > _MOST_DEPTH:
                raise ValueError("refused endless groups: damaged")
            messages, links = self._header(address)
            if _LAYOUT in messages:
                yield prefix[:-1], messages
                continue
            if _SYMBOLS in messages:
                links += self._symbols(messages[_SYMBOLS])
            elif not links and self._is_dense(messages):
                raise ValueError(
                    f"the group {prefix or '/'} is stored in a fractal heap, which is not read: "
                    f"{_REPACK}"
                )
            waiting += [(f"{prefix}{name}/", at) for name, at in reversed(links)]

    def _is_dense(self, messages: dict[int, bytes]) -> bool:
        info = messages.get(_LINK_INFO)
        if info is None or len(info) < 2:
            return False
        at = 2 + (8 if info[1] & 1 else 0)
        heap = int.from_bytes(info[at : at + self._offset], "little")
        return heap != _UNDEFINED[self._offset]

    def _header(self, address: int) -> tuple[dict[int, bytes], list[tuple[str, int]]]:
        """The messages of an object, one of each sort, and the links among them."""
        if self._bytes(address, 4) == b"OHDR":
            found = self._messages2(address)
        elif self._bytes(address, 1) == b"\x01":
            found = self._messages1(address)
        else:
            raise ValueError(f"no object lies at byte {address}: damaged")
        messages: dict[int, bytes] = {}
        links = []
        for kind, body in itertools.islice(found, _MOST_OBJECTS):
            messages.setdefault(kind, body)
            if kind == _LINK and (link := self._link(body)):
                links.append(link)
        return messages, links

    def _messages1(self, address: int) -> Iterator[tuple[int, bytes]]:
        blocks, seen = [(address + 16, self._number(address + 8, 4))], set()
        while blocks:
            at, size = blocks.pop(0)
            if at in seen:
                raise ValueError("an object continues in itself: damaged")
            seen.add(at)
            end = at + size
            while at + 8 <= end:
                kind, count = struct.unpack("<HH", self._bytes(at, 4))
                body = self._bytes(at + 8, count)
                at += 8 + count
                if kind == _CONTINUED:
                    blocks.append(self._continuation(body))
                yield kind, body

    def _messages2(self, address: int) -> Iterator[tuple[int, bytes]]:
        flags = self._bytes(address + 5, 1)[0]
        at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks, seen = [(at + width, self._number(at, width))], set()
        head = 6 if flags & 4 else 4
        while blocks:
            at, size = blocks.pop(0)
            if at in seen:
                raise ValueError("an object continues in itself: damaged")
            seen.add(at)
            end = at + size
            while at + head <= end:
                kind, count = struct.unpack("<BH", self._bytes(at, 3))
                body = self._bytes(at + head, count)
                at += head + count
                if kind == _CONTINUED:
                    start, length = self._continuation(body)
                    blocks.append((start + 4, length - 8))  # within its signature and checksum
                yield kind, body

    def _continuation(self, body: bytes) -> tuple[int, int]:
        o, n = self._offset, self._length
        return int.from_bytes(body[:o], "little"), int.from_bytes(body[o : o + n], "little")

    def _link(self, body: bytes) -> tuple[str, int] | None:
        """(name, address) of a link within the file."""
        flags = body[1]
        at, kind = 2, 0
        if flags & 8:
            kind, at = body[at], at + 1
        at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
        width = 1 << (flags & 3)
        count = int.from_bytes(body[at : at + width], "little")
        at += width
        name = body[at : at + count].decode("utf-8", "replace")
        return (name, self._tail(body, at + count)) if kind == 0 else None

    def _tail(self, body: bytes, at: int) -> int:
        if at + self._offset > len(body):
            raise ValueError("a link is cut: damaged")
        return int.from_bytes(body[at : at + self._offset], "little")

    def _symbols(self, body: bytes) -> list[tuple[str, int]]:
        """(name, address) of the members of an old-style group."""
        o, n = self._offset, self._length
        tree, heap = self._tail(body, 0), self._tail(body, o)
        self._expect(heap, b"HEAP")
        size, start = self._number(heap + 8, n), self._number(heap + 8 + 2 * n)
        names = self._bytes(start, size)
        found = []
        for node, _ in self._leaves(tree, 0, n):
            self._expect(node, b"SNOD")
            at = node + 8
            for _ in range(self._number(node + 6, 2)):
                begin, header = self._number(at), self._number(at + o)
                end = names.find(b"\0", begin)
                if end < 0:
                    raise ValueError("the name of a member is cut: damaged")
                if self._number(at + 2 * o, 4) != 2:  # 2: a soft link
                    found.append((names[begin:end].decode("utf-8", "replace"), header))
                at += 2 * o + 24
        return found

    def _expect(self, at: int, signature: bytes) -> None:
        if self._bytes(at, 4) != signature:
            raise ValueError(f"no {signature.decode()} lies at byte {at}: damaged")

    def _leaves(self, address: int, kind: int, key: int) -> Iterator[tuple[int, bytes]]:
        """(address of a child, the key before it) of a B-tree's leaves, in order."""
        waiting, seen = [(address, None)], 0
        while waiting:
            at, above = waiting.pop()
            self._expect(at, b"TREE")
            found, level = self._bytes(at + 4, 2)
            if found != kind or (above is not None and level != above - 1):
                raise ValueError("a B-tree is out of order: damaged")
            count = self._number(at + 6, 2)
            seen += count
            if seen > _MOST_CHUNKS:
                raise ValueError("refused an endless B-tree: damaged")
            at += 8 + 2 * self._offset
            children = []
            for _ in range(count):
                children.append((self._number(at + key), self._bytes(at, key)))
                at += key + self._offset
            if level:
                waiting += [(child, level) for child, _ in reversed(children)]
            else:
                yield from children

    # --- data ------------------------------------------------------------------------------------

    def is_plain(self, messages: dict[int, bytes]) -> bool:
        """Whether a data set is of numbers or texts."""
        body = messages.get(_DATATYPE, b"\xff")
        kind = body[0] & 15 if body else 15
        return kind in (0, 1, 3) or (kind == 9 and len(body) > 1 and body[1] & 15 == 1)

    def _type(self, body: bytes) -> tuple[np.dtype, bool]:
        """(type of an element as stored, whether it is text that lies elsewhere)."""
        kind, size = body[0] & 15, int.from_bytes(body[4:8], "little")
        order = ">" if body[1] & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if body[1] & 8 else 'u'}{size}"), False
        if kind == 1 and size in (2, 4, 8) and not body[1] & 0x40:
            return np.dtype(f"{order}f{size}"), False
        if kind == 3 and 0 < size <= self._size:
            return np.dtype(f"S{size}"), False
        if kind == 9 and body[1] & 15 == 1:
            return np.dtype(f"V{8 + self._offset}"), True
        raise ValueError(f"numbers of the class {kind}, {size} bytes each, are not read")

    def _shape(self, body: bytes) -> tuple[int, ...]:
        version, rank = body[:2]
        if version == 2 and body[3] == 2:
            return (0,)
        at = {1: 8, 2: 4}.get(version)
        if at is None or rank > 32 or len(body) < at + rank * self._length:
            raise ValueError("a shape is damaged")
        n = self._length
        return tuple(
            int.from_bytes(body[at + k * n : at + (k + 1) * n], "little") for k in range(rank)
        )

    def dataset(self, messages: dict[int, bytes], name: str) -> np.ndarray:
        """The array of a data set."""
        try:
            dtype, elsewhere = self._type(messages[_DATATYPE])
            shape = self._shape(messages[_DATASPACE])
            raw = self._stored(messages, dtype, shape)
            if elsewhere:
                return self._texts(raw).reshape(shape)
        except (ValueError, IndexError, KeyError, zlib.error, struct.error) as error:
            raise ValueError(f"data set {name}: {error}") from error
        if dtype.kind == "S":
            flat = [text.decode("utf-8", "replace") for text in raw.reshape(-1).tolist()]
            return np.array(flat, np.str_).reshape(shape)
        return raw.astype(dtype.newbyteorder("="))

    def _stored(self, messages, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        body, total = messages[_LAYOUT], math.prod(shape) * dtype.itemsize
        version, kind = body[:2]
        if version not in (3, 4) or (version == 4 and kind > 1):
            raise ValueError(f"version {version} of a layout (sort {kind}) is not read: {_REPACK}")
        if _FILTERS in messages and kind != 2:
            raise ValueError("filters without chunks: damaged")
        if kind == 0:
            raw = body[4 : 4 + int.from_bytes(body[2:4], "little")]
        elif kind == 1:
            address = self._tail(body, 2)
            if address == _UNDEFINED[self._offset]:  # nothing was ever written
                check_inflated(total, self._size)
                return np.zeros(shape, dtype)
            raw = self._bytes(address, total)
        elif kind == 2:
            return self._chunks(messages, body, dtype, shape)
        else:
            raise ValueError(f"the layout {kind} is not read: {_REPACK}")
        if len(raw) != total:
            raise ValueError(f"found {len(raw)} bytes, wanted {total}")
        return np.frombuffer(raw, dtype).reshape(shape)

    def _chunks(self, messages, body, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        rank = body[2] - 1
        address = self._tail(body, 3)
        at = 3 + self._offset
        dims = struct.unpack_from(f"<{rank + 1}I", body, at)
        chunk, size = dims[:-1], math.prod(dims)
        if rank != len(shape) or dims[-1] != dtype.itemsize or not size:
            raise ValueError("its chunks do not fit its shape: damaged")
        total = math.prod(shape) * dtype.itemsize
        check_inflated(max(total, size), self._size)
        filters = self._filters(messages[_FILTERS]) if _FILTERS in messages else ()
        out = np.zeros(shape, dtype)
        if address == _UNDEFINED[self._offset]:
            return out
        for child, key in self._leaves(address, 1, 8 + 8 * (rank + 1)):
            stored, mask, *start = struct.unpack(f"<II{rank + 1}Q", key)
            values = self._unfiltered(self._bytes(child, stored), filters, mask, size, dtype)
            if any(s >= n for s, n in zip(start[:-1], shape, strict=True)):
                raise ValueError("a chunk lies outside of the array: damaged")
            where = tuple(slice(s, s + c) for s, c in zip(start[:-1], chunk, strict=True))
            part = out[where]
            part[...] = values.reshape(chunk)[tuple(slice(0, n) for n in part.shape)]
        return out

    def _filters(self, body: bytes) -> list[int]:
        """The numbers of the filters, in the order of writing."""
        version, count = body[:2]
        at, found = (8 if version == 1 else 2), []
        for _ in range(count):
            (number,) = struct.unpack_from("<H", body, at)
            at += 2
            length = 0
            if version == 1 or number >= 256:
                (length,) = struct.unpack_from("<H", body, at)
                at += 2
            _, values = struct.unpack_from("<HH", body, at)
            at += 4 + (-(-length // 8) * 8 if version == 1 else length) + 4 * values
            at += 4 if version == 1 and values % 2 else 0
            if number not in (1, 2, 3):
                raise ValueError(f"the filter {number} is not read: h5repack -f GZIP=6 IN OUT")
            found.append(number)
        return found

    def _unfiltered(self, raw: bytes, filters, mask: int, size: int, dtype) -> np.ndarray:
        for k, number in reversed(list(enumerate(filters))):
            if mask >> k & 1:
                continue
            if number == 1:
                inflate = zlib.decompressobj()
                raw = inflate.decompress(raw, size + 4)
                if not inflate.eof:
                    raise ValueError("a chunk is longer than announced: damaged")
            elif number == 2:
                width = dtype.itemsize
                whole = len(raw) // width * width
                rows = np.frombuffer(raw, np.uint8, whole).reshape(width, -1)
                raw = rows.T.tobytes() + raw[whole:]
            else:
                raw = self._summed(raw)
        if len(raw) != size:
            raise ValueError(f"a chunk has {len(raw)} bytes, wanted {size}: damaged")
        return np.frombuffer(raw, dtype)

    @staticmethod
    def _summed(raw: bytes) -> bytes:
        """Bytes without the Fletcher checksum behind them, which is compared."""
        if len(raw) < 4:
            raise ValueError("a chunk without its checksum: damaged")
        content, wanted = raw[:-4], int.from_bytes(raw[-4:], "little")
        words = np.frombuffer(content + b"\0" * (len(content) % 2), ">u2").astype(np.uint64)
        # of the words, and of the words times how often they are added up; modulo 65535
        times = np.arange(len(words), 0, -1, dtype=np.uint64)
        sums = int(words.sum()), int((words * times % 65535).sum())
        found = wanted & 0xFFFF, wanted >> 16
        if any((a - b) % 65535 for a, b in zip(sums, found, strict=True)):
            raise ValueError("the checksum of a chunk is wrong: damaged")
        return content

    def _texts(self, raw: np.ndarray) -> np.ndarray:
        """Texts that lie in the global heap."""
        count = raw.size
        if count > _MOST_TEXTS:
            raise ValueError(f"{count} texts are too many")
        found = []
        for record in raw.reshape(-1):
            entry = record.tobytes()
            length = int.from_bytes(entry[:4], "little")
            address = int.from_bytes(entry[4 : 4 + self._offset], "little")
            index = int.from_bytes(entry[4 + self._offset :], "little")
            text = self._heap_object(address, index)[:length] if length else b""
            found.append(text.decode("utf-8", "replace"))
        return np.array(found, np.str_)

    def _heap_object(self, address: int, wanted: int) -> bytes:
        self._expect(address, b"GCOL")
        n = self._length
        at, end = address + 8 + n, address + self._number(address + 8, n)
        while at + 8 + n <= end:
            index, size = self._number(at, 2), self._number(at + 8, n)
            if index == wanted:
                return self._bytes(at + 8 + n, size)
            if not index:
                break
            at += 8 + n + -(-size // 8) * 8
        raise ValueError("a text is missing: damaged")
