"""Losses of meshes that a graph network refines: closeness to a reference, and smoothness."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.mesh import MeshTopology, sum_around_vertices


def gcn_shape(vertices: jax.Array, reference: jax.Array) -> jax.Array:
    """Half the mean squared difference of coordinates (steventai0212/GCN_ResNet).

    Args:
      vertices: [..., V, 3], of the graph network, posed as there (a rotation changes nothing).
      reference: [..., V, 3], of the linear model.
    """
    return 0.5 * jnp.mean((vertices - reference) ** 2)


def gcn_normal(normals: jax.Array, reference: jax.Array) -> jax.Array:
    """Mean squared difference of unit normals (steventai0212/GCN_ResNet).

    Args:
      normals: [..., V, 3], of the graph network's mesh, canonical.
      reference: [..., V, 3], of the linear model's.
    """
    return jnp.mean((normals - reference) ** 2)


def laplacian_smoothness(
    vertices: jax.Array, topology: MeshTopology, reference: jax.Array | None = None
) -> jax.Array:
    """Mean squared length of the uniform Laplacian, or of its change from a reference.

    The Laplacian of a vertex is the mean of its neighbours minus the vertex; on the rim of an open
    mesh neighbours count once for every triangle that they share with it.

    Args:
      vertices: [..., V, 3].
      topology: the mesh's topology.
      reference: [..., V, 3]: its curvature costs nothing; None asks for flatness.
    """
    offset = vertices if reference is None else vertices - reference
    corners = jnp.stack([jnp.take(offset, topology.triangles[:, k], axis=-2) for k in range(3)])
    around = sum_around_vertices(corners.sum(axis=0), topology)
    # a triangle's corner sum holds the vertex itself once and two neighbours
    count = np.bincount(topology.triangles.reshape(-1), minlength=topology.num_vertices)
    count = count.astype(np.float32).reshape((1,) * (offset.ndim - 2) + (-1, 1))
    mean = (around - count * offset) / np.maximum(2 * count, 1)
    return jnp.mean(jnp.sum(jnp.where(count > 0, mean - offset, 0.0) ** 2, axis=-1))
