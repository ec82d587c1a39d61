import numpy as np

from facejax.geometry.nearest import nearest_on_triangles


def test_nearest_triangles_against_a_search_of_all(rng):
    corners = rng.normal(size=(40, 3, 3)) * rng.choice([0.02, 0.3, 1.5], size=(40, 1, 1))
    corners += rng.normal(size=(40, 1, 3))
    points = 2 * rng.normal(size=(60, 3))
    triangle, weight = nearest_on_triangles(points, corners)
    near = np.einsum("nk,nkc->nc", weight, corners[triangle])
    grid = np.array([(a, b, 30 - a - b) for a in range(31) for b in range(31 - a)]) / 30
    samples = np.einsum("sk,tkc->tsc", grid, corners).reshape(-1, 3)
    best = np.linalg.norm(points[:, None] - samples, axis=2).min(axis=1)
    got = np.linalg.norm(points - near, axis=1)
    assert (got <= best + 1e-9).all()
    assert weight.min() >= 0
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
