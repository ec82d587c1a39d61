"""TensorFlow checkpoints and frozen graphs, read without TensorFlow.

A checkpoint is `<prefix>.index`, a sorted table of entries (the format of LevelDB), and
`<prefix>.data-00000-of-0000N`, the bytes of the tensors. A frozen graph is a GraphDef message whose
constants hold the weights.
"""

import math
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from facejax.host.files import list_files, reading
from facejax.io.protobuf import fields, read_varint, signed
from facejax.io.tfrecord import masked_crc32c

_TABLE_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES, _TRAILER_BYTES = 48, 5
_TYPES = {  # of tensorflow/core/framework/types.proto
    1: "f4", 2: "f8", 3: "i4", 4: "u1", 5: "i2", 6: "i1", 8: "c8", 9: "i8", 10: "?", 17: "u2",
    18: "c16", 19: "f2", 22: "u4", 23: "u8",
}  # fmt: skip
_STRING, _BFLOAT16 = 7, 14
_MAX_REPEATED = 1 << 26  # numbers of a constant that is stored as a single one: a view of it
_MAX_FILLED = 1 << 20  # numbers that repeat the last of several


def _array(raw: bytes, dtype: int, shape: tuple[int, ...], order: str = "<") -> np.ndarray:
    """Numbers from bytes; bfloat16, which numpy lacks, becomes float32."""
    if dtype == _BFLOAT16:
        flat = (np.frombuffer(raw, order + "u2").astype(np.uint32) << np.uint32(16)).view("f4")
    elif dtype in _TYPES:
        stored = np.dtype(_TYPES[dtype]).newbyteorder(order)
        flat = np.frombuffer(raw, stored).astype(stored.newbyteorder("="), copy=False)
    else:
        raise ValueError(f"numbers of TensorFlow's type {dtype}, which this reader does not know")
    if flat.size != math.prod(shape):
        raise ValueError(f"{len(raw)} bytes for shape {shape}")
    return flat.reshape(shape)


def _shape(data: memoryview) -> tuple[int, ...]:
    """Of a TensorShapeProto."""
    sizes = []
    for number, _, value in fields(data):
        if number == 3 and value:
            raise ValueError("a tensor of unknown shape")
        if number == 2:
            sizes.append(signed(dict((n, v) for n, _, v in fields(value)).get(1, 0)))
    if any(n < 0 for n in sizes):
        raise ValueError(f"a tensor of shape {sizes}")
    return tuple(sizes)


# --- Checkpoints --------------------------------------------------------------------------------


def _block(table: memoryview, handle: memoryview) -> memoryview:
    """The content of a block of the table, its checksum compared."""
    offset, at = read_varint(handle, 0)
    size, _ = read_varint(handle, at)
    end = offset + size + _TRAILER_BYTES
    if end > len(table):
        raise ValueError(f"cut: a block ends at byte {end}, the file has {len(table)}")
    stored = struct.unpack("<I", table[end - 4 : end])[0]
    if masked_crc32c(table[offset : end - 4]) != stored:
        raise ValueError(f"damaged block at byte {offset} (checksum differs)")
    if table[offset + size]:
        raise ValueError("a compressed table, which TensorFlow does not write for checkpoints")
    return table[offset : offset + size]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(key, value) of a block; keys share prefixes with the one before."""
    if len(block) < 4:
        raise ValueError("an empty block")
    restarts = struct.unpack("<I", block[-4:])[0]
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    if end < 0:
        raise ValueError("a block with too many restart points")
    while at < end:
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if shared > len(key) or at + fresh + size > end:
            raise ValueError("a damaged entry of a block")
        key = key[:shared] + bytes(block[at : at + fresh])
        at += fresh + size
        yield key, block[at - size : at]


def _read_index(path: pathlib.Path) -> dict[str, memoryview]:
    """All entries of the table, in order."""
    table = memoryview(path.read_bytes())
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _TABLE_MAGIC:
        raise ValueError("not the index of a TensorFlow checkpoint")
    at = read_varint(footer, read_varint(footer, 0)[1])[1]  # behind the handle of the meta index
    blocks = (_block(table, handle) for _, handle in _entries(_block(table, footer[at:])))
    return {key.decode(): value for block in blocks for key, value in _entries(block)}


def _read_bundle(prefix: pathlib.Path) -> dict[str, np.ndarray]:
    entries = _read_index(prefix.with_name(prefix.name + ".index"))
    header = {n: v for n, _, v in fields(entries.pop("", memoryview(b"")))}
    shards, order = header.get(1, 0), ">" if header.get(2) else "<"
    if not 1 <= shards < 1 << 20:
        raise ValueError(f"a header with {shards} data files")
    files: dict[int, pathlib.Path] = {}
    out = {}
    for name, entry in entries.items():
        found: dict[int, Any] = {n: v for n, _, v in fields(entry)}
        dtype, shard = found.get(1, 0), found.get(3, 0)
        offset, size = found.get(4, 0), found.get(5, 0)
        if dtype == _STRING:
            continue
        if 7 in found:
            raise ValueError(f"{name} is stored in slices (a partitioned variable)")
        if shard not in files:
            files[shard] = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
            if not 0 <= shard < shards or not files[shard].is_file():
                raise ValueError(f"{files[shard].name} is missing")
        if offset + size > files[shard].stat().st_size:
            raise ValueError(
                f"{files[shard].name} is cut: {name} ends at byte {offset + size}, the file has "
                f"{files[shard].stat().st_size}"
            )
        with files[shard].open("rb") as file:
            file.seek(offset)
            raw = file.read(size)
        if 6 in found and masked_crc32c(raw) != struct.unpack("<I", found[6])[0]:
            raise ValueError(
                f"{files[shard].name} is damaged at byte {offset}: {name} (checksum differs)"
            )
        try:
            out[name] = _array(raw, dtype, _shape(found.get(2, memoryview(b""))), order)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return out


def checkpoint_names(prefix: str | os.PathLike) -> list[str]:
    """The names of the tensors of a checkpoint, from its index alone.

    Args:
      prefix: path without '.index'.

    Raises:
      ValueError: no such index, or a damaged one.
    """
    path = pathlib.Path(f"{prefix}.index")
    with reading(path, "a readable TensorFlow checkpoint"):
        return [name for name in _read_index(path) if name]


def load_checkpoint(prefix: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a TensorFlow 1 or 2 checkpoint (format V2); every checksum is compared.

    Args:
      prefix: without suffix, as TensorFlow names checkpoints; the path of the .index file or of the
        folder, if that holds one checkpoint, will do.

    Returns:
      {name: array} in the order of the table, which is sorted. Names are those of the file: of
      TensorFlow 2 'model/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE'. bfloat16 becomes float32. Text
      (such as TensorFlow 2's object graph) is left out.

    Raises:
      ValueError: the files are missing, damaged or of another kind; one line that names the prefix.
    """
    prefix = pathlib.Path(prefix)
    if prefix.is_dir():
        found = list_files(prefix, (".index",))
        if len(found) != 1:
            raise ValueError(f"{prefix} holds {len(found)} *.index files: name one checkpoint")
        prefix = found[0]
    if prefix.suffix == ".index":
        prefix = prefix.with_suffix("")
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise ValueError(
            f"{prefix}.index: no such file; wanted the prefix of a TensorFlow checkpoint, e.g. "
            "model.ckpt-1000 beside model.ckpt-1000.index and .data-00000-of-00001"
        )
    with reading(prefix, "a readable TensorFlow checkpoint"):
        return _read_bundle(prefix)


# --- Frozen graphs ------------------------------------------------------------------------------

_VALUES = {5: "f4", 6: "f8", 9: "f4", 12: "f8"}  # packed numbers of a TensorProto, by field
_INTS = (7, 10, 11, 13, 16, 17)  # packed variable-length integers


def _values(number: int, wire: int, value: Any) -> np.ndarray:
    """One field of repeated numbers, packed or not."""
    if number in _VALUES:
        return np.frombuffer(bytes(value), "<" + _VALUES[number])
    if wire == 0:
        return np.array([signed(value)])
    out, at = [], 0
    while at < len(value):
        one, at = read_varint(value, at)
        out.append(signed(one))
    return np.array(out, np.int64)


def _tensor(data: memoryview) -> np.ndarray | None:
    """A TensorProto; None where it holds text."""
    dtype, shape, content, parts = 0, (), b"", []
    for number, wire, value in fields(data):
        if number == 1:
            dtype = value
        elif number == 2:
            shape = _shape(value)
        elif number == 4:
            content = bytes(value)
        elif number in _VALUES or number in _INTS:
            parts.append(_values(number, wire, value))
    if dtype == _STRING:
        return None
    if content:
        return _array(content, dtype, shape)
    if dtype not in _TYPES and dtype != _BFLOAT16:
        raise ValueError(f"numbers of TensorFlow's type {dtype}, which this reader does not know")
    flat = np.concatenate(parts) if parts else np.zeros(1)
    if dtype in (8, 18):
        flat = flat[0::2] + 1j * flat[1::2]
    if dtype in (19, _BFLOAT16) and parts:  # stored as bit patterns
        flat = _array(flat.astype("<u2").tobytes(), dtype, flat.shape)
    count = math.prod(shape)
    most = _MAX_REPEATED if flat.size == 1 else flat.size + _MAX_FILLED
    if not flat.size <= max(count, 1) <= most:
        raise ValueError(f"{flat.size} numbers for shape {shape}")
    stored = flat.astype("f4" if dtype == _BFLOAT16 else _TYPES[dtype])
    if stored.size == 1:
        return np.broadcast_to(stored.reshape((1,) * len(shape)), shape)
    filled = np.full(count, stored[-1])
    filled[: stored.size] = stored[:count]
    return filled.reshape(shape)


def _constant(node: memoryview) -> tuple[str, str, np.ndarray | None]:
    """(name, operation, value) of a NodeDef; no value unless it is a constant of numbers."""
    name, operation, value = "", "", None
    attributes = []
    for number, _, content in fields(node):
        if number == 1:
            name = bytes(content).decode()
        elif number == 2:
            operation = bytes(content).decode()
        elif number == 5:
            attributes.append(content)
    if operation == "Const":
        for attribute in attributes:
            pair = {n: v for n, _, v in fields(attribute)}
            if bytes(pair.get(1, b"")) != b"value":
                continue
            tensors = [v for n, _, v in fields(pair[2]) if n == 8]
            try:
                value = _tensor(tensors[-1]) if tensors else None
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return name, operation, value


def load_frozen_graph(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The constants of a frozen graph (.pb), by the name of their node.

    Args:
      path: a serialised GraphDef.

    Returns:
      {node name: array}, in the order of the file; constants of text are left out, bfloat16 becomes
      float32.

    Raises:
      ValueError: the file is of another kind, or damaged; one line that names it.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a frozen graph (.pb)")
    out, nodes = {}, 0
    with reading(path, "a readable frozen graph (GraphDef)"):
        for number, wire, value in fields(memoryview(path.read_bytes())):
            if number == 1 and wire == 0:
                raise ValueError("a SavedModel; wanted a frozen graph")
            if number == 1:
                name, operation, constant = _constant(value)
                if not name or not operation:
                    raise ValueError("a node without a name or an operation")
                nodes += 1
                if constant is not None:
                    out[name] = constant
            elif number > 4:
                raise ValueError(f"an unexpected field {number}")
        if not out:
            raise ValueError(f"{nodes} nodes, none of them a constant of numbers")
    return out


def graph_names(path: str | os.PathLike) -> list[str]:
    """The names of the nodes of a graph (.pb), without their values.

    Raises:
      ValueError: the file is of another kind.
    """
    path = pathlib.Path(path)
    names = []
    with reading(path, "a readable graph (GraphDef)"):
        for number, wire, value in fields(memoryview(path.read_bytes())):
            if number == 1 and wire == 2:
                node = {n: v for n, _, v in fields(value) if n in (1, 2)}
                names.append(bytes(node[1]).decode())
            elif number == 1 or number > 4:
                raise ValueError(f"an unexpected field {number}")
    return names
