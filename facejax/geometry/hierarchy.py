"""A mesh at several resolutions, for networks on graphs: decimation, transfer, Laplacians.

The construction of CoMA (Ranjan et al. 2018, arXiv 1807.10267): a mesh is decimated by quadric
error (Garland and Heckbert 1997) so that the coarse vertices are a subset of the fine ones; a fine
vertex takes its value from the nearest point of the coarse mesh. Everything here is numpy, made
once per mesh; vertices may have any unit.
"""

import heapq

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry.nearest import nearest_on_triangles

_LONG_SHARE = 0.02  # of the rows may be longer than the rest


@struct.dataclass
class MeshHierarchy:
    """Graphs of p_0 > p_1 > ... vertices and the transfers between them; a pytree.

    Sparse matrices are padded rows of (index, weight); padding has weight zero.

    Attributes:
      neighbors, weights: per level [p_i, D_i] int32 and float32: rows of the rescaled Laplacian,
        2 L / lambda_max - I with lambda_max = 2 and L = I - D^-1/2 A D^-1/2.
      keep: per transfer [p_(i+1)] int32: the coarse vertices, as ids of the finer level.
      up_index, up_weight: per transfer [p_i, 3] int32 and float32: a fine vertex from coarse ones.
      common, busy: of `split`: per level [C_i] and [N_i] int32, or () where nobody asked.
    """

    neighbors: tuple[jax.Array, ...]
    weights: tuple[jax.Array, ...]
    keep: tuple[jax.Array, ...]
    up_index: tuple[jax.Array, ...]
    up_weight: tuple[jax.Array, ...]
    common: tuple[jax.Array, ...] = ()
    busy: tuple[jax.Array, ...] = ()

    def split(self) -> "MeshHierarchy":
        """The same, with the few long rows of every Laplacian named, on the host.

        A vertex where many triangles meet, like the crown of a head, makes every row long; with its
        long rows named (see `facejax.nn.chebyshev.Rows`) a matrix is multiplied in a third of the
        time.
        """
        common, busy = zip(*(_long_rows(np.asarray(w)) for w in self.weights), strict=True)
        return self.replace(common=common, busy=busy)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Vertices per level, finest first."""
        return tuple(n.shape[0] for n in self.neighbors)

    def pool(self, x: jax.Array, level: int) -> jax.Array:
        """Values [..., p_level, F] at the vertices that the next level keeps."""
        return jnp.take(x, self.keep[level], axis=-2, mode="clip")

    def unpool(self, x: jax.Array, level: int) -> jax.Array:
        """Values [..., p_(level + 1), F] interpolated to the finer level, [..., p_level, F]."""
        near = jnp.take(x, self.up_index[level], axis=-2, mode="clip")
        return jnp.einsum("vk,...vkf->...vf", self.up_weight[level].astype(x.dtype), near)


def _long_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([C] zeros: C entries suffice for most rows; [N] int32, the rows that have more)."""
    used = weight.shape[1] - (weight[:, ::-1] != 0).argmax(axis=1)
    used = np.where((weight != 0).any(axis=1), used, 0)
    common = max(int(np.quantile(used, 1 - _LONG_SHARE, method="higher")), 1)
    return np.zeros(common, np.int8), np.flatnonzero(used > common).astype(np.int32)


def build_hierarchy(
    vertices: np.ndarray,
    triangles: np.ndarray,
    factor: int = 4,
    levels: int = 4,
    legacy: bool = False,
) -> MeshHierarchy:
    """Decimates a mesh `levels` times; about 5 s for 35,000 vertices.

    Args:
      vertices: [V, 3] positions.
      triangles: [F, 3] vertex ids.
      factor: a level keeps one in `factor` vertices, rounded up.
      levels: number of transfers; the result has one graph more.
      legacy: interpolate on edges by the weights of the published code, which do not sum to 1.

    Raises:
      ValueError: the mesh has too few vertices for so many levels.
    """
    vertices, triangles = np.asarray(vertices, np.float64), np.asarray(triangles, np.int32)
    graphs = [laplacian_rows(triangles, len(vertices))]
    keep, up = [], []
    for _ in range(levels):
        target = -(-len(vertices) // factor)
        kept, coarse_triangles = decimate(vertices, triangles, target)
        if len(coarse_triangles) < 1:
            raise ValueError(
                f"a mesh of {graphs[0][0].shape[0]} vertices cannot be decimated by {factor} "
                f"{levels} times: no triangle is left; use fewer levels or a smaller factor"
            )
        coarse = vertices[kept]
        up.append(upsampling_rows(vertices, coarse, coarse_triangles, legacy))
        keep.append(kept)
        vertices, triangles = coarse, coarse_triangles
        graphs.append(laplacian_rows(triangles, len(vertices)))
    index, weight = zip(*graphs, strict=True)
    up_index, up_weight = zip(*up, strict=True) if up else ((), ())
    return MeshHierarchy(index, weight, tuple(keep), up_index, up_weight)


def padded_rows(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A sparse matrix as [V, D] indices (int32) and weights (float32).

    Args:
      row, column, value: [N] entries.
      shape: (V, V') of the matrix; empty rows are allowed.
    """
    order = np.lexsort((column, row))
    row, column, value = row[order], column[order], value[order]
    count = np.bincount(row, minlength=shape[0])
    slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    # spread out, or one vertex would collect the gradients of all padding
    padding = np.arange(shape[0], dtype=np.int32) % shape[1]
    index = np.repeat(padding[:, None], count.max(initial=1), axis=1)
    weight = np.zeros(index.shape, np.float32)
    index[row, slot], weight[row, slot] = column, value
    return index, weight


def adjacency(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, column, count) of all directed edges: 2 inside the mesh, 1 on its boundary, [N] each.

    Rows ascend, then columns.
    """
    a, b = triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)
    pairs = np.concatenate([np.stack([a, b], axis=1), np.stack([b, a], axis=1)])
    pairs, count = np.unique(pairs, axis=0, return_counts=True)
    return pairs[:, 0], pairs[:, 1], count


def laplacian_rows(triangles: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Padded rows of the rescaled Laplacian -D^-1/2 A D^-1/2; its spectrum lies in [-1, 1].

    Args:
      triangles: [F, 3] vertex ids.
      num_vertices: V; vertices without a triangle get empty rows.

    Returns:
      [V, D] int32 and [V, D] float32.
    """
    row, column, count = adjacency(triangles)
    degree = np.bincount(row, weights=count, minlength=num_vertices)
    value = -count / np.sqrt(degree[row] * degree[column])
    return padded_rows(row, column, value, (num_vertices, num_vertices))


def vertex_quadrics(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Sum of the squared-distance forms of the planes around each vertex, [V, 4, 4].

    Planes weigh the same whatever their triangle's area; degenerate triangles weigh nothing.
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    plane = np.concatenate([normal, -np.sum(normal * a, axis=1, keepdims=True)], axis=1)
    quadric = np.zeros((len(vertices), 4, 4))
    for k in range(3):
        np.add.at(quadric, triangles[:, k], plane[:, :, None] * plane[:, None, :])
    return quadric


def decimate(
    vertices: np.ndarray, triangles: np.ndarray, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Collapses the cheapest edges until at most `target` vertices belong to a triangle.

    An edge collapses onto one of its ends, which keeps its position. Ties are broken by vertex id.

    Args:
      vertices: [V, 3] float64.
      triangles: [F, 3] vertex ids.
      target: number of vertices wanted.

    Returns:
      Kept vertices [V'] int32, ascending, and triangles [F', 3] int32 of kept ones.
    """
    quadrics = [_pack(q) for q in vertex_quadrics(vertices, triangles)]
    points = [tuple(p) for p in vertices.tolist()]
    faces = triangles.tolist()
    around = [set() for _ in points]  # triangles of each vertex
    for k, face in enumerate(faces):
        for v in face:
            around[v].add(k)
    num_used = sum(bool(s) for s in around)
    parent = list(range(len(points)))

    def find(v):
        while parent[v] != v:
            parent[v] = v = parent[parent[v]]
        return v

    def costs(r, c):
        """Summed quadric and the errors at both ends."""
        total = [x + y for x, y in zip(quadrics[r], quadrics[c], strict=True)]
        return total, _error(total, points[r]), _error(total, points[c])

    queue = []
    row, column, _ = adjacency(triangles)
    for r, c in zip(row.tolist(), column.tolist(), strict=True):
        if r < c:
            _, at_r, at_c = costs(r, c)
            queue.append((min(at_r, at_c), r, c))
    heapq.heapify(queue)
    while num_used > target and queue:
        cost, r, c = heapq.heappop(queue)
        r, c = find(r), find(c)
        if r == c:
            continue
        total, at_r, at_c = costs(r, c)
        if min(at_r, at_c) > cost:
            heapq.heappush(queue, (min(at_r, at_c), r, c))
            continue
        stays, goes = (r, c) if at_r < at_c else (c, r)
        parent[goes], quadrics[stays] = stays, total
        touched = {stays, goes, *(v for k in around[goes] for v in faces[k])}
        num_used -= sum(bool(around[v]) for v in touched)
        for k in around[goes]:
            face = faces[k]
            if stays in face:  # degenerate from here on
                for v in face:
                    if v != goes:
                        around[v].discard(k)
            else:
                face[face.index(goes)] = stays
                around[stays].add(k)
        around[goes] = set()
        num_used += sum(bool(around[v]) for v in touched)
    left = np.array([f for k, f in enumerate(faces) if k in around[f[0]]], dtype=np.int32).reshape(
        -1, 3
    )
    kept, index = np.unique(left, return_inverse=True)
    return kept.astype(np.int32), index.reshape(-1, 3).astype(np.int32)


def _pack(q: np.ndarray) -> list[float]:
    """The ten different numbers of a symmetric 4 x 4 matrix."""
    return q[(0, 0, 0, 0, 1, 1, 1, 2, 2, 3), (0, 1, 2, 3, 1, 2, 3, 2, 3, 3)].tolist()


def _error(q: list[float], p: tuple[float, float, float]) -> float:
    """(x, y, z, 1) Q (x, y, z, 1)."""
    x, y, z = p
    a = q[0] * x + q[1] * y + q[2] * z + q[3]
    b = q[1] * x + q[4] * y + q[5] * z + q[6]
    c = q[2] * x + q[5] * y + q[7] * z + q[8]
    return a * x + b * y + c * z + (q[3] * x + q[6] * y + q[8] * z + q[9])


def upsampling_rows(
    fine: np.ndarray, coarse: np.ndarray, triangles: np.ndarray, legacy: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Each fine vertex from the corners of the coarse triangle nearest to it.

    Args:
      fine: [V, 3] positions.
      coarse: [V', 3] positions.
      triangles: [F', 3] ids of coarse vertices.
      legacy: see `build_hierarchy`.

    Returns:
      [V, 3] int32 indices and [V, 3] float32 weights; barycentric (at least 0, sum 1) by default.
    """
    nearest, weight = nearest_on_triangles(fine, coarse[triangles])
    index = triangles[nearest]
    if legacy:  # nearest point on an edge: least squares of the vertex itself on the two ends
        on_edge = np.flatnonzero((weight > 0).sum(axis=1) == 2)
        ends = np.argsort(weight[on_edge] <= 0, axis=1, kind="stable")[:, :2]
        columns = coarse[np.take_along_axis(index[on_edge], ends, axis=1)].transpose(0, 2, 1)
        solved = np.linalg.pinv(columns) @ fine[on_edge, :, None]
        weight[on_edge[:, None], ends] = solved[..., 0]
    return index.astype(np.int32), weight.astype(np.float32)
