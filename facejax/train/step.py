"""One training step: the phases of a stage, in order. Knows nothing of devices, disk or time.

Every phase is a program of its own, so that lazy phases, which run on some steps only, multiply
nothing: a stage compiles as many programs as it has phases.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.render.platform import on_cpu
from facejax.train.state import TrainState
from facejax.train.system import LossInputs, Phase, Stage, System


def active_phases(phases: tuple[Phase, ...], step: int) -> tuple[str, ...]:
    """Names of the phases that run at a step (counted from 0), in order; decided on the host."""
    return tuple(phase.name for phase in phases if step % phase.every == 0)


def traced_scalars(scalars: dict[str, float], step: int) -> dict[str, np.ndarray]:
    """The scalars of a plan as float32 arrays, and 'step' as int32.

    New values never compile a new program.
    """
    traced = {name: np.asarray(value, np.float32) for name, value in scalars.items()}
    return traced | {"step": np.asarray(step, np.int32)}


def split_microbatches(batch: dict[str, Any], count: int) -> dict[str, Any]:
    """Contiguous microbatches: [B, ...] arrays to [count, B / count, ...].

    Args:
      batch: arrays with leading axis B, a multiple of count.
      count: the number of microbatches.
    """

    def split(x):
        size = x.shape[0]
        if size % count:
            raise ValueError(
                f"a batch of {size} on a device cannot be split into {count} equal microbatches: "
                f"set config.accumulate to a divisor of {size}"
            )
        return x.reshape(count, size // count, *x.shape[1:])

    return jax.tree.map(split, batch)


def loss_and_grads(
    phase: Phase, params: dict[str, Any], inputs: LossInputs, accumulate: int = 1
) -> tuple[jax.Array, dict[str, jax.Array], dict[str, Any], dict[str, Any]]:
    """(loss, metrics, new_aux, {group: grads}) of a phase, means over `accumulate` microbatches.

    Of aux only what the phase replaces is returned; it is carried from one microbatch to the next.
    """

    def objective(trained, inputs):
        return phase.loss({**params, **trained}, inputs)

    grad_fn = jax.value_and_grad(objective, has_aux=True)
    trained = {group: params[group] for group in phase.groups}
    if accumulate == 1:
        (loss, (metrics, aux)), grads = grad_fn(trained, inputs)
        return loss, metrics, aux, grads

    def one(carry, microbatch):
        total, aux = carry
        replaced = inputs.replace(batch=microbatch, aux=aux)
        (loss, (metrics, new_aux)), grads = grad_fn(trained, replaced)
        names.update(new_aux)
        return (jax.tree.map(jnp.add, total, grads), aux | new_aux), (loss, metrics)

    names: set[str] = set()
    microbatches = split_microbatches(inputs.batch, accumulate)
    start = (jax.tree.map(jnp.zeros_like, trained), inputs.aux)
    # Unrolled on CPU: the weight gradient of a convolution inside a loop falls to a naive kernel
    # there, 13 to 17 times slower.
    unroll = accumulate if on_cpu() else 1
    (total, aux), outputs = jax.lax.scan(one, start, microbatches, unroll=unroll)
    loss, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), outputs)
    grads = jax.tree.map(lambda g: g / accumulate, total)
    return loss, metrics, {name: aux[name] for name in names}, grads


def _all_finite(tree: Any) -> jax.Array:
    """Exact, unlike the norm of the gradients, which overflows first."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def _moving_average(params: Any, ema: Any, decay: jax.Array) -> Any:
    return jax.tree.map(lambda p, e: p + (e - p) * decay.astype(p.dtype), params, ema)


def apply_phase(
    phase: Phase,
    optimizers: dict[str, optax.GradientTransformation],
    state: TrainState,
    frozen: dict[str, Any],
    batch: dict[str, Any],
    rng: jax.Array,
    scalars: dict[str, jax.Array],
    reduce: Callable[[Any], Any] = lambda tree: tree,
    accumulate: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One gradient step on the groups of a phase, then its moving averages.

    Where any gradient is not finite, the parameters, the optimiser states and the aux of the phase
    stay as they are and '<phase>/skipped' is 1.

    Args:
      phase: what to do.
      optimizers: by group, without the learning rate.
      state: before the phase.
      frozen: {name: tree}.
      batch: arrays with leading axis B, among them 'index' [B] int32.
      rng: the key of this step and phase.
      scalars: see `traced_scalars`; among them 'lr/<group>' and, with `phase.ema`, 'ema_decay'.
      reduce: averages a pytree over devices, where devices run this function separately.
      accumulate: the number of microbatches.

    Returns:
      The new state, and metrics '<phase>/<name>' with 'loss', 'grad_norm' and 'skipped'; of several
      groups also 'grad_norm/<group>'.
    """
    inputs = LossInputs(batch, rng, scalars, state.aux, state.ema, frozen)
    loss, metrics, aux, grads = reduce(loss_and_grads(phase, state.params, inputs, accumulate))
    params, opt = {}, {}
    for group in phase.groups:
        updates, opt[group] = optimizers[group].update(
            grads[group], state.opt[group], state.params[group]
        )
        rate = scalars[f"lr/{group}"]
        updates = jax.tree.map(lambda u, rate=rate: -rate.astype(u.dtype) * u, updates)
        params[group] = optax.apply_updates(state.params[group], updates)
    new = (params, opt, aux)
    whole = (state.params, state.opt, state.aux)
    old = tuple({k: v[k] for k in n} for n, v in zip(new, whole, strict=True))
    finite = _all_finite(grads)
    params, opt, aux = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    state = state.replace(params=state.params | params, opt=state.opt | opt, aux=state.aux | aux)
    averages = {
        group: _moving_average(state.params[group], state.ema[group], scalars["ema_decay"])
        for group in phase.ema
    }
    metrics = metrics | {
        "loss": loss,
        "grad_norm": optax.tree.norm(grads),
        "skipped": 1.0 - finite.astype(jnp.float32),
    }
    if len(grads) > 1:
        metrics |= {f"grad_norm/{group}": optax.tree.norm(g) for group, g in grads.items()}
    return state.replace(ema=state.ema | averages), {
        f"{phase.name}/{name}": value for name, value in metrics.items()
    }


def make_phase_step(
    system: System,
    stage: Stage,
    name: str,
    reduce: Callable[[Any], Any] = lambda tree: tree,
    accumulate: int = 1,
) -> Callable:
    """The step of one phase of a stage: a pure function, to be compiled once.

    Args:
      system: what is trained.
      stage: the static part.
      name: of the phase.
      reduce, accumulate: see `apply_phase`.

    Returns:
      (state, frozen, batch, scalars) -> (state, metrics). The number of steps done is
      `scalars['step']`; the state that comes back counts one more, whichever phases run.
    """
    phases = checked_phases(system, stage)
    number = [phase.name for phase in phases].index(name)
    phase = phases[number]
    optimizers = {group: system.optimizer(group) for group in phase.groups}

    def phase_step(state, frozen, batch, scalars):
        rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), scalars["step"])
        # Numbered over all phases, so that a lazy phase does not change the others' randomness.
        rng = jax.random.fold_in(rng, number)
        state, metrics = apply_phase(
            phase, optimizers, state, frozen, batch, rng, scalars, reduce, accumulate
        )
        return state.replace(step=scalars["step"] + 1), metrics

    phase_step.__name__ = f"{stage.name}_{name}"  # in profiles and compiler dumps
    return phase_step


def checked_phases(system: System, stage: Stage) -> tuple[Phase, ...]:
    """The phases of a stage.

    Raises:
      ValueError: names repeat, averages without `ema_groups`, or no phase runs on every step.
    """
    phases = system.phases(stage)
    names = [phase.name for phase in phases]
    if len(set(names)) != len(names):
        raise ValueError(f"stage {stage.name!r}: phase names must differ, found {names}")
    for phase in phases:
        if set(phase.ema) - set(system.ema_groups):
            raise ValueError(
                f"phase {phase.name!r} averages {phase.ema}, but ema_groups is {system.ema_groups}"
            )
    if all(phase.every > 1 for phase in phases):
        raise ValueError(f"stage {stage.name!r}: wanted a phase that runs on every step, {names}")
    return phases
