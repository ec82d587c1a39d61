"""What lamps and the sky see of a surface: soft shadows and ambient occlusion, per vertex.

Both come from depth maps that our own rasteriser draws from far away. Values per vertex are
interpolated by the renderer like colours: a shadow is as sharp as the mesh is fine.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.math import safe_normalize
from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.render import platform
from facejax.render.platform import map_images, take
from facejax.render.rasterize import barycentrics, image_clip, triangle_ids
from facejax.render.topology import raster_topology

_LIFT_MM, _BIAS_MM = 1.5, 2.5  # of a point along its normal and toward the lamp
_ATTACHED = 0.15  # cosine below which a surface's own shading takes over from its shadow
_TAPS = 6


def _disk(num: int) -> np.ndarray:
    """[num, 2] points spread over the unit disk: Vogel's spiral."""
    k = np.arange(num) + 0.5
    radius, angle = np.sqrt(k / num), k * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _sphere(num: int) -> np.ndarray:
    """[num, 3] directions spread over the sphere: a Fibonacci lattice."""
    k = np.arange(num) + 0.5
    z, angle = 1 - 2 * k / num, k * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1)


def _frame(direction):
    """[3, 3], rows: two axes across a unit direction, and the direction (Duff et al. 2017)."""
    x, y, z = direction
    sign = jnp.where(z >= 0, 1.0, -1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    across = jnp.stack([1.0 + sign * x * x * a, sign * b, -sign * x])
    up = jnp.stack([b, sign + y * y * a, -y])
    return jnp.stack([across, up, direction])


def _depth_map(points, topology, size, cpu):
    """Heights [S, S] of the nearest surface along the third axis, -inf for none; origin, scale.

    Args:
      points: [V, 3] in the frame of the view, mm.
      topology: of the mesh.
      size: S.
      cpu: which code path to take.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    middle = 0.5 * (low + high)
    reach = 0.5 * jnp.max(high - low) * (1.0 + 2.0 / size) + 1e-3  # a pixel of air at the border
    x, y, z = ((points[:, k] - middle[k]) / reach for k in range(3))
    clip = image_clip(jnp.stack([x, y, -z, jnp.ones_like(x)], axis=-1))
    raster = raster_topology(topology)
    ids = triangle_ids(clip, raster, (size, size), cpu=cpu)
    _, ndc_z = barycentrics(clip, raster.tri, ids, cpu)
    return jnp.where(ids >= 0, middle[2] - reach * ndc_z, -jnp.inf), middle, reach


def _seen(points, heights, middle, reach, spread_mm):
    """Share of a disk around each point [V, 3] over which nothing is higher; percentage-closer
    filtering with linear weights (Reeves, Salesin and Cook 1987)."""
    size = heights.shape[0]
    scale = 0.5 * size / reach
    column = (points[:, 0] - middle[0]) * scale + 0.5 * size - 0.5
    row = 0.5 * size - 0.5 - (points[:, 1] - middle[1]) * scale
    flat = heights.reshape(-1)
    total = 0.0
    for dx, dy in _disk(_TAPS) if spread_mm is not None else np.zeros((1, 2)):
        away = 0.0 if spread_mm is None else spread_mm * scale
        c, r = column + float(dx) * away, row + float(dy) * away
        c, r = (jnp.clip(v, 0.0, size - 1.001) for v in (c, r))
        left, top = (jnp.floor(v).astype(jnp.int32) for v in (c, r))
        tc, tr = c - left, r - top
        for i, wr in ((0, 1 - tr), (1, tr)):
            for j, wc in ((0, 1 - tc), (1, tc)):
                height = take(flat, (top + i) * size + left + j)
                total = total + wr * wc * (height <= points[:, 2])
    return jnp.minimum(total / (_TAPS if spread_mm is not None else 1), 1.0)


def lit_share(
    vertices: jax.Array,
    topology: MeshTopology,
    direction: jax.Array,
    spread_mm: jax.Array,
    size: int = 64,
) -> jax.Array:
    """How much of a distant lamp each vertex sees: shadows that a surface casts on itself.

    Where the surface turns away from the lamp the answer is 1: its shading is dark there anyway,
    or soft. No gradient.

    Args:
      vertices: [..., V, 3] mm, object space.
      topology: the mesh's topology.
      direction: [..., 3] toward the lamp, object space, any length.
      spread_mm: [...] radius over which a shadow's edge is softened.
      size: side of the depth map in pixels.

    Returns:
      [..., V] in [0, 1].
    """
    vertices, direction, spread = (
        jax.lax.stop_gradient(jnp.asarray(x, jnp.float32)) for x in (vertices, direction, spread_mm)
    )
    return _lit_share(vertices, direction, spread, topology, size, platform.on_cpu())


@functools.partial(jax.jit, static_argnames=("topology", "size", "cpu"))
def _lit_share(vertices, direction, spread, topology, size, cpu):
    def one(vertices, direction, spread):
        axes = _frame(safe_normalize(direction))
        heights, middle, reach = _depth_map(_turned(vertices, axes), topology, size, cpu)
        normals = vertex_normals(vertices, topology)
        lifted = _turned(vertices + _LIFT_MM * normals, axes)
        facing = _turned(normals, axes)[:, 2]
        # neighbours within the filter are higher where the surface slopes
        slope = jnp.sqrt(jnp.maximum(1.0 - jnp.square(facing), 0.0)) / jnp.maximum(facing, 0.4)
        lifted = lifted.at[:, 2].add(_BIAS_MM + slope * (2.0 * reach / size + 0.7 * spread))
        share = _seen(lifted, heights, middle, reach, spread)
        attached = jnp.clip(1.0 - facing / _ATTACHED, 0.0, 1.0)
        return share + attached * (1.0 - share)

    return map_images(one, (vertices, direction, spread), (2, 1, 0), cpu)


def _turned(points, axes):
    return jnp.matmul(points, axes.T, precision="highest")


def openness(
    vertices: jax.Array, topology: MeshTopology, num: int = 96, size: int = 128
) -> jax.Array:
    """The share of an even sky that each vertex sees, weighted by the cosine: ambient occlusion.

    Pharr and Green 2004, "Ambient occlusion" (GPU Gems 17), by depth maps from all sides. It takes
    a second or so: compute it once per face model, from its mean shape.

    Args:
      vertices: [V, 3] mm.
      topology: the mesh's topology.
      num: of directions.
      size: side of the depth maps in pixels.

    Returns:
      [V] in [0, 1]: 1 where nothing is in the way, and at vertices without a normal.
    """
    return _openness(jnp.asarray(vertices, jnp.float32), topology, num, size, platform.on_cpu())


@functools.partial(jax.jit, static_argnames=("topology", "num", "size", "cpu"))
def _openness(vertices, topology, num, size, cpu):
    normals = vertex_normals(vertices, topology)
    lifted = vertices + _LIFT_MM * normals

    def add(sums, direction):
        axes = _frame(direction)
        heights, middle, reach = _depth_map(_turned(vertices, axes), topology, size, cpu)
        points = _turned(lifted, axes)
        points = points.at[:, 2].add(_BIAS_MM)
        cosine = jnp.maximum(_turned(normals, axes)[:, 2], 0.0)
        seen = cosine * _seen(points, heights, middle, reach, None)
        return (sums[0] + seen, sums[1] + cosine), None

    zero = jnp.zeros(len(vertices), jnp.float32)
    directions = jnp.asarray(_sphere(num), jnp.float32)
    (seen, all_), _ = jax.lax.scan(add, (zero, zero), directions)
    return jnp.where(all_ > 0, seen / jnp.maximum(all_, 1e-6), 1.0)
