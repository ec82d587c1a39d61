"""Losses of VariTex by their definitions; values of the published program: tests/parity."""

import jax
import numpy as np
import pytest

from facejax.systems.varitex import losses


def test_divergences_by_sampling(rng):
    mu, std = np.array([[0.3, -0.5]]), np.array([[0.7, 1.4]])

    def log_normal(x, m, s):
        return -0.5 * ((x - m) / s) ** 2 - np.log(s)

    n = rng.standard_normal((200_000, 2))
    forward = (log_normal(n, 0, 1) - log_normal(n, mu, std)).mean()
    x = mu + std * n
    backward = (log_normal(x, mu, std) - log_normal(x, 0, 1)).mean()
    found = [float(losses.kl_divergence(mu, std, d)[0]) for d in losses.KL_DIRECTIONS]
    np.testing.assert_allclose(found, [forward, backward], atol=0.02)
    for direction in losses.KL_DIRECTIONS:
        np.testing.assert_allclose(
            losses.kl_divergence(0 * mu, 0 * std + 1, direction), 0, atol=1e-6
        )


def test_cross_entropy_is_finite_at_the_ends():
    p, t = np.array([0.0, 1.0, 0.25, 0.0]), np.array([0.0, 1.0, 0.5, 1.0])
    value, slope = jax.vmap(jax.value_and_grad(losses.binary_cross_entropy))(p, t)
    want = [0.0, 0.0, -0.5 * np.log(0.25 * 0.75), 100.0]
    np.testing.assert_allclose(value, want, atol=1e-6)
    np.testing.assert_allclose(slope[:3], [0, 0, (0.25 - 0.5) / (0.25 * 0.75)], atol=1e-6)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("mode", losses.GAN_MODES)
def test_a_right_discriminator_pays_less_than_a_wrong_one(mode):
    high, low = [np.full((2, 3, 3, 1), 1.0)], [np.full((2, 3, 3, 1), -1.0)]
    right = losses.gan_discriminator(high, low, mode)
    wrong = losses.gan_discriminator(low, high, mode)
    assert right < wrong
    assert losses.gan_generator(high, mode) < losses.gan_generator(low, mode)


def test_feature_matching_leaves_out_the_scores_and_the_reals():
    fake = [[np.zeros(4), np.zeros(2)], [np.ones(4), np.zeros(2)]]
    real = [[np.ones(4), np.full(2, 9.0)], [np.full(4, 3.0), np.full(2, 9.0)]]
    value, (on_fake, on_real) = jax.value_and_grad(losses.feature_matching, (0, 1))(fake, real)
    assert value == (1 + 2) / 2
    assert not any(np.any(x) for x in jax.tree.leaves(on_real))
    assert np.any(on_fake[0][0]) and not np.any(on_fake[0][1])


def test_kinds_that_do_not_exist():
    with pytest.raises(ValueError, match="loss.gan_mode is 'best', wanted one of ls, hinge"):
        losses.LossConfig(gan_mode="best")
    with pytest.raises(ValueError, match="loss.kl_direction is 'up', wanted one of prior"):
        losses.LossConfig(kl_direction="up")
