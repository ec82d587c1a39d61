"""Silhouettes blended by the edges that cut pixels: a smooth image with its own gradient.

Laine et al. 2020, nvdiffrast, arXiv 2011.03277. It needs silhouette edges of visible triangles,
which meshes with sub-pixel triangles seldom offer; see silhouette.py for the default.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from facejax.geometry.mesh import MeshTopology
from facejax.render import platform
from facejax.render.platform import live, map_images, pin, planes, take
from facejax.render.rasterize import Fragments, checked_clip, image_clip
from facejax.render.silhouette import OUTSIDE
from facejax.render.topology import RasterTopology, raster_topology

_MIN_W = 1e-8
_EDGES = ((1, 2), (0, 2), (0, 1))  # edge k faces corner k


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
        x, y, _, w = clip
        # what is not finite is in no visible triangle, but its gradients must be zero, not NaN
        ok = (w > _MIN_W) & (jnp.abs(x) + jnp.abs(y) + w < jnp.inf)
        x, y = (jnp.where(ok, a, 0.0) for a in (x, y))
        inverse = 1 / jnp.where(ok, w, 1.0)
        return (x * inverse + 1) * (width / 2) - 0.5, (y * inverse + 1) * (height / 2) - 0.5

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


def _neighbours(axis):
    """Slices of the first and the second pixel of every pair along an axis, and their paddings."""

    def first(a):
        return a[:, :-1] if axis else a[:-1]

    def second(a):
        return a[:, 1:] if axis else a[1:]

    pads = (((0, 0), (0, 1)), ((0, 0), (1, 0))) if axis else (((0, 1), (0, 0)), ((1, 0), (0, 0)))
    return first, second, *pads


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
    differ = ((i0 != i1) & (i0 != OUTSIDE) & (i1 != OUTSIDE)).reshape(-1)
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
