import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.losses import gcn_normal, gcn_shape, laplacian_smoothness
from tests.oracles.meshes import grid


def test_shape_and_normals():
    a = jnp.zeros((2, 4, 3))
    b = a + jnp.array([1.0, 2.0, 2.0]).reshape(1, 1, 3)
    assert gcn_shape(a, b) == pytest.approx(1.5) and gcn_normal(a, b) == pytest.approx(3.0)


def test_laplacian_by_neighbours(rng):
    xy, triangles = grid(4, 5)
    topology = MeshTopology(np.concatenate([triangles, triangles[:1]]), len(xy) + 1)  # one unused
    vertices = rng.standard_normal((2, len(xy) + 1, 3)).astype(np.float32)
    total = np.zeros_like(vertices)
    count = np.zeros(len(xy) + 1)
    for tri in topology.triangles:
        for k in range(3):
            for other in (tri[(k + 1) % 3], tri[(k + 2) % 3]):
                total[:, tri[k]] += vertices[:, other] - vertices[:, tri[k]]
                count[tri[k]] += 1
    want = ((total / np.maximum(count, 1)[:, None]) ** 2).sum(-1).mean()
    assert laplacian_smoothness(vertices, topology) == pytest.approx(want, rel=1e-5)
    moved = vertices + np.float32([[[3, 1, 2]]])
    assert float(laplacian_smoothness(moved, topology, vertices)) < 1e-10
