import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from facejax.image.optics import blur_matrix, filter_axes, resolution_matrix


@pytest.mark.parametrize("make", [blur_matrix, resolution_matrix])
def test_rows_sum_to_one_for_every_amount(make):
    amounts = jnp.array([0.05, 0.3, 0.77, 1.0])
    matrices = make(17, amounts)
    assert matrices.shape == (4, 17, 17)
    np.testing.assert_allclose(matrices.sum(-1), 1.0, atol=1e-5)


def test_nothing_is_lost_without_blur_and_at_full_resolution():
    np.testing.assert_array_equal(blur_matrix(9, 0.0), np.eye(9))
    np.testing.assert_allclose(resolution_matrix(9, 1.0), np.eye(9), atol=1e-6)


def test_blur_is_gaussian_away_from_the_border(rng):
    image = rng.uniform(size=(31, 33, 2)).astype(np.float32)
    got = filter_axes(image, blur_matrix(31, 1.7), blur_matrix(33, 1.7))
    want = scipy.ndimage.gaussian_filter(image, (1.7, 1.7, 0), truncate=8)
    np.testing.assert_allclose(got[10:-10, 10:-10], want[10:-10, 10:-10], atol=1e-3)


def test_axes_are_not_confused(rng):
    image = rng.uniform(size=(2, 4, 6, 3)).astype(np.float32)
    rows, columns = rng.uniform(size=(2, 5, 4)), rng.uniform(size=(2, 7, 6))
    got = filter_axes(image, jnp.asarray(rows, jnp.float32), jnp.asarray(columns, jnp.float32))
    want = np.einsum("bph,bqw,bhwc->bpqc", rows, columns, image)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_loss_of_resolution_loses_fine_stripes_and_keeps_ramps():
    matrix = np.asarray(resolution_matrix(48, 0.25))
    stripes = np.resize([0.0, 1.0], 48)
    assert np.ptp(matrix @ stripes) < 0.1
    ramp = np.linspace(0, 1, 48)
    np.testing.assert_allclose((matrix @ ramp)[6:-6], ramp[6:-6], atol=0.01)
    assert np.linalg.matrix_rank(matrix, tol=1e-3) <= 13  # 12 samples, and the border's
