"""The crop in which recognition networks see a face."""

import jax
import jax.numpy as jnp

from facejax.data.alignment import arcface_similarity
from facejax.image.sample import sample_bilinear

TEMPLATE_SIZE = 112


def face_crop(image: jax.Array, landmarks: jax.Array, size: int = TEMPLATE_SIZE) -> jax.Array:
    """ArcFace's aligned crop (Deng et al. 2019, arXiv 1801.07698), bilinear, black outside.

    Differentiable in the image; none flows into the landmarks, as in the originals.

    Args:
      image: [B, S, S, 3].
      landmarks: [B, 68, 2] or [B, 5, 2] pixels of the image, y UP.
      size: side of the crop; 112 is the template's own.

    Returns:
      [B, size, size, 3].
    """
    side = image.shape[-3]
    matrix = jax.lax.stop_gradient(arcface_similarity(landmarks, side))
    a, b, t = matrix[:, 0, 0], matrix[:, 1, 0], matrix[:, :, 2]
    square = a * a + b * b
    ticks = (jnp.arange(size) + 0.5) * (TEMPLATE_SIZE / size) - 0.5
    u, v = (g.reshape(1, -1) for g in jnp.meshgrid(ticks, ticks))
    u, v = u - t[:, :1], v - t[:, 1:]
    a, b, square = (c[:, None] for c in (a, b, square))
    x, y = (a * u + b * v) / square, (a * v - b * u) / square
    uv = (jnp.stack([x, y], axis=-1) + 0.5) / side
    inside = ((uv >= 0) & (uv <= 1)).all(axis=-1, keepdims=True)
    crop = jnp.where(inside, sample_bilinear(image, uv), 0.0)
    return crop.reshape(image.shape[0], size, size, image.shape[-1])
