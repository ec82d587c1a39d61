"""Damage: what happens to files on their way, and what a careless or hostile writer puts in them.

Every mutation is a function of the original bytes and a `random.Random`.
"""

import functools
import gzip
import io
import json
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable

import numpy as np

_HUGE = (0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


class _Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was executed')",)


def _npy_of(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


@functools.cache
def _bomb() -> bytes:
    """An .npz of two hundred megabytes of zeros in two hundred kilobytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", _npy_of(f"({25 << 20},)") + bytes(200 << 20))
    return out.getvalue()


def _objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([_Trap()], object), allow_pickle=True)
    return out.getvalue()


def _object_npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, arr_0=np.array([_Trap()], object), sp=np.array([_Trap()], object))
    return out.getvalue()


FOREIGN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\x80",
    "newline": lambda: b"\r\n",
    "zeros": lambda: bytes(4096),
    "web page": lambda: b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n",
    "git-lfs": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "png head": lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\xff\xff\xff\0\xff\xff\xff\x08\2\0\0\0",
    "empty zip": lambda: b"PK\5\6" + bytes(18),
    "gzip": lambda: gzip.compress(b"content " * 99, mtime=0),
    "hdf5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(99),
    "pickle": lambda: pickle.dumps(_Trap(), 4),
    "pickle frames": lambda: b"\x80\4\x95" + struct.pack("<Q", 1 << 60) + b"}.",
    "pickle bytes": lambda: b"\x80\5\x8e" + struct.pack("<Q", 1 << 50) + b"x.",
    "pickle memo": lambda: b"\x80\4]r" + struct.pack("<I", 0xFFFFFFF0) + b".",
    "octave": lambda: b"# Created by Octave 8.4.0\n# name: x\n# type: scalar\n1\n",
    "utf-16": lambda: "1 2\n3 4\n".encode("utf-16"),
    "latin-1": lambda: "größe 1 2 3\n".encode("latin-1"),
    "null": lambda: b"null",
    "list": lambda: b"[1, 2]",
    "object": lambda: b"{}",
    "number": lambda: b"1e999",
    "nested": lambda: b"[" * 100_000,
    "objects": _objects,
    "object archive": _object_npz,
    "huge array": lambda: _npy_of("(99999999, 99999)"),
    "zip bomb": _bomb,
    "protobuf": lambda: b"\x0a\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 9,
    "matlab 4": lambda: struct.pack("<5i", 0, 1 << 30, 1 << 30, 0, 5) + b"lots\0",
    "matlab 5": lambda: b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<2I", 14, 1 << 31),
    "program": lambda: b"\x7fELF\2\1\1" + bytes(57),
}


# --- Bytes ---------------------------------------------------------------------------------------


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((len(data) // 2, len(data) - 1, rng.randrange(len(data))))]


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _flip_head(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2))):
        out[rng.randrange(min(len(out), 256))] = rng.randrange(256)
    return bytes(out)


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 512)))


def _noise(data: bytes, rng: random.Random) -> bytes:
    a, b = _span(data, rng)
    return data[:a] + rng.randbytes(b - a) + data[b:]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    a, b = _span(data, rng)
    return data[:a] + bytes(b - a) + data[b:]


def _swap(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    size = min(64, b - a, len(data) - b)
    return (
        data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
    )


def _repeat(data: bytes, rng: random.Random) -> bytes:
    a, b = _span(data, rng)
    return data[:b] + data[a:b] + data[b:]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    a, b = _span(data, rng)
    return data[:a] + data[b:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    a, _ = _span(data, rng)
    return data[:a] + rng.randbytes(rng.choice((1, 2, 9))) + data[a:]


def _huge_integer(data: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    value = (rng.choice(_HUGE) & ((1 << 8 * size) - 1)).to_bytes(
        size, rng.choice(("little", "big"))
    )
    at = rng.randrange(rng.choice((min(len(data), 512), len(data))))
    return data[:at] + value + data[at + size :]


def _huge_digits(data: bytes, rng: random.Random) -> bytes:
    """A number that is written out, in a header of numpy, PLY, JSON, ..."""
    found = list(re.finditer(rb"\d+", data[: rng.choice((512, len(data)))]))
    if not found:
        return _flip(data, rng)
    at = rng.choice(found)
    digits = rng.choice((b"99999999999", b"-1", b"0", b"1" * 400, b"4294967297", b""))
    return data[: at.start()] + digits + data[at.end() :]


BYTES = (
    _truncate, _truncate, _flip, _flip, _flip_head, _flip_head, _noise, _zeros, _swap, _repeat,
    _cut_out, _insert, _huge_integer, _huge_integer, _huge_digits, _huge_digits,
)  # fmt: skip


# --- Text ---------------------------------------------------------------------------------------


def _recode(data: bytes, rng: random.Random) -> bytes:
    text = data.decode()
    if rng.random() < 0.5:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32")))
    at = rng.randrange(len(text) + 1)
    return (text[:at] + "é" + text[at:]).encode(rng.choice(("latin-1", "cp1252")), "replace")


def _line_ends(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\\\n", b" # x\n")))


def _number_for(data: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d[\d.e+-]*", data))
    if not found:
        return _flip(data, rng)
    at = rng.choice(found)
    words = (b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1,5", b"x", b"", b"0x10", b"1_0")
    return data[: at.start()] + rng.choice(words) + data[at.end() :]


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[a]
    elif kind == 1:
        lines.insert(b, lines[a])
    else:
        lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def _nul(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + b"\0" + data[at:]


TEXT = (_recode, _recode, _line_ends, _number_for, _number_for, _number_for, _lines, _lines, _nul)


def _json_value(data: bytes, rng: random.Random) -> bytes:
    """The file with one value of another type or size, or one entry less."""
    tree = json.loads(data)
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(items):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    if not isinstance(tree, dict | list) or not tree:
        return _flip(data, rng)
    walk(tree)
    node, key = rng.choice(places)
    kind = rng.randrange(14)
    if kind > 10:
        del node[key]
    else:
        node[key] = (
            None, "x", "", -1, 0, 1 << 70, float("inf"), [], {}, [None], {"x": {"x": 1}},
        )[kind]  # fmt: skip
    return json.dumps(tree).encode()


# --- Containers: their parts are damaged, and the checksums fit ----------------------------------


def _inside_zip(data: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        names = source.namelist()
        chosen = rng.choice(names)
        kind = rng.randrange(6)
        for name in names:
            content = source.read(name)
            if name == chosen and kind == 0:
                continue
            if name == chosen and kind == 1:
                name = name + "x"
            if name == chosen and kind > 1 and content:
                content = mutate(content, rng)[1]
            target.writestr(name, content, source.infolist()[0].compress_type)
    return out.getvalue()


def _inside_glb(data: bytes, rng: random.Random) -> bytes:
    size = struct.unpack_from("<I", data, 12)[0]
    text = _json_value(data[20 : 20 + size], rng)
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    head = struct.pack("<5I", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    return head + text + rest


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data[:4096].decode()
    except UnicodeDecodeError:
        return False


def _is_json(data: bytes) -> bool:
    try:
        return data[:1] in (b"{", b"[") and json.loads(data) is not None
    except ValueError:
        return False


def mutate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(what was done, the damaged file)."""
    choices = list(BYTES)
    if data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data)):
        choices += [_inside_zip] * len(BYTES)
    elif data[:4] == b"glTF":
        choices += [_inside_glb] * len(BYTES)
    elif _is_json(data):
        choices += [_json_value] * len(BYTES)
    elif _is_text(data):
        choices += TEXT + TEXT
    chosen = rng.choice(choices)
    return chosen.__name__.strip("_"), chosen(data, rng)
