"""Small numerically delicate functions, solved once: finite values and finite gradients."""

import jax
import jax.numpy as jnp


def safe_normalize(x: jax.Array, eps: float = 1e-12) -> jax.Array:
    """Unit vectors along the last axis; zero (and a finite gradient) where the input is zero.

    Args:
      x: [..., C] vectors, any unit in which their lengths stay below 1e19.
      eps: squared length below which a vector counts as zero.

    Returns:
      [..., C] vectors of length one, or zero.
    """
    sq = jnp.sum(x * x, axis=-1, keepdims=True)
    tiny = sq < eps  # where() on the *input* of rsqrt: the untaken branch must be finite too
    return jnp.where(tiny, 0.0, x * jax.lax.rsqrt(jnp.where(tiny, 1.0, sq)))


def safe_norm(x: jax.Array, eps: float = 1e-12) -> jax.Array:
    """Length along the last axis, [...]; zero with a zero gradient where the input is zero.

    Args:
      x: [..., C] vectors, any unit in which their lengths stay below 1e19.
      eps: squared length below which a vector counts as zero.
    """
    sq = jnp.sum(x * x, axis=-1)
    tiny = sq < eps
    return jnp.where(tiny, 0.0, jnp.sqrt(jnp.where(tiny, 1.0, sq)))
