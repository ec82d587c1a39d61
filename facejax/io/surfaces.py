"""The bare surface of a mesh file: positions and triangles, whatever else the file stores.

`facejax.io.meshes` reads what is to be shown; this reads what is to be measured. How a file splits
its vertices (a normal per face, seams of a UV layout) does not change what comes out of `welded`.
"""

import dataclasses
import os
import pathlib

import numpy as np

from facejax.host.files import read_text

SUFFIXES = (".obj", ".ply", ".glb", ".gltf")


@dataclasses.dataclass(frozen=True)
class Surface:
    """Positions and triangles.

    Attributes:
      path: of the file, for messages.
      vertices: [V, 3] float64, in the order of the file (the `v` lines of an .obj).
      triangles: [F, 3] int64.
    """

    path: pathlib.Path
    vertices: np.ndarray
    triangles: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """[V] bool: vertices that a triangle has as a corner."""
        used = np.zeros(len(self.vertices), bool)
        used[self.triangles.reshape(-1)] = True
        return used

    def scaled(self, factor: float) -> "Surface":
        """The same in another unit."""
        return dataclasses.replace(self, vertices=factor * self.vertices)

    def welded(self) -> "Surface":
        """Each position once, in order of first appearance, without those that no triangle uses."""
        kept = np.flatnonzero(self.used)
        first, joined = distinct_rows(self.vertices[kept])
        number = np.full(len(self.vertices), -1)
        number[kept] = joined
        return Surface(self.path, self.vertices[kept][first], number[self.triangles])


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the distinct rows by order of appearance, [U], and of each row in them, [N].

    Args:
      rows: [N, C]; equal means equal to the last bit, 0 and -0 apart.
    """
    _, first, inverse = np.unique(rows + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


def read_surface(path: str | os.PathLike) -> Surface:
    """Reads a file of one surface.

    Groups, objects and materials of an .obj are one surface; polygons become fans of triangles.

    Args:
      path: .obj, .ply, .glb or .gltf.

    Returns:
      A Surface in the unit of the file; .glb and .gltf are metres.

    Raises:
      ValueError: no such file, unreadable, no triangles, or a corner that is not finite.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: unknown mesh suffix {path.suffix!r}; use {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a mesh")
    vertices, triangles = _read_obj(path) if suffix == ".obj" else _read_others(path)
    if not len(triangles):
        raise ValueError(
            f"{path}: found {len(vertices)} vertices and no triangles; wanted a surface, not a "
            "point cloud"
        )
    surface = Surface(path, vertices, triangles)
    broken = np.flatnonzero(surface.used & ~np.isfinite(vertices).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{path}: vertex {broken[0]} (counted from 0) is {vertices[broken[0]].tolist()}, "
            f"{len(broken)} of {len(vertices)} are not finite; mend the mesh first"
        )
    return surface


def _read_obj(path):
    vertices, faces = [], []
    lines = read_text(path).replace("\\\n", " ").split("\n")
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:4]])
                if len(vertices[-1]) < 3:
                    raise ValueError(f"{len(vertices[-1])} coordinates of a vertex")
            else:
                corners = [int(word.split("/")[0]) for word in words[1:]]
                corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
                if len(corners) < 3 or not 0 <= min(corners):
                    raise ValueError(f"{len(corners)} corners, the least {min(corners) + 1}")
                faces += [[corners[0], *corners[k : k + 2]] for k in range(1, len(corners) - 1)]
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}; wanted a Wavefront OBJ") from error
    vertices = np.array(vertices, np.float64).reshape(-1, 3)
    triangles = np.array(faces, np.int64).reshape(-1, 3)
    if len(triangles) and triangles.max() >= len(vertices):
        raise ValueError(
            f"{path}: a face names vertex {triangles.max() + 1} of {len(vertices)}; the file is cut"
        )
    return vertices, triangles


def _read_others(path):
    import trimesh

    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise ValueError(f"{path}: not a readable {path.suffix} file ({error})") from error
    nodes = [scene.graph[name] for name in scene.graph.nodes_geometry]  # (transform, name)
    parts = [(transform, scene.geometry[name]) for transform, name in nodes]
    clouds = [p for _, p in parts if not isinstance(p, trimesh.Trimesh) or not len(p.faces)]
    parts = [p for p in parts if isinstance(p[1], trimesh.Trimesh) and len(p[1].faces)]
    if not parts and clouds:
        return np.asarray(clouds[0].vertices, np.float64), np.zeros((0, 3), np.int64)
    if len(parts) != 1:
        raise ValueError(f"{path}: found {len(parts)} meshes of triangles; wanted exactly one")
    transform, mesh = parts[0]
    with np.errstate(invalid="ignore"):  # what is not finite is reported above
        vertices = np.asarray(mesh.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
    return vertices, np.asarray(mesh.faces, np.int64)
