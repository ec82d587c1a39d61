"""Gradients where one surface hides another.

Triangle ids have no gradient, so without help a loss on pixels cannot move a silhouette. Two
remedies: `boundary_grad` leaves the image alone and adds the gradient of the moving boundary; it
works for triangles of any size and is the default. `antialias` blends the pixels that an edge
cuts and differentiates the blend (Laine et al. 2020, nvdiffrast, arXiv 2011.03277); it makes the
image smooth but needs silhouette edges of visible triangles, which meshes with sub-pixel
triangles seldom offer.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from facejax.geometry.mesh import MeshTopology
from facejax.render import platform
from facejax.render.platform import (
    live,
    map_images,
    pin,
    planes,
    running,
    take,
    zero_cotangent,
)
from facejax.render.rasterize import Fragments, checked_clip, image_clip
from facejax.render.topology import RasterTopology, raster_topology

DEPTH_GAP = 2e-3  # ndc; about 1.3 mm on the face for near/far at half and one and a half distance
# Between the last visible pixel and a smooth contour the surface recedes like the root of the
# distance d, which is uniform in (0, 1) pixel: E sqrt(d) / (E sqrt(1 + d) - E sqrt(d)).
_TO_CONTOUR = 1.207
_RUN = 8  # pixels in a row that are visited together
_RUNS_AT_ONCE = 512
_MIN_W = 1e-8
_EDGES = ((1, 2), (0, 2), (0, 1))  # edge k faces corner k


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
      depth_gap: ndc difference beyond which neighbouring triangles count as separate surfaces.

    Returns:
      [..., H, W, C], equal to `image`.
    """
    clip = checked_clip(clip, topology)
    tri = raster_topology(topology).tri
    return _boundary_grad(
        image, clip, tri, fragments, depth_gap=float(depth_gap), cpu=platform.on_cpu()
    )


@functools.partial(jax.jit, static_argnames=("depth_gap", "cpu"))
def _boundary_grad(image, clip, tri, fragments, *, depth_gap, cpu):
    def one(image, clip, fragments):
        out = boundary_planes(
            planes(image),
            image_clip(clip),
            tri,
            fragments.triangle_id,
            planes(lax.stop_gradient(fragments.barycentric)),
            lax.stop_gradient(fragments.depth),
            (depth_gap, cpu),
        )
        return jnp.stack(out, axis=-1)

    return map_images(one, (image, clip, fragments), (3, 2, Fragments(2, 3, 2)), cpu)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def boundary_planes(image, clip, tri, ids, bary, depth, options):
    """The core of `boundary_grad` on planes; `clip` as in `barycentrics`, options (gap, cpu)."""
    del clip, tri, ids, bary, depth, options
    return image


def _boundary_fwd(image, clip, tri, ids, bary, depth, options):
    del options
    return image, (image, clip, tri, ids, bary, depth)


def _neighbours(axis):
    """Slices of the first and the second pixel of every pair along an axis, and their paddings."""

    def first(a):
        return a[:, :-1] if axis else a[:-1]

    def second(a):
        return a[:, 1:] if axis else a[1:]

    pads = (((0, 0), (0, 1)), ((0, 0), (1, 0))) if axis else (((0, 1), (0, 0)), ((1, 0), (0, 0)))
    return first, second, *pads


def _boundary_bwd(options, residuals, grads):
    depth_gap, cpu = options
    image, clip, tri, ids, bary, depth = residuals
    flag = live(ids, cpu)
    num = clip[0].shape[0]
    image, grad, bary_flat, (z,) = (
        [x.reshape(-1) for x in group] for group in (image, grads, bary, [depth])
    )
    pixels = _Pixels(ids, z, bary_flat, tri, depth_gap, num, flag)
    sums = [jnp.zeros(num + 1, jnp.float32)] * 2
    if ids.size:
        sums = _over_boundary(
            lambda p, sums: pixels.add_forces(p, image, grad, sums),
            sums,
            ids,
            depth,
            depth_gap,
            flag,
        )
    height, width = ids.shape
    x, y, _, w = clip
    ok = w > _MIN_W
    inverse = jnp.where(ok, 1 / jnp.where(ok, w, 1.0), 0.0)
    gx, gy = sums[0][:num] * (width / 2) * inverse, sums[1][:num] * (height / 2) * inverse
    touched = (gx != 0) | (gy != 0)  # zero times a NaN position would be NaN
    gw = jnp.where(touched, -(gx * x + gy * y) * inverse, 0.0)
    grad_clip = [gx, gy, jnp.zeros_like(gx), gw]
    rest = (zero_cotangent(a) for a in (tri, ids, bary, depth))
    return grads, grad_clip, *rest


def _over_boundary(add, sums, ids, depth, depth_gap, flag):
    """add(p, sums) for the pixels p before a boundary, in flat order; some others may come along.

    Few pixels are at a boundary: on CPU the image is searched in short runs of pixels and only runs
    with one are visited, some at a time; p may exceed the image there.
    """
    size = ids.size
    if flag is None:
        return add(jnp.arange(size, dtype=jnp.int32), sums)
    num_runs = -(-size // _RUN)

    def search():
        marked = jnp.zeros(ids.shape, bool)
        for axis in (1, 0):
            first, second, pad_first, _ = _neighbours(axis)
            apart = _apart(first(ids), second(ids), first(depth), second(depth), depth_gap)
            marked |= jnp.pad(apart, pad_first)
        flat = jnp.pad(marked.reshape(-1), (0, num_runs * _RUN - size))
        return flat.reshape(num_runs, _RUN).any(axis=1).astype(jnp.int32)

    busy = pin(flag, search)
    end = running(lax.add, busy, num_runs)
    total = end[-1]
    slot = jnp.where(busy > 0, end - 1, num_runs)
    runs = jnp.full(num_runs + _RUNS_AT_ONCE, num_runs, jnp.int32)  # the rest lies past the image
    runs = pin(flag, lambda: runs.at[slot].min(jnp.arange(num_runs, dtype=jnp.int32)))

    def body(carry):
        k, sums = carry
        mine = lax.dynamic_slice_in_dim(runs, k * _RUNS_AT_ONCE, _RUNS_AT_ONCE)
        p = mine[:, None] * _RUN + jnp.arange(_RUN, dtype=jnp.int32)[None]
        return k + 1, add(pin(flag, lambda: p.reshape(-1)), sums)

    start = (jnp.int32(0), sums)
    return lax.while_loop(lambda c: c[0] * _RUNS_AT_ONCE < total, body, start)[1]


def _apart(i0, i1, z0, z1, depth_gap):
    """Whether two neighbouring pixels see different surfaces, at least one of them a triangle's."""
    return (i0 != i1) & ((i0 < 0) | (i1 < 0) | (jnp.abs(z0 - z1) > depth_gap))


class _Pixels:
    """An image's fragments, read at lists of flat pixel indices."""

    def __init__(self, ids, depth, bary, tri, depth_gap, num_vertices, flag):
        self.height, self.width = ids.shape
        self.ids, self.depth, self.bary, self.tri = ids.reshape(-1), depth, bary, tri
        self.depth_gap, self.num_vertices, self.flag = depth_gap, num_vertices, flag

    def add_forces(self, p, image, grad, sums):
        """Adds dL / d(screen position) of the vertices next to boundaries after pixels p."""
        inside = p < self.ids.shape[0]
        p = jnp.where(inside, p, 0)
        column, row = p % self.width, p // self.width
        room = [(column, self.width), (row, self.height)]
        out = []
        for (place, length), step, total in zip(room, (1, self.width), sums, strict=True):
            out.append(self._along(p, inside, place, length, step, image, grad, total))
        return out

    def _along(self, p, inside, place, length, step, image, grad, total):
        valid = inside & (place + 1 < length)
        q = jnp.where(valid, p + step, p)
        i0, i1, z0, z1 = pin(
            self.flag, lambda: [take(a, x) for a in (self.ids, self.depth) for x in (p, q)]
        )

        def boundary_gain():
            total = 0.0
            for c, g in zip(image, grad, strict=True):
                total = total + (take(c, p) - take(c, q)) * (0.5 * (take(g, p) + take(g, q)))
            return jnp.where(valid & _apart(i0, i1, z0, z1, self.depth_gap), total, 0.0)

        def places():
            q_is_nearer = (i0 < 0) | ((i1 >= 0) & (z1 <= z0))
            occluder = jnp.where(q_is_nearer, q, p)
            inward = jnp.where(q_is_nearer, step, -step)
            left = jnp.where(q_is_nearer, length - 2 - place, place)  # pixels further inside
            inner = jnp.where(left >= 1, occluder + inward, occluder)
            return occluder, inner, jnp.where(left >= 2, inner + inward, inner), left >= 2

        gain = pin(self.flag, boundary_gain)
        occluder, inner, after, room = pin(self.flag, places)
        recedes = pin(self.flag, lambda: room & self._recedes(occluder, inner, after))
        extra = jnp.where(recedes, _TO_CONTOUR * gain, 0.0)
        total = self._scatter(total, occluder, gain + extra)
        return self._scatter(total, inner, -extra)

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

    def _scatter(self, total, p, force):
        triangle = pin(self.flag, lambda: take(self.ids, p))
        moved = (triangle >= 0) & (force != 0)
        corners = pin(self.flag, lambda: take(self.tri, jnp.maximum(triangle, 0)))
        for k, b in enumerate(self.bary):
            vertex, value = pin(
                self.flag,
                lambda k=k, b=b: (
                    jnp.where(moved, corners[:, k], self.num_vertices),
                    take(b, p) * force,
                ),
            )
            total = total.at[vertex].add(value, mode="promise_in_bounds")
        return total


boundary_planes.defvjp(_boundary_fwd, _boundary_bwd)


def antialias(
    image: jax.Array, clip: jax.Array, topology: MeshTopology, fragments: Fragments
) -> jax.Array:
    """Blends the pixels that silhouette edges cut; differentiable in image and positions.

    Laine et al. 2020, section 3.6: at every pair of neighbouring pixels with different triangles,
    the nearer triangle's silhouette edge that crosses the segment between the two centres decides
    how much of one colour goes to the other.

    Args:
      image: [..., H, W, C].
      clip: [..., V, 4], as given to `rasterize`.
      topology: the mesh's topology.
      fragments: of `clip`.

    Returns:
      [..., H, W, C].
    """
    clip = checked_clip(clip, topology)
    return _antialias(image, clip, raster_topology(topology), fragments, cpu=platform.on_cpu())


@functools.partial(jax.jit, static_argnames=("cpu",))
def _antialias(image, clip, topology, fragments, *, cpu):
    def one(image, clip, fragments):
        out = antialias_planes(
            planes(image),
            image_clip(clip),
            topology,
            fragments.triangle_id,
            lax.stop_gradient(fragments.depth),
            cpu,
        )
        return jnp.stack(out, axis=-1)

    return map_images(one, (image, clip, fragments), (3, 2, Fragments(2, 3, 2)), cpu)


def antialias_planes(
    image: list, clip: list, topology: RasterTopology, ids: jax.Array, depth: jax.Array, cpu: bool
) -> list:
    """The core of `antialias` on planes; `clip` as in `barycentrics`."""
    height, width = ids.shape
    if not topology.tri.shape[0]:
        return image
    flag = live(ids, cpu)

    def screen():
        ok = clip[3] > _MIN_W
        inverse = 1 / jnp.where(ok, clip[3], 1.0)
        x = (clip[0] * inverse + 1) * (width / 2) - 0.5
        return x, (clip[1] * inverse + 1) * (height / 2) - 0.5

    position = pin(flag, screen)
    bits = pin(flag, lambda: _silhouette_edges(*lax.stop_gradient(position), topology))
    out = list(image)
    for axis in (1, 0):
        first, second, pad_first, pad_second = _neighbours(axis)
        alpha = _blend_weights(axis, position, bits, topology, ids, depth, flag)
        for c, plane in enumerate(image):
            step = alpha * (second(plane) - first(plane))
            out[c] = (
                out[c]
                + jnp.pad(jnp.where(alpha > 0, step, 0.0), pad_first)
                + jnp.pad(jnp.where(alpha > 0, 0.0, step), pad_second)
            )
    return out


def _silhouette_edges(x, y, topology):
    """Bit k: the edge facing corner k has no neighbour, or one folded under this triangle."""
    corner_x = [take(x, t) for t in planes(topology.tri)]
    corner_y = [take(y, t) for t in planes(topology.tri)]
    bits = 0
    for k, (a, b) in enumerate(_EDGES):
        across = topology.opposite[k]
        other = jnp.maximum(across, 0)

        def side(px, py, a=a, b=b):
            return (corner_x[b] - corner_x[a]) * (py - corner_y[a]) - (
                corner_y[b] - corner_y[a]
            ) * (px - corner_x[a])

        folded = side(take(x, other), take(y, other)) * side(corner_x[k], corner_y[k]) > 0
        bits = bits | jnp.where((across < 0) | folded, 1 << k, 0)
    return bits


def _blend_weights(axis, position, bits, topology, ids, depth, flag):
    """Signed weight per pixel pair: > 0 moves the second colour into the first pixel, < 0 back."""
    first, second, _, _ = _neighbours(axis)
    i0, i1 = first(ids), second(ids)
    use_second = (i0 < 0) | ((i1 >= 0) & (second(depth) <= first(depth)))
    shape = i0.shape
    differ = ((i0 != i1) & ((i0 >= 0) | (i1 >= 0))).reshape(-1)
    face = jnp.maximum(jnp.where(use_second, i1, i0), 0).reshape(-1)
    rows = lax.broadcasted_iota(jnp.float32, shape, 0)
    columns = lax.broadcasted_iota(jnp.float32, shape, 1)
    shift = use_second.astype(jnp.float32)
    origin_x = (columns + shift if axis else columns).reshape(-1)
    origin_y = (rows if axis else rows + shift).reshape(-1)
    edge_bits = pin(flag, lambda: jnp.where(differ, take(bits, face), 0))
    vertex = pin(flag, lambda: take(topology.tri, face))
    x, y = pin(flag, lambda: [[take(p, v) for v in planes(vertex)] for p in position])
    along, across = [a - origin_x for a in x], [a - origin_y for a in y]
    if not axis:
        along, across = across, along
    direction = jnp.where(use_second, -1.0, 1.0).reshape(-1)
    best = jnp.full(face.shape, -jnp.inf, jnp.float32)
    for k, (a, b) in enumerate(_EDGES):
        rise, run = across[b] - across[a], along[b] - along[a]
        cuts = ((across[a] < 0) != (across[b] < 0)) & (jnp.abs(rise) >= jnp.abs(run))
        cuts &= (edge_bits >> k) & 1 == 1
        slope = run / jnp.where(cuts, rise, 1.0)
        crossing = direction * (along[a] - across[a] * slope)
        # The edge by which the triangle ends toward its neighbour is the farthest crossing.
        cuts &= (crossing > -1 / 16) & (crossing < 17 / 16) & (crossing > best)
        best = jnp.where(cuts, crossing, best)
    crossing = jnp.clip(jnp.where(best > -1, best, 0.5), 0.0, 1.0)
    return (direction * (0.5 - crossing)).reshape(shape)
