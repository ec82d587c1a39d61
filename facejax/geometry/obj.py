"""Wavefront OBJ as text: vertices, texture coordinates, normals, faces, names of materials.

The order of the file is kept: vertex k is the k-th `v` line. Read are numbers relative to the end
(-1), polygons (as fans of triangles), `f a//n`, colours behind the coordinates, continued lines,
comments in any encoding, and any line ends. Curves, points and lines are passed over.
"""

import array
import dataclasses
import os
import re
from collections.abc import Iterator

import numpy as np

from facejax.geometry.mesh import check_corners
from facejax.host.files import describe_content, read_text

_COORDINATES = {"v": (3, 4, 6, 7), "vt": (1, 2, 3), "vn": (3,)}
_WHAT = {"v": "a vertex is x y z, x y z w or x y z r g b", "vt": "a texture coordinate is u v",
         "vn": "a normal is x y z"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ObjFile:
    """The content of a file, as stored: v of texture coordinates runs up.

    Attributes:
      vertices: [V, 3] float64, by their `v` lines.
      colors: [V, 3] float64 as stored, or None where not every vertex has one.
      uv: [T, 2] float64, by the `vt` lines; T may be 0.
      normals: [N, 3] float64, by the `vn` lines; N may be 0.
      triangles: [F, 3] int64 into `vertices`.
      uv_triangles: [F, 3] int64 into `uv`, -1 where a corner has none.
      normal_triangles: [F, 3] int64 into `normals`, -1 where a corner has none.
      material: [F] int64 into `materials`, -1 before the first `usemtl`.
      materials: names, in order of their first use.
      libraries: what stands behind each `mtllib`, unparsed.
    """

    vertices: np.ndarray
    colors: np.ndarray | None
    uv: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray
    normal_triangles: np.ndarray
    material: np.ndarray
    materials: tuple[str, ...]
    libraries: tuple[str, ...]


def read_obj(path: str | os.PathLike) -> ObjFile:
    """Reads a file; its materials are only named.

    Args:
      path: of an .obj.

    Raises:
      ValueError: no surface in it, a statement that is none (with its line), a face that names what
        the file does not hold, or a corner that is not finite.
      OSError: the file cannot be read.
    """
    rows: dict[str, list[list[float]]] = {key: [] for key in _COORDINATES}
    corners = array.array("q")  # nine per triangle, and for each its line and its material
    lines, material = array.array("q"), array.array("q")
    names: dict[str, int] = {}
    known: dict[str, tuple[int, int, int]] = {}
    libraries, current = [], -1
    for line, keyword, rest in _statements(read_text(path, "surrogateescape")):
        try:
            if keyword in rows:
                rows[keyword].append(_numbers(keyword, rest))
            elif keyword == "f":
                first, *others = _polygon(rest, known, rows)
                for second, third in zip(others, others[1:], strict=False):
                    corners.extend(first + second + third)
                    lines.append(line)
                    material.append(current)
            elif keyword == "usemtl":
                current = names.setdefault(rest, len(names))
            elif keyword == "mtllib":
                libraries.append(rest)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    counts = [len(rows[key]) for key in ("v", "vt", "vn")]
    if not counts[0] or not corners:
        found = f"found {counts[0]} vertices and no triangles; wanted a surface (Wavefront OBJ)"
        raise ValueError(f"{path}: {describe_content(path) or found}")
    index = np.array(corners, np.int64).reshape(-1, 3, 3)
    _check_indices(path, index, lines, counts)
    vertices, colors = _vertices(rows["v"])
    try:
        check_corners(vertices, index[..., 0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    uv = np.array([(*row[:2], 0.0)[:2] for row in rows["vt"]], np.float64).reshape(-1, 2)
    return ObjFile(
        vertices, colors, uv, np.array(rows["vn"], np.float64).reshape(-1, 3),
        index[..., 0], index[..., 1], index[..., 2],
        np.array(material, np.int64), tuple(names), tuple(libraries),
    )  # fmt: skip


def read_vertices(path: str | os.PathLike) -> np.ndarray:
    """Only the positions [V, 3] float64 of a file, which need not have faces.

    Raises:
      ValueError: a vertex that is none, with its line.
      OSError: the file cannot be read.
    """
    text = read_text(path, "surrogateescape")
    if "\\\n" not in text:  # all at once, if each has three numbers
        found = re.findall(r"^[ \t]*[vV][ \t]+([^#\n]*)", text, re.MULTILINE)
        try:
            values = np.array(" ".join(found).split(), np.float64)
        except ValueError:
            values = np.zeros(0)
        if len(values) == 3 * len(found):
            return values.reshape(-1, 3)
    rows = []
    for line, keyword, rest in _statements(text):
        if keyword == "v":
            try:
                rows.append(_numbers(keyword, rest))
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {error}") from error
    return np.array([row[:3] for row in rows], np.float64).reshape(-1, 3)


def _statements(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, keyword in lower case, the rest of the line) of every statement.

    A backslash at the end continues a statement, but not a comment: that may end in a Windows path.
    """
    begun, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not begun and line.startswith("#"):
            continue
        first = first if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        line, begun = begun + line, ""
        keyword, *rest = line.split(None, 1)[:2] or [""]
        if keyword:
            yield first, keyword.lower(), rest[0].strip() if rest else ""


def _numbers(keyword: str, rest: str) -> list[float]:
    words = rest.partition("#")[0].split()
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{error}; {_WHAT[keyword]}") from error
    if len(values) not in _COORDINATES[keyword]:
        raise ValueError(f"found {len(values)} numbers; {_WHAT[keyword]}")
    return values


def _polygon(
    rest: str, known: dict[str, tuple[int, int, int]], rows: dict[str, list]
) -> list[tuple[int, int, int]]:
    """The corners of a face: (vertex, uv, normal) from 0, -1 for none.

    Args:
      rest: of the line.
      known: corners that have been read before, by their text.
      rows: what stands above, for numbers relative to its end.
    """
    words = rest.partition("#")[0].split()
    if len(words) < 3:
        raise ValueError(f"a face of {len(words)} corners; wanted three or more")
    return [known.get(word) or _corner(word, known, rows) for word in words]


def _corner(word, known, rows) -> tuple[int, int, int]:
    parts = word.split("/")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"{word!r} is no corner of a face; wanted v, v/vt, v//vn or v/vt/vn")
    corner = [-1, -1, -1]
    for k, (part, key) in enumerate(zip(parts, ("v", "vt", "vn"), strict=False)):
        if part:
            number, count = int(part), len(rows[key])
            corner[k] = number - 1 if number > 0 else count + number
            if number == 0 or corner[k] < 0:
                raise ValueError(f"{word!r} names number {number}, and {count} are above")
    if "-" not in word:
        known[word] = tuple(corner)
    return tuple(corner)


def _check_indices(path, index, lines, counts) -> None:
    for k, (what, count) in enumerate(zip(("vertex", "vt", "vn"), counts, strict=True)):
        beyond = np.flatnonzero((index[..., k] >= count).any(axis=1))
        if len(beyond):
            number = index[beyond[0], :, k].max() + 1
            raise ValueError(
                f"{path}, line {lines[beyond[0]]}: the face names {what} {number} of {count}: the "
                "file is cut or damaged"
            )


def _vertices(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray | None]:
    vertices = np.array([row[:3] for row in rows], np.float64)
    if min(map(len, rows)) < 6:
        return vertices, None
    return vertices, np.array([row[3:6] for row in rows], np.float64)
