"""Losses of classifiers."""

import jax
import jax.numpy as jnp


def soft_cross_entropy(probabilities: jax.Array, logits: jax.Array) -> jax.Array:
    """-sum_k p_k log softmax(logits)_k, mean over the batch; where p_k is 0 the term is 0.

    Args:
      probabilities: [..., K], wanted.
      logits: [..., K], found.
    """
    logs = jnp.where(probabilities != 0, jax.nn.log_softmax(logits), 0.0)
    return jnp.mean(-jnp.sum(probabilities * logs, axis=-1))
