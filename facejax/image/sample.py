"""Reading images at arbitrary points."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames="wrap_u")
def sample_bicubic(image: jax.Array, uv: jax.Array, wrap_u: bool = False) -> jax.Array:
    """Catmull-Rom interpolation of an image at arbitrary UV points; differentiable in both.

    Exact at texel centres, ((column + .5) / W, (row + .5) / H), and C1 between them.

    Args:
      image: [..., H, W, C] float.
      uv: [..., N, 2] with the leading axes of the image, or [N, 2]: the same points for the whole
        batch. An image without leading axes takes points of any shape [..., 2]. v runs down.
      wrap_u: u is periodic; otherwise coordinates beyond the border take the border texel.

    Returns:
      [..., N, C]: the leading axes of image and uv, then the channels.

    Source: Catmull and Rom 1974; Keys 1981 with a = -0.5.
    """
    return _over_batch(lambda i, p: _bicubic(i, p, wrap_u), image, uv)


@functools.partial(jax.jit, static_argnames="wrap_u")
def sample_bilinear(image: jax.Array, uv: jax.Array, wrap_u: bool = False) -> jax.Array:
    """Bilinear interpolation of an image at arbitrary UV points; arguments as in sample_bicubic."""
    return _over_batch(lambda i, p: _bilinear(i, p, wrap_u), image, uv)


def sample_truncated(image: jax.Array, row_col: jax.Array) -> jax.Array:
    """The pixel at int(row), int(col): how the original TBGAN reads vertices from its shape maps.

    Pixel coordinates are those of an image whose corner *centres* lie at 0 and H - 1: with v up,
    row = (1 - v) (H - 1) and col = u (W - 1). Prefer sample_bilinear, which does not snap.

    Args:
      image: [..., H, W, C].
      row_col: [V, 2] pixel coordinates, row first, shared by the batch.

    Returns:
      [..., V, C].
    """
    index = jnp.asarray(row_col).astype(jnp.int32)
    return image[..., index[:, 0], index[:, 1], :]


def _over_batch(sample, image: jax.Array, uv: jax.Array) -> jax.Array:
    """Applies `sample(image [H, W, C], uv [..., 2])` over the leading axes of the image."""
    image, uv = jnp.asarray(image), jnp.asarray(uv)
    batch = image.shape[:-3]
    shared = uv.ndim == 2
    if uv.shape[-1] != 2 or not (shared or uv.shape[: len(batch)] == batch):
        raise ValueError(
            f"uv has shape {uv.shape} for an image of shape {image.shape}; wanted "
            f"{(*batch, '...', 2)} or, for points shared by the batch, [N, 2]"
        )
    for _ in batch:
        sample = jax.vmap(sample, in_axes=(0, None if shared else 0))
    return sample(image, uv)


def _bicubic(image: jax.Array, uv: jax.Array, wrap_u: bool) -> jax.Array:
    col, wu = _catmull_rom(uv[..., 0] * image.shape[1] - 0.5)
    row, wv = _catmull_rom(uv[..., 1] * image.shape[0] - 0.5)
    return _gather(image, row, wv, col, wu, wrap_u)


def _bilinear(image: jax.Array, uv: jax.Array, wrap_u: bool) -> jax.Array:
    col, wu = _linear(uv[..., 0] * image.shape[1] - 0.5)
    row, wv = _linear(uv[..., 1] * image.shape[0] - 0.5)
    return _gather(image, row, wv, col, wu, wrap_u)


def _linear(x: jax.Array):
    """Taps of linear interpolation: index [..., 2] and weight [..., 2]."""
    base = jnp.floor(x)
    t = x - base
    return _taps(base, 0, 2), jnp.stack([1.0 - t, t], axis=-1)


def _catmull_rom(x: jax.Array):
    """Taps of cubic interpolation: index [..., 4] and weight [..., 4]."""
    base = jnp.floor(x)
    t = x - base
    weights = (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
    return _taps(base, -1, 3), jnp.stack(weights, axis=-1)


def _taps(base: jax.Array, start: int, stop: int) -> jax.Array:
    base = base.astype(jnp.int32)
    return jnp.stack([base + k for k in range(start, stop)], axis=-1)


def _gather(image, row, row_weight, col, col_weight, wrap_u: bool) -> jax.Array:
    """sum_jk row_weight_j col_weight_k image[row_j, col_k], [..., C]."""
    height, width, channels = image.shape
    row = jnp.clip(row, 0, height - 1)
    col = col % width if wrap_u else jnp.clip(col, 0, width - 1)
    flat = row[..., :, None] * width + col[..., None, :]
    texels = jnp.take(image.reshape(height * width, channels), flat, axis=0)
    return jnp.einsum(
        "...j,...k,...jkc->...c",
        row_weight,
        col_weight,
        texels,
        precision=jax.lax.Precision.HIGHEST,
    )
