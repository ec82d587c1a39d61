"""PLY files: text or binary of either byte order, any order of elements, polygons and strips."""

import dataclasses
import logging
import pathlib
from typing import Any

import numpy as np

from facejax.geometry.mesh import check_corners
from facejax.host.files import reading

_log = logging.getLogger(__name__)
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_INDICES = ("vertex_indices", "vertex_index")
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green",
           "diffuse_blue"))  # fmt: skip
_MAX_HEADER = 1 << 20


@dataclasses.dataclass(frozen=True)
class PlyFile:
    """The surface of a file, as stored: v of texture coordinates runs up.

    Attributes:
      vertices: [V, 3] float64, in the order of the file.
      triangles: [F, 3] int64; polygons are fans.
      normals: [V, 3] float64, or None.
      colors: [V, 3] float64, integers brought to [0, 1], or None.
      uv: [V, 2] float64 one for each vertex, or [F, 3, 2] one for each corner, or None.
      texture: the name of the picture in a comment `TextureFile`, or ''.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray | None
    colors: np.ndarray | None
    uv: np.ndarray | None
    texture: str


@dataclasses.dataclass
class _Property:
    name: str
    dtype: str
    count: str  # type of the length of a list, '' for a single number


@dataclasses.dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property]

    @property
    def least_bytes(self) -> int:
        """Of one entry: lists may be empty."""
        return sum(np.dtype(p.count or p.dtype).itemsize for p in self.properties)


def read_ply(path: pathlib.Path) -> PlyFile:
    """Reads a file.

    Raises:
      ValueError: damaged, or without a surface.
      OSError: the file cannot be read.
    """
    with reading(path, "a readable PLY file"):
        data = path.read_bytes()
        order, elements, comments, start = _read_header(data)
        if order:
            tables = _read_binary(data, start, elements, order)
        else:
            tables = _read_text(data, start, elements)
        types = {(e.name, p.name): np.dtype(p.dtype) for e in elements for p in e.properties}
        return _surface(tables, types, comments)


def _read_header(data: bytes) -> tuple[str, list[_Element], list[str], int]:
    """(byte order or '' for text, elements, comments, where the header ends)."""
    if not data.startswith((b"ply\n", b"ply\r")):
        raise ValueError("it does not begin with `ply`")
    order, elements, comments, at = None, [], [], 0
    while at < min(len(data), _MAX_HEADER):
        ends = [e for e in (data.find(b"\n", at), data.find(b"\r", at)) if e >= 0]
        if not ends:
            break
        end = min(ends)
        line = data[at:end].decode("utf-8", "surrogateescape").strip()
        at = end + (2 if data[end : end + 2] == b"\r\n" else 1)
        words = line.split()
        if words[:1] == ["end_header"]:
            if order is None:
                raise ValueError("a header without a format")
            return order, elements, comments, at
        if words[:1] == ["format"] and len(words) == 3 and words[1] in _ORDERS:
            order = _ORDERS[words[1]]
        elif words[:1] in (["comment"], ["obj_info"]):
            comments.append(line.partition(" ")[2].strip())
        elif words[:1] == ["element"] and len(words) == 3:
            elements.append(_Element(words[1], int(words[2]), []))
            if elements[-1].count < 0:
                raise ValueError(f"{line!r} in the header")
        elif words[:1] == ["property"] and elements:
            elements[-1].properties.append(_property(line, words[1:]))
        elif words and words != ["ply"]:
            raise ValueError(f"{line!r} in the header")
    raise ValueError("a header without an end")


def _property(line: str, words: list[str]) -> _Property:
    is_list = words[:1] == ["list"]
    types = words[1:3] if is_list else words[:1]
    if len(words) != (4 if is_list else 2) or not all(t in _TYPES for t in types):
        raise ValueError(f"{line!r} in the header")
    if is_list and _TYPES[types[0]][0] == "f":
        raise ValueError(f"{line!r} in the header: a list of fractional length")
    return _Property(words[-1], _TYPES[types[-1]], _TYPES[types[0]] if is_list else "")


Table = dict[str, Any]  # name of a property: [N] numbers, or N arrays


def _read_binary(
    data: bytes, at: int, elements: list[_Element], order: str
) -> dict[str, tuple[int, Table]]:
    tables = {}
    for element in elements:
        if element.count * max(element.least_bytes, 1) > len(data) - at:
            raise ValueError(
                f"cut: {element.count} x {element.name} are announced, {len(data) - at} bytes left"
            )
        table, at = _read_rows(data, at, element, order)
        tables.setdefault(element.name, (element.count, table))
    return tables


def _read_rows(data: bytes, at: int, element: _Element, order: str) -> tuple[Table, int]:
    """The entries of one element; lists of one length each are read at once."""
    if not element.properties or not element.count:
        return {p.name: np.zeros(0) for p in element.properties}, at
    lengths, place = [], at
    for p in element.properties:  # of the first entry
        length = -1
        if p.count:
            length = int(_numbers(data, place, p.count, order, 1)[0])
            place += np.dtype(p.count).itemsize
        place += np.dtype(p.dtype).itemsize * (1 if length < 0 else length)
        lengths.append(length)
    if not any(p.count and n < 0 for p, n in zip(element.properties, lengths, strict=True)):
        fields: list[tuple] = []
        for k, (p, length) in enumerate(zip(element.properties, lengths, strict=True)):
            fields += [(f"n{k}", order + p.count)] if p.count else []
            fields.append((f"v{k}", order + p.dtype, (length,) if p.count else ()))
        dtype = np.dtype(fields)
        if dtype.itemsize * element.count <= len(data) - at:
            rows = np.frombuffer(data, dtype, element.count, at)
            if all((rows[f"n{k}"] == n).all() for k, n in enumerate(lengths) if n >= 0):
                end = at + dtype.itemsize * element.count
                return {p.name: rows[f"v{k}"] for k, p in enumerate(element.properties)}, end
    table: Table = {p.name: [] for p in element.properties}
    for _ in range(element.count):
        for p in element.properties:
            length = 1
            if p.count:
                length = int(_numbers(data, at, p.count, order, 1)[0])
                at += np.dtype(p.count).itemsize
            values = _numbers(data, at, p.dtype, order, length)
            at += values.nbytes
            table[p.name].append(values if p.count else values[0])
    return {p.name: table[p.name] if p.count else np.array(table[p.name])
            for p in element.properties}, at  # fmt: skip


def _numbers(data: bytes, at: int, dtype: str, order: str, count: int) -> np.ndarray:
    size = np.dtype(dtype).itemsize * count
    if count < 0 or at + size > len(data):
        raise ValueError(f"cut or damaged: a list of {count} numbers at byte {at} of {len(data)}")
    return np.frombuffer(data, order + dtype, count, at)


def _read_text(data: bytes, start: int, elements: list[_Element]) -> dict[str, tuple[int, Table]]:
    tables = {}
    words, at = data[start:].split(), 0
    for element in elements:
        if element.count * max(len(element.properties), 1) > len(words) - at:
            raise ValueError(
                f"cut: {element.count} x {element.name} are announced, {len(words) - at} numbers "
                "are left"
            )
        table: Table = {p.name: [] for p in element.properties}
        if not any(p.count for p in element.properties):
            width = len(element.properties)
            rows = np.array(words[at : at + width * element.count], np.float64)
            rows = rows.reshape(element.count, width)
            table = {p.name: rows[:, k] for k, p in enumerate(element.properties)}
            at += width * element.count
        else:
            for _ in range(element.count):
                for p in element.properties:
                    length = 1
                    if p.count:
                        length, at = int(words[at]) if at < len(words) else -1, at + 1
                    if length < 0 or at + length > len(words):
                        raise ValueError(f"cut or damaged: {p.name} of {length} numbers")
                    values = np.array(words[at : at + length], np.float64)
                    at += length
                    table[p.name].append(values if p.count else values[0])
        tables.setdefault(element.name, (element.count, table))
    return tables


def _surface(
    tables: dict[str, tuple[int, Table]],
    types: dict[tuple[str, str], np.dtype],
    comments: list[str],
) -> PlyFile:
    count, table = tables.get("vertex", (0, {}))
    if any(k not in table or isinstance(table[k], list) for k in ("x", "y", "z")):
        raise ValueError("no vertices (x, y, z) in it")
    vertices = np.stack([np.asarray(table[k], np.float64) for k in ("x", "y", "z")], axis=-1)
    triangles, corner_uv = _faces(tables, len(vertices))
    if not len(triangles):
        raise ValueError(
            f"found {count} vertices and no triangles; wanted a surface, not a point cloud"
        )
    check_corners(vertices, triangles)
    colors = _columns(table, _COLORS)
    if colors is not None:
        kind = next(types["vertex", n[0]] for n in _COLORS if n[0] in table)
        colors = colors / (np.iinfo(kind).max if kind.kind in "iu" else 1.0)
    uv = corner_uv if corner_uv is not None else _columns(table, _UV)
    textures = [
        c.partition(" ")[2].strip() for c in comments if c.lower().startswith("texturefile")
    ]
    if len(textures) > 1:
        _log.warning("a mesh has one texture; taking %r of %d", textures[0], len(textures))
    return PlyFile(
        vertices, triangles, _columns(table, (("nx", "ny", "nz"),)), colors, uv,
        textures[0] if textures else "",
    )  # fmt: skip


def _columns(table: Table, names: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    for group in names:
        if all(n in table and not isinstance(table[n], list) for n in group):
            return np.stack([np.asarray(table[n], np.float64) for n in group], axis=-1)
    return None


def _faces(tables, count) -> tuple[np.ndarray, np.ndarray | None]:
    """(triangles [F, 3], uv of their corners [F, 3, 2] or None)."""
    _, table = tables.get("face", (0, {}))
    key = next((k for k in _INDICES if k in table), None)
    if key is None:
        return _strips(tables, count), None
    polygons = table[key]
    if isinstance(polygons, np.ndarray) and polygons.ndim != 2:
        raise ValueError(f"{key} of the faces is no list")
    corner_uv = table.get("texcoord")
    if isinstance(polygons, np.ndarray):
        polygons = polygons.astype(np.int64)
        fan = [polygons[:, [0, k, k + 1]] for k in range(1, polygons.shape[1] - 1)]
        triangles = np.stack(fan, 1).reshape(-1, 3) if fan else np.zeros((0, 3), np.int64)
    else:
        rows = [(row[0], row[k], row[k + 1]) for row in polygons for k in range(1, len(row) - 1)]
        triangles = np.array(rows, np.int64).reshape(-1, 3)
    _check(triangles, count)
    if corner_uv is None:
        return triangles, None
    wanted = [2 * len(row) for row in polygons]
    if [len(row) for row in corner_uv] != wanted:
        _log.warning("not every face has texture coordinates: they are left out")
        return triangles, None
    found = []
    for row in corner_uv:
        pairs = np.asarray(row, np.float64).reshape(-1, 2)
        found += [(pairs[0], pairs[k], pairs[k + 1]) for k in range(1, len(pairs) - 1)]
    return triangles, np.array(found).reshape(-1, 3, 2)


def _strips(tables, count) -> np.ndarray:
    """Triangles of `tristrips`: rows of vertices, parted by -1."""
    _, table = tables.get("tristrips", (0, {}))
    key = next((k for k in _INDICES if k in table), None)
    found = []
    for row in table[key] if key else ():
        row = np.asarray(row, np.int64)
        for strip in np.split(row, np.flatnonzero(row == -1)):
            strip = strip[strip != -1]
            triples = np.stack([strip[:-2], strip[1:-1], strip[2:]], axis=-1)
            triples[1::2] = triples[1::2, ::-1]
            found.append(triples)
    triangles = np.concatenate(found) if found else np.zeros((0, 3), np.int64)
    _check(triangles, count)
    return triangles


def _check(triangles: np.ndarray, count: int) -> None:
    if len(triangles) and not (0 <= triangles.min() and triangles.max() < count):
        raise ValueError(
            f"the faces name vertices {triangles.min()} .. {triangles.max()} of {count}: the file "
            "is cut or damaged"
        )
