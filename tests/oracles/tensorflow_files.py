"""Writes TensorFlow checkpoints and frozen graphs byte by byte, without TensorFlow."""

import struct

import numpy as np

from tests.oracles.crc32c import masked

TYPES = {"f4": 1, "f8": 2, "i4": 3, "u1": 4, "i8": 9, "b1": 10, "f2": 19}


def varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def shape_proto(shape):
    return b"".join(message(2, number(1, n)) for n in shape)


def _block(entries, restart_every=16):
    out, restarts, previous = b"", [], b""
    for k, (key, value) in enumerate(entries):
        shared = 0
        if k % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out, previous = out + key[shared:] + value, key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def write_table(path, entries, per_block=3):
    """A sorted table of [(key, value)]."""
    table = b""

    def add(block):
        nonlocal table
        handle = varint(len(table)) + varint(len(block))
        table += block + b"\0" + struct.pack("<I", masked(block + b"\0"))
        return handle

    parts = [entries[i : i + per_block] for i in range(0, len(entries), per_block)]
    index = [(part[-1][0] + b"\xff", add(_block(part))) for part in parts]
    handles = add(_block([])) + add(_block(index, 1))
    footer = handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    path.write_bytes(table + footer)


def write_checkpoint(prefix, tensors, shards=1, text=(), extra=()):
    """A checkpoint of {name: array}; tensors are dealt to the shards in turn."""
    data = [b""] * shards
    entries = []
    for k, name in enumerate(sorted([*tensors, *text])):
        shard = k % shards
        if name in text:
            raw, dtype, shape = b"\x03abc", 7, ()
        else:
            value = tensors[name]
            raw, dtype, shape = value.tobytes(), TYPES[value.dtype.str[1:]], value.shape
        entry = number(1, dtype) + message(2, shape_proto(shape)) + number(3, shard)
        entry += number(4, len(data[shard])) + number(5, len(raw))
        entry += varint(6 << 3 | 5) + struct.pack("<I", masked(raw))
        data[shard] += raw
        entries.append((name.encode(), entry + dict(extra).get(name, b"")))
    entries.insert(0, (b"", number(1, shards) + message(3, number(1, 1))))
    write_table(prefix.with_name(prefix.name + ".index"), entries)
    for k, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{k:05d}-of-{shards:05d}").write_bytes(content)


def tensor_proto(value, stored=None):
    """A TensorProto; `stored` are its further fields, by default the bytes of the array."""
    head = number(1, TYPES[value.dtype.str[1:]]) + message(2, shape_proto(value.shape))
    return head + (message(4, value.tobytes()) if stored is None else stored)


def const_node(name, tensor):
    attribute = message(1, b"value") + message(2, message(8, tensor))
    kind = message(1, b"dtype") + message(2, number(6, 1))
    return (
        message(1, name.encode()) + message(2, b"Const") + message(5, kind) + message(5, attribute)
    )


def write_graph(path, constants):
    """A GraphDef with a constant per entry, and other nodes."""
    other = message(1, b"conv") + message(2, b"Conv2D") + message(3, b"input") + message(3, b"w")
    nodes = [other]
    for name, value in constants.items():
        proto = value if isinstance(value, bytes) else tensor_proto(np.asarray(value))
        nodes.append(const_node(name, proto))
    path.write_bytes(b"".join(message(1, n) for n in nodes) + message(4, number(1, 21)))
