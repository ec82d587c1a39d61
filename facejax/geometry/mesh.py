"""Triangle meshes: static topology, the Mesh pytree, vertex normals.

Frame: right-handed, x to the image's right (the subject's left), y up, z toward the viewer;
millimetres. Triangles are counter-clockwise seen from outside. UV has v down, like image rows
(docs/conventions.md).
"""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry.math import safe_normalize

_LEAST = 1e-20  # squared area: in metres too, triangles of a face are far larger
_RING = 8  # triangles around a vertex that are summed for all vertices alike


class MeshTopology:
    """What never changes while vertices move; numpy arrays, hashed and compared by identity.

    A static field of pytrees must be hashable, which arrays are not: hence a plain class.

    Attributes:
      triangles: [F, 3] int32, vertex ids, counter-clockwise from outside.
      num_vertices: V.
      uv: [S, 2] float32 in [0, 1], v down, or None. S >= V where seams split vertices.
      uv_triangles: [F, 3] int32 into `uv`; the same triangles in the same order.
      uv_vertex: [S] int32, the vertex that each UV vertex belongs to.
      uv_wraps_u: u = 1 continues at u = 0 (a layout around a cylinder): a triangle spanning more
        than half of u crosses that line, and u may leave [0, 1].

    Raises:
      ValueError: arrays of another shape, or ids that name no vertex.
    """

    def __init__(
        self,
        triangles,
        num_vertices,
        uv=None,
        uv_triangles=None,
        uv_vertex=None,
        uv_wraps_u=False,
    ):
        self.triangles = np.ascontiguousarray(triangles, np.int32)
        self.num_vertices = int(num_vertices)
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            raise ValueError(f"triangles must be [F, 3], found {self.triangles.shape}")
        if self.triangles.size and not (
            0 <= self.triangles.min() and self.triangles.max() < self.num_vertices
        ):
            raise ValueError(
                f"triangles name vertices {self.triangles.min()}..{self.triangles.max()} but the "
                f"mesh has {self.num_vertices} vertices"
            )
        self.uv_wraps_u = bool(uv_wraps_u)
        self.uv = None if uv is None else np.ascontiguousarray(uv, np.float32)
        if self.uv is not None and uv_triangles is None:  # no seams: one UV per vertex
            if len(self.uv) != self.num_vertices:
                raise ValueError(
                    f"found {len(self.uv)} UV vertices of {self.num_vertices} vertices; wanted one "
                    "each, or uv_triangles that say where seams split them"
                )
            uv_triangles, uv_vertex = self.triangles, np.arange(self.num_vertices)
        self.uv_triangles = (
            None if uv_triangles is None else np.ascontiguousarray(uv_triangles, np.int32)
        )
        if self.uv_triangles is not None:
            self._check_layout()
        if self.uv_triangles is not None and uv_vertex is None:
            uv_vertex = np.zeros(len(self.uv), np.int32)
            uv_vertex[self.uv_triangles.reshape(-1)] = self.triangles.reshape(-1)
        self.uv_vertex = None if uv_vertex is None else np.ascontiguousarray(uv_vertex, np.int32)

    def _check_layout(self):
        if self.uv is None or self.uv.ndim != 2 or self.uv.shape[1] != 2:
            found = None if self.uv is None else self.uv.shape
            raise ValueError(f"uv must be [S, 2] where there are uv_triangles, found {found}")
        if self.uv_triangles.shape != self.triangles.shape:
            raise ValueError(
                f"uv_triangles must be the same triangles in the same order, "
                f"{self.triangles.shape}, found {self.uv_triangles.shape}"
            )
        low, high = self.uv_triangles.min(initial=0), self.uv_triangles.max(initial=-1)
        if not (0 <= low and high < len(self.uv)):
            raise ValueError(
                f"uv_triangles name UV vertices {low}..{high} but the layout has {len(self.uv)}"
            )

    @functools.cached_property
    def vertex_faces(self) -> np.ndarray:
        """[V, N] int32: the triangles around each vertex, padded with F."""
        num = np.bincount(self.triangles.reshape(-1), minlength=self.num_vertices)
        order = np.argsort(self.triangles.reshape(-1), kind="stable")
        vertex = self.triangles.reshape(-1)[order]
        slot = np.arange(len(order)) - np.repeat(np.cumsum(num) - num, num)
        table = np.full((self.num_vertices, max(int(num.max(initial=0)), 1)), len(self.triangles))
        table[vertex, slot] = order // 3
        return table.astype(np.int32)

    @functools.cached_property
    def digest(self) -> str:
        """Content hash, for caches on disk and for recognising a topology."""
        h = hashlib.blake2b(digest_size=8)
        for a in (self.triangles, self.uv, self.uv_triangles):
            h.update(b"-" if a is None else a.tobytes())
        if self.uv_wraps_u:
            h.update(b"wraps_u")
        return h.hexdigest()


def check_corners(vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Refuses triangles with a corner that is not finite; vertices without a triangle do not count.

    Args:
      vertices: [V, 3].
      triangles: [F, 3] into them.

    Raises:
      ValueError: names the first such vertex.
    """
    broken = ~np.isfinite(vertices).all(axis=-1)
    broken[np.setdiff1d(np.flatnonzero(broken), triangles)] = False
    if broken.any():
        first = int(broken.argmax())
        raise ValueError(
            f"vertex {first} (counted from 0) is {vertices[first].tolist()}, {broken.sum()} of "
            f"{len(vertices)} are not finite; mend the mesh first"
        )


@struct.dataclass
class Mesh:
    """A surface with optional appearance; batch dims lead. Frame and units as in the module.

    Attributes:
      vertices: [..., V, 3] mm.
      topology: static MeshTopology.
      vertex_colors: [..., V, 3] in [0, 1], or None.
      texture: [..., Ht, Wt, 3] in [0, 1], row 0 at v = 0, or None.
      normal_map: [..., Hn, Wn, 3] object-space unit normals in UV layout, or None.
    """

    vertices: jax.Array
    topology: MeshTopology = struct.field(pytree_node=False)
    vertex_colors: jax.Array | None = None
    texture: jax.Array | None = None
    normal_map: jax.Array | None = None


def triangle_normals(vertices: jax.Array, topology: MeshTopology) -> jax.Array:
    """Area-weighted triangle normals (cross products, not normalised), [..., F, 3].

    Zero, with a zero gradient, where a corner is not finite.

    Args:
      vertices: [..., V, 3], any unit.
      topology: the mesh's topology.
    """
    a, b, c, sound = sound_corners(vertices, topology)
    return jnp.where(sound, jnp.cross(b - a, c - a), 0.0)


def sound_corners(
    vertices: jax.Array, topology: MeshTopology
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Corners of triangles that a gradient may pass, and whether all three were finite.

    Args:
      vertices: [..., V, 3], any unit.
      topology: the mesh's topology.

    Returns:
      (a, b, c, sound): three of [..., F, 3], 0 instead of a vertex that is not finite; [..., F, 1].
    """
    finite = jnp.isfinite(vertices).all(axis=-1, keepdims=True)
    # one gather of rows of four instead of two
    rows = jnp.concatenate(
        [jnp.where(finite, vertices, 0.0), jnp.where(finite, 0.0, 1.0).astype(vertices.dtype)],
        axis=-1,
    )
    a, b, c = (jnp.take(rows, topology.triangles[:, k], axis=-2) for k in range(3))
    lost = a[..., 3:] + b[..., 3:] + c[..., 3:]
    return a[..., :3], b[..., :3], c[..., :3], lost == 0


def vertex_normals(
    vertices: jax.Array, topology: MeshTopology, weighting: str = "area"
) -> jax.Array:
    """Unit vertex normals, [..., V, 3]: the sum of the normals around a vertex, normalised.

    Zero, with a finite gradient, where a vertex has no triangle or only degenerate ones; those with
    a corner that is not finite count as such.

    Args:
      vertices: [..., V, 3], any unit; what is below 1e-10 square units counts as degenerate.
      topology: the mesh's topology.
      weighting: 'area' adds cross products, so that large triangles count more; 'uniform' adds unit
        normals, as the Deep3D family does (Deng et al. 2019, code).

    Raises:
      ValueError: for an unknown `weighting`.
    """
    if weighting not in ("area", "uniform"):
        raise ValueError(f"weighting is {weighting!r}; use 'area' or 'uniform'.")
    faces = triangle_normals(vertices, topology)
    if weighting == "uniform":
        faces = safe_normalize(faces, _LEAST)
    return safe_normalize(sum_around_vertices(faces, topology), _LEAST)


def sum_around_vertices(values: jax.Array, topology: MeshTopology) -> jax.Array:
    """Sum over the triangles around each vertex.

    Args:
      values: [..., F, C], one row per triangle.
      topology: the mesh's topology.

    Returns:
      [..., V, C]; zero at vertices without triangles.
    """
    nothing = jnp.zeros((*values.shape[:-2], 1, values.shape[-1]), values.dtype)
    values = jnp.concatenate([values, nothing], axis=-2)
    # A padded gather beats a scatter-add on CPU and is deterministic; the table is as wide as the
    # busiest vertex (a pole can have a hundred triangles), so only the first columns are gathered
    # for all vertices and the few busy ones get the rest.
    table = topology.vertex_faces
    total = sum(jnp.take(values, column, axis=-2) for column in table[:, :_RING].T)
    rest = table[:, _RING:]
    busy = np.flatnonzero((rest < len(topology.triangles)).any(1))
    if len(busy):
        more = jnp.take(values, rest[busy].reshape(-1), axis=-2)
        more = more.reshape(*more.shape[:-2], *rest[busy].shape, -1).sum(-2)
        total = total.at[..., busy, :].add(more, unique_indices=True)
    return total
