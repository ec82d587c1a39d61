"""The crop in which recognition networks see a face."""

import jax
import numpy as np

from facejax.data.alignment import arcface_similarity
from facejax.image.warp import affine_warp

TEMPLATE_SIZE = 112


def face_crop(image: jax.Array, landmarks: jax.Array, size: int = TEMPLATE_SIZE) -> jax.Array:
    """ArcFace's aligned crop (Deng et al. 2019, arXiv 1801.07698), bilinear, black outside.

    Differentiable in the image; no gradient flows into the landmarks, as in the originals.

    Args:
      image: [B, S, S, 3].
      landmarks: [B, 68, 2] or [B, 5, 2] pixels of the image, y UP.
      size: side of the crop; 112 is the template's own.

    Returns:
      [B, size, size, 3].
    """
    matrix = jax.lax.stop_gradient(arcface_similarity(landmarks, image.shape[-3]))
    ratio = size / TEMPLATE_SIZE
    # pixel centres are whole numbers: both pictures' corners must fall together
    corner = np.array([[[0, 0, 1], [0, 0, 1]]], np.float32) * (ratio - 1) / 2
    return affine_warp(image, ratio * matrix + corner, (size, size))
