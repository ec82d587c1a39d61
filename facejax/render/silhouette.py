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
    scatter_sum,
    take,
    zero_cotangent,
)
from facejax.render.rasterize import Fragments, checked_clip, corner_vertices, image_clip
from facejax.render.topology import RasterTopology, raster_topology

DEPTH_GAP = 2e-3  # ndc; about 1.3 mm on the face for near/far at half and one and a half distance
# Between the last visible pixel and a smooth contour the surface recedes like the root of the
# distance d, which is uniform in (0, 1) pixel: E sqrt(d) / (E sqrt(1 + d) - E sqrt(d)).
_TO_CONTOUR = 1.207
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


def _shift(plane, axis, step, fill):
    """plane[p + step] along an axis at every p; `fill` beyond the border. step is 1 or -1."""
    first, second, pad_first, pad_second = _neighbours(axis)
    if step == 1:
        return jnp.pad(second(plane), pad_first, constant_values=fill)
    return jnp.pad(first(plane), pad_second, constant_values=fill)


def _extrapolated(axis, force, ids, depth, depth_gap, inward):
    """Forces on the last visible pixels, carried over to the contour where a surface curves away.

    Weights 1 + k and -k on the pixel and its inner neighbour: rotations move the contour otherwise
    than the pixel half a pixel inside it, which is much nearer to the viewer.
    """
    inner_id, inner = _shift(ids, axis, inward, -1), _shift(depth, axis, inward, 1.0)
    next_id, next_depth = _shift(inner_id, axis, inward, -1), _shift(inner, axis, inward, 1.0)
    step, before = depth - inner, inner - next_depth
    # A surface that recedes like a root steps by 1.3 to 2.4 times the step before; flat ones need
    # no correction, and a larger step is another surface.
    recedes = (step > 1.25 * before + 0.05 * depth_gap) & (step <= 3 * before + depth_gap)
    recedes &= (inner_id >= 0) & (next_id >= 0)
    extra = jnp.where(recedes, _TO_CONTOUR * force, 0.0)
    return force + extra - _shift(extra, axis, -inward, 0.0)


def _boundary_bwd(options, residuals, grads):
    depth_gap, cpu = options
    image, clip, tri, ids, bary, depth = residuals
    height, width = ids.shape
    flag = live(ids, cpu)

    image, g = pin(flag, lambda: (list(image), list(grads)))

    def boundary_gain(axis):
        """dL / d(boundary position) of every pixel pair; 0 where no surface hides another."""
        first, second, _, _ = _neighbours(axis)
        i0, i1 = first(ids), second(ids)
        apart = (i0 < 0) | (i1 < 0) | (jnp.abs(first(depth) - second(depth)) > depth_gap)
        gain = 0.0
        for c, gc in zip(image, g, strict=True):
            gain = gain + (first(c) - second(c)) * (0.5 * (first(gc) + second(gc)))
        return jnp.where((i0 != i1) & apart, gain, 0.0)

    def boundary_force(axis, gain):
        """dL / d(screen position of the occluder's surface) of every pixel."""
        first, second, pad_first, pad_second = _neighbours(axis)
        i0, i1 = first(ids), second(ids)
        second_is_nearer = (i0 < 0) | ((i1 >= 0) & (second(depth) <= first(depth)))
        by_first = jnp.pad(jnp.where(second_is_nearer, 0.0, gain), pad_first)
        by_second = jnp.pad(jnp.where(second_is_nearer, gain, 0.0), pad_second)
        return _extrapolated(axis, by_first, ids, depth, depth_gap, inward=-1) + _extrapolated(
            axis, by_second, ids, depth, depth_gap, inward=1
        )

    gains = [pin(flag, functools.partial(boundary_gain, axis)) for axis in (1, 0)]
    fx, fy = pin(
        flag,
        lambda: [
            boundary_force(axis, gain).reshape(-1) for axis, gain in zip((1, 0), gains, strict=True)
        ],
    )
    flat = ids.reshape(-1)
    moved = (flat >= 0) & ((fx != 0) | (fy != 0))
    num = clip[0].shape[0]
    vertex = corner_vertices(tri, flat, flag)
    target = pin(flag, lambda: [jnp.where(moved, v, num) for v in vertex])
    sums = [scatter_sum(target, [b.reshape(-1) * f for b in bary], num) for f in (fx, fy)]
    x, y, _, w = clip
    ok = w > _MIN_W
    inverse = jnp.where(ok, 1 / jnp.where(ok, w, 1.0), 0.0)
    gx, gy = sums[0] * (width / 2) * inverse, sums[1] * (height / 2) * inverse
    touched = (gx != 0) | (gy != 0)  # zero times a NaN position would be NaN
    gw = jnp.where(touched, -(gx * x + gy * y) * inverse, 0.0)
    grad_clip = [gx, gy, jnp.zeros_like(gx), gw]
    rest = (zero_cotangent(a) for a in (tri, ids, bary, depth))
    return grads, grad_clip, *rest


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
    if not topology.tri.shape[1]:
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
    corner_x = [take(x, t) for t in topology.tri]
    corner_y = [take(y, t) for t in topology.tri]
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
    vertex = pin(flag, lambda: [take(t, face) for t in topology.tri])
    x, y = pin(flag, lambda: [[take(p, v) for v in vertex] for p in position])
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
