"""Losses that several systems share.

By name here: weakly supervised reconstruction through the renderer. In modules of their own: what
GANs and classifiers need (`adversarial`, `classification`).
"""

from facejax.losses.mesh import gcn_normal, gcn_shape, laplacian_smoothness
from facejax.losses.reconstruction import (
    LANDMARK_WEIGHTS,
    coefficient_prior,
    gamma_prior,
    landmark,
    perceptual,
    photometric,
    reflectance,
)

__all__ = [
    "LANDMARK_WEIGHTS",
    "coefficient_prior",
    "gamma_prior",
    "gcn_normal",
    "gcn_shape",
    "laplacian_smoothness",
    "landmark",
    "perceptual",
    "photometric",
    "reflectance",
]
