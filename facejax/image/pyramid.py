"""Laplacian pyramids (Burt and Adelson 1983) of [..., H, W, C] images, as progressive GANs do it.

The 5x5 binomial kernel and the mirrored border follow section 5 of arXiv 1710.10196 and its code.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.filters import correlate_axis

_BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0


def pyramid_down(image: jax.Array) -> jax.Array:
    """Binomial blur, then every second pixel from the first on, [..., H / 2, W / 2, C]."""
    return _blur(image, 1.0)[..., ::2, ::2, :]


def pyramid_up(image: jax.Array) -> jax.Array:
    """Zero insertion, then the blur with four times its weight: [..., 2H, 2W, C]."""
    *batch, height, width, channels = image.shape
    image = jnp.pad(
        image[..., :, None, :, None, :],
        [(0, 0)] * len(batch) + [(0, 0), (0, 1), (0, 0), (0, 1), (0, 0)],
    )
    return _blur(image.reshape(*batch, 2 * height, 2 * width, channels), 2.0)


def laplacian_pyramid(image: jax.Array, num_levels: int) -> list[jax.Array]:
    """Band-pass images from fine to coarse; the last level is the low-pass rest.

    Args:
      image: [..., H, W, C] float; H and W divisible by 2^(num_levels - 1).
      num_levels: at least 1.

    Returns:
      num_levels arrays [..., H / 2^k, W / 2^k, C]; `reconstruct` inverts them exactly.

    Raises:
      ValueError: no level, or a size that does not divide.
    """
    if num_levels < 1:
        raise ValueError(f"a pyramid has at least one level, found {num_levels}")
    factor = 2 ** (num_levels - 1)
    height, width = image.shape[-3:-1]
    if height % factor or width % factor:
        raise ValueError(
            f"{num_levels} pyramid levels need a size divisible by {factor}, found {height}x{width}"
        )
    levels = [image]
    for _ in range(num_levels - 1):
        coarse = pyramid_down(levels[-1])
        levels[-1] = levels[-1] - pyramid_up(coarse)
        levels.append(coarse)
    return levels


def reconstruct(levels: list[jax.Array]) -> jax.Array:
    """The image [..., H, W, C] of a Laplacian pyramid."""
    image = levels[-1]
    for band in levels[-2::-1]:
        image = band + pyramid_up(image)
    return image


def _blur(image: jax.Array, gain_per_axis: float) -> jax.Array:
    kernel = gain_per_axis * _BINOMIAL
    return correlate_axis(correlate_axis(image, kernel, -3, "mirror"), kernel, -2, "mirror")
