"""Images under a planar affine map."""

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
    # a frame of zeros, whose outer half is also what lies beyond it
    height, width = image.shape[-3:-1]
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    scale = jnp.array([width + 2, height + 2], jnp.float32).reshape((1,) * (source.ndim - 1) + (2,))
    out = sample_bilinear(padded, (source + 1.5) / scale)
    return out.reshape(*image.shape[:-3], *size, image.shape[-1])
