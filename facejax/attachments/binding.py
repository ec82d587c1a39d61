"""How attachments follow a head: each vertex is a constant linear function of head vertices.

p(X) = sum_k w_k X[i_k] + M(X) o,      o = p(X0) - sum_k w_k X0[i_k],      sum_k w_k = 1

X0 is the mean head and M(X) [3, 3] the affine map that takes some vertices of the mean head to
those of X (least squares), itself linear in X. So attachments move with identity and expression,
have no frames that could flip or shake, and follow every affine motion of the head exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.attachments.head import HeadSurface, farthest_points

SKULL, NECK = 0, 1
_HANDLES = 96


@struct.dataclass
class Frames:
    """Affine maps of the skull and of the neck, from head vertices.

    Attributes:
      ids: [2, H] head vertices; weights: [2, H, 3] with M = X[ids]^T weights.
    """

    ids: np.ndarray
    weights: np.ndarray

    def __call__(self, vertices: jax.Array) -> jax.Array:
        """[2, 3, 3] maps of offsets on the mean head to offsets on `vertices` [V, 3]."""
        return jnp.einsum("fhi,fhj->fij", vertices[self.ids], self.weights)


def make_frames(head: HeadSurface) -> Frames:
    """`Frames` of a head: handles spread over the still parts of the skull, and over the neck."""
    y = head.points[:, 1]
    still = head.still_ids
    skull = still[y[still] > head.chin_y]
    outer = np.flatnonzero(head.outer)
    bottom = y[outer].min()
    neck = outer[y[outer] < max(bottom + 45 * head.unit, np.quantile(y[outer], 0.02))]
    ids, weights = [], []
    for group in (skull, neck):
        chosen = group[farthest_points(head.points[group], _HANDLES)]
        chosen = np.resize(chosen, _HANDLES)
        x = head.points[chosen] - head.points[chosen].mean(axis=0)
        ids.append(chosen)
        weights.append(x @ np.linalg.inv(x.T @ x))
    return Frames(np.array(ids, np.int32), np.array(weights, np.float32))


@struct.dataclass
class Binding:
    """Constants that bind N vertices to a head; leading dims [...] are styles.

    Attributes:
      ids: [..., N, K] int32 head vertices; weights: [..., N, K].
      offset: [..., N, 3] mm on the mean head; frame: [..., N] int32, SKULL or NECK.
      guard: [..., N] int32, the vertex of the head's surface nearest to it.
    """

    ids: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    frame: np.ndarray
    guard: np.ndarray


def bind(
    head: HeadSurface,
    points: np.ndarray,
    ids: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    frame: int = SKULL,
) -> Binding:
    """`Binding` of points [N, 3] of the mean head.

    Args:
      head: the mean head.
      points: [N, 3] mm.
      ids: [N, K] head vertices that they follow; None for the nearest ones that expressions leave
        where they are.
      weights: [N, K], sum 1; None for equal ones.
      frame: SKULL or NECK.
    """
    if ids is None:
        ids = head.nearest_still(points)[:, None]
    if weights is None:
        weights = np.full(ids.shape, 1.0 / ids.shape[1])
    carried = np.einsum("nk,nkc->nc", weights, head.points[ids])
    return Binding(
        ids=ids.astype(np.int32),
        weights=weights.astype(np.float32),
        offset=(points - carried).astype(np.float32),
        frame=np.full(len(points), frame, np.int32),
        guard=head.nearest(points).astype(np.int32),
    )


def place(binding: Binding, vertices: jax.Array, maps: jax.Array) -> jax.Array:
    """Positions [N, 3] of bound vertices on a head [V, 3]; `maps` [2, 3, 3] from `Frames`."""
    carried = jnp.einsum("nk,nkc->nc", binding.weights, vertices[binding.ids])
    return carried + jnp.einsum("nij,nj->ni", maps[binding.frame], binding.offset)


def keep_outside(
    points: jax.Array,
    vertices: jax.Array,
    normals: jax.Array,
    guard: jax.Array,
    least_mm: float | jax.Array,
    reach_mm: float = 14.0,
) -> jax.Array:
    """Points moved out along a normal of the head until `least_mm` above its tangent plane.

    Args:
      points: [N, 3] mm.
      vertices: [V, 3] the head; normals: [V, 3] unit, of this head.
      guard: [N] the vertex of the head that each point may not sink below.
      least_mm: scalar or [N].
      reach_mm: points farther than this beside their vertex are left alone: its tangent plane says
        nothing there.
    """
    away = points - vertices[guard]
    normal = normals[guard]
    height = jnp.sum(away * normal, axis=-1)
    beside = jnp.sum(away * away, axis=-1) - height * height < reach_mm**2
    lift = jnp.where(beside, jnp.maximum(least_mm - height, 0.0), 0.0)
    return points + lift[:, None] * normal
