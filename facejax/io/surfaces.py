"""The bare surface of a mesh file: positions and triangles, whatever else the file stores.

`facejax.io.meshes` reads what is to be shown; this reads what is to be measured. How a file splits
its vertices (a normal per face, seams of a UV layout) does not change what comes out of `welded`.
"""

import dataclasses
import os
import pathlib

import numpy as np

from facejax.geometry.obj import read_obj
from facejax.io.gltf import read_gltf
from facejax.io.ply import read_ply

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

    Groups, objects and materials of an .obj, meshes and nodes of a .glb are one surface; polygons
    become fans of triangles.

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
    if suffix == ".obj":
        file = read_obj(path)
        return Surface(path, file.vertices, file.triangles)
    if suffix == ".ply":
        file = read_ply(path)
        return Surface(path, file.vertices, file.triangles)
    parts = read_gltf(path, pictures=False)
    if not parts:
        raise ValueError(f"{path}: no triangles in it; wanted a surface")
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    triangles = [p.triangles + k for p, k in zip(parts, starts[:-1], strict=True)]
    return Surface(path, np.concatenate([p.vertices for p in parts]), np.concatenate(triangles))
