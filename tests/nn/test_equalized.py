import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.image.resample import downsample2, upsample2
from facejax.nn import equalized


def test_fused_convolutions_equal_their_two_steps(rng):
    x = rng.standard_normal((2, 4, 6, 3)).astype(np.float32)
    w = rng.standard_normal((3, 3, 3, 5)).astype(np.float32)
    up = equalized.conv2d(upsample2(x), w)
    np.testing.assert_allclose(equalized.upscale_conv2d(x, w), up, atol=2e-5)
    down = downsample2(equalized.conv2d(x, w))
    np.testing.assert_allclose(equalized.conv2d_downscale(x, w), down, atol=2e-5)


def test_minibatch_stddev_against_numpy(rng):
    x = rng.standard_normal((8, 4, 4, 3)).astype(np.float32)
    got = equalized.minibatch_stddev(x, 4)[..., -1]
    want = [np.sqrt(x[i : i + 4].var(0) + 1e-8).mean() for i in (0, 4)]
    np.testing.assert_allclose(got[:, 0, 0], np.repeat(want, 4), rtol=1e-5)
    strided = equalized.minibatch_stddev(x, 4, strided=True)[..., -1]
    want = [np.sqrt(x[i::2].var(0) + 1e-8).mean() for i in (0, 1)]
    np.testing.assert_allclose(strided[:, 0, 0], np.tile(want, 4), rtol=1e-5)


def test_minibatch_stddev_refuses_a_ragged_batch():
    with pytest.raises(ValueError, match="divisible by it"):
        equalized.minibatch_stddev(jnp.zeros((6, 4, 4, 1)), 4)


def test_pixel_norm_has_unit_mean_square_and_finite_gradient(rng):
    x = rng.standard_normal((2, 5)).astype(np.float32)
    np.testing.assert_allclose((equalized.pixel_norm(x) ** 2).mean(-1), 1.0, rtol=1e-5)
    chex.assert_tree_all_finite(
        jax.grad(lambda a: equalized.pixel_norm(a).sum())(jnp.zeros((2, 5)))
    )
