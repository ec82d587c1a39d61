"""Changing the size of [..., H, W, C] images. Pixel centres lie at (i + .5) / N."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image import filters


def upsample2(image: jax.Array) -> jax.Array:
    """Nearest-neighbour enlargement by two, [..., H, W, C] -> [..., 2H, 2W, C]."""
    *batch, height, width, channels = image.shape
    image = jnp.broadcast_to(
        image[..., :, None, :, None, :], (*batch, height, 2, width, 2, channels)
    )
    return image.reshape(*batch, 2 * height, 2 * width, channels)


def downsample2(image: jax.Array) -> jax.Array:
    """Mean of 2x2 blocks, [..., H, W, C] -> [..., H / 2, W / 2, C]; H and W must be even."""
    *batch, height, width, channels = image.shape
    if height % 2 or width % 2:
        raise ValueError(f"downsample2 needs an even size, found {height}x{width}; use resize")
    return image.reshape(*batch, height // 2, 2, width // 2, 2, channels).mean(axis=(-4, -2))


def gaussian_blur(image: jax.Array, sigma: float, wrap_u: bool = False) -> jax.Array:
    """Gaussian blur with the border pixels repeated outwards.

    Args:
      image: [..., H, W, C] float.
      sigma: standard deviation in pixels, known at trace time; 0 returns the image.
      wrap_u: the image is periodic along its width (a UV map of a closed head).

    Returns:
      [..., H, W, C].
    """
    return filters.gaussian_filter(image, sigma, ("nearest", "wrap" if wrap_u else "nearest"))


def resize(
    image: jax.Array,
    size: tuple[int, int],
    method: str = "bilinear",
    wrap_u: bool = False,
    antialias: bool = True,
) -> jax.Array:
    """Resampling with half-pixel centres; equal to jax.image.resize where nothing wraps.

    Args:
      image: [..., H, W, C] float.
      size: (height, width) of the result, known at trace time.
      method: 'nearest', 'bilinear' or 'bicubic' (Catmull-Rom, a = -0.5).
      wrap_u: take the samples beyond the left and right border from the other side.
      antialias: widen the kernel when shrinking, as Pillow does.

    Returns:
      [..., size[0], size[1], C] of the dtype of `image`.
    """
    if method not in _KERNELS:
        raise ValueError(f"unknown resize method {method!r}; use one of {sorted(_KERNELS)}")
    if min(size) < 1:
        raise ValueError(f"size must be positive, found {tuple(size)}")
    for axis, out_size, wrap in ((-3, size[0], False), (-2, size[1], wrap_u)):
        in_size = image.shape[axis]
        if in_size == out_size:
            continue
        if method == "nearest":
            index = np.floor((np.arange(out_size) + 0.5) * in_size / out_size).astype(np.int32)
            image = jnp.take(image, index, axis=axis)
        else:
            weights = resize_weights(in_size, out_size, method, wrap, antialias)
            letters = "oh,...hwc->...owc" if axis == -3 else "ow,...hwc->...hoc"
            image = jnp.einsum(
                letters, weights.astype(image.dtype), image, precision=jax.lax.Precision.HIGHEST
            )
    return image


def resize_weights(
    in_size: int, out_size: int, method: str = "bilinear", wrap: bool = False, antialias=True
) -> np.ndarray:
    """The matrix [out_size, in_size], float64, that `resize` applies to one axis.

    Taps beyond the border are dropped and the others renormalised, unless `wrap`.
    """
    kernel, radius = _KERNELS[method]
    scale = out_size / in_size
    stretch = max(1.0, 1.0 / scale) if antialias else 1.0
    centre = (np.arange(out_size) + 0.5) / scale - 0.5
    reach = int(np.ceil(radius * stretch)) + 1
    tap = np.floor(centre).astype(int)[:, None] + np.arange(-reach, reach + 1)
    weight = kernel(np.abs(tap - centre[:, None]) / stretch)
    weight = weight * (wrap | ((tap >= 0) & (tap < in_size)))
    matrix = np.zeros((out_size, in_size))
    np.add.at(matrix, (np.arange(out_size)[:, None], tap % in_size), weight)
    return matrix / matrix.sum(axis=1, keepdims=True)


def resize_legacy(image: jax.Array, size: tuple[int, int], repeat: int = 1) -> jax.Array:
    """Bilinear resampling as TensorFlow 1 did it: source = target * scale, no antialiasing.

    The first pixels coincide and the last ones do not; networks trained behind it want it so.

    Args:
      image: [..., H, W, C] float.
      size: (height, width) of the result, known at trace time.
      repeat: every pixel counts as so many in both directions: equals enlarging the image by
        nearest neighbours first.

    Returns:
      [..., size[0], size[1], C] of the dtype of `image`.
    """
    for axis, out_size in ((-3, size[0]), (-2, size[1])):
        in_size = image.shape[axis]
        if in_size * repeat == out_size and repeat == 1:
            continue
        weights = _legacy_weights(in_size * repeat, out_size).reshape(out_size, in_size, repeat)
        letters = "oh,...hwc->...owc" if axis == -3 else "ow,...hwc->...hoc"
        image = jnp.einsum(
            letters,
            weights.sum(axis=-1).astype(image.dtype),
            image,
            precision=jax.lax.Precision.HIGHEST,
        )
    return image


def _legacy_weights(in_size: int, out_size: int) -> np.ndarray:
    """[out_size, in_size], float64."""
    source = np.arange(out_size) * (in_size / out_size)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, in_size - 1)
    matrix, rows = np.zeros((out_size, in_size)), np.arange(out_size)
    np.add.at(matrix, (rows, low), 1 - (source - low))
    np.add.at(matrix, (rows, high), source - low)
    return matrix


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - x)


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    """Cubic convolution with a = -0.5 (Keys 1981, equation 15)."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_KERNELS = {"nearest": (None, 0.5), "bilinear": (_triangle, 1.0), "bicubic": (_keys_cubic, 2.0)}
