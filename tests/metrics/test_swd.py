import jax
import numpy as np
import pytest
import scipy.stats

from facejax.metrics import swd


def test_descriptors_are_channel_x_y(rng):
    image = rng.normal(size=(2, 16, 20, 3)).astype(np.float32)
    centers = rng.integers(3, 13, size=(2, 4, 2)).astype(np.int32)
    got = np.asarray(swd.patch_descriptors(image, centers)).reshape(2, 4, 3, 7, 7)
    for n, p, c, dx, dy in rng.integers([0] * 5, [2, 4, 3, 7, 7], size=(30, 5)):
        x, y = centers[n, p]
        assert got[n, p, c, dx, dy] == image[n, y + dy - 3, x + dx - 3, c]


def test_normalisation_per_channel_also_of_constant_ones(rng):
    values = rng.normal(5, 3, size=(4, 9, 2, 49)).astype(np.float32)
    values[:, :, 1] = 7.0
    got = swd.normalize_descriptors(values.reshape(4, 9, -1), channels=2)
    got = np.asarray(got).reshape(36, 2, 49)
    np.testing.assert_allclose(got[:, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(got[:, 0].std(), 1, rtol=1e-5)
    np.testing.assert_array_equal(got[:, 1], 0)


def test_distance_equals_scipy_in_one_dimension(rng):
    a, b = rng.normal(size=(2, 33, 5)).astype(np.float32)
    directions = rng.normal(size=(2, 5, 3)).astype(np.float32)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    want = [
        scipy.stats.wasserstein_distance(a @ unit[r, :, k], b @ unit[r, :, k])
        for r in range(2)
        for k in range(3)
    ]
    np.testing.assert_allclose(swd.sliced_wasserstein(a, b, directions), np.mean(want), rtol=1e-5)


def test_draws_reach_every_allowed_centre_of_every_level():
    draws = swd.draw(jax.random.key(0), 2, 3, (16, 32), channels=1, patches=400, directions=2)
    assert len(draws.directions) == 1 and draws.directions[0].shape == (4, 49, 2)
    assert draws.centers_a[0].shape == (2, 400, 2) and draws.centers_b[0].shape == (3, 400, 2)
    x, y = np.moveaxis(np.asarray(draws.centers_b[0]), -1, 0)
    assert (x.min(), x.max(), y.min(), y.max()) == (3, 28, 3, 12)
    assert swd.num_levels((1024, 1024)) == 7
    with pytest.raises(ValueError, match="do not fit into 4x4"):
        swd.draw(jax.random.key(0), 1, 1, (4, 4))


def test_equal_sets_have_distance_zero_and_noise_raises_the_finest_level_most(rng):
    base = rng.uniform(0, 255, size=(6, 4, 4, 3)).astype(np.float32)
    smooth = np.asarray(jax.image.resize(base, (6, 32, 32, 3), "linear"))
    noisy = smooth + rng.normal(0, 40, size=smooth.shape).astype(np.float32)
    draws = swd.draw(jax.random.key(1), 6, 6, (32, 32), patches=64, directions=32, repeats=1)
    same = draws._replace(centers_b=draws.centers_a)
    np.testing.assert_allclose(swd.swd(smooth, smooth, same), 0, atol=1e-3)
    floor, fine_coarse = swd.swd(smooth, smooth, draws), swd.swd(smooth, noisy, draws)
    assert fine_coarse.shape == (3,)
    assert fine_coarse[0] > 2 * floor[0]
    np.testing.assert_allclose(fine_coarse[2], fine_coarse[:2].mean(), rtol=1e-5)


def test_sets_of_different_size_are_refused():
    with pytest.raises(ValueError, match="same number of images"):
        swd.sliced_wasserstein(np.zeros((3, 4)), np.zeros((2, 4)), np.ones((1, 4, 1)))


def test_sums_of_many_small_numbers_stay_accurate():
    values = np.full((1_000_001, 1), 0.1, np.float32)
    np.testing.assert_allclose(
        jax.jit(swd._pairwise_sum)(values)[0], 1_000_001 * float(np.float32(0.1)), rtol=1e-6
    )
