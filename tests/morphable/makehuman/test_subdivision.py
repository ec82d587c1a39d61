import numpy as np

from facejax.morphable.makehuman.subdivision import Refinement, refine_flat, triangulate

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def _grid(rows, columns):
    number = np.arange(rows * columns).reshape(rows, columns)
    quads = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]], -1)
    return quads.reshape(-1, 4)


def test_a_cube_becomes_the_known_polyhedron():
    refined = Refinement(QUADS, 8)
    points = refined(CUBE)
    assert points.shape == (8 + 12 + 6, 3) and refined.quads.shape == (24, 4)
    # (Q + 2 R) / 3 for corners of three faces; edges: mean of two ends and two face points
    np.testing.assert_allclose(np.abs(points[:8]), 5 / 9, atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12)
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), axis=1), [[0, 0, 1]] * 6)


def test_orientation_and_closedness_are_kept():
    refined = Refinement(QUADS, 8)
    points, triangles = refined(CUBE), triangulate(refined.quads)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    a, b, c = (CUBE[triangulate(QUADS)[:, k]] for k in range(3))
    assert np.sign(volume) == np.sign((a * np.cross(b, c)).sum()) and 0.3 < abs(volume) / 8 < 1
    edges = np.sort(np.stack([refined.quads, np.roll(refined.quads, -1, 1)], -1).reshape(-1, 2), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_a_flat_grid_stays_flat_and_its_border_stays_straight():
    quads = _grid(4, 5)
    y, x = np.divmod(np.arange(20), 5)
    p = np.stack([x, y, np.zeros(20)], axis=1).astype(float)
    refined = Refinement(quads, 20)
    points = refined(p)
    np.testing.assert_allclose(np.asarray(refined.matrix.sum(axis=1)).ravel(), 1)
    assert not points[:, 2].any()
    # the border is a curve of its own vertices alone: straight, but for the corners that it rounds
    assert (points[:, 1] == 0).sum() == 2 * 5 - 1 - 2
    assert points[:, :2].min() == 0 and points[:, 0].max() == 4 and points[:, 1].max() == 3
    np.testing.assert_allclose(refine_flat(p, quads, refined.edges)[20:][:, :2].max(axis=0), [4, 3])


def test_batches_and_dtypes_are_kept():
    refined = Refinement(QUADS, 8)
    many = np.random.default_rng(0).standard_normal((2, 3, 8, 4)).astype(np.float32)
    fine = refined(many)
    assert fine.shape == (2, 3, 26, 4) and fine.dtype == np.float32
    np.testing.assert_allclose(fine[1, 2], refined(many[1, 2]), atol=1e-6)
