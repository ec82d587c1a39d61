"""Where a photo shows skin: the attention mask of the Deep3D family.

Deng et al. 2019 (arXiv 1903.08527, section 3.1), code: the posterior of skin under two Gaussian
mixtures over (Y, Cb, Cr), with a prior of 0.8 for skin.
"""

import jax.numpy as jnp
import numpy as np

_PRIOR = 0.8
_YCBCR = np.array(  # BT.601 for 8-bit values
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
) / 255.0  # fmt: skip
_OFFSET = np.array([16.0, 128.0, 128.0])
# weight, mean (3), determinant, inverse covariance (11 12 13 22 23 33); one row per component
_SKIN = np.array([
    [0.24063933, 113.71862, 103.39613, 164.08226, 5692842.5,
     0.0019472069, 0.0020450759, -0.00060243998, 0.017700525, 0.0051420014, 0.0081308950],
    [0.16365987, 150.19858, 105.18467, 155.51428, 5851930.5,
     0.0027110141, 0.0011036990, 0.0023122299, 0.010707724, 0.010742856, 0.017481629],
    [0.26034665, 183.92976, 107.62468, 152.71820, 2329131.0,
     0.0048026871, 0.00022935172, 0.0077668377, 0.011729696, 0.0081661865, 0.025374353],
    [0.33535415, 114.90524, 113.59782, 151.38217, 1585971.0,
     0.0011989699, 0.0022453172, -0.0010748957, 0.047758564, 0.020332102, 0.024502251],
])  # fmt: skip
_OTHER = np.array([
    [0.12791070, 99.200851, 112.07533, 140.20602, 458703648.0,
     0.00085371657, 0.00071197288, 0.00023958916, 0.0025935620, 0.00076557708, 0.0015042332],
    [0.31130761, 110.91392, 125.52969, 130.19237, 6466488.0,
     0.00024650150, 0.00045542428, 0.00015019422, 0.026412144, 0.018419769, 0.037497383],
    [0.34245777, 129.75864, 129.96107, 126.96808, 90611376.0,
     0.00037054974, 0.00038146760, 0.00040408765, 0.0085505722, 0.0079136286, 0.010982352],
    [0.21832393, 112.29587, 128.85121, 129.05431, 133097.63,
     0.00013709733, 0.00051228428, 0.00012777430, 0.28237113, 0.10528370, 0.23468947],
])  # fmt: skip


def skin_mask(image, threshold: float | None = None):
    """How likely every pixel is skin.

    Args:
      image: [..., H, W, 3] RGB: numpy uint8 (exact, on the host) or float in [0, 1] (jax, any
        platform, differentiable).
      threshold: None keeps the posterior, as the programs do; with a number, pixels above it get
        weight 1, as the paper says (0.5).

    Returns:
      [..., H, W]: uint8 in 0 .. 255 for uint8, float32 in [0, 1] for float.

    Raises:
      ValueError: the last axis is not RGB.
    """
    if image.shape[-1:] != (3,):
        raise ValueError(f"found an image of shape {image.shape}, wanted [..., H, W, 3] RGB")
    if image.dtype == np.uint8:
        posterior = _posterior(np, np.asarray(image, np.float64))
        whole = np.rint(255 * _weights(np, posterior, threshold))
        return whole.astype(np.uint8)
    posterior = _posterior(jnp, 255.0 * jnp.asarray(image, jnp.float32))
    return _weights(jnp, posterior, threshold).astype(jnp.float32)


def _weights(xp, posterior, threshold):
    return posterior if threshold is None else xp.where(posterior > threshold, 1.0, posterior)


def _posterior(xp, rgb):
    """The posterior from RGB in 0 .. 255; log densities, lest far colours give 0 / 0."""
    planes = [rgb[..., k] for k in range(3)]
    color = [
        sum(float(w) * p for w, p in zip(row, planes, strict=True)) + float(offset)
        for row, offset in zip(_YCBCR, _OFFSET, strict=True)
    ]
    odds = _log_density(xp, color, _SKIN) - _log_density(xp, color, _OTHER)
    odds = odds + float(np.log(_PRIOR / (1 - _PRIOR)))
    return 1.0 / (1.0 + xp.exp(-xp.clip(odds, -80.0, 80.0)))


def _log_density(xp, color, mixture):
    logs = []
    for weight, *mean, determinant, a11, a12, a13, a22, a23, a33 in mixture.tolist():
        y, cb, cr = (c - m for c, m in zip(color, mean, strict=True))
        square = a11 * y * y + a22 * cb * cb + a33 * cr * cr
        square = square + 2 * (a12 * y * cb + a13 * y * cr + a23 * cb * cr)
        logs.append(-0.5 * square + float(np.log(weight) - 0.5 * np.log(determinant)))
    largest = logs[0]
    for value in logs[1:]:
        largest = xp.maximum(largest, value)
    return largest + xp.log(sum(xp.exp(value - largest) for value in logs))
