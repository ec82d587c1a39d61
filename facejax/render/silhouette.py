"""Gradients where one surface hides another.

Triangle ids have no gradient, so without help a loss on pixels cannot move a silhouette.
`boundary_grad` leaves the image alone and adds the gradient of the moving boundary; it works for
triangles of any size and is the default. `antialias` (antialias.py) blends the image instead.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from facejax.geometry.mesh import MeshTopology
from facejax.render import platform
from facejax.render.platform import (
    empty_rows,
    live,
    map_images,
    pin,
    planes,
    running,
    scatter_rows,
    spare_row,
    sum_over_bands,
    take,
    zero_cotangent,
)
from facejax.render.rasterize import Fragments, barycentrics_at, checked_clip, image_clip
from facejax.render.topology import raster_topology

DEPTH_GAP = 2e-3  # ndc; about 1.3 mm on the face for near/far at half and one and a half distance
# A surface that recedes toward its contour like a root steps by 1.3 to 2.4 times the step before.
_STEEPEST = 2.5
# Between the last visible pixel and a smooth contour the surface recedes like the root of the
# distance d, which is uniform in (0, 1) pixel: E sqrt(d) / (E sqrt(1 + d) - E sqrt(d)).
_TO_CONTOUR = 1.207
_RUN = 8  # pixels in a row that are visited together
_RUNS_AT_ONCE = 256
_MIN_W = 1e-8
OUTSIDE = -2  # triangle id of rows that are not in the image: no boundary toward them


def boundary_grad(
    image: jax.Array,
    clip: jax.Array,
    topology: MeshTopology,
    fragments: Fragments,
    *,
    depth_gap: float = DEPTH_GAP,
) -> jax.Array:
    """The image unchanged, with the occlusion gradient added to the clip-space positions.

    At every pair of neighbouring pixels that straddles a depth discontinuity the nearer one
    occludes; moving its surface by dx toward the other replaces the other's colour by its own in
    dx of a pixel. The gradient goes to the three vertices of the occluder by its barycentrics;
    where a smooth surface curves away, the boundary is extrapolated from the last two pixels, so
    that rotations are right too. First order: the boundary is taken to be attached to the visible
    surface, and its place inside a pixel is ignored.

    Args:
      image: [..., H, W, C], any channels; append the mask to give it a gradient too.
      clip: [..., V, 4], as given to `rasterize`.
      topology: the mesh's topology.
      fragments: of `clip`.
      depth_gap: ndc difference beyond which neighbouring triangles count as separate surfaces, on
        top of what the slope of the surface beside them explains.

    Returns:
      [..., H, W, C], equal to `image`.
    """
    clip = checked_clip(clip, topology)
    tri = raster_topology(topology).tri
    ids, depth = fragments.triangle_id, fragments.depth
    options = (float(depth_gap), platform.on_cpu())
    return _boundary_grad(image, clip, tri, ids, depth, options=options)


@functools.partial(jax.jit, static_argnames=("options",))
def _boundary_grad(image, clip, tri, ids, depth, *, options):
    def one(image, clip, ids, depth):
        depth = lax.stop_gradient(depth)
        return boundary_images([image], image_clip(clip), tri, ids, depth, options)[0]

    return map_images(one, (image, clip, ids, depth), (3, 2, 2, 2), options[1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def boundary_images(
    images: list, clip: list, tri: jax.Array, ids: jax.Array, depth: jax.Array, options: tuple
) -> list:
    """The core of `boundary_grad`: images [H, W] or [H, W, C] of the same fragments.

    `clip` is as in `barycentrics`, `options` are (depth_gap, cpu).
    """
    del clip, tri, ids, depth, options
    return images


def _boundary_fwd(images, clip, tri, ids, depth, options):
    del options
    return images, (images, clip, tri, ids, depth)


def _boundary_bwd(options, residuals, grads):
    images, clip, tri, ids, depth = residuals
    num = clip[0].shape[0]
    pixels = _Pixels(images, grads, clip, tri, ids, depth, options)
    sums = _over_boundary(pixels, empty_rows(num, 2)) if ids.size else empty_rows(num, 2)
    height, width = ids.shape
    x, y, _, w = clip
    ok = w > _MIN_W
    inverse = jnp.where(ok, 1 / jnp.where(ok, w, 1.0), 0.0)
    gx, gy = (
        s[:num] * (n / 2) * inverse for s, n in zip(planes(sums), (width, height), strict=True)
    )
    touched = (gx != 0) | (gy != 0)  # zero times a NaN position would be NaN
    gw = jnp.where(touched, -(gx * x + gy * y) * inverse, 0.0)
    rest = (zero_cotangent(a) for a in (tri, ids, depth))
    return grads, [gx, gy, jnp.zeros_like(gx), gw], *rest


boundary_images.defvjp(_boundary_fwd, _boundary_bwd)


def _over_boundary(pixels, sums):
    """Adds the forces at all boundaries to the sums.

    Few pixels are at a boundary: on CPU the image is searched in short runs of pixels and only runs
    with one are visited, some at a time.
    """
    size, flag = pixels.ids.shape[0], pixels.flag
    marks = pixels.search()
    if flag is None:
        return pixels.add_forces(lax.iota(jnp.int32, size), marks, sums)
    num_runs = -(-size // _RUN)
    words = jnp.pad(marks, (0, num_runs * _RUN - size)).reshape(-1, 4)
    words = lax.bitcast_convert_type(words, jnp.int32).reshape(num_runs, _RUN // 4)
    busy = pin(flag, lambda: ((words[:, 0] | words[:, 1]) != 0).astype(jnp.int32))
    end = running(lax.add, busy, num_runs)
    slot = jnp.where(busy > 0, end - 1, num_runs)
    runs = jnp.full(num_runs + _RUNS_AT_ONCE, num_runs, jnp.int32)  # the rest lies past the image
    runs = pin(flag, lambda: runs.at[slot].min(lax.iota(jnp.int32, num_runs)))

    def body(carry):
        k, sums = carry
        mine = lax.dynamic_slice_in_dim(runs, k * _RUNS_AT_ONCE, _RUNS_AT_ONCE)

        def places():
            p = (mine[:, None] * _RUN + jnp.arange(_RUN, dtype=jnp.int32)[None]).reshape(-1)
            inside = p < size
            p = jnp.where(inside, p, 0)
            return p, jnp.where(inside, take(marks, p), 0)

        return k + 1, pixels.add_forces(*pin(flag, places), sums)

    start = (jnp.int32(0), sums)
    return lax.while_loop(lambda c: c[0] * _RUNS_AT_ONCE < end[-1], body, start)[1]


class _Pixels:
    """Images, their cotangents and their fragments, read at flat pixel indices."""

    def __init__(self, images, grads, clip, tri, ids, depth, options):
        self.height, self.width = ids.shape
        self.depth_gap, self.cpu = options
        self.flag = live(ids, self.cpu)
        self.ids, self.depth, self.tri = ids.reshape(-1), depth.reshape(-1), tri
        self.images, self.grads = ([x.reshape(ids.size, -1) for x in g] for g in (images, grads))
        self.clip = jnp.stack(clip, axis=-1)

    def _axes(self, p):
        """Along rows and along columns: place in the line, its length, step to the next pixel."""
        row = p // self.width
        return (p - row * self.width, self.width, 1), (row, self.height, self.width)

    def search(self):
        """[P] int8, bit 0 for a boundary toward the next pixel in the row, bit 1 in the column."""
        margin = (self.width, 2 * self.width)
        ids, depth = jnp.pad(self.ids, margin, constant_values=OUTSIDE), jnp.pad(self.depth, margin)

        def band(pixel, fresh, arrays, sums):
            del fresh, arrays

            def at(a, offset):
                start = pixel[0] + (self.width + offset)
                return lax.dynamic_slice_in_dim(a, start, pixel.shape[0])

            def marks():
                out = 0
                for bit, (place, length, step) in enumerate(self._axes(pixel)):
                    apart = self._apart(
                        [at(ids, k * step) for k in (-1, 0, 1, 2)],
                        [at(depth, k * step) for k in (-1, 0, 1, 2)],
                        [(place + k >= 0) & (place + k < length) for k in (-1, 0, 1, 2)],
                    )
                    out = out | (apart.astype(jnp.int8) << np.int8(bit))
                return out

            return pin(self.flag, marks), sums

        return sum_over_bands(band, (), (), self.ids.size, self.cpu)[0]

    def _apart(self, ids, depth, inside):
        """Whether the second and third of four pixels in a line see different surfaces.

        At least one of them has to be a triangle's; between two, the depth has to step by more than
        the gap and what a continuous surface would, judging by the steps before and after.
        """
        hit = [(i >= 0) & s for i, s in zip(ids, inside, strict=True)]
        before, jump, after = (
            jnp.where(hit[k] & hit[k + 1], depth[k + 1] - depth[k], 0.0) for k in range(3)
        )
        sign = jnp.sign(jump)
        slope = jnp.maximum(jnp.maximum(sign * before, sign * after), 0.0)
        torn = jnp.abs(jump) > self.depth_gap + _STEEPEST * slope
        apart = (ids[1] != ids[2]) & (torn | ~(hit[1] & hit[2]))
        return apart & inside[2] & (ids[1] != OUTSIDE) & (ids[2] != OUTSIDE)

    def add_forces(self, p, marks, sums):
        """Adds dL / d(screen position) of the vertices at the boundaries after pixels p."""
        # Both directions in one list: half the code to compile.
        columns = jnp.concatenate([jnp.zeros(p.shape, bool), jnp.ones(p.shape, bool)])
        (x, width, across), (y, height, down) = self._axes(p)
        place, here = jnp.concatenate([x, y]), jnp.concatenate([marks & 1, marks >> 1]) > 0
        length, step = jnp.where(columns, height, width), jnp.where(columns, down, across)
        point, force = self._along(jnp.concatenate([p, p]), here, place, length, step)
        columns = jnp.concatenate([columns, columns])
        return self._scatter(
            sums, point, jnp.where(columns, 0.0, force), jnp.where(columns, force, 0.0)
        )

    def _along(self, p, here, place, length, step):
        """Pixels on the surface that moves and the forces there, two for each of p."""

        def places():
            q = jnp.where(here, p + step, p)
            i0, i1, z0, z1 = [take(a, x) for a in (self.ids, self.depth) for x in (p, q)]
            q_is_nearer = (i0 < 0) | ((i1 >= 0) & (z1 <= z0))
            occluder = jnp.where(q_is_nearer, q, p)
            inward = jnp.where(q_is_nearer, step, -step)
            left = jnp.where(q_is_nearer, length - 2 - place, place)  # pixels further inside
            inner = jnp.where(here & (left >= 1), occluder + inward, occluder)
            after = jnp.where(here & (left >= 2), inner + inward, inner)
            return q, inward > 0, occluder, inner, after, left >= 2

        q, q_is_nearer, occluder, inner, after, room = pin(self.flag, places)
        to_contour = pin(
            self.flag,
            lambda: jnp.where(room & self._recedes(occluder, inner, after), _TO_CONTOUR, 0.0),
        )

        def gains():
            beyond = jnp.where(q_is_nearer, -to_contour, to_contour)
            total = 0.0
            for image, grad in zip(self.images, self.grads, strict=True):
                (c0, c1, near, inside), (g0, g1) = (
                    [take(image, x) for x in (p, q, occluder, inner)],
                    [take(grad, x) for x in (p, q)],
                )
                for c in range(image.shape[-1]):
                    jump = c0[:, c] - c1[:, c] + beyond * (near[:, c] - inside[:, c])
                    total = total + jump * (0.5 * (g0[:, c] + g1[:, c]))
            return jnp.where(here, total, 0.0)

        gain = pin(self.flag, gains)
        extra = to_contour * gain
        return jnp.concatenate([occluder, inner]), jnp.concatenate([gain + extra, -extra])

    def _recedes(self, occluder, inner, after):
        """Whether a smooth surface curves away toward its contour at the occluder."""
        z, z1, z2 = (take(self.depth, p) for p in (occluder, inner, after))
        step, before = z - z1, z1 - z2
        # Receding like a root, it steps by 1.3 to 2.4 times the step before; flat surfaces need no
        # correction, and a larger step is another surface.
        smooth = (step > 1.25 * before + 0.05 * self.depth_gap) & (
            step <= 3 * before + self.depth_gap
        )
        return smooth & (take(self.ids, inner) >= 0) & (take(self.ids, after) >= 0)

    def _scatter(self, sums, p, fx, fy):
        flag = self.flag
        triangle = pin(flag, lambda: take(self.ids, p))
        vertex, bary, _ = barycentrics_at(
            self.clip, self.tri, triangle, p, self.height, self.width, flag
        )
        num = self.clip.shape[0]
        spare = spare_row(num, p.shape[0])
        moved = pin(flag, lambda: (triangle >= 0) & ((fx != 0) | (fy != 0)))
        target = pin(flag, lambda: jnp.where(moved[:, None], vertex, spare[:, None]))
        rows = pin(flag, lambda: jnp.stack([b * f for b in bary for f in (fx, fy)], axis=-1))
        return scatter_rows(sums, target, rows)
