"""Adversarial losses of scores, and the penalties on a discriminator's slope.

Scores are what a discriminator ends in, any shape, high for real examples; the losses average over
all of them. Weights belong to the systems, also the published halves in front of terms.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from facejax.geometry.math import safe_norm


def logistic_generator(fake: jax.Array) -> jax.Array:
    """Non-saturating loss: mean of -log sigmoid(fake) (Goodfellow et al. 2014, section 3)."""
    return jnp.mean(jax.nn.softplus(-fake))


def logistic_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Mean of -log sigmoid(real) - log(1 - sigmoid(fake)) (Goodfellow et al. 2014, eq. 1)."""
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def wgan_generator(fake: jax.Array) -> jax.Array:
    """Minus the mean score (Arjovsky et al. 2017, algorithm 1)."""
    return -jnp.mean(fake)


def wgan_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Minus the estimated Wasserstein distance: mean fake less mean real score (same source)."""
    return jnp.mean(fake) - jnp.mean(real)


def score_drift(real: jax.Array) -> jax.Array:
    """Mean squared score: keeps a critic, blind to a constant, near 0 (Karras et al. 2018, A.1)."""
    return jnp.mean(real**2)


def least_squares_generator(fake: jax.Array) -> jax.Array:
    """Mean of (fake - 1)^2 (Mao et al. 2017, eq. 9, without its half)."""
    return jnp.mean((fake - 1.0) ** 2)


def least_squares_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Mean of (real - 1)^2 + fake^2 (Mao et al. 2017, eq. 9, without its halves)."""
    return jnp.mean((real - 1.0) ** 2) + jnp.mean(fake**2)


def hinge_generator(fake: jax.Array) -> jax.Array:
    """Minus the mean score (Miyato et al. 2018, eq. 17)."""
    return -jnp.mean(fake)


def hinge_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Mean of max(0, 1 - real) + max(0, 1 + fake) (Miyato et al. 2018, eq. 16)."""
    return jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake))


def _gradients(score_fn: Callable, examples: jax.Array) -> jax.Array:
    """[B, N]: of the sum of all scores, hence every example's own where a network keeps them apart.

    The original programs take the sum too where it does not: minibatch stddev, batch norm.
    """
    gradient = jax.grad(lambda x: jnp.sum(score_fn(x)))(examples)
    return gradient.reshape(len(gradient), -1)


def r1_penalty(score_fn: Callable, real: jax.Array) -> jax.Array:
    """Mean squared length of the slope at real examples (Mescheder et al. 2018, eq. 9).

    Args:
      score_fn: examples [B, ...] to scores of any shape.
      real: [B, ...].

    Returns:
      A scalar, to be weighted by gamma / 2 as published.
    """
    return jnp.mean(jnp.sum(_gradients(score_fn, real) ** 2, axis=-1))


def slopes_between(
    score_fn: Callable, real: jax.Array, fake: jax.Array, mix: jax.Array
) -> jax.Array:
    """Lengths [B] of the slope at points between real and fake examples.

    Args:
      score_fn: examples [B, ...] to scores of any shape; must treat every example by itself for
        the slopes to be those of single examples.
      real, fake: [B, ...].
      mix: [B] in [0, 1], share of the fake.
    """
    mix = mix.reshape((-1,) + (1,) * (real.ndim - 1))
    # a threshold as small as the original programs': a flat critic must feel the penalty
    return safe_norm(_gradients(score_fn, real + mix * (fake - real)), eps=1e-16)


def slope_penalty(slopes: jax.Array, target: float = 1.0) -> jax.Array:
    """Mean of (slope - target)^2 / target^2 (Karras et al. 2018, program; target 1: see below).

    Args:
      slopes: [B], lengths.
      target: what they should be.
    """
    return jnp.mean((slopes - target) ** 2) / target**2


def gradient_penalty(
    score_fn: Callable, real: jax.Array, fake: jax.Array, mix: jax.Array, target: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """`slope_penalty` between real and fake examples, and the mean slope.

    Gulrajani et al. 2017 (arXiv 1704.00028, eq. 3). Arguments: see `slopes_between`,
    `slope_penalty`.
    """
    slopes = slopes_between(score_fn, real, fake, mix)
    return slope_penalty(slopes, target), jnp.mean(slopes)
