"""Normal maps between object space (Mesh.normal_map) and tangent space (files: glTF, OBJ).

glTF 2.0 section 3.9.3: +x runs along growing u, +y up in the picture (against v, which runs down),
+z out of the surface; a colour is n / 2 + 1 / 2. Viewers interpolate the normal, the tangent and
the bitangent = w cross(normal, tangent) over a triangle, make each a unit vector, and weigh them
with the map. The conversion inverts exactly that, texel by texel.
"""

from typing import NamedTuple

import numpy as np

from facejax.geometry.mesh import Mesh, vertex_normals
from facejax.render.shading import vertex_tangents
from facejax.render.uv import uv_atlas

_GUTTER = 4.0  # texels around the charts that copy the nearest normal, for filtered look-ups


class TangentFrames(NamedTuple):
    """Frames at the UV vertices, numpy.

    Attributes:
      normal: [S, 3] unit, smooth over seams.
      tangent: [S, 4]: a unit vector along growing u, at a right angle to the normal, and w = +1, or
        -1 where the layout mirrors the surface; glTF's TANGENT.
    """

    normal: np.ndarray
    tangent: np.ndarray

    @property
    def bitangent(self) -> np.ndarray:
        """[S, 3] unit, against v."""
        return self.tangent[:, 3:] * np.cross(self.normal, self.tangent[:, :3])


def unit_vertex_normals(mesh: Mesh) -> np.ndarray:
    """Smooth vertex normals [V, 3], numpy, all of length one: +z where a vertex has no area."""
    normals = np.array(vertex_normals(mesh.vertices, mesh.topology), np.float32)
    normals[np.linalg.norm(normals, axis=-1) < 0.5] = (0.0, 0.0, 1.0)
    return normals


def tangent_frames(mesh: Mesh) -> TangentFrames:
    """Tangent frames of a mesh without batch dims and with a UV layout."""
    topology = mesh.topology
    normal = unit_vertex_normals(mesh)[topology.uv_vertex]
    tangent = np.asarray(vertex_tangents(np.asarray(mesh.vertices, np.float32), topology))
    tangent = tangent - normal * (normal * tangent).sum(axis=-1, keepdims=True)
    flat = np.linalg.norm(tangent, axis=-1) < 1e-3  # no UV area: any direction along the surface
    axis = np.eye(3, dtype=np.float32)[np.abs(normal).argmin(axis=-1)]
    tangent = np.where(flat[:, None], np.cross(normal, axis), tangent)
    tangent = tangent / np.linalg.norm(tangent, axis=-1, keepdims=True)
    corner = topology.uv[topology.uv_triangles]  # [F, 3, 2]
    edge1, edge2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]  # < 0 unless mirrored: v runs down
    total = np.zeros(len(topology.uv))
    np.add.at(total, topology.uv_triangles, area[:, None])
    handedness = np.where(total > 0, -1.0, 1.0)[:, None]
    return TangentFrames(normal, np.concatenate([tangent, handedness], -1).astype(np.float32))


def object_to_tangent(mesh: Mesh) -> np.ndarray:
    """The mesh's normal map in tangent space.

    Args:
      mesh: without batch dims, with a UV layout and a normal map [H, W, 3].

    Returns:
      [H, W, 3] float32 unit vectors; (0, 0, 1) far from the charts.
    """
    from scipy.ndimage import distance_transform_edt

    normals = np.asarray(mesh.normal_map, np.float32)
    covered, (t, b, n) = _texel_frames(mesh, normals.shape[:2])
    # the inverse of the matrix with columns t, b, n, which need not be orthogonal between vertices
    volume = (t * np.cross(b, n)).sum(axis=-1)
    rows = (np.cross(b, n), np.cross(n, t), np.cross(t, b))
    local = np.stack([(normals * row).sum(axis=-1) for row in rows], axis=-1)
    covered &= np.abs(volume) > 1e-6
    local = _unit(local * np.sign(volume)[..., None])
    covered &= np.linalg.norm(local, axis=-1) > 0.5  # nothing was painted here: the surface itself
    result = np.zeros_like(normals) + np.float32([0, 0, 1])
    if covered.any():
        distance, (row, col) = distance_transform_edt(~covered, return_indices=True)
        near = distance <= _GUTTER
        result[near] = local[row[near], col[near]]
    return result


def tangent_to_object(mesh: Mesh, tangent_map: np.ndarray) -> np.ndarray:
    """A tangent-space normal map in object space, as Mesh.normal_map wants it.

    Args:
      mesh: without batch dims, with a UV layout.
      tangent_map: [H, W, 3] in [-1, 1], any positive length.

    Returns:
      [H, W, 3] float32 unit vectors, zero off the charts.
    """
    x, y, z = np.moveaxis(np.asarray(tangent_map, np.float32), -1, 0)[..., None]
    covered, (t, b, n) = _texel_frames(mesh, tangent_map.shape[:2])
    return np.where(covered[..., None], _unit(x * t + y * b + z * n), np.float32(0.0))


def _texel_frames(mesh: Mesh, size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which texel centres lie on a chart, [H, W], and (t, b, n), each [H, W, 3] unit, there."""
    atlas, frames = uv_atlas(mesh.topology, size), tangent_frames(mesh)
    corner = mesh.topology.uv_triangles[atlas.triangle_id]  # [H, W, 3]; any triangle off the charts
    weight = atlas.barycentric[..., None]
    vectors = (frames.tangent[:, :3], frames.bitangent, frames.normal)
    texels = [_unit((v[corner] * weight).sum(axis=-2)) for v in vectors]
    return atlas.triangle_id >= 0, texels


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one along the last axis; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
