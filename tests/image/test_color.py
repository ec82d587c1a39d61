import jax
import jax.numpy as jnp
import numpy as np

from facejax.image import color


def test_srgb_known_values_and_round_trip():
    srgb = np.linspace(0, 1, 33, dtype=np.float32)
    linear = color.srgb_to_linear(srgb)
    np.testing.assert_allclose(color.srgb_to_linear(np.float32(0.5)), 0.21404114, rtol=1e-5)
    np.testing.assert_allclose(color.linear_to_srgb(np.float32(0.18)), 0.46135613, rtol=1e-5)
    np.testing.assert_allclose(color.linear_to_srgb(linear), srgb, atol=1e-6)


def test_gradients_are_finite_everywhere():
    values = jnp.array([-0.1, 0.0, 1e-8, 0.0031308, 0.04045, 0.5, 1.0, 2.0])
    for curve in (color.srgb_to_linear, color.linear_to_srgb):
        grad = jax.vmap(jax.grad(curve))(values)
        assert np.isfinite(grad).all() and (np.asarray(grad) > 0).all()


def test_rescale_takes_ends_to_ends():
    got = color.rescale(np.float32([0, 127.5, 255]), (0, 255), (-1, 1))
    np.testing.assert_allclose(got, [-1, 0, 1], atol=1e-6)
