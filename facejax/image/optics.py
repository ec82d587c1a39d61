"""What lenses and lower resolutions do to pictures, one matrix per axis.

Amounts may be traced numbers: one compiled program serves every blur and every loss of resolution.
"""

import functools

import jax
import jax.numpy as jnp

_LEAST_SIGMA = 0.05  # pixels; the weights of neighbours are 0 in float32


def blur_matrix(size: int, sigma: jax.Array) -> jax.Array:
    """A Gaussian blur along one axis; its borders are renormalised, not padded.

    Args:
      size: N, samples of the axis, known at trace time.
      sigma: [...] standard deviation in samples, >= 0; 0 changes nothing.

    Returns:
      [..., N, N], rows summing to one.
    """
    sigma = jnp.maximum(jnp.asarray(sigma, jnp.float32), _LEAST_SIGMA)[..., None, None]
    place = jnp.arange(size, dtype=jnp.float32)
    gap = (place[:, None] - place[None, :]).reshape((1,) * (sigma.ndim - 2) + (size, size))
    return _rows_of_one(jnp.exp(-0.5 * jnp.square(gap / sigma)))


def resolution_matrix(size: int, share: jax.Array) -> jax.Array:
    """Along one axis: shrinks to a share of the samples, averaging, and enlarges again, linearly.

    Args:
      size: N, samples of the axis, known at trace time.
      share: [...] of the samples that are kept, in (0, 1]; 1 changes nothing.

    Returns:
      [..., N, N], rows summing to one.
    """
    share = jnp.asarray(share, jnp.float32)[..., None, None]
    place = jnp.arange(size, dtype=jnp.float32) + 0.5
    shape = (1,) * (share.ndim - 2) + (size, size)
    fine, coarse = (jnp.broadcast_to(x, (size, size)) for x in (place[None, :], place[:, None]))
    # row: coarse sample, column: fine sample; both kernels are triangles, a coarse sample wide
    gap = jnp.abs(fine.reshape(shape) * share - coarse.reshape(shape))
    weight = jnp.maximum(1.0 - gap, 0.0)
    kept = jnp.where(coarse.reshape(shape) < size * share + 0.5, weight, 0.0)
    shrink, enlarge = _rows_of_one(kept), _rows_of_one(jnp.swapaxes(kept, -1, -2))
    return jnp.matmul(enlarge, shrink, precision="highest")


def _rows_of_one(weights):
    return weights / jnp.maximum(weights.sum(axis=-1, keepdims=True), 1e-12)


@functools.partial(jax.jit, static_argnames=("precision",))
def filter_axes(
    image: jax.Array, rows: jax.Array, columns: jax.Array, precision: str = "highest"
) -> jax.Array:
    """A separable linear map of the two image axes: rows @ image @ columns^T for every channel.

    Args:
      image: [..., H, W, C].
      rows: [..., P, H].
      columns: [..., Q, W].
      precision: of the products.

    Returns:
      [..., P, Q, C].
    """
    planes = jnp.moveaxis(image, -1, -3)  # one long product instead of many with three columns
    planes = jnp.matmul(planes, jnp.swapaxes(columns, -1, -2)[..., None, :, :], precision=precision)
    planes = jnp.matmul(rows[..., None, :, :], planes, precision=precision)
    return jnp.moveaxis(planes, -3, -1)
