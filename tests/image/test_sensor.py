import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from facejax.image.color import linear_to_srgb
from facejax.image.sensor import LUMA, add_noise, blackbody_rgb, develop, grain, undevelop


def test_blackbody_colours():
    """6500 K lies near the white of sRGB; warm light is red, cold light blue."""
    kelvin = np.array([2000.0, 2800.0, 4000.0, 6504.0, 12000.0, 25000.0])
    rgb = blackbody_rgb(kelvin)
    np.testing.assert_allclose(rgb @ np.array(LUMA), 1.0)
    np.testing.assert_allclose(rgb[3], 1.0, atol=0.06)
    ratio = rgb[:, 0] / np.maximum(rgb[:, 2], 1e-3)
    assert (np.diff(ratio) < 0).all() and ratio[1] > 3 and ratio[-1] < 0.7
    with pytest.raises(ValueError, match="1667 to 25000"):
        blackbody_rgb(1000.0)


def test_noise_has_the_variance_that_it_says():
    light = np.tile(np.linspace(0, 1, 8, dtype=np.float32)[:, None, None], (1, 4000, 1))
    noise = grain(jax.random.key(1), light.shape)
    noisy = np.asarray(add_noise(light, noise, 0.02, 0.003))
    want = 0.02**2 + 0.003 * light[:, 0, 0]
    np.testing.assert_allclose((noisy - light).var(axis=(1, 2)), want, rtol=0.15)
    np.testing.assert_array_equal(add_noise(light, noise, 0.0, 0.0), light)


def test_grain_is_nearly_normal():
    values = np.sort(np.asarray(grain(jax.random.key(0), (200, 200))).reshape(-1))
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=0.02)
    share = np.arange(1, 40001) / 40001
    assert np.abs(share - scipy.stats.norm.cdf(values)).max() < 0.02 and np.abs(values).max() < 3.5


def test_neutral_development_is_srgb_up_to_the_highlights():
    light = jnp.linspace(0, 4, 400).reshape(20, 20, 1) * jnp.ones((1, 1, 3))
    stored = np.asarray(develop(light, jnp.ones(3)))
    dark = np.asarray(light) <= 0.75
    np.testing.assert_allclose(stored[dark], np.asarray(linear_to_srgb(light))[dark], atol=1e-6)
    flat = stored[..., 0].reshape(-1)
    assert (np.diff(flat) >= 0).all() and 0.99 < flat[-1] <= 1
    np.testing.assert_allclose(undevelop(stored)[light < 1.5], light[light < 1.5], rtol=2e-3)


def test_each_setting_does_what_its_name_says(rng):
    light = rng.uniform(0.05, 0.5, (2, 8, 8, 3)).astype(np.float32)
    plain = np.asarray(develop(light, jnp.ones((2, 3))))
    warm = np.asarray(develop(light, jnp.array([[1.2, 1.0, 0.8]] * 2)))
    assert (warm[..., 0] > plain[..., 0]).all() and (warm[..., 2] < plain[..., 2]).all()
    grey = np.asarray(develop(light, jnp.ones((2, 3)), saturation=jnp.array([0.0, 1.0])))
    np.testing.assert_allclose(grey[0].std(axis=-1), 0, atol=1e-6)
    np.testing.assert_array_equal(grey[1], plain[1])
    flat = np.asarray(develop(light, jnp.ones((2, 3)), contrast=0.5))
    np.testing.assert_allclose(flat, 0.5 + 0.5 * (plain - 0.5), atol=1e-6)
    darker = np.asarray(develop(light, jnp.ones((2, 3)), midtones=-0.4))
    np.testing.assert_allclose(darker, plain - 0.4 * plain * (1 - plain), rtol=1e-5)
