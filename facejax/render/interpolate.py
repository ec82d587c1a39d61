"""Interpolation of vertex attributes at fragments."""

import functools

import jax
import jax.numpy as jnp

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
    zero_cotangent,
)
from facejax.render.rasterize import Fragments, corner_rows, corner_vertices
from facejax.render.topology import raster_topology


def interpolate(
    attributes: jax.Array, topology: MeshTopology, fragments: Fragments, *, domain: str = "vertex"
) -> jax.Array:
    """Vertex attributes at every pixel: sum over corners of barycentric times attribute.

    Differentiable in the attributes and the barycentrics.

    Args:
      attributes: [..., V, C] float32, or [..., S, C] per UV vertex with domain='uv'.
      topology: the mesh's topology.
      fragments: of the same mesh; batch dims broadcast against those of `attributes`.
      domain: 'vertex', or 'uv' for attributes that live on the seam-split UV vertices.

    Returns:
      [..., H, W, C]; 0 where nothing is hit, whatever the attributes are.

    Raises:
      ValueError: if the number of vertices does not fit the domain, or there is no UV layout.
    """
    topo = raster_topology(topology, domain)
    attributes = jnp.asarray(attributes, jnp.float32)
    wanted = topology.num_vertices if domain == "vertex" else len(topology.uv)
    if attributes.ndim < 2 or attributes.shape[-2] != wanted:
        raise ValueError(
            f"attributes have shape {attributes.shape}; wanted [..., {wanted}, C] for "
            f"domain={domain!r}."
        )
    return _interpolate(
        attributes, topo.tri, fragments.triangle_id, fragments.barycentric, cpu=platform.on_cpu()
    )


@functools.partial(jax.jit, static_argnames=("cpu",))
def _interpolate(attributes, tri, ids, bary, *, cpu):
    def image(attributes, ids, bary):
        out = interpolate_planes(planes(attributes), tri, ids, planes(bary), cpu)
        return jnp.stack(out, axis=-1)

    return map_images(image, (attributes, ids, bary), (2, 2, 3), cpu)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def interpolate_planes(
    attributes: list, tri: jax.Array, ids: jax.Array, bary: list, cpu: bool
) -> list:
    """The core on channel planes.

    Args:
      attributes: C planes [V].
      tri: [F, 3] int32.
      ids: [H, W] int32, -1 for none.
      bary: three planes [H, W], 0 where ids is -1.
      cpu: which code path to take.

    Returns:
      C planes [H, W].
    """
    if not attributes:
        return []
    table = jnp.stack(attributes, axis=-1)  # a row is one load

    def band(pixel, fresh, arrays, sums):
        del pixel, fresh
        mine, b = arrays
        flag = live(mine, cpu)
        rows = corner_rows(table, corner_vertices(tri, mine, flag), flag)

        def mix():
            # background reads triangle 0, whose attributes may be infinite or NaN
            mixed = (sum_products(b, [row[:, c] for row in rows]) for c in range(table.shape[1]))
            return [jnp.where(mine >= 0, m, 0.0) for m in mixed]

        return pin(flag, mix), sums

    arrays = (ids.reshape(-1), [x.reshape(-1) for x in bary])
    out, _ = sum_over_bands(band, arrays, (), ids.size, cpu)
    return [x.reshape(ids.shape) for x in out]


def _interpolate_fwd(attributes, tri, ids, bary, cpu):
    return interpolate_planes(attributes, tri, ids, bary, cpu), (attributes, tri, ids, bary)


def _interpolate_bwd(cpu, residuals, grads):
    attributes, tri, ids, bary = residuals
    if not attributes:
        return [], zero_cotangent(tri), zero_cotangent(ids), [jnp.zeros(ids.shape)] * 3
    num = attributes[0].shape[0]
    table = jnp.stack(attributes, axis=-1)

    def band(pixel, fresh, arrays, sums):
        del pixel
        mine, b, g = arrays
        flag = live(mine, cpu)
        vertex = corner_vertices(tri, mine, flag)
        rows = corner_rows(table, vertex, flag)

        def grads_of_weights():
            each = (sum_products(g, [row[:, c] for c in range(len(g))]) for row in rows)
            return [jnp.where(mine >= 0, x, 0.0) for x in each]

        grad_bary = pin(flag, grads_of_weights)
        spare = spare_row(num, mine.shape[0])
        together = pin(flag, lambda: jnp.stack(g, axis=-1))
        hit = ((mine >= 0) & fresh)[:, None]
        target = pin(flag, lambda: jnp.where(hit, vertex, spare[:, None]))
        shares = pin(flag, lambda: jnp.concatenate([together * bk[:, None] for bk in b], axis=1))
        return grad_bary, scatter_rows(sums, target, shares)

    flat = [[x.reshape(-1) for x in group] for group in ([ids], bary, grads)]
    arrays = (flat[0][0], flat[1], flat[2])
    start = empty_rows(num, len(attributes))
    grad_bary, sums = sum_over_bands(band, arrays, start, ids.size, cpu)
    grad_attributes = [c[:num] for c in planes(sums)]
    grad_bary = [x.reshape(ids.shape) for x in grad_bary]
    return grad_attributes, zero_cotangent(tri), zero_cotangent(ids), grad_bary


interpolate_planes.defvjp(_interpolate_fwd, _interpolate_bwd)
