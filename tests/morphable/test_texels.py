import numpy as np

from facejax.morphable.texels import nearest_covered, texel_triangles


def _oracle(uv, triangles, size):
    """The number of triangles over each texel centre, and the last one, by loops."""
    count, last = np.zeros((size, size), int), np.full((size, size), -1)
    for i in range(size):
        for j in range(size):
            p = (np.array([j, i]) + 0.5) / size
            for f, (a, b, c) in enumerate(uv[triangles]):
                m = np.stack([b - a, c - a], axis=1)
                if abs(np.linalg.det(m)) < 1e-9:
                    continue
                s, t = np.linalg.solve(m, p - a)
                if min(s, t, 1 - s - t) >= 0:
                    count[i, j] += 1
                    last[i, j] = f
    return count, last


def test_rasterises_like_the_loop(rng):
    uv = rng.uniform(0, 1, (12, 2))
    triangles = rng.integers(0, 12, (10, 3))
    found, bary = texel_triangles(uv, triangles, 16)
    count, last = _oracle(uv, triangles, 16)
    np.testing.assert_array_equal(found >= 0, count > 0)
    np.testing.assert_array_equal(found[count == 1], last[count == 1])
    row, column = np.nonzero(found >= 0)
    points = np.einsum("nk,nkc->nc", bary[row, column], uv[triangles[found[row, column]]])
    np.testing.assert_allclose(points, np.stack([column + 0.5, row + 0.5], -1) / 16, atol=1e-9)


def test_chunks_change_nothing(rng, monkeypatch):
    uv, triangles = rng.uniform(0, 1, (40, 2)), rng.integers(0, 40, (60, 3))
    whole, _ = texel_triangles(uv, triangles, 24)
    monkeypatch.setattr("facejax.morphable.texels._CHUNK", 50)
    parts, _ = texel_triangles(uv, triangles, 24)
    np.testing.assert_array_equal(whole >= 0, parts >= 0)


def test_empty_texels_take_the_nearest():
    found = np.full((3, 4), -1)
    found[1, 0] = 5
    found[2, 3] = 6
    rows, cols = nearest_covered(found)
    assert (rows[1, 0], cols[1, 0]) == (1, 0)
    assert (rows[0, 0], cols[0, 0]) == (1, 0)
    assert (rows[1, 3], cols[1, 3]) == (2, 3)
