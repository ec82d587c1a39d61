import numpy as np
import pytest

from facejax.geometry import hierarchy as h


def bumpy_grid(n=9, noise=0.02, shift=(0.0, 0.0, 0.0)):
    """A height field of n x n vertices, and one vertex without a triangle at the end."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    z = np.exp(-2 * (x**2 + y**2)) + noise * np.random.default_rng(0).normal(size=x.shape)
    i = np.arange(n * n).reshape(n, n)
    corners = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    faces = [np.stack([corners[k] for k in t], -1).reshape(-1, 3) for t in ((0, 1, 2), (0, 2, 3))]
    vertices = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), [[3.0, 3.0, 3.0]]])
    return vertices + np.asarray(shift), np.concatenate(faces)


def dense(index, weight, columns):
    out = np.zeros((len(index), columns))
    np.add.at(out, (np.arange(len(index))[:, None], index), weight)
    return out


@pytest.fixture(scope="module")
def levels():
    vertices, triangles = bumpy_grid()
    return vertices, h.build_hierarchy(vertices, triangles, factor=3, levels=2)


def test_sizes_subsets_and_transfers(levels, rng):
    vertices, built = levels
    assert built.sizes == (82, 28, 10)
    points = [vertices, vertices[built.keep[0]]]
    for k, kept in enumerate(built.keep):
        assert (np.diff(kept) > 0).all()
        up = dense(built.up_index[k], built.up_weight[k], built.sizes[k + 1])
        np.testing.assert_allclose(up.sum(axis=1), 1.0, atol=1e-6)
        assert up.min() >= 0
        np.testing.assert_allclose(up[kept], np.eye(len(kept)), atol=1e-6)  # D U = I
        x = rng.normal(size=(2, built.sizes[k], 4)).astype(np.float32)
        np.testing.assert_array_equal(built.pool(x, k), x[:, kept])
        np.testing.assert_allclose(built.unpool(x[:, kept], k), up @ x[:, kept], atol=1e-5)
        near = up @ points[k][kept]
        nearest_vertex = np.linalg.norm(points[k][:, None] - points[k][kept], axis=2).min(axis=1)
        assert (np.linalg.norm(near - points[k], axis=1) <= nearest_vertex + 1e-6).all()


def test_laplacian_is_symmetric_with_spectrum_in_the_unit_interval(levels):
    _, built = levels
    for index, weight, size in zip(built.neighbors, built.weights, built.sizes, strict=True):
        matrix = dense(index, weight, size)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
        np.testing.assert_array_equal(np.diag(matrix), 0)
        values = np.linalg.eigvalsh(matrix)
        assert values[0] >= -1 - 1e-5
        assert values[-1] <= 1 + 1e-5
        assert values[0] < -0.999  # constant functions, scaled by the root of the degree
    assert not built.weights[0][-1].any()  # a vertex without triangles has no neighbours


def test_decimation_removes_flat_vertices_first():
    vertices, triangles = bumpy_grid(noise=0.0)
    vertices[:, 2] = np.abs(vertices[:, 0])  # two planes that meet in a ridge, x = 0
    kept, coarse = h.decimate(vertices, triangles, 40)
    assert len(kept) == 40
    assert coarse.max() == 39
    corners = vertices[kept][coarse]
    same_side = (corners[:, :, 0] >= -1e-9).all(axis=1) | (corners[:, :, 0] <= 1e-9).all(axis=1)
    assert same_side.all()  # no triangle crosses the ridge: the surface has not changed
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    assert (area > 0).any()


def test_legacy_weights_depend_on_the_origin_and_barycentric_ones_do_not():
    rows = {}
    for legacy in (False, True):
        for far in (0.0, 5.0):
            vertices, triangles = bumpy_grid(shift=(far, 0, far))
            kept, coarse = h.decimate(vertices, triangles, 20)
            got = h.upsampling_rows(vertices, vertices[kept], coarse, legacy)
            rows[legacy, far] = dense(*got, len(kept))
    np.testing.assert_allclose(rows[False, 0.0], rows[False, 5.0], atol=1e-5)
    assert np.abs(rows[True, 0.0] - rows[True, 5.0]).max() > 1e-3
    assert np.abs(rows[True, 0.0].sum(axis=1) - 1).max() > 1e-2


def test_too_many_levels_are_refused():
    vertices, triangles = bumpy_grid(4)
    with pytest.raises(ValueError, match="fewer levels"):
        h.build_hierarchy(vertices, triangles, factor=8, levels=3)
