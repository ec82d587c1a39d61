"""The z-buffer: which triangle each pixel sees. Integers out, no gradient.

Every triangle's bounding box is cut into small blocks of pixels; all blocks are evaluated as flat
vectors, depths meet in a scatter-min and the winners' ids in a scatter-max. Three lists of blocks:
the first block of every triangle (most have no other), the remaining blocks, expanded chunk by
chunk, and, only where some vertex lies behind the eye, triangles that cross the eye plane.

Inside, images are flat; row r has its centre at ndc y = (2 r + 1) / height - 1, so row 0 is ndc
y = -1. `rasterize` negates y on the way in, which makes row 0 the top.
Pixels are subtracted from the vertices BEFORE multiplying: the edge functions stay accurate for
triangles far smaller than a pixel.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from facejax.render.platform import live, pin, take
from facejax.render.topology import RasterTopology

_MISS = 2**31 - 1  # depth key of a fragment that is not there
_MIN_W = 1e-8
_EYE_BLOCK = 8  # side of the blocks that cover the screen for triangles crossing the eye plane


def default_block(num_triangles: int, height: int, width: int) -> tuple[int, int]:
    """Block size (rows, columns) for triangles that cover about half the image twice."""
    side = (2.0 * height * width / max(num_triangles, 1)) ** 0.5
    n = 1 if side < 1.8 else 2 if side < 4.5 else 3 if side < 8 else 4
    return n, n


class _Target(NamedTuple):
    """Static facts of one call, and its run-time flag."""

    flag: jax.Array | None
    height: int
    width: int
    pitch: int  # length of a padded row: a block never leaves the buffer, so it needs no range test
    length: int
    chunk: int


class _Blocks(NamedTuple):
    """A list of N blocks to evaluate."""

    vertices: list  # three vertices of (x, y, z[, w]), [N] each, pixel units (times w where given)
    x: jax.Array  # [N] float, leftmost pixel; NaN for an empty entry
    y: jax.Array  # [N] float, first row
    pixel: jax.Array  # [N] int32, flat index of that pixel
    triangle: jax.Array  # [N] int32


def depth_key(vertices: list, px: jax.Array, py: jax.Array) -> jax.Array:
    """Depth of triangles at pixels as an int32 that orders like ndc z; _MISS where not covered.

    Edges count as inside. NaN compares false, so a NaN vertex covers nothing.

    Args:
      vertices: three of (x, y, z), or (x w, y w, z w, w) for triangles that cross the eye plane.
      px: pixel index in x.
      py: pixel index in y.
    """
    homogeneous = len(vertices[0]) == 4
    x = [v[0] - (px * v[3] if homogeneous else px) for v in vertices]
    y = [v[1] - (py * v[3] if homogeneous else py) for v in vertices]
    e01 = x[0] * y[1] - y[0] * x[1]
    e12 = x[1] * y[2] - y[1] * x[2]
    e20 = y[0] * x[2] - x[0] * y[2]
    inside = ((e01 >= 0) & (e12 >= 0) & (e20 >= 0)) | ((e01 <= 0) & (e12 <= 0) & (e20 <= 0))
    num = vertices[0][2] * e12 + vertices[1][2] * e20 + vertices[2][2] * e01
    total = e01 + e12 + e20
    if homogeneous:
        den = vertices[0][3] * e12 + vertices[1][3] * e20 + vertices[2][3] * e01
        inside &= den * total > 0  # in front of the eye
    else:
        den = total
    z = num / den  # 0 / 0 is NaN and fails the next test
    inside &= (z >= -1) & (z <= 1)
    return jnp.where(inside, lax.bitcast_convert_type(z + 2.0, jnp.int32), _MISS)


def _winner(zbuf, pixel, key, triangle):
    return jnp.where((take(zbuf, pixel) == key) & (key != _MISS), triangle, -1)


def _draw_pixels(target, zbuf, ids, blocks):
    """Blocks of one pixel."""
    key = pin(target.flag, lambda: depth_key(blocks.vertices, blocks.x, blocks.y))
    zbuf = zbuf.at[blocks.pixel].min(key, mode="promise_in_bounds")
    after = pin(target.flag, lambda: zbuf)
    won = _winner(after, blocks.pixel, key, blocks.triangle)
    return after, ids.at[blocks.pixel].max(won, mode="promise_in_bounds")


def _draw_loop(target, zbuf, ids, blocks, shape):
    """Blocks pixel by pixel: all depths first, then all ids, so that no pass copies the image."""
    count = shape[0] * shape[1]

    def offset(k):
        return (k // shape[1]) * target.pitch + k % shape[1]

    def depths(k, carry):
        zbuf, keys = carry
        k = k.astype(jnp.int32)
        x = blocks.x + (k % shape[1]).astype(jnp.float32)
        y = blocks.y + (k // shape[1]).astype(jnp.float32)
        key = depth_key(blocks.vertices, x, y)
        keys = lax.dynamic_update_index_in_dim(keys, key, k, 0)
        key = lax.dynamic_index_in_dim(keys, k, 0, keepdims=False)
        return zbuf.at[blocks.pixel + offset(k)].min(key, mode="promise_in_bounds"), keys

    keys = jnp.zeros((count, blocks.triangle.shape[0]), jnp.int32)
    zbuf, keys = lax.fori_loop(0, count, depths, (zbuf, keys))

    def winners(k, ids):
        k = k.astype(jnp.int32)
        pixel = blocks.pixel + offset(k)
        key = lax.dynamic_index_in_dim(keys, k, 0, keepdims=False)
        won = _winner(zbuf, pixel, key, blocks.triangle)
        return ids.at[pixel].max(won, mode="promise_in_bounds")

    return zbuf, lax.fori_loop(0, count, winners, ids)


def _draw_at_once(target, zbuf, ids, blocks, shape):
    """All pixels of all blocks in one launch per pass, for accelerators."""
    dy, dx = np.divmod(np.arange(shape[0] * shape[1], dtype=np.int32)[:, None], shape[1])
    vertices = [[c[None] for c in v] for v in blocks.vertices]
    key = depth_key(
        vertices, blocks.x[None] + dx.astype(np.float32), blocks.y[None] + dy.astype(np.float32)
    )
    pixel = blocks.pixel[None] + (dy * target.pitch + dx)
    zbuf = zbuf.at[pixel].min(key, mode="promise_in_bounds")
    won = _winner(zbuf, pixel, key, blocks.triangle[None])
    return zbuf, ids.at[pixel].max(won, mode="promise_in_bounds")


def _draw(target, zbuf, ids, blocks, shape):
    """Two scatters per pixel: the nearest depth, then the largest id among those that have it.

    Misses write a value that changes nothing: a branch or an out-of-range index costs more.
    """
    if shape == (1, 1):
        return _draw_pixels(target, zbuf, ids, blocks)
    draw = _draw_at_once if target.flag is None else _draw_loop
    return draw(target, zbuf, ids, blocks, shape)


def _draw_ragged(target, zbuf, vertices, x, y, per_row, count, first, shape):
    """Expands triangle f into count[f] blocks numbered from `first`, a chunk at a time, any total.

    Ids ascend from chunk to chunk, so a scatter-max keeps the latest winner.
    """
    flag, chunk = target.flag, target.chunk
    end = pin(flag, lambda: lax.associative_scan(jnp.add, count))
    start = pin(flag, lambda: end - count)
    total = end[-1]
    face = jnp.arange(count.shape[0], dtype=jnp.int32)

    def body(carry):
        k, zbuf, ids = carry
        low = k * chunk
        here = (count > 0) & (end > low) & (start < low + chunk)
        slot_of = jnp.where(here, jnp.clip(start - low, 0, chunk), chunk)
        marks = pin(
            flag,
            lambda: (
                jnp.zeros(chunk + 1, jnp.int32)
                .at[slot_of]
                .max(face, mode="promise_in_bounds")[:chunk]
            ),
        )
        owner = pin(flag, lambda: lax.associative_scan(jnp.maximum, marks))

        def setup():
            slot = low + jnp.arange(chunk, dtype=jnp.int32)
            number = (slot - take(start, owner)).astype(jnp.float32) + first
            columns = take(per_row, owner)
            row = jnp.floor((number + 0.5) / columns)
            bx = take(x, owner) + (number - row * columns) * shape[1]
            by = take(y, owner) + row * shape[0]
            used = slot < total
            pixel = jnp.where(used, by * target.pitch + bx, 0.0).astype(jnp.int32)
            corners = [[take(a, owner) for a in v] for v in vertices]
            return _Blocks(corners, jnp.where(used, bx, jnp.nan), by, pixel, owner)

        zbuf, ids = _draw(target, zbuf, ids, pin(flag, setup), shape)
        return k + 1, zbuf, ids

    none = jnp.full(target.length, -1, jnp.int32)
    state = (jnp.int32(0), zbuf, none)
    return lax.while_loop(lambda c: c[0] * chunk < total, body, state)[1:]


def _merge(z_before, ids_before, z_after, ids_after):
    return jnp.where(z_after < z_before, ids_after, jnp.maximum(ids_before, ids_after))


def _extent(vertices, c):
    a, b, d = (v[c] for v in vertices)
    return jnp.minimum(jnp.minimum(a, b), d), jnp.maximum(jnp.maximum(a, b), d)


def _signed_area(vertices):
    (ax, ay), (bx, by), (cx, cy) = (v[:2] for v in vertices)
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def _culled(area, parity, cull):
    """Area with the wrong winding set to zero; the sign is of rows that run downward."""
    if cull == "none":
        return area
    return jnp.maximum(area * parity * (-1.0 if cull == "back" else 1.0), 0.0)


def _first_blocks(vertices, parity, height, width, shape, cull):
    """Bounding boxes of pixel centres cut into blocks: corner, blocks per row, number of others."""
    margin = 1e-3
    x_low, x_high = _extent(vertices, 0)
    y_low, y_high = _extent(vertices, 1)
    x_low = jnp.ceil(jnp.clip(x_low - margin, 0.0, width))
    x_high = jnp.floor(jnp.clip(x_high + margin, -1.0, width - 1.0))
    y_low = jnp.ceil(jnp.clip(y_low - margin, 0.0, height))
    y_high = jnp.floor(jnp.clip(y_high + margin, -1.0, height - 1.0))
    area = _culled(_signed_area(vertices), parity, cull)
    ok = (x_high >= x_low) & (y_high >= y_low) & (jnp.abs(area) > 0)  # NaN is false
    columns = jnp.floor((x_high - x_low) * (1 / shape[1])) + 1
    rows = jnp.floor((y_high - y_low) * (1 / shape[0])) + 1
    return (
        jnp.where(ok, x_low, 0.0),
        jnp.where(ok, y_low, 0.0),
        jnp.where(ok, columns, 1.0),
        jnp.where(ok, columns * rows - 1, 0.0).astype(jnp.int32),
        jnp.where(ok, 0.0, jnp.nan),
    )


def _crossing_eye(target, zbuf, ids, clip, topology, cull):
    """Triangles with some but not all w <= 0, tested on the whole screen in homogeneous form."""
    height, width = target.height, target.width
    w = clip[3]
    xh = (clip[0] + w) * (width / 2) - 0.5 * w
    yh = (clip[1] + w) * (height / 2) - 0.5 * w
    vertices = [[take(a, i) for a in (xh, yh, clip[2], w)] for i in topology.ordered]
    w_low, w_high = _extent(vertices, 3)
    crosses = (w_low <= _MIN_W) & (w_high > _MIN_W)
    if cull != "none":  # the sign of det [x y w] is the winding of the visible part
        (x0, y0, _, w0), (x1, y1, _, w1), (x2, y2, _, w2) = vertices
        det = w0 * (x1 * y2 - y1 * x2) + w1 * (x2 * y0 - y2 * x0) + w2 * (x0 * y1 - y0 * x1)
        crosses &= _culled(det, topology.parity, cull) > 0
    columns, rows = -(-width // _EYE_BLOCK), -(-height // _EYE_BLOCK)
    zero = jnp.zeros(crosses.shape, jnp.float32)
    count = jnp.where(crosses, columns * rows, 0).astype(jnp.int32)
    z_new, ids_new = _draw_ragged(
        target, zbuf, vertices, zero, zero, zero + columns, count, 0.0, (_EYE_BLOCK, _EYE_BLOCK)
    )
    return _merge(zbuf, ids, z_new, ids_new)


@functools.partial(jax.jit, static_argnames=("height", "width", "block", "chunk", "cull", "cpu"))
def visible_triangles(
    clip: list[jax.Array],
    topology: RasterTopology,
    *,
    height: int,
    width: int,
    block: tuple[int, int],
    chunk: int,
    cull: str,
    cpu: bool,
) -> jax.Array:
    """Id of the nearest covering triangle per pixel, the larger id at equal depth.

    Args:
      clip: x, y, z, w, [V] each.
      topology: of F triangles.
      height: rows; row 0 is ndc y = -1.
      width: columns.
      block: (rows, columns) of a block; affects speed only.
      chunk: blocks expanded at a time; affects speed only.
      cull: 'none', 'back' or 'front', as seen with rows running along -y.
      cpu: which of the two code paths to take.

    Returns:
      [height, width] int32, -1 where nothing is hit.
    """
    num = topology.tri.shape[1]
    if not num or not clip[0].size:
        return jnp.full((height, width), -1, jnp.int32)
    clip = lax.stop_gradient(clip)
    flag = live(clip[0], cpu)
    pad = max(*block, _EYE_BLOCK) - 1
    pitch = width + pad
    target = _Target(flag, height, width, pitch, (height + pad) * pitch, chunk)

    def screen():
        w = clip[3]
        inverse = 1 / jnp.where(w > _MIN_W, w, jnp.nan)  # NaN drops the triangle from here on
        return (
            (clip[0] * inverse + 1) * (width / 2) - 0.5,
            (clip[1] * inverse + 1) * (height / 2) - 0.5,
            clip[2] * inverse,
        )

    xyz = pin(flag, screen)
    vertices = pin(flag, lambda: [[take(a, i) for a in xyz] for i in topology.ordered])
    x, y, per_row, others, nan = pin(
        flag, lambda: _first_blocks(vertices, topology.parity, height, width, block, cull)
    )
    pixel = pin(flag, lambda: (y * pitch + x).astype(jnp.int32))
    zbuf = jnp.full(target.length, _MISS, jnp.int32)
    ids = jnp.full(target.length, -1, jnp.int32)
    first = _Blocks(vertices, x + nan, y, pixel, jnp.arange(num, dtype=jnp.int32))
    zbuf, ids = _draw(target, zbuf, ids, first, block)
    z_new, ids_new = _draw_ragged(target, zbuf, vertices, x, y, per_row, others, 1.0, block)
    ids = _merge(zbuf, ids, z_new, ids_new)
    ids = lax.cond(
        jnp.any(clip[3] <= _MIN_W),
        lambda z, i: _crossing_eye(target, z, i, clip, topology, cull),
        lambda z, i: i,
        z_new,
        ids,
    )
    return ids.reshape(height + pad, pitch)[:height, :width]
