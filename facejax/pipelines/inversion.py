"""Latents of given samples, for the run of any system that has `predict`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from facejax.train.inversion import RATES, STEPS, Fit, fit_latents, normal_starts
from facejax.train.runs import Run


def _output(made: Any, name: str | None) -> jax.Array:
    """One array of what `System.predict` returns: by its name, or the first."""
    names = getattr(made, "_fields", None) or [field.name for field in dataclasses.fields(made)]
    found = {n: getattr(made, n) for n in names if getattr(made, n) is not None}
    if name is not None and name not in found:
        raise ValueError(f"no output {name!r}: this system predicts {', '.join(found)}")
    return found[name or next(iter(found))]


def make_sampler(
    run: Run, conditions: Sequence[np.ndarray] = (), output: str | None = None
) -> Callable[[jax.Array], jax.Array]:
    """The networks of a run as a function of their first input: pure, to be differentiated.

    Args:
      run: a trained one whose system has `predict`.
      conditions: the other inputs of `System.predict`, each [N, ...]; they stay fixed.
      output: which array of the result; None takes the first.

    Returns:
      sampler(latents [N, ...]) -> samples [N, ...]. An unknown output is a ValueError when called.
    """

    def sampler(latents: jax.Array) -> jax.Array:
        return _output(run.system.predict(run.params, latents, *conditions), output)

    return sampler


def invert(
    run: Run,
    targets: np.ndarray,
    *conditions: np.ndarray,
    output: str | None = None,
    weight: np.ndarray | None = None,
    steps: int = STEPS,
    rates: Sequence[float] = RATES,
    seed: int = 1000,
) -> Fit:
    """The first inputs of a run's networks that make given outputs, from standard normal starts.

    Args:
      run: a trained one.
      targets: [N, ...], as `System.predict` returns them.
      *conditions: [N, ...] the other inputs of `System.predict`, e.g. labels; they stay fixed.
      output, weight, steps, rates: see `make_sampler` and `facejax.train.inversion.fit_latents`.
      seed: of the starts.

    Raises:
      ValueError: the system has no `predict`, or arrays do not fit it.
    """
    system = run.system
    if not (hasattr(system, "predict") and hasattr(system, "predict_inputs")):
        raise ValueError(f"{run.folder}: system {run.config.system!r} predicts nothing to invert")
    first, *others = system.predict_inputs(len(targets))
    found, wanted = [np.shape(c) for c in conditions], [x.shape for x in others]
    if found != wanted:
        raise ValueError(
            f"found conditions {found}, {run.config.system!r} wants {wanted} beside {first.shape}"
        )
    starts = normal_starts(len(targets), first.shape[1:], seed)
    sampler = make_sampler(run, conditions, output)
    return fit_latents(sampler, starts, targets, weight=weight, steps=steps, rates=rates)
