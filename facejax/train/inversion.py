"""Latents of given samples: gradient descent through any sampler, every example by itself."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.metrics.plausibility import check_finite

STEPS, RATES = 500, (0.1, 0.01, 0.001)  # of the code of arXiv 1710.10196


@dataclasses.dataclass(frozen=True)
class Fit:
    """Latents found for given samples.

    Attributes:
      latents: [N, ...] float32, of the shape of the starts.
      samples: [N, ...] float32, what the sampler makes of them.
      losses: [S, N] float32, half the weighted squared error per example before each step.
    """

    latents: np.ndarray
    samples: np.ndarray
    losses: np.ndarray


def normal_starts(num: int, shape: Sequence[int], seed: int) -> np.ndarray:
    """Standard normal latents [num, *shape]; start k is a function of seed + k alone.

    Args:
      num: how many.
      shape: of one latent.
      seed: >= 0.
    """
    draws = [np.random.RandomState(seed + k).randn(*shape) for k in range(num)]
    return np.reshape(draws, (num, *shape)).astype(np.float32)


def fit_latents(
    sampler: Callable[[jax.Array], jax.Array],
    starts: np.ndarray,
    targets: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    steps: int = STEPS,
    rates: Sequence[float] = RATES,
) -> Fit:
    """Inverts a sampler: Adam on the latent of every example, which do not influence each other.

    Args:
      sampler: pure, latents [N, ...] -> samples [N, ...]; example k of one depends on example k of
        the other alone. What else it depends on is bound already.
      starts: [N, ...] latents to begin at.
      targets: [N, ...] of the shape of the samples.
      weight: factor on the error, broadcast against the targets: zero where they do not count.
      steps: per rate.
      rates: learning rates, one after the other; the optimiser starts afresh with each.

    Raises:
      ValueError: targets of another shape, or not finite where they count; no steps or no rates; a
        fit that diverges.
    """
    starts, targets = np.asarray(starts, np.float32), np.asarray(targets, np.float32)
    if steps < 1 or not rates:
        raise ValueError(f"a fit needs steps and rates, found steps={steps}, rates={rates}")
    made = jax.eval_shape(sampler, starts).shape
    if targets.shape != made:
        raise ValueError(
            f"found targets {targets.shape}, the sampler makes {made} of latents {starts.shape}"
        )
    weight = np.float32(1.0 if weight is None else weight)
    weight = weight.reshape((1,) * (targets.ndim - weight.ndim) + weight.shape)
    targets = np.where(weight != 0, targets, np.float32(0.0))
    check_finite(targets, "samples to be fitted")
    optimizer = optax.scale_by_adam()

    @jax.jit
    def descend(latents, rate, targets, weight):
        def objective(latents):
            error = (sampler(latents) - targets) * weight
            losses = 0.5 * jnp.sum(error**2, axis=tuple(range(1, error.ndim)))
            return losses.sum(), losses

        def step(carry, _):
            latents, state = carry
            grads, losses = jax.grad(objective, has_aux=True)(latents)
            updates, state = optimizer.update(grads, state)
            return (latents - rate * updates, state), losses

        (latents, _), losses = jax.lax.scan(
            step, (latents, optimizer.init(latents)), None, length=steps
        )
        return latents, losses

    latents, curves = starts, []
    for rate in rates:
        latents, losses = descend(latents, jnp.float32(rate), targets, weight)
        curves.append(np.asarray(losses))
    samples = np.asarray(jax.jit(sampler)(latents))
    check_finite(latents, "fitted latents")
    check_finite(samples, "samples of the fitted latents")
    return Fit(np.asarray(latents), samples, np.concatenate(curves))
