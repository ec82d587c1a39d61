import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import losses
from facejax.morphable import Coefficients


def test_closed_forms():
    image, mask = np.full((2, 4, 4, 3), 0.25, np.float32), np.zeros((2, 4, 4), np.float32)
    mask[0, :2] = 1
    offset = image + np.float32([0.3, 0.0, 0.4])
    points = np.zeros((3, 68, 2), np.float32)
    shifted = points + np.float32([3, 4])
    a, b = np.float32([[2, 0], [0, 1]]), np.float32([[3, 0], [5, 0]])
    coeffs = Coefficients(*(np.ones((2, n), np.float32) for n in (5, 4, 3, 3, 27, 3)))
    tint = np.repeat(np.float32([[0, 3, 6]]), 9, axis=1)
    albedo = np.float32([[[0] * 3, [1] * 3, [9] * 3]])

    @jax.jit
    def values():
        return dict(
            photo=(losses.photometric(offset, image, mask), 0.5),
            photo_tf=(losses.photometric(offset, image, mask, "tensorflow"), 0.5),
            empty=(losses.photometric(offset, image, 0 * mask), 0.0),
            landmark=(losses.landmark(shifted, points, np.ones(68)), 25.0),
            weighted=(losses.landmark(shifted, points), 25 * (57 + 11 * 20) / 68),
            perceptual=(losses.perceptual(a, b), 0.5),
            prior=(losses.coefficient_prior(coeffs), 5 + 0.8 * 4 + 0.017 * 3),
            white=(losses.gamma_prior(coeffs.gamma), 0.0),
            tinted=(losses.gamma_prior(tint), 6.0),
            reflectance=(losses.reflectance(albedo, np.array([1, 1, 0])), 0.75),
            no_skin=(losses.reflectance(albedo, np.zeros(3)), 0.0),
        )

    for name, (value, wanted) in values().items():
        assert float(value) == pytest.approx(float(wanted), rel=1e-5, abs=1e-7), name
    with pytest.raises(ValueError, match="pytorch"):
        losses.photometric(image, image, mask, "caffe")


@pytest.mark.parametrize("form", ["pytorch", "tensorflow"])
def test_gradients_are_finite_where_pictures_and_features_agree(form):
    def total(image, features):
        mask = image[..., 0]  # no gradient through masks
        photo = losses.photometric(image, jnp.full((1, 3, 3, 3), 0.5), mask, form)
        return photo + losses.perceptual(features, jnp.zeros((1, 4)), form)

    image, features = jnp.full((1, 3, 3, 3), 0.5), jnp.zeros((1, 4))
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(image, features)
    assert all(np.isfinite(g).all() for g in gradients)
    assert float(jnp.abs(gradients[0]).max()) == 0
