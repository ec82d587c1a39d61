import numpy as np

from facejax.geometry.intersections import crossing_triangles


def _crosses(a, b):
    """The obvious test of two triangles: an edge of one hits the inside of the other."""
    for first, second in ((a, b), (b, a)):
        for k in range(3):
            start, end = first[k], first[(k + 1) % 3]
            matrix = np.stack([second[1] - second[0], second[2] - second[0], start - end], axis=1)
            if abs(np.linalg.det(matrix)) < 1e-12:
                continue
            u, v, t = np.linalg.solve(matrix, start - second[0])
            if u >= 0 and v >= 0 and u + v <= 1 and 0 <= t <= 1:
                return True
    return False


def test_it_agrees_with_the_obvious_test():
    vertices = np.random.default_rng(0).uniform(-1, 1, (90, 3))
    first, second = np.arange(45).reshape(15, 3), np.arange(45, 90).reshape(15, 3)
    want = [
        (a, b)
        for a in range(15)
        for b in range(15)
        if _crosses(vertices[first[a]], vertices[second[b]])
    ]
    got = crossing_triangles(vertices, first, second)
    assert len(want) > 10
    np.testing.assert_array_equal(got, want)


def test_neighbours_and_distant_surfaces_do_not_cross():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5], [6, 5, 5]], float)
    triangle = np.array([[0, 1, 2]])
    assert crossing_triangles(vertices, triangle, np.array([[0, 1, 3]])).shape == (0, 2)
    assert not len(crossing_triangles(vertices, triangle, np.array([[3, 4, 5]])))
    assert crossing_triangles(vertices, triangle, np.zeros((0, 3), int)).shape == (0, 2)
