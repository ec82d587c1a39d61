"""Losses of weakly supervised face reconstruction.

Deng et al. 2019 (arXiv 1903.08527, section 3) in the forms of its two programs:
sicxu/Deep3DFaceRecon_pytorch ('pytorch', the default) and microsoft/Deep3DFaceReconstruction
('tensorflow'). Colours are in [0, 1], landmarks in pixels. Every loss is one number, a mean over
the batch; gradients are finite everywhere, also where two pictures agree exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from facejax.geometry.math import safe_norm, safe_normalize
from facejax.morphable import Coefficients
from facejax.nn.devices import mean_over_devices, num_mapped_devices

FORMS = ("pytorch", "tensorflow")
_PHOTO_EPS = 1e-6
LANDMARK_WEIGHTS = np.ones(68, np.float32)
LANDMARK_WEIGHTS[[28, 29, 30, *range(60, 68)]] = 20.0  # bridge to tip of the nose, inner lips


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"found the loss form {form!r}, wanted one of {list(FORMS)}")


def photometric(
    rendered: jax.Array, image: jax.Array, mask: jax.Array, form: str = "pytorch"
) -> jax.Array:
    """Mean colour distance inside a mask (eq. 2).

    Args:
      rendered: [..., H, W, 3] in [0, 1].
      image: [..., H, W, 3] in [0, 1], the photo.
      mask: [..., H, W] weights in [0, 1]: skin attention times the rendered inner face; no
        gradient flows into it.
      form: 'pytorch': sqrt(1e-6 + |difference|^2) per pixel; 'tensorflow': |difference|, with a
        zero gradient where the pictures agree (there the original's was NaN).

    Returns:
      Scalar, weighted over all pixels of the batch; 0 for an empty mask. Pixels of weight 0 may be
      anything.

    Raises:
      ValueError: an unknown form.
    """
    _check_form(form)
    mask = lax.stop_gradient(mask)
    difference = jnp.where(mask[..., None] > 0, rendered - image, 0.0)
    if form == "pytorch":
        distance = jnp.sqrt(_PHOTO_EPS + jnp.sum(difference**2, axis=-1))
    else:
        distance = safe_norm(difference)
    total = mean_over_devices(jnp.sum(mask))
    return jnp.sum(distance * mask) / jnp.maximum(total, 1.0 / num_mapped_devices())


def landmark(
    predicted: jax.Array, target: jax.Array, weights: jax.Array | np.ndarray | None = None
) -> jax.Array:
    """Mean weighted squared distance of landmarks, pixels^2 (eq. 3).

    Args:
      predicted: [..., 68, 2] pixels.
      target: [..., 68, 2] pixels, same y direction.
      weights: [68]; None takes LANDMARK_WEIGHTS: 20 for nose bridge and inner lips, else 1. Points
        of weight 0 may be anything.
    """
    weights = jnp.asarray(LANDMARK_WEIGHTS if weights is None else weights, jnp.float32)
    weights = weights.reshape((1,) * (predicted.ndim - 2) + (-1, 1))
    difference = jnp.where(weights != 0, predicted - target, 0.0)
    return jnp.mean(jnp.sum(difference**2 * weights, axis=-1))


def perceptual(features: jax.Array, target: jax.Array, form: str = "pytorch") -> jax.Array:
    """One minus the cosine of identity features (eq. 4).

    Args:
      features: [..., C] of the rendered face, any length.
      target: [..., C] of the photo.
      form: 'tensorflow' clamps every face's term at 0 from below, which rounding may cross.

    Raises:
      ValueError: an unknown form.
    """
    _check_form(form)
    cosine = jnp.sum(safe_normalize(features) * safe_normalize(target), axis=-1)
    distance = 1.0 - cosine
    return jnp.mean(jnp.maximum(distance, 0.0) if form == "tensorflow" else distance)


def coefficient_prior(
    coeffs: Coefficients, id_weight: float = 1.0, exp_weight: float = 0.8, alb_weight: float = 0.017
) -> jax.Array:
    """Weighted squared lengths of the face model's coefficients (eq. 5, weights of the code).

    Args:
      coeffs: batch dims [...].
      id_weight: of |id|^2.
      exp_weight: of |exp|^2.
      alb_weight: of |alb|^2; the paper prints 1.7e-3, both programs have 1.7e-2.
    """
    terms = ((coeffs.id, id_weight), (coeffs.exp, exp_weight), (coeffs.alb, alb_weight))
    return sum(weight * jnp.mean(jnp.sum(c**2, axis=-1)) for c, weight in terms)


def gamma_prior(gamma: jax.Array) -> jax.Array:
    """Mean squared difference of the light's channels from their mean: prefers white light.

    Args:
      gamma: [..., 27], nine each for R, G, B.
    """
    channels = gamma.reshape(*gamma.shape[:-1], 3, 9)
    return jnp.mean((channels - channels.mean(axis=-2, keepdims=True)) ** 2)


def reflectance(albedo: jax.Array, skin: jax.Array | np.ndarray) -> jax.Array:
    """Variance of the albedo over the skin, summed over channels (section 3.1, eq. 6).

    Args:
      albedo: [..., V, 3] in [0, 1].
      skin: [V] weights, for example `facejax.recon.decoder.skin_weights`; vertices of weight 0 may
        be anything.
    """
    skin = jnp.asarray(skin, jnp.float32)
    weights = (skin / jnp.maximum(skin.sum(), 1e-12)).reshape((1,) * (albedo.ndim - 2) + (-1, 1))
    albedo = jnp.where(weights > 0, albedo, 0.0)
    mean = jnp.sum(albedo * weights, axis=-2, keepdims=True)
    return jnp.mean(jnp.sum((albedo - mean) ** 2 * weights, axis=(-2, -1)))
