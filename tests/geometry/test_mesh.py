import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology, triangle_normals, vertex_normals
from tests.oracles import meshes


def slow_normals(vertices, topology, uniform):
    total = np.zeros(vertices.shape)
    for a, b, c in topology.triangles:
        n = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
        for v in (a, b, c):
            total[v] += n / np.linalg.norm(n) if uniform else n
    return total / np.linalg.norm(total, axis=-1, keepdims=True)


@pytest.mark.parametrize("weighting", ["area", "uniform"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_vertex_normals_match_a_loop(rng, weighting, batch):
    vertices, topology = meshes.sphere(6, 9)
    noisy = vertices + 0.01 * rng.normal(size=(*batch, *vertices.shape))
    got = np.asarray(vertex_normals(jnp.asarray(noisy, jnp.float32), topology, weighting))
    for v, n in zip(
        noisy.reshape(-1, *vertices.shape), got.reshape(-1, *vertices.shape), strict=True
    ):
        np.testing.assert_allclose(n, slow_normals(v, topology, weighting == "uniform"), atol=1e-5)
    assert ((got * vertices).sum(-1) > 0).all()  # outward


def test_degenerate_triangles_give_zero_normals_and_finite_gradients():
    topology = MeshTopology([[0, 1, 2], [0, 0, 1]], 5)
    vertices = jnp.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 0, 0], [0, 0, 0]])
    for weighting in ("area", "uniform"):
        normals, pullback = jax.vjp(lambda v, w=weighting: vertex_normals(v, topology, w), vertices)
        assert (np.asarray(normals) == 0).all()
        assert np.isfinite(pullback(jnp.ones_like(normals))[0]).all()


def test_triangle_normals_have_twice_the_area():
    topology = MeshTopology([[0, 1, 2]], 3)
    vertices = jnp.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]])
    np.testing.assert_allclose(triangle_normals(vertices, topology), [[0, 0, 6]])


def test_topology_fills_in_uv_and_knows_its_content():
    uv = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    plain = MeshTopology([[0, 1, 2]], 3, uv[:3])
    np.testing.assert_array_equal(plain.uv_triangles, plain.triangles)
    split = MeshTopology([[0, 1, 2], [1, 0, 2]], 3, uv, [[0, 1, 2], [3, 0, 2]])
    np.testing.assert_array_equal(split.uv_vertex, [0, 1, 2, 1])
    assert plain.digest == MeshTopology([[0, 1, 2]], 3, uv[:3]).digest
    wrapped = MeshTopology([[0, 1, 2]], 3, uv[:3], uv_wraps_u=True)
    assert len({plain.digest, split.digest, wrapped.digest}) == 3


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="3 vertices"):
        MeshTopology([[0, 1, 3]], 3)
    with pytest.raises(ValueError, match=r"\[F, 3\]"):
        MeshTopology([[0, 1]], 3)
    with pytest.raises(ValueError, match="uniform"):
        vertex_normals(jnp.zeros((3, 3)), MeshTopology([[0, 1, 2]], 3), "angle")
