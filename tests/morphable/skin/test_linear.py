import numpy as np
import pytest

from facejax.morphable.skin import SkinPaint, at_vertices, linear_albedo
from facejax.morphable.skin.linear import symmetric_people
from tests.morphable.skin.conftest import SIZE


@pytest.fixture(scope="module")
def basis(head, board, coarse):
    return linear_albedo(head, SIZE, 10, draws=32)


def test_basis_is_orthonormal_sorted_and_keeps_the_variance(basis):
    flat = basis.tex_basis.reshape(10, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(10), atol=1e-3)
    assert (np.diff(basis.std) <= 0).all() and basis.std[-1] > 0
    assert 0.95 < basis.variance_kept <= 1
    assert basis.mean_texture.shape == (SIZE, SIZE, 3)


def test_no_coefficients_give_light_moustaches_or_brows(basis, board):
    rng = np.random.default_rng(2)
    coeffs = np.clip(rng.standard_normal((64, 10)), -2.5, 2.5) * basis.std
    faces = basis.mean_texture + np.tensordot(coeffs, basis.tex_basis, 1)
    light = faces.mean(axis=-1)

    def over(name):
        w = np.asarray(board[name])
        return (light * w).sum(axis=(1, 2)) / w.sum()

    forehead = over("oily")
    for name in ("moustache", "chin_beard", "jaw_beard", "under_eyes", "lids"):
        assert (over(name) / forehead).max() < 1.03, name
    brow = board.patches["brow"]
    core = np.asarray(brow.ids)[(np.abs(brow["t"]) < 1.5) & (np.abs(brow["s"] - 0.5) < 0.3)]
    assert (light.reshape(64, -1)[:, core].mean(axis=1) / forehead).max() < 1.0
    assert (faces < 0).mean() < 0.01 and (faces > 1).mean() < 0.01


def test_people_for_linear_models_mirror_each_other():
    people = symmetric_people(400, 0)
    for name, (low, high, _) in SkinPaint.ranges().items():
        values = getattr(people, name)
        assert low <= values.min() and values.max() <= high
        middle = np.median(values[:200])
        clipped = np.clip(2 * middle - values[:200], low, high)
        np.testing.assert_allclose(values[200:], clipped, atol=1e-5)
    assert np.ptp(people.freckles) == np.ptp(people.moustache) == 0 < np.ptp(people.melanin)


def test_vertices_get_the_texture_under_them(head):
    uv = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1)
    colors = at_vertices(head, (uv + 0.5) / SIZE)
    mesh = head.topology.mesh
    first = np.zeros(mesh.num_vertices, int)
    first[mesh.triangles.reshape(-1)] = mesh.uv_triangles.reshape(-1)
    wanted = np.clip(mesh.uv[first], 0.5 / SIZE, 1 - 0.5 / SIZE)
    np.testing.assert_allclose(colors, wanted, atol=2e-3)


def test_impossible_sizes_are_refused(head):
    with pytest.raises(ValueError, match="wanted an even number of draws above num"):
        linear_albedo(head, SIZE, 40, draws=32)
