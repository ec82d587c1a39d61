"""Writes HDF5 files as the library's defaults do: old-style groups, contiguous or chunked data."""

import struct
import zlib

import numpy as np

UNDEFINED = b"\xff" * 8


class _Writer:
    def __init__(self):
        self.content = bytearray(96)

    def put(self, data: bytes) -> int:
        """Appends at a multiple of 8; the address."""
        self.content += bytes(-len(self.content) % 8)
        address = len(self.content)
        self.content += data
        return address

    def header(self, *messages: tuple[int, bytes]) -> int:
        body = b""
        for kind, data in messages:
            data += bytes(-len(data) % 8)
            body += struct.pack("<HHB3x", kind, len(data), 0) + data
        return self.put(struct.pack("<BxHIIxxxx", 1, len(messages), 1, len(body)) + body)

    def group(self, members: dict[str, int]) -> int:
        names, at = b"\0" * 8, {}
        for name in sorted(members):
            at[name] = len(names)
            text = name.encode() + b"\0"
            names += text + bytes(-len(text) % 8)
        start = self.put(names)
        heap = self.put(b"HEAP" + struct.pack("<B3xQQQ", 0, len(names), 1, start))
        node = b"SNOD" + struct.pack("<BxH", 1, len(members))
        for name in sorted(members):
            node += struct.pack("<QQII16x", at[name], members[name], 0, 0)
        leaf = self.put(node)
        tree = b"TREE" + struct.pack("<BBH", 0, 0, 1) + 2 * UNDEFINED
        tree = self.put(tree + struct.pack("<QQQ", 0, leaf, at[max(at)]))
        return self.header((0x11, struct.pack("<QQ", tree, heap)))

    def text(self, value: str) -> int:
        raw = value.encode()
        heap = struct.pack("<HHIQ", 1, 1, 0, len(raw)) + raw + bytes(-len(raw) % 8)
        heap = self.put(b"GCOL" + struct.pack("<B3xQ", 1, len(heap) + 16) + heap)
        return self.data(
            struct.pack("<IQI", len(raw), heap, 1), (),
            struct.pack("<B3BI", 0x19, 1, 0, 1, 16) + struct.pack("<B3BI", 0x10, 0, 0, 0, 1),
        )  # fmt: skip

    def data(self, raw: bytes, shape, dtype: bytes, *more) -> int:
        space = struct.pack("<BBB5x", 1, len(shape), 0) + struct.pack(f"<{len(shape)}Q", *shape)
        layout = more[0] if more else struct.pack("<BBQQ", 3, 1, self.put(raw), len(raw))
        return self.header((1, space), (3, dtype), (8, layout), *more[1:])

    def array(self, value: np.ndarray, chunk: tuple[int, ...] | None) -> int:
        value = np.asarray(value)
        dtype = number_type(value.dtype)
        if not chunk:
            return self.data(value.tobytes(), value.shape, dtype)
        entries = b""
        grid = [range(0, n, c) for n, c in zip(value.shape, chunk, strict=True)]
        starts = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, value.ndim)
        for start in starts:
            part = np.zeros(chunk, value.dtype)
            piece = value[tuple(slice(s, s + c) for s, c in zip(start, chunk, strict=True))]
            part[tuple(slice(n) for n in piece.shape)] = piece
            size = value.dtype.itemsize
            raw = np.frombuffer(part.tobytes(), np.uint8).reshape(-1, size).T.tobytes()
            raw = zlib.compress(raw)
            key = struct.pack(f"<II{value.ndim + 1}Q", len(raw), 0, *start, 0)
            entries += key + struct.pack("<Q", self.put(raw))
        tree = b"TREE" + struct.pack("<BBH", 1, 0, len(starts)) + 2 * UNDEFINED + entries
        tree = self.put(tree + bytes(8 + 8 * (value.ndim + 1)))
        rank = value.ndim + 1
        layout = struct.pack("<BBBQ", 3, 2, rank, tree)
        layout += struct.pack(f"<{rank}I", *chunk, value.dtype.itemsize)
        filters = struct.pack("<BB6x", 1, 2)  # shuffle, then deflate
        filters += struct.pack("<HHHHII", 2, 0, 1, 1, value.dtype.itemsize, 0)
        filters += struct.pack("<HHHHII", 1, 0, 1, 1, 4, 0)
        return self.data(b"", value.shape, dtype, layout, (0x0B, filters))


def number_type(dtype: np.dtype) -> bytes:
    """The datatype message of little-endian numbers."""
    size = dtype.itemsize
    if dtype.kind == "f":
        parts = {4: (31, 23, 8, 0, 23, 127), 8: (63, 52, 11, 0, 52, 1023)}[size]
        sign, place, bits, start, mantissa, bias = parts
        head = struct.pack("<B3BI", 0x11, 0x20, sign, 0, size)
        return head + struct.pack("<HHBBBBI", 0, 8 * size, place, bits, start, mantissa, bias)
    signed = 8 if dtype.kind == "i" else 0
    return struct.pack("<B3BIHH", 0x10, signed, 0, 0, size, 0, 8 * size)


def write_hdf5(path, arrays, chunks=None) -> None:
    """Writes {'a/b/name': array or str}; `chunks`: {name: shape of a chunk}, deflated."""
    writer = _Writer()

    def tree(items, prefix):
        members = {}
        for head in sorted({name.split("/")[0] for name in items}):
            inner = {n[len(head) + 1 :]: v for n, v in items.items() if n.startswith(f"{head}/")}
            if inner:
                members[head] = tree(inner, f"{prefix}{head}/")
            elif isinstance(items[head], str):
                members[head] = writer.text(items[head])
            else:
                members[head] = writer.array(items[head], (chunks or {}).get(prefix + head))
        return writer.group(members)

    root = tree(dict(arrays), "")
    head = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    head += struct.pack("<Q", 0) + UNDEFINED + struct.pack("<Q", len(writer.content)) + UNDEFINED
    head += struct.pack("<QQII16x", 0, root, 0, 0)
    writer.content[: len(head)] = head
    path.write_bytes(bytes(writer.content))


def write_bfm17(path, rng, version=9, rows=6, columns=5, num=(7, 4, 5)) -> dict:
    """A small model with the layout of the Basel models of 2017; returns its arrays.

    A curved sheet of rows x columns vertices in millimetres.
    """
    y, x = np.meshgrid(np.linspace(-60, 60, rows), np.linspace(-50, 50, columns), indexing="ij")
    points = np.stack([x, y, 80 - 0.01 * (x**2 + y**2)], -1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    lower = np.stack([corner, corner + 1, corner + columns + 1], -1)
    upper = np.stack([corner, corner + columns + 1, corner + columns], -1)
    cells = np.concatenate([lower, upper]).astype(np.int32)
    arrays = {"version/majorVersion": np.int32(0), "version/minorVersion": np.int32(version)}
    means = {
        "shape": points.reshape(-1),
        "expression": rng.normal(size=points.size).astype(np.float32),
        "color": rng.uniform(size=points.size).astype(np.float32),
    }
    for (part, mean), count in zip(means.items(), num, strict=True):
        basis = np.linalg.qr(rng.normal(size=(points.size, count)))[0].astype(np.float32)
        variance = np.sort(rng.uniform(4, 900, count))[::-1].astype(np.float32)
        basis = basis * np.sqrt(variance) if version == 8 else basis
        arrays |= {
            f"{part}/model/mean": mean,
            f"{part}/model/pcaBasis": basis.astype(np.float32),
            f"{part}/model/pcaVariance": variance,
            f"{part}/representer/cells": cells.T.copy(),
            f"{part}/representer/points": points.T.copy(),
        }
    arrays["metadata/landmarks/json"] = '[{"id": "center.nose.tip", "coordinates": [0, 0, 80]}]'
    write_hdf5(path, arrays, {f"{p}/model/pcaBasis": (16, 2) for p in means})
    return arrays


def layout_of(arrays, seam=True) -> dict:
    """A layout like face12.json of a model of `write_bfm17`: one vertex is doubled, v runs up."""
    cells, points = arrays["shape/representer/cells"].T, arrays["shape/representer/points"].T
    uv = (points[:, :2] + 100) / 200
    triangles = cells.astype(float)
    if seam:
        uv = np.concatenate([uv, uv[:1]])
        triangles[0][triangles[0] == 0] = len(uv) - 1
    mapping = {"@type": "SurfacePointProperty", "pointData": uv.tolist(),
               "triangles": triangles.tolist()}  # fmt: skip
    return {"@type": "TextureMappedProperty", "triangles": cells.astype(float).tolist(),
            "textureMapping": mapping}  # fmt: skip
