"""Optimisers without a learning rate: the trainer multiplies by -scalars["lr/<group>"]."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from facejax.geometry.math import safe_norm


class AdamState(NamedTuple):
    """Steps taken, first moments (empty when b1 is 0), second moments."""

    count: jax.Array
    mu: optax.Updates
    nu: optax.Updates


def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam as TensorFlow and the end of section 2 of Kingma and Ba (2015) write it.

    update = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps): eps is not bias-corrected, unlike
    optax's, which is visible for gradients near eps. With b1 = 0 no first moment is stored.

    Args:
      b1, b2: decay of the moments.
      eps: added to the square root of the uncorrected second moment.

    Returns:
      A transformation whose updates point uphill and have no learning rate.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        mu = jax.tree.map(jnp.zeros_like, params) if b1 else ()
        return AdamState(jnp.zeros([], jnp.int32), mu, zeros)

    def update(grads, state, params=None):
        del params
        count = state.count + 1
        t = count.astype(jnp.float32)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads) if b1 else ()
        scale = jnp.sqrt(1 - b2**t) / (1 - b1**t)
        updates = jax.tree.map(
            lambda m, v: scale * m / (jnp.sqrt(v) + eps), mu if b1 else grads, nu
        )
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def clip_each_norm(limit: float) -> optax.GradientTransformation:
    """Scales down every array whose own norm exceeds the limit."""

    def clip(gradient):
        return gradient * jnp.minimum(
            1.0, limit / jnp.maximum(safe_norm(gradient.reshape(-1)), 1e-12)
        )

    return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))
