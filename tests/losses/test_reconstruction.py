import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import losses
from facejax.render.face_decoder import Coefficients


def test_closed_forms():
    image = jnp.full((2, 4, 4, 3), 0.25)
    mask = jnp.zeros((2, 4, 4)).at[0, :2].set(1.0)
    offset = image + jnp.array([0.3, 0.0, 0.4]).reshape(1, 1, 1, 3)
    assert losses.photometric(offset, image, mask) == pytest.approx(0.5, abs=1e-5)
    assert losses.photometric(offset, image, mask, "tensorflow") == pytest.approx(0.5, abs=1e-6)
    assert losses.photometric(offset, image, 0 * mask) == 0
    points = jnp.zeros((3, 68, 2))
    shifted = points + jnp.array([3.0, 4.0]).reshape(1, 1, 2)
    assert losses.landmark(shifted, points, np.ones(68)) == pytest.approx(25)
    assert losses.landmark(shifted, points) == pytest.approx(25 * (57 + 11 * 20) / 68, rel=1e-6)
    a, b = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[3.0, 0.0], [5.0, 0.0]])
    assert losses.perceptual(a, b) == pytest.approx(0.5)
    coeffs = Coefficients(*(jnp.ones((2, n)) for n in (5, 4, 3, 3, 27, 3)))
    assert losses.coefficient_prior(coeffs) == pytest.approx(5 + 0.8 * 4 + 0.017 * 3)
    assert losses.gamma_prior(coeffs.gamma) == 0
    assert losses.gamma_prior(jnp.repeat(jnp.array([[0.0, 3, 6]]), 9, axis=1)) == pytest.approx(6)
    albedo = jnp.array([[[0.0] * 3, [1.0] * 3, [9.0] * 3]])
    assert losses.reflectance(albedo, np.array([1, 1, 0])) == pytest.approx(3 * 0.25)
    assert losses.reflectance(albedo, np.zeros(3)) == 0
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
