"""Losses of classifiers."""

import jax
import jax.numpy as jnp


def soft_cross_entropy(probabilities: jax.Array, logits: jax.Array) -> jax.Array:
    """-sum_k p_k log softmax(logits)_k, mean over the batch.

    Args:
      probabilities: [..., K], wanted.
      logits: [..., K], found.
    """
    return jnp.mean(-jnp.sum(probabilities * jax.nn.log_softmax(logits), axis=-1))
