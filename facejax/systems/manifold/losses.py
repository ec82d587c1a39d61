"""The corruption of coefficient vectors, and the error of what a denoiser makes of them."""

import jax
import jax.numpy as jnp
import numpy as np


def corrupt(key: jax.Array, clean: jax.Array, sigma: float | np.ndarray) -> jax.Array:
    """Sparse noise: N(0, sigma^2) on k randomly chosen components, k uniform in 1 .. n.

    Args:
      key: a jax.random key.
      clean: [n].
      sigma: in the unit of the coefficients, one for all or [n].

    Returns:
      [n].
    """
    n = clean.shape[-1]
    for_count, for_rank, for_noise = jax.random.split(key, 3)
    count = jax.random.randint(for_count, (), 1, n + 1)
    order = jax.random.uniform(for_rank, (n,))
    # a rank by counting: sorting is many times slower on CPU
    rank = jnp.sum(order[None, :] < order[:, None], axis=-1)
    return clean + jnp.where(rank < count, sigma * jax.random.normal(for_noise, (n,)), 0.0)


def noise_power(n: int, sigma: float | np.ndarray) -> float | np.ndarray:
    """Expected squared corruption of a component, E[k] / n * sigma^2."""
    return (n + 1) / (2 * n) * sigma**2


def denoising_loss(
    out: jax.Array, clean: jax.Array, noisy: jax.Array, scale: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error of a denoiser (Dinashi et al. 2019), in its own unit.

    Args:
      out: [B, n], of the network, divided by the scale.
      clean, noisy: [B, n], in the unit of the coefficients.
      scale: [B, n].

    Returns:
      The loss, and 'mse', the same, beside 'corruption', that of the noisy rows.
    """
    loss = jnp.mean((out - clean / scale) ** 2)
    return loss, {"mse": loss, "corruption": jnp.mean(((noisy - clean) / scale) ** 2)}
