"""Separable filters on [..., H, W, C] images, as sums of shifted copies.

A sum of shifts compiles to one fused loop; a depthwise convolution is several times slower on CPU,
forwards and backwards.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# scipy.ndimage's names for the ways to continue an image beyond its border, as numpy.pad calls them
_PAD_MODES = {
    "reflect": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "constant": "constant",
}


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Sampled Gaussian of odd length, float64, summing to one (scipy.ndimage's taps).

    Args:
      sigma: standard deviation in samples; 0 gives the single tap 1.
      truncate: radius in standard deviations, rounded to the nearest sample.
    """
    if sigma < 0:
        raise ValueError(f"sigma must be >= 0, found {sigma}")
    if sigma == 0:
        return np.ones(1)
    radius = int(truncate * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def correlate_axis(image: jax.Array, kernel: np.ndarray, axis: int, mode: str = "reflect"):
    """Correlation of one axis with a short static kernel.

    Args:
      image: an array of any rank, float.
      kernel: [N] taps known at trace time. Tap k is centred on sample k - N // 2.
      axis: the axis to filter.
      mode: scipy.ndimage's border mode ('reflect' (d c b a | a b c d), 'mirror' (d c b | a b c d),
        'nearest', 'wrap', 'constant' (zeros)), or 'valid': no border, the axis shrinks by N - 1.

    Returns:
      The filtered array, of the dtype of `image`.
    """
    if mode != "valid" and mode not in _PAD_MODES:
        raise ValueError(f"unknown border mode {mode!r}; use {[*_PAD_MODES, 'valid']}")
    if mode == "valid" and image.shape[axis] < len(kernel):
        raise ValueError(
            f"axis {axis} has {image.shape[axis]} samples but the kernel has {len(kernel)}; "
            "use a border mode other than 'valid' or a shorter kernel"
        )
    return _correlate(image, tuple(float(tap) for tap in kernel), axis % image.ndim, mode)


@functools.partial(jax.jit, static_argnames=("taps", "axis", "mode"))
def _correlate(image: jax.Array, taps: tuple, axis: int, mode: str) -> jax.Array:
    if mode != "valid":
        before = len(taps) // 2
        widths = [(0, 0)] * image.ndim
        widths[axis] = (before, len(taps) - 1 - before)
        image = jnp.pad(image, widths, mode=_PAD_MODES[mode])
    length = image.shape[axis] - len(taps) + 1
    shifts = (jax.lax.slice_in_dim(image, k, k + length, axis=axis) for k in range(len(taps)))
    return sum(tap * shift for tap, shift in zip(taps, shifts, strict=True))


def gaussian_filter(
    image: jax.Array,
    sigma: float | tuple[float, float],
    mode: str | tuple[str, str] = "reflect",
    truncate: float = 4.0,
) -> jax.Array:
    """Gaussian blur of the two image axes, equal to scipy.ndimage.gaussian_filter.

    Args:
      image: [..., H, W, C] float.
      sigma: standard deviation in pixels, one number or (rows, columns); known at trace time.
      mode: scipy.ndimage's border mode, one name or (rows, columns).
      truncate: radius of the kernel in standard deviations.

    Returns:
      [..., H, W, C].
    """
    sigmas = (sigma, sigma) if np.ndim(sigma) == 0 else tuple(sigma)
    modes = (mode, mode) if isinstance(mode, str) else tuple(mode)
    for axis, axis_sigma, axis_mode in zip((-3, -2), sigmas, modes, strict=True):
        if axis_sigma > 0:
            kernel = gaussian_kernel(axis_sigma, truncate)
            image = correlate_axis(image, kernel, axis, axis_mode)
    return image
