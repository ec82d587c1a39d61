"""Images under a planar affine map, and under a field of displacements."""

import jax
import jax.numpy as jnp

from facejax.image.sample import sample_bilinear


def affine_warp(image: jax.Array, matrix: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The image seen through an affine map: bilinear, zero outside; differentiable in both.

    Args:
      image: [..., H, W, C].
      matrix: [..., 2, 3] with the leading axes of the image, or [2, 3]: takes (x, y, 1) of the
        image to (x, y) of the result, in pixels with the first centre at (0, 0).
      size: (height, width) of the result.

    Returns:
      [..., size[0], size[1], C].
    """
    image, matrix = jnp.asarray(image), jnp.asarray(matrix, jnp.float32)
    a, b, c, d = (matrix[..., i, j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    adjugate = jnp.stack([jnp.stack([d, -b], axis=-1), jnp.stack([-c, a], axis=-1)], axis=-2)
    inverse = adjugate / (a * d - b * c)[..., None, None]
    y, x = jnp.indices(size, jnp.float32)
    points = jnp.stack([x, y], axis=-1).reshape((1,) * (matrix.ndim - 2) + (-1, 2))
    source = jnp.einsum(
        "...ij,...nj->...ni", inverse, points - matrix[..., None, :, 2], precision="highest"
    )
    out = sample_zero_outside(image, source)
    return out.reshape(*image.shape[:-3], *size, image.shape[-1])


def sample_zero_outside(image: jax.Array, points: jax.Array) -> jax.Array:
    """Bilinear interpolation that falls to zero over the first pixel beyond the border.

    Args:
      image: [..., H, W, C].
      points: [..., N, 2] with the leading axes of the image, or [N, 2]: (x, y) in pixels, the first
        centre at (0, 0).

    Returns:
      [..., N, C]; differentiable in both.
    """
    height, width = image.shape[-3:-1]
    # a frame of zeros, whose outer half is also what lies beyond it
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    scale = jnp.array([width + 2, height + 2], jnp.float32)
    scale = scale.reshape((1,) * (points.ndim - 1) + (2,))
    return sample_bilinear(padded, (points + 1.5) / scale)


def dense_warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    """The image read at displaced places: bilinear, border pixels repeated outwards.

    out(row, column) = image(row + flow[0], column + flow[1]); a flow of zeros changes nothing.

    Args:
      image: [..., H, W, C].
      flow: [..., H, W, 2] (rows, columns) in pixels, with the leading axes of the image.

    Returns:
      [..., H, W, C]; differentiable in both.
    """
    height, width = image.shape[-3:-1]
    rows, columns = jnp.indices((height, width), jnp.float32)
    here = jnp.stack([columns, rows], axis=-1).reshape((1,) * (flow.ndim - 3) + (height, width, 2))
    size = jnp.array([width, height], jnp.float32).reshape((1,) * (flow.ndim - 1) + (2,))
    uv = (here + flow[..., ::-1] + 0.5) / size
    flat = uv.reshape(*uv.shape[:-3], height * width, 2)
    return sample_bilinear(image, flat).reshape(image.shape)
