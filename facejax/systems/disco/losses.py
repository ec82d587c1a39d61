"""Losses of DiscoFaceGAN (Deng et al. 2020, arXiv 2004.11660): adversarial, imitative, contrastive.

Pictures are [B, H, W, 3] in [-1, 1], row 0 at the top; landmarks are pixels with y UP, as all of
the Deep3D family. What was rendered, and the coefficients that it was rendered from, are targets:
the callers stop their gradients. Terms are means over the examples given; weights are the config's.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from facejax.geometry.math import safe_normalize
from facejax.image.filters import gaussian_filter
from facejax.image.warp import dense_warp
from facejax.losses.adversarial import logistic_generator, r1_penalty
from facejax.nn.devices import mean_over_devices, num_mapped_devices
from facejax.systems.disco.networks import NetworkConfig, scores_of

_EPSILON = 1e-8  # inside the root of a colour distance
_IDENTITY_MARGIN = 0.3
_BLUR_SIGMA, _BLUR_TAPS_PER_SIGMA = 2.0, 1.0  # 5 x 5 taps


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights; 0 leaves a term out. The defaults are the published ones.

    Attributes:
      r1_gamma: of the discriminator's penalty, which is halved as published.
      color: of the plain colour distance, up to `color_until` pixels; above that the next four.
      identity, landmark, light, skin: imitation of the render. `landmark_contrast` takes the place
        of `landmark` in the second stage.
      expression_change, light_change: contrast, second stage.
      hair, same_identity, same_landmarks: within `light_change`.
      twice_real: the second stage's discriminator sees the same real pictures with both batches of
        fakes, so their score and penalty count twice.
    """

    r1_gamma: float = 10.0
    color: float = 20.0
    color_until: int = 32
    identity: float = 3.0
    landmark: float = 500.0
    landmark_contrast: float = 100.0
    light: float = 10.0
    skin: float = 20.0
    expression_change: float = 10.0
    light_change: float = 10.0
    hair: float = 1.0
    same_identity: float = 2.0
    same_landmarks: float = 1000.0
    twice_real: bool = True


def unit_range(images: jax.Array) -> jax.Array:
    """Pictures in [-1, 1] brought to [0, 1] and clipped: what frozen networks look at.

    The slope is that of TensorFlow's clipping: whole, not half, where a value is just at the limit.
    """
    x = (images + 1.0) / 2.0
    return jnp.where(x > 1.0, 1.0, jnp.where(x < 0.0, 0.0, x))


def discriminator(
    disc: dict,
    reals: jax.Array,
    fakes: Sequence[jax.Array],
    alpha: jax.Array,
    *,
    cfg: NetworkConfig,
    stage: int,
    r1_gamma: float,
    real_weight: float = 1.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """softplus(D(fake)) + softplus(-D(real)) + r1_gamma / 2 * |slope of D at reals|^2.

    The slope is taken at the stage's own resolution, and its square divided by 4^(levels above
    the stage): the original's slope is with respect to nearest-enlarged pictures.

    Args:
      disc: parameters.
      reals: [N, H, W, 3] at the stage's resolution, faded already.
      fakes: batches [N, H, W, 3], whose terms are added; no gradient reaches what made them.
      alpha: scalar in [0, 1].
      cfg: of the networks.
      stage: log2 of the resolution.
      r1_gamma: 10 as published.
      real_weight: of both terms of the real pictures.

    Returns:
      The loss, and its metrics.
    """

    def score(images):
        return scores_of(cfg, disc, images, alpha, stage)

    real_scores = score(reals)
    r1 = r1_penalty(score, reals) / 4.0 ** cfg.lod(stage)
    loss = real_weight * (logistic_generator(real_scores) + 0.5 * r1_gamma * r1)
    metrics = {"score_real": jnp.mean(real_scores), "r1": r1}
    for name, batch in zip(("score_fake", "score_pairs"), fakes, strict=False):
        scores = score(jax.lax.stop_gradient(batch))
        loss = loss + jnp.mean(jax.nn.softplus(scores))
        metrics[name] = jnp.mean(scores)
    return loss, metrics


# ---- imitation (section 3.3 of the paper) --------------------------------------------------------


def color_distance(a: jax.Array, b: jax.Array, mask: jax.Array) -> jax.Array:
    """Distance of colours where a mask says, over the pixels of the whole batch.

    Args:
      a, b: [B, H, W, 3].
      mask: [B, H, W] weights in [0, 1].

    Returns:
      Scalar, sum(|a - b| mask) / sum(mask); 0 for an empty mask.
    """
    distance = jnp.sqrt(jnp.sum((a - b) ** 2, axis=-1) + _EPSILON)
    total = mean_over_devices(jnp.sum(mask))
    return jnp.sum(distance * mask) / jnp.maximum(total, 1.0 / num_mapped_devices())


def skin_color(fake: jax.Array, render: jax.Array, mask: jax.Array) -> jax.Array:
    """Distance of the mean colours of each face.

    Args:
      fake, render: [B, H, W, 3].
      mask: [B, H, W] where the face is; a picture without any counts as agreeing.
    """
    total = jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1e-8)[:, None]
    difference = jnp.sum((fake - render) * mask[..., None], axis=(1, 2)) / total
    return jnp.mean(jnp.sqrt(jnp.sum(difference**2, axis=-1) + _EPSILON))


def identity(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """max(0.3, 1 - cosine) of identity features [B, E] of any length.

    Faces that resemble each other by more than the margin have no gradient: the face model knows
    an identity only coarsely.
    """
    return jnp.mean(jnp.maximum(_IDENTITY_MARGIN, _cosine_distance(found, wanted)))


def _cosine_distance(a, b):
    return 1.0 - jnp.sum(safe_normalize(a) * safe_normalize(b), axis=-1)


def landmarks(found: jax.Array, wanted: jax.Array, size: int) -> jax.Array:
    """Mean squared difference of landmark coordinates, in sides of the picture.

    Args:
      found, wanted: [B, 68, 2] pixels.
      size: side of the picture that they lie in.
    """
    return jnp.mean(((found - wanted) / size) ** 2)


def light(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """Mean absolute difference of light coefficients [B, 27]."""
    return jnp.mean(jnp.abs(found - wanted))


# ---- contrast (section 3.4) ----------------------------------------------------------------------


def expression_change(
    first: jax.Array,
    second: jax.Array,
    flow: jax.Array,
    mask_first: jax.Array,
    mask_second: jax.Array,
) -> jax.Array:
    """Two faces that differ in expression alone: the first, moved as the face model says, is
    compared with the second.

    Args:
      first, second: [P, H, W, 3].
      flow: [P, H, W, 2] (rows, columns) in pixels: where the first shows what the second shows
        here; zero outside the face.
      mask_first, mask_second: [P, H, W] faces, 0 or 1. Pixels of the first face alone are left
        out; hair and background count.

    Returns:
      Scalar over the pixels of all pairs; both pictures get a gradient.
    """
    moved = dense_warp(first, flow)
    blurred = [
        gaussian_filter(x, _BLUR_SIGMA, "constant", _BLUR_TAPS_PER_SIGMA) for x in (second, moved)
    ]
    mask = (mask_first - mask_second <= 0).astype(jnp.float32)
    return color_distance(*blurred, mask)


def same_landmarks(first: jax.Array, second: jax.Array, size: int, full_size: int) -> jax.Array:
    """Landmarks of two faces that should agree, in the original's odd unit.

    It divides pixels of the generator's picture by the side of the regressor's.

    Args:
      first, second: [P, 68, 2] pixels of the regressor's picture.
      size: its side (224 as published).
      full_size: side of the generator's picture (256).
    """
    return landmarks(first * (full_size / size), second * (full_size / size), size)


def same_identity(first: jax.Array, second: jax.Array) -> jax.Array:
    """1 - cosine of identity features [P, E] of any length."""
    return jnp.mean(_cosine_distance(first, second))


def same_hair(first: jax.Array, second: jax.Array) -> jax.Array:
    """Mean squared difference of hair probabilities [P, H, W]."""
    return jnp.mean((first - second) ** 2)


def light_change(terms: dict[str, jax.Array], cfg: LossConfig) -> jax.Array:
    """Two faces that differ in light alone: hair, identity and landmarks stay.

    Args:
      terms: 'hair', 'same_identity' and 'same_landmarks', as far as they are known.
      cfg: weights.
    """
    return sum((getattr(cfg, name) * value for name, value in terms.items()), jnp.zeros(()))
