"""The loss of the identity embedding."""

import jax
import jax.numpy as jnp
import optax

from facejax.geometry.math import safe_normalize
from facejax.losses.identity import margin_logits


def softmax_terms(
    embedding: jax.Array,
    classes: jax.Array,
    labels: jax.Array,
    margin: float | jax.Array,
    scale: float,
    kind: str,
) -> dict[str, jax.Array]:
    """Terms of the margin softmax, scalars.

    Args:
      embedding: [B, features], any length.
      classes: [features, N] centres of the people, any length.
      labels: [B] int32, whose photos they are.
      margin: see `facejax.losses.identity.margin_logits`.
      scale: of the logits.
      kind: of the margin.

    Returns:
      'loss', the mean cross entropy, and 'accuracy', the share of photos that lie nearest to their
      own person's centre, without a margin.
    """
    cosine = safe_normalize(embedding) @ safe_normalize(classes.T).T
    logits = scale * margin_logits(cosine, labels, margin, kind)
    return {
        "loss": jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)),
        "accuracy": jnp.mean((jnp.argmax(cosine, axis=-1) == labels).astype(jnp.float32)),
    }
