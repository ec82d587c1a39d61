"""What the docstrings promise of broken, empty and degenerate geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry import math, rotations
from facejax.geometry.mesh import (
    MeshTopology,
    sum_around_vertices,
    triangle_normals,
    vertex_normals,
)
from facejax.geometry.nearest import NearestTriangles, closest_barycentric, nearest_on_triangles
from tests.oracles import meshes


@pytest.mark.parametrize("value,weighting", [(np.nan, "area"), (np.inf, "uniform")])
def test_normals_around_a_broken_vertex_are_those_of_the_other_triangles(value, weighting):
    vertices, topology = meshes.sphere(6, 9)
    vertex = topology.triangles[0, 0]
    rest = topology.triangles[(topology.triangles != vertex).all(axis=1)]
    rest = MeshTopology(rest, len(vertices))
    broken = vertices.copy()
    broken[vertex, 1] = value

    def total(v, t):
        normals = vertex_normals(v, t, weighting)
        return jnp.sum(normals * np.arange(3.0).reshape(1, 3)), normals

    def run(v, t):
        return jax.jit(lambda v: jax.grad(total, has_aux=True)(v, t))(v)

    grad, normals = run(broken, topology)
    wanted_grad, wanted = run(vertices, rest)
    np.testing.assert_allclose(normals, wanted, atol=1e-6)
    np.testing.assert_allclose(grad, wanted_grad, atol=1e-5)
    lost = (topology.triangles == vertex).any(axis=1)
    faces = np.asarray(triangle_normals(jnp.asarray(broken), topology))
    assert (faces[lost] == 0).all() and (faces[~lost] != 0).any(axis=1).all()


def test_normals_do_not_depend_on_the_unit():
    vertices, topology = meshes.sphere(33, 48)  # edges of 5 mm on a head of 80 mm radius
    normals = jax.jit(lambda v: vertex_normals(v, topology, "uniform"))
    for unit in (1e-3, 1e-4, 1e3):
        found = normals(np.float32(80 * unit) * vertices)
        np.testing.assert_allclose(found, normals(np.float32(80) * vertices), atol=1e-4)


def test_a_mesh_without_triangles():
    empty = MeshTopology(np.zeros((0, 3)), 3)
    assert (np.asarray(vertex_normals(jnp.ones((2, 3, 3)), empty)) == 0).all()
    assert (np.asarray(sum_around_vertices(jnp.ones((0, 2)), empty)) == 0).all()
    assert triangle_normals(jnp.ones((3, 3)), empty).shape == (0, 3)


def test_topologies_name_only_vertices_that_are_there():
    square = dict(triangles=[[0, 1, 2], [0, 2, 3]], num_vertices=4)
    uv = np.zeros((5, 2))
    for wrong, words in (
        (dict(uv=uv), "5 UV vertices of 4"),
        (dict(uv=uv, uv_triangles=[[0, 1, 2], [0, 2, 5]]), "0..5"),
        (dict(uv=uv, uv_triangles=[[0, 1, 2], [0, 2, -1]]), "-1..2"),
        (dict(uv=uv, uv_triangles=[[0, 1, 2]]), "same triangles"),
        (dict(uv=uv[:, :1], uv_triangles=[[0, 1, 2], [0, 2, 4]]), r"\[S, 2\]"),
    ):
        with pytest.raises(ValueError, match=words):
            MeshTopology(**square, **wrong)
    with pytest.raises(ValueError, match="name vertices -1"):
        MeshTopology([[0, 1, -1]], 4)


def brute_force(points, corners):
    """Distance to the edges: the nearest point of a triangle without an area is on one."""
    near = np.full(len(points), np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        along = corners[:, j] - corners[:, i]
        length = (along**2).sum(axis=1)
        t = ((points - corners[:, i]) * along).sum(axis=1)
        t = np.clip(np.divide(t, length, out=np.zeros_like(t), where=length > 0), 0, 1)
        foot = corners[:, i] + t[:, None] * along
        near = np.minimum(near, np.linalg.norm(points - foot, axis=1))
    return near


@pytest.mark.parametrize("kind", ["collinear", "one point", "two points"])
def test_nearest_points_of_triangles_without_an_area(rng, kind):
    a, b, points = rng.normal(size=(3, 4000, 3))
    t = rng.uniform(-1, 2, (4000, 1))
    third = {"collinear": a + t * (b - a), "one point": a, "two points": b}[kind]
    corners = np.stack([a, a if kind == "one point" else b, third], axis=1)
    corners = corners[np.arange(4000)[:, None], rng.permuted(np.tile(range(3), (4000, 1)), axis=1)]
    weight = closest_barycentric(points, corners)
    assert (weight >= 0).all() and np.allclose(weight.sum(axis=1), 1)
    found = np.linalg.norm(np.einsum("nk,nkc->nc", weight, corners) - points, axis=1)
    np.testing.assert_allclose(found, brute_force(points, corners), atol=1e-9)


def test_nearest_says_what_it_cannot_search():
    corners = np.eye(3)[None]
    assert [x.shape for x in nearest_on_triangles(np.zeros((0, 3)), corners)] == [(0,), (0, 3)]
    with pytest.raises(ValueError, match="no triangles"):
        NearestTriangles(corners[:0])
    with pytest.raises(ValueError, match="triangle 1 .* not finite"):
        NearestTriangles(np.stack([corners[0], np.full((3, 3), np.inf)]))
    with pytest.raises(ValueError, match="point 1 .* not finite"):
        NearestTriangles(corners).query(np.array([[0, 0, 0], [np.nan, 0, 0]]))


def test_vectors_of_no_and_of_little_length():
    x = jnp.float32([[0, 0, 0], [1e-8, 0, 0], [0, 3, 4], [0, 0, 1e18]])
    for function in (math.safe_normalize, math.safe_norm):
        assert np.isfinite(function(x)).all()
        assert np.isfinite(jax.jit(jax.grad(lambda v, f=function: f(v).sum()))(x)).all()
    np.testing.assert_allclose(math.safe_norm(x), [0, 0, 5, 1e18], rtol=1e-6)


def test_rotations_at_their_edges():
    tiny = jnp.float32([1e-12, 0, 0, 1e-12])
    np.testing.assert_allclose(
        rotations.quaternion_to_matrix(tiny), rotations.axis_rotation(np.pi / 2, "z"), atol=1e-6
    )
    vectors = np.float32([[0, 0, 0], [1e-20, 0, 0], [np.pi, 0, 0]])
    turned = jax.jit(jax.jacrev(rotations.axis_angle_to_matrix))
    assert all(np.isfinite(turned(v)).all() for v in vectors)
    eye = np.eye(3, dtype=np.float32)
    angle = jax.jit(jax.value_and_grad(lambda r: rotations.rotation_angle(eye, r)))
    for other, wanted in ((eye, 0.0), (np.diag(np.float32([1, -1, -1])), np.pi)):
        value, slope = angle(other)
        assert np.isfinite(slope).all()
        np.testing.assert_allclose(value, wanted, atol=1e-6)
