"""The z-buffer: which triangle each pixel sees. Integers out, no gradient.

Every triangle's bounding box is cut into small blocks of pixels. Triangles are taken in chunks that
fit the cache: the first block of each is evaluated in place (most have no other), the remaining
ones are expanded into a list, some at a time. Depth and triangle id of a fragment are packed into
one 64-bit key, depth above, so that a single scatter-min leaves the nearest fragment in the buffer
and, at equal depth, the one with the larger id, in whatever order the fragments come.

Inside, images are flat; row r has its centre at ndc y = (2 r + 1) / height - 1, so row 0 is ndc
y = -1. `rasterize` negates y on the way in, which makes row 0 the top. Positions are homogeneous
pixel coordinates (x w, y w, z w, w), which also serve triangles that cross the eye plane. Pixels
are subtracted from the vertices BEFORE multiplying: the edge functions stay accurate for triangles
far smaller than a pixel.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from facejax.render.platform import live, pin, planes, running, take
from facejax.render.topology import RasterTopology

MAX_SIDE = 32767  # two pixel coordinates share an int32
_MISS = np.int32(2**31 - 1)  # depth of a fragment that is not there
_EMPTY = np.int64(2**63 - 1)
_UNUSED = np.int32(-(2**31))  # sign bit: nothing to draw at this entry of a list
_HALF = np.int32(0xFFFF)
_MIN_W = 1e-8
_RADIX = 8
_GROUP = _RADIX**2  # triangles whose blocks are numbered in a row
_SPARE = 64  # entries that share what belongs nowhere: writes to a single one wait for each other


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
    block: tuple[int, int]

    @property
    def pitch(self):
        """Length of a padded row: a block never leaves the buffer, so it needs no range test."""
        return self.width + self.block[1] - 1

    @property
    def rows(self):
        return self.height + self.block[0] - 1


class _Blocks(NamedTuple):
    """A list of N blocks to evaluate."""

    vertices: list  # three of [N, 4], (x w, y w, z w, w): a row is one load
    corner: jax.Array  # [N] int32, first column + 2^16 first row; negative for an unused entry
    triangle: jax.Array  # [N] int32


def _int32(x):
    return lax.convert_element_type(x, jnp.int32)


def _int64(x):
    return lax.convert_element_type(x, jnp.int64)


def _float(x):
    return lax.convert_element_type(x, jnp.float32)


def depth_key(vertices: list, px: jax.Array, py: jax.Array) -> jax.Array:
    """Depth of triangles at pixels as an int32 that orders like ndc z; _MISS where not covered.

    Edges count as inside. NaN compares false, and with an infinite vertex den is never finite: what
    has a corner that is not finite covers nothing.

    Args:
      vertices: three of (x w, y w, z w, w), x and y in pixels.
      px: pixel index in x.
      py: pixel index in y.
    """
    x = [v[0] - px * v[3] for v in vertices]
    y = [v[1] - py * v[3] for v in vertices]
    e2 = x[0] * y[1] - y[0] * x[1]
    e0 = x[1] * y[2] - y[1] * x[2]
    e1 = y[0] * x[2] - x[0] * y[2]
    num = vertices[2][2] * e2 + vertices[0][2] * e0 + vertices[1][2] * e1
    den = vertices[2][3] * e2 + vertices[0][3] * e0 + vertices[1][3] * e1
    # The sign of den is that of w at the fragment times that of the area: in front of the eye they
    # agree, and zero area is nowhere.
    inside = ((e0 >= 0) & (e1 >= 0) & (e2 >= 0) & (den > 0)) | (
        (e0 <= 0) & (e1 <= 0) & (e2 <= 0) & (den < 0)
    )
    inside &= (jnp.abs(num) <= jnp.abs(den)) & (jnp.abs(den) < jnp.inf)
    return jnp.where(inside, lax.bitcast_convert_type(num / den + 2.0, jnp.int32), _MISS)


def _draw(target, zbuf, blocks):
    """All pixels of all blocks into the buffer: one pixel of every block at a time."""

    def one(offset, zbuf):
        def place():
            corner = (blocks.corner & ~_UNUSED) + offset
            return corner & _HALF, corner >> np.int32(16)

        def depths():
            x, y = place()
            depth = depth_key([planes(v) for v in blocks.vertices], _float(x), _float(y))
            return jnp.where(blocks.corner >= 0, depth, _MISS)

        depth = pin(target.flag, depths)
        code = _int64(np.int32(-2) - blocks.triangle) & np.int64(0xFFFFFFFF)
        key = (_int64(depth) << np.int64(32)) | code
        x, y = place()
        pixel = y * np.int32(target.pitch) + x
        return zbuf.at[pixel].min(key, mode="promise_in_bounds", wrap_negative_indices=False)

    rows, columns = target.block
    if rows * columns == 1:
        return one(np.int32(0), zbuf)

    def step(carry):  # a division of the counter would be a kernel of its own
        offset, zbuf = carry
        row_ends = (offset & _HALF) == columns - 1
        on = jnp.where(row_ends, np.int32(2**16 - columns + 1), np.int32(1))
        return offset + on, one(offset, zbuf)

    end = np.int32(rows << 16)
    return lax.while_loop(lambda c: c[0] < end, step, (np.int32(0), zbuf))[1]


def _boxes(target, vertices, parity, cull):
    """Bounding boxes of pixel centres cut into blocks: corner, and number of columns and rows.

    Packed as corner + 2^32 (columns + 2^16 rows); a triangle with some but not all w <= 0 gets the
    whole screen and corner _UNUSED, one that covers no pixel centre no blocks and a negative one.
    """
    margin = 1e-3

    def low(a, b, c):
        ab = jnp.where(a < b, a, b)
        return jnp.where(ab < c, ab, c)

    def high(a, b, c):
        ab = jnp.where(a > b, a, b)
        return jnp.where(ab > c, ab, c)

    vertices = [planes(v) for v in vertices]
    w = [v[3] for v in vertices]
    inverse = [1 / wk for wk in w]
    x = [v[0] * i for v, i in zip(vertices, inverse, strict=True)]
    y = [v[1] * i for v, i in zip(vertices, inverse, strict=True)]
    x_low = jnp.ceil(jnp.clip(low(*x) - margin, 0.0, target.width))
    x_high = jnp.floor(jnp.clip(high(*x) + margin, -1.0, target.width - 1.0))
    y_low = jnp.ceil(jnp.clip(low(*y) - margin, 0.0, target.height))
    y_high = jnp.floor(jnp.clip(high(*y) + margin, -1.0, target.height - 1.0))
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    front = low(*w) > _MIN_W
    crosses = ~front & (high(*w) > _MIN_W)
    if cull != "none":
        sign = parity * (-1.0 if cull == "back" else 1.0)  # rows run downward
        area = jnp.maximum(area * sign, 0.0)
        (x0, y0, _, w0), (x1, y1, _, w1), (x2, y2, _, w2) = vertices
        det = w0 * (x1 * y2 - y1 * x2) + w1 * (x2 * y0 - y2 * x0) + w2 * (x0 * y1 - y0 * x1)
        crosses &= det * sign > 0  # the winding of the visible part
    seen = front & (x_high >= x_low) & (y_high >= y_low) & (jnp.abs(area) > 0)  # NaN is false
    rows, columns = target.block
    across = jnp.floor((x_high - x_low) * (1 / columns)) + 1
    down = jnp.floor((y_high - y_low) * (1 / rows)) + 1

    def pick(a, screen):
        return _int32(jnp.where(seen, a, jnp.where(crosses, float(screen), 0.0)))

    corner = pick(x_low, 0) | (pick(y_low, 0) << np.int32(16))
    # What is not drawn still writes, but nothing, and not all to the same pixel.
    spread = lax.iota(jnp.int32, area.shape[0]) & np.int32(_SPARE - 1)
    corner |= jnp.where(seen, np.int32(0), _UNUSED | jnp.where(crosses, np.int32(0), spread))
    count = pick(across, -(-target.width // columns))
    count |= pick(down, -(-target.height // rows)) << np.int32(16)
    return (_int64(corner) & np.int64(0xFFFFFFFF)) | (_int64(count) << np.int64(32))


def _draw_others(target, zbuf, first, packed, slots):
    """The blocks after the first (all, for triangles that cross the eye plane), `slots` at a time.

    They form a list that is never stored. Triangle f owns its slots end[f] - others[f] to end[f].
    The triangles are laid out as a matrix with _GROUP rows and take slots column by column: the
    sums of a column need neither long shifts nor many passes.
    """
    num = packed.shape[0]
    columns = -(-num // _GROUP)
    screen = -(-target.height // target.block[0]) * -(-target.width // target.block[1])
    index = _int32 if num * screen + slots < 2**31 else _int64

    def counts():
        size = _int32(packed >> np.int64(32))
        blocks = index((size & _HALF) * (size >> np.int32(16)))
        others = blocks - (_int32(packed) >= 0)
        return jnp.pad(others, (0, _GROUP * columns - num)).reshape(_GROUP, columns)

    others = pin(target.flag, counts)
    longest = jnp.max(pin(target.flag, lambda: jnp.max(others, axis=0)))
    end = others
    for step in (1, _RADIX):
        end = pin(target.flag, functools.partial(_sum_of_rows, end, step))
    upto = pin(target.flag, lambda: running(lax.add, end[-1], np.int32(columns)))
    end = pin(target.flag, lambda: end + (upto - end[-1])[None])
    total = end[-1, -1]

    def body(carry):
        start, zbuf = carry

        def mark():
            begin = end - others - start
            here = (others > 0) & (end > start) & (begin < slots)
            row, column = (lax.broadcasted_iota(jnp.int32, end.shape, d) for d in (0, 1))
            slot = jnp.where(
                here, _int32(jnp.clip(begin, 0, slots)), slots + (column & (_SPARE - 1))
            )
            order = column * np.int32(_GROUP) + row
            marks = jnp.zeros(slots + _SPARE, jnp.int32).at[slot.reshape(-1)]
            return marks.max(order.reshape(-1), mode="promise_in_bounds")[:slots]

        order = running(lax.max, pin(target.flag, mark), jnp.minimum(longest, slots))

        def triangle():
            row, column = order & np.int32(_GROUP - 1), order // np.int32(_GROUP)
            return row * np.int32(columns) + column

        owner = pin(target.flag, triangle)

        def corner():
            slot = lax.iota(jnp.int32, slots)
            box = take(packed, owner)
            size = _int32(box >> np.int64(32))
            columns = size & _HALF
            left = _int32(take(end.reshape(-1), owner) - start) - slot
            number = columns * (size >> np.int32(16)) - left
            row = _int32(jnp.floor((_float(number) + 0.5) / _float(columns)))
            base = _int32(box) & ~_UNUSED
            step = (number - row * columns) * np.int32(target.block[1])
            step += (row * np.int32(target.block[0])) << np.int32(16)
            return jnp.where(slot < total - start, base + step, _UNUSED)

        def gathered():
            vertices = [take(v, owner) for v in first.vertices]
            return _Blocks(vertices, corner(), first.triangle[0] + owner)

        return start + index(slots), _draw(target, zbuf, pin(target.flag, gathered))

    return lax.while_loop(lambda c: c[0] < total, body, (index(0), zbuf))[1]


def _sum_of_rows(x, step):
    """Each row plus the rows 1, 2 ... _RADIX - 1 steps above it."""
    above = jnp.concatenate([jnp.zeros(((_RADIX - 1) * step, x.shape[1]), x.dtype), x])
    return functools.reduce(
        lax.add, [lax.dynamic_slice_in_dim(above, j * step, x.shape[0]) for j in range(_RADIX)]
    )


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
      chunk: blocks expanded at a time, and a third of the triangles; affects speed only.
      cull: 'none', 'back' or 'front', as seen with rows running along -y.
      cpu: which of the two code paths to take.

    Returns:
      [height, width] int32, -1 where nothing is hit.
    """
    if not topology.tri.shape[0] or not clip[0].size:
        return jnp.full((height, width), -1, jnp.int32)
    target = _Target(live(clip[0], cpu), height, width, block)
    # 64-bit keys whatever the global setting; none of them leaves this function.
    with jax.enable_x64(True):
        return _nearest(lax.stop_gradient(clip), topology, target, chunk, cull)


def _nearest(clip, topology, target, chunk, cull):
    num = topology.tri.shape[0]
    steps = -(-num // (3 * chunk))
    size = -(-num // steps)
    if size % 1024 == 0:  # arrays a multiple of 4 kB apart evict each other from the cache
        size = min(size + 16, num)

    def screen():
        x, y, z, w = clip
        half_width, half_height = np.float32(target.width / 2), np.float32(target.height / 2)
        x, y = (x + w) * half_width - 0.5 * w, (y + w) * half_height - 0.5 * w
        return jnp.stack([x, y, z, w], axis=-1)

    position = screen()

    def some(k, zbuf):
        # The last chunk reaches back rather than past the end: drawing twice changes nothing.
        low = jnp.minimum(_int32(k) * np.int32(size), np.int32(num - size))

        def rows(a):
            return lax.dynamic_slice_in_dim(jnp.asarray(a), low, size)

        # Indices are cut out where they are used: XLA then does both in one pass.
        vertices = pin(target.flag, lambda: [take(position, rows(t)) for t in topology.ordered])
        packed = pin(target.flag, lambda: _boxes(target, vertices, rows(topology.parity), cull))
        corner = pin(target.flag, lambda: _int32(packed))
        first = _Blocks(vertices, corner, low + lax.iota(jnp.int32, size))
        zbuf = _draw(target, zbuf, first)
        return _draw_others(target, zbuf, first, packed, chunk)

    length = target.rows * target.pitch
    zbuf = lax.full((max(length, _SPARE),), _EMPTY, jnp.int64)
    zbuf = some(0, zbuf) if steps == 1 else lax.fori_loop(0, steps, some, zbuf)

    def ids():
        depth, code = (_int32(x[:length]) for x in (zbuf >> np.int64(32), zbuf))
        ids = jnp.where(depth == _MISS, np.int32(-1), np.int32(-2) - code)
        return ids.reshape(target.rows, target.pitch)[: target.height, : target.width]

    return pin(target.flag, ids)  # or XLA makes them once per shape that somebody reads them in
