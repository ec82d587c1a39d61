"""Rasterisation: which triangle each pixel sees, and where on it.

Positions are clip space (x right, y up, w > 0 in front of the eye); ndc = xyz / w with z in [-1,
1], smaller is nearer. A fragment whose ndc z leaves [-1, 1] is dropped; there is no geometric
clipping, yet triangles that cross the eye plane are drawn correctly. Images have row 0 at the TOP
(y = +1) and pixel centres at half-integers. Edges count as inside, so both triangles at an edge
claim a pixel exactly on it; the nearer one wins, and at equal depth the larger index. There is no
top-left rule: a z-buffer makes the double claim harmless. Both windings are drawn unless culled.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry.mesh import MeshTopology
from facejax.render import platform
from facejax.render.platform import (
    empty_rows,
    live,
    map_images,
    pin,
    planes,
    scatter_rows,
    spare_row,
    sum_over_bands,
    sum_products,
    take,
    zero_cotangent,
)
from facejax.render.topology import RasterTopology, raster_topology
from facejax.render.zbuffer import MAX_SIDE, default_block, visible_triangles

_CHUNK_CPU, _CHUNK_ACCELERATOR = 4000, 262144  # the first not a power of two, as BAND_PIXELS
_LEAST = np.finfo(np.float32).tiny  # its inverse is finite, those of smaller numbers may not be


@struct.dataclass
class Fragments:
    """What each pixel sees. Row 0 is the top; batch dims lead.

    Attributes:
      triangle_id: [..., H, W] int32, -1 where nothing is hit.
      barycentric: [..., H, W, 3] float32, perspective-correct, in the triangle's own vertex order;
        0 where nothing is hit. Differentiable with respect to the clip-space positions.
      depth: [..., H, W] float32, ndc z in [-1, 1], smaller is nearer; 1 where nothing is hit.
    """

    triangle_id: jax.Array
    barycentric: jax.Array
    depth: jax.Array


def rasterize(
    clip: jax.Array,
    topology: MeshTopology,
    size: tuple[int, int],
    *,
    cull: str = "none",
    block: tuple[int, int] | None = None,
    chunk: int | None = None,
) -> Fragments:
    """The nearest triangle, its barycentrics and depth at every pixel.

    Triangle ids have no gradient; barycentrics and depth have one to all four clip coordinates.
    Exact for triangles of any size, number and overlap. Never NaN, also for degenerate input: a
    triangle with a corner that is not finite covers nothing, and no gradient goes to it.

    Args:
      clip: [..., V, 4] float32 clip-space positions.
      topology: the mesh's topology.
      size: (height, width).
      cull: 'none', or 'back' to drop triangles seen clockwise, or 'front' for the others.
      block: (rows, columns) of the pixel blocks that triangles are cut into; None picks by the
        expected triangle size. Changes speed only.
      chunk: number of blocks expanded at a time; None picks by platform. Changes speed only.

    Returns:
      Fragments with the batch dims of `clip`.

    Raises:
      ValueError: for a wrong shape of `clip`, an unknown `cull`, or a side below 1 or above 32767
        pixels.
    """
    clip = checked_clip(clip, topology)
    if cull not in ("none", "back", "front"):
        raise ValueError(f"cull is {cull!r}; use 'none', 'back' or 'front'.")
    return _rasterize(
        clip,
        raster_topology(topology),
        size=tuple(size),
        cull=cull,
        block=None if block is None else tuple(block),
        chunk=chunk,
        cpu=platform.on_cpu(),
    )


@functools.partial(jax.jit, static_argnames=("size", "cull", "block", "chunk", "cpu"))
def _rasterize(clip, topology, *, size, cull, block, chunk, cpu):
    def image(clip):
        clip = image_clip(clip)
        ids = triangle_ids(clip, topology, size, cull=cull, block=block, chunk=chunk, cpu=cpu)
        bary, depth = barycentrics(clip, topology.tri, ids, cpu, True)
        return Fragments(ids, bary, depth)

    return map_images(image, (clip,), (2,), cpu)


def checked_clip(clip: jax.Array, topology: MeshTopology) -> jax.Array:
    """`clip` as a float32 array, or a ValueError if its shape is not [..., V, 4]."""
    clip = jnp.asarray(clip, jnp.float32)
    wanted = (topology.num_vertices, 4)
    if clip.shape[-2:] != wanted:
        raise ValueError(
            f"clip positions have shape {clip.shape}; wanted [..., {wanted[0]}, 4] for this mesh. "
            "Use facejax.geometry.camera.to_clip to make them from object-space vertices."
        )
    return clip


def image_clip(clip: jax.Array) -> list[jax.Array]:
    """[V, 4] -> the planes x, -y, z, w: rows then run along the second one, row 0 being the top."""
    x, y, z, w = planes(clip)
    return [x, -y, z, w]


def triangle_ids(clip, topology: RasterTopology, size, *, cull="none", block=None, chunk=None, cpu):
    """`visible_triangles` with block and chunk picked where they are None."""
    height, width = size
    if not (1 <= min(size) and max(size) <= MAX_SIDE):
        raise ValueError(
            f"size is {tuple(size)}; a side can have 1 to {MAX_SIDE} pixels. Render larger "
            "pictures in parts."
        )
    return visible_triangles(
        clip,
        topology,
        height=height,
        width=width,
        block=block or default_block(topology.tri.shape[0], height, width),
        chunk=chunk or (_CHUNK_CPU if cpu else _CHUNK_ACCELERATOR),
        cull=cull,
        cpu=cpu,
    )


def pixel_ndc(pixel: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """ndc x and ndc y (along the rows) of the centres of flat pixel indices."""
    row = pixel // width
    x = ((pixel - row * width).astype(jnp.float32) + 0.5) * (2 / width) - 1
    return x, (row.astype(jnp.float32) + 0.5) * (2 / height) - 1


def corner_vertices(tri: jax.Array, ids: jax.Array, flag) -> jax.Array:
    """The vertices of each pixel's triangle, [P, 3]; those of triangle 0 on background."""
    return pin(flag, lambda: take(tri, jnp.maximum(ids, 0)))


def corner_rows(table: jax.Array, vertex: jax.Array, flag) -> list[jax.Array]:
    """Rows of a table [V, C] at the vertices [P, 3], three of [P, C].

    A row is one load; it is taken apart inside the function that needs its columns.
    """
    return pin(flag, lambda: [take(table, vertex[:, k]) for k in range(3)])


def _components(rows):
    """Rows of three corners -> [component][corner]."""
    return [[row[:, c] for row in rows] for c in range(4)]


def _cross_products(q, fx, fy):
    """Homogeneous edge functions of each pixel's triangle, and the offsets that they come from.

    q[c][k] is clip component c of corner k. Exact for w < 0 too.
    """
    dx = [q[0][k] - fx * q[3][k] for k in range(3)]
    dy = [q[1][k] - fy * q[3][k] for k in range(3)]
    a = [
        dx[1] * dy[2] - dy[1] * dx[2],
        dx[2] * dy[0] - dy[2] * dx[0],
        dx[0] * dy[1] - dy[0] * dx[1],
    ]
    return a, dx, dy


def _safe_inverse(x, where):
    """1 / x where allowed and finite, else 0; the division never sees a zero, NaN or infinity."""
    size = jnp.abs(x)
    ok = where & (size >= _LEAST) & (size < jnp.inf)
    return jnp.where(ok, 1 / jnp.where(ok, x, 1.0), 0.0)


def _normalized(a, inverse):
    """Edge functions over their sum; 0 where `inverse` is 0, whatever the edge functions are."""
    return [jnp.where(inverse != 0, ak * inverse, 0.0) for ak in a]


def barycentrics_at(table, tri, ids, pixel, height, width, flag):
    """Vertices, barycentrics and ndc z of triangles at a list of flat pixel indices.

    Args:
      table: [V, 4], the planes of `barycentrics` as rows.
      tri: [F, 3] int32.
      ids: [N] int32, negative for none.
      pixel: [N] int32.
      height: of the image.
      width: of the image.
      flag: from `live`.

    Returns:
      (vertex, b, z): [N, 3], three of [N], [N]; b is 0 and z is 1 where there is no triangle.
    """
    vertex = corner_vertices(tri, ids, flag)
    rows = corner_rows(table, vertex, flag)

    def edges():
        return _cross_products(_components(rows), *pixel_ndc(pixel, height, width))[0]

    a = pin(flag, edges)

    def normalized():
        q, hit = _components(rows), ids >= 0
        b = _normalized(a, _safe_inverse(a[0] + a[1] + a[2], hit))
        inverse_w = _safe_inverse(sum_products(b, q[3]), hit)
        z = jnp.where(inverse_w != 0, sum_products(b, q[2]) * inverse_w, 1.0)
        return b, z

    return vertex, *pin(flag, normalized)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def barycentrics(
    clip: list, tri: jax.Array, ids: jax.Array, cpu: bool, stacked: bool = False
) -> tuple[Any, jax.Array]:
    """Perspective-correct barycentrics and ndc z of known triangles; gather-only.

    Args:
      clip: planes x, y, z, w, [V] each, y along the rows.
      tri: [F, 3] int32.
      ids: [H, W] int32, -1 for none.
      cpu: which code path to take.
      stacked: whether to return one array rather than planes.

    Returns:
      (b, z): b three planes [H, W], or [H, W, 3] if stacked; 0 where ids is -1. z [H, W]; 1 there.
    """
    height, width = ids.shape
    flag = live(ids, cpu)
    table = jnp.stack(clip, axis=-1)

    def band(pixel, fresh, mine, sums):
        del fresh
        _, b, z = barycentrics_at(table, tri, mine, pixel, height, width, flag)
        return (jnp.stack(b, axis=-1) if stacked else b, z), sums

    out, _ = sum_over_bands(band, ids.reshape(-1), (), ids.size, cpu)
    return jax.tree.map(lambda x: x.reshape(height, width, *x.shape[1:]), out)


def _barycentrics_fwd(clip, tri, ids, cpu, stacked):
    return barycentrics(clip, tri, ids, cpu, stacked), (clip, tri, ids)


def _barycentrics_bwd(cpu, stacked, residuals, cotangents):
    clip, tri, ids = residuals
    height, width = ids.shape
    num = clip[0].shape[0]
    table = jnp.stack(clip, axis=-1)
    grad_bary = planes(cotangents[0]) if stacked else cotangents[0]

    def band(pixel, fresh, arrays, sums):
        mine, grad_b, grad_z = arrays
        flag = live(mine, cpu)
        hit = (mine >= 0) & fresh
        vertex = corner_vertices(tri, mine, flag)
        rows = corner_rows(table, vertex, flag)
        fx, fy = pin(flag, lambda: pixel_ndc(pixel, height, width))

        def gradients():
            q = _components(rows)
            a, dx, dy = _cross_products(q, fx, fy)
            inverse = _safe_inverse(a[0] + a[1] + a[2], hit)
            b = _normalized(a, inverse)
            z_num = sum_products(b, q[2])
            inverse_w = _safe_inverse(sum_products(b, q[3]), hit)
            grad_num = grad_z * inverse_w
            grad_den = -grad_num * z_num * inverse_w
            h = [grad_b[k] + grad_num * q[2][k] + grad_den * q[3][k] for k in range(3)]
            mean = sum_products(h, b)
            h = [(hk - mean) * inverse for hk in h]  # with respect to the edge functions
            gx = [
                h[2] * dy[1] - h[1] * dy[2],
                h[0] * dy[2] - h[2] * dy[0],
                h[1] * dy[0] - h[0] * dy[1],
            ]
            gy = [
                h[1] * dx[2] - h[2] * dx[1],
                h[2] * dx[0] - h[0] * dx[2],
                h[0] * dx[1] - h[1] * dx[0],
            ]
            gz = [grad_num * b[k] for k in range(3)]
            gw = [grad_den * b[k] - fx * gx[k] - fy * gy[k] for k in range(3)]
            return (gx, gy, gz, gw), inverse != 0

        per_pixel, sound = pin(flag, gradients)
        spare = spare_row(num, mine.shape[0])
        target = pin(flag, lambda: jnp.where(sound[:, None], vertex, spare[:, None]))
        rows = pin(flag, lambda: jnp.stack([g[k] for k in range(3) for g in per_pixel], axis=-1))
        sums = scatter_rows(sums, target, rows)
        return (), sums

    arrays = (ids.reshape(-1), [g.reshape(-1) for g in grad_bary], cotangents[1].reshape(-1))
    _, sums = sum_over_bands(band, arrays, empty_rows(num, 4), ids.size, cpu)
    return [c[:num] for c in planes(sums)], zero_cotangent(tri), zero_cotangent(ids)


barycentrics.defvjp(_barycentrics_fwd, _barycentrics_bwd)
