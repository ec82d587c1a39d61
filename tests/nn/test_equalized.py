import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from facejax.nn import equalized


def test_scaling_convolutions_against_scipy(rng):
    x = rng.standard_normal((1, 4, 6, 2)).astype(np.float32)
    w = rng.standard_normal((3, 3, 2, 3)).astype(np.float32)

    def correlate(image):  # zero outside, no flip
        maps = [
            sum(ndimage.correlate(image[..., i], w[..., i, o], mode="constant") for i in range(2))
            for o in range(3)
        ]
        return np.stack(maps, axis=-1)

    up = correlate(x[0].repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_allclose(equalized.upscale_conv2d(x, w)[0], up, atol=2e-5)
    down = correlate(x[0]).reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(equalized.conv2d_downscale(x, w)[0], down, atol=2e-5)


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
