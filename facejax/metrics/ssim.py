"""Structural similarity (Wang et al. 2004) and its multi-scale form (Wang et al. 2003)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.filters import correlate_axis
from facejax.image.resample import downsample2

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik 2003


@functools.partial(jax.jit, static_argnames=("data_range", "window", "sigma", "sample_covariance"))
def ssim_and_cs(
    a: jax.Array,
    b: jax.Array,
    data_range: float = 1.0,
    window: int = 11,
    sigma: float = 1.5,
    sample_covariance: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Structural similarity and its contrast-structure factor, over the windows that fit inside.

    Args:
      a: [..., H, W, C].
      b: [..., H, W, C].
      data_range: largest minus smallest possible value (1 for [0, 1], 255 for 8-bit values).
      window: side of the Gaussian window in pixels; window and sigma shrink for smaller images.
      sigma: its standard deviation in pixels.
      sample_covariance: multiply (co)variances by N / (N - 1), N = window^2, as scikit-image does.

    Returns:
      (ssim, cs), each [...]: means over pixels and channels.
    """
    if a.shape != b.shape:
        raise ValueError(f"the images have different shapes, {a.shape} and {b.shape}")
    size = min(window, *a.shape[-3:-1])
    offset = np.arange(size) - (size - 1) / 2
    taps = np.exp(-0.5 * (offset / (sigma * size / window)) ** 2)
    taps /= taps.sum()

    def blur(x):
        return correlate_axis(correlate_axis(x, taps, -3, "valid"), taps, -2, "valid")

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    middle = 0.5 * data_range  # variances do not change, and float32 loses less in x^2 - mean^2
    a, b = (jnp.asarray(x, jnp.float32) - middle for x in (a, b))
    moments = blur(jnp.concatenate([a, b, a * a + b * b, a * b], axis=-1))  # one blur compiles fast
    mean_a, mean_b, squares, product = jnp.split(moments, 4, axis=-1)
    scale = size**2 / (size**2 - 1) if sample_covariance else 1.0
    variance = scale * (squares - mean_a**2 - mean_b**2)
    covariance = scale * (product - mean_a * mean_b)
    mean_a, mean_b = mean_a + middle, mean_b + middle
    cs = (2.0 * covariance + c2) / (variance + c2)
    luminance = (2.0 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * cs).mean(axis=(-3, -2, -1)), cs.mean(axis=(-3, -2, -1))


def ssim(a: jax.Array, b: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Structural similarity, [...]: scikit-image's with gaussian_weights=True, mean over channels.

    Args:
      a: [..., H, W, C], at least 11 pixels a side.
      b: [..., H, W, C].
      data_range: largest minus smallest possible value.
    """
    if min(a.shape[-3:-1]) < 11:
        raise ValueError(f"ssim needs at least 11x11 pixels, found {a.shape[-3]}x{a.shape[-2]}")
    return ssim_and_cs(a, b, data_range, sample_covariance=True)[0]


@functools.partial(jax.jit, static_argnames="data_range")
def ms_ssim(a: jax.Array, b: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Multi-scale structural similarity over five scales, [...].

    Args:
      a: [..., H, W, C], H and W divisible by 16.
      b: [..., H, W, C].
      data_range: largest minus smallest possible value.

    Returns:
      [...] in [0, 1]. Negative factors count as zero.
    """
    factor = 2 ** (len(MS_SSIM_WEIGHTS) - 1)
    if a.shape[-3] % factor or a.shape[-2] % factor:
        raise ValueError(
            f"ms_ssim needs a size divisible by {factor}, found {a.shape[-3]}x{a.shape[-2]}; "
            "use ssim or resize"
        )
    a, b = (jnp.asarray(x, jnp.float32) for x in (a, b))
    product = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            a, b = downsample2(a), downsample2(b)
        similarity, cs = ssim_and_cs(a, b, data_range)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        product = product * jnp.maximum(similarity if last else cs, 0.0) ** weight
    return product


def ms_ssim_within(images: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Mean MS-SSIM of neighbours (0, 1), (2, 3), ... of one set, scalar: low means diverse.

    Args:
      images: [N, H, W, C], N >= 2; an odd last one is left out.
      data_range: largest minus smallest possible value.
    """
    num = len(images) // 2 * 2
    if num < 2:
        raise ValueError(f"the similarity within a set needs two images, found {len(images)}")
    return ms_ssim(images[0:num:2], images[1:num:2], data_range).mean()
