"""One training step: the phases of a stage, in order. Knows nothing of devices, disk or time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.train.state import TrainState
from facejax.train.system import Phase, Stage, System


def active_phases(phases: tuple[Phase, ...], step: int) -> tuple[str, ...]:
    """Names of the phases that run at a step (counted from 0), in order; decided on the host."""
    return tuple(phase.name for phase in phases if step % phase.every == 0)


def traced_scalars(scalars: dict[str, float]) -> dict[str, np.ndarray]:
    """The scalars of a plan as float32 arrays: new values never compile a new program."""
    return {name: np.asarray(value, np.float32) for name, value in scalars.items()}


def split_microbatches(batch: dict[str, Any], count: int, shards: int = 1) -> dict[str, Any]:
    """Contiguous microbatches: [B, ...] arrays to [count, B / count, ...].

    Args:
      batch: arrays with leading axis B, a multiple of count * shards.
      count: the number of microbatches.
      shards: the number of contiguous blocks over which B is laid out on devices. A microbatch
        takes its share of every block, so that no example moves between devices.
    """

    def split(x):
        size = x.shape[0]
        if size % (count * shards):
            raise ValueError(
                f"a batch of {size} on {shards} device(s) cannot be split into {count} equal "
                f"microbatches: set config.accumulate to a divisor of {size // shards}"
            )
        x = x.reshape(shards, count, size // (count * shards), *x.shape[1:])
        return jnp.swapaxes(x, 0, 1).reshape(count, size // count, *x.shape[3:])

    return jax.tree.map(split, batch)


def loss_and_grads(
    phase: Phase,
    state: TrainState,
    batch: dict[str, Any],
    rng: jax.Array,
    scalars: dict[str, jax.Array],
    accumulate: int = 1,
    shards: int = 1,
) -> tuple[jax.Array, dict[str, jax.Array], dict[str, Any], Any]:
    """(loss, metrics, new_aux, grads) of a phase, averaged over `accumulate` microbatches.

    `aux` is carried from one microbatch to the next; everything else is a mean.
    """
    grad_fn = jax.value_and_grad(phase.loss, has_aux=True)
    params = state.params[phase.group]
    if accumulate == 1:
        (loss, (metrics, aux)), grads = grad_fn(params, state, batch, rng, scalars)
        return loss, metrics, state.aux | aux, grads

    def one(carry, microbatch):
        total, aux = carry
        (loss, (metrics, new_aux)), grads = grad_fn(
            params, state.replace(aux=aux), microbatch, rng, scalars
        )
        return (jax.tree.map(jnp.add, total, grads), aux | new_aux), (loss, metrics)

    microbatches = split_microbatches(batch, accumulate, shards)
    start = (jax.tree.map(jnp.zeros_like, params), state.aux)
    # Unrolled on CPU: the weight gradient of a convolution inside a loop falls to a naive kernel
    # there, 13 to 17 times slower.
    unroll = accumulate if jax.default_backend() == "cpu" else 1
    (total, aux), outputs = jax.lax.scan(one, start, microbatches, unroll=unroll)
    loss, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), outputs)
    return loss, metrics, aux, jax.tree.map(lambda g: g / accumulate, total)


def _all_finite(tree: Any) -> jax.Array:
    """Exact, unlike the norm of the gradients, which overflows first."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def _moving_average(params: Any, ema: Any, decay: jax.Array) -> Any:
    return jax.tree.map(lambda p, e: p + (e - p) * decay.astype(p.dtype), params, ema)


def apply_phase(
    phase: Phase,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: dict[str, Any],
    rng: jax.Array,
    scalars: dict[str, jax.Array],
    reduce: Callable[[Any], Any] = lambda tree: tree,
    accumulate: int = 1,
    shards: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One gradient step on one group, then the moving averages of the phase.

    Where any gradient is not finite, the parameters, the optimiser state and the aux of the phase
    stay as they are and '<phase>/skipped' is 1.

    Args:
      phase: what to do.
      tx: the optimiser of the group, without the learning rate.
      state: before the phase.
      batch: arrays with leading axis B, among them 'index' [B] int32.
      rng: the key of this step and phase.
      scalars: [] float32 each, among them 'lr/<group>' and, with `phase.ema`, 'ema_decay'.
      reduce: averages a pytree over devices, where devices run this function separately.
      accumulate: the number of microbatches.
      shards: see `split_microbatches`.

    Returns:
      The new state, and metrics '<phase>/<name>' with 'loss', 'grad_norm' and 'skipped'.
    """
    loss, metrics, aux, grads = reduce(
        loss_and_grads(phase, state, batch, rng, scalars, accumulate, shards)
    )
    old = (state.params[phase.group], state.opt[phase.group], state.aux)
    updates, opt = tx.update(grads, old[1], old[0])
    learning_rate = scalars[f"lr/{phase.group}"]
    updates = jax.tree.map(lambda u: -learning_rate.astype(u.dtype) * u, updates)
    new = (optax.apply_updates(old[0], updates), opt, aux)
    finite = _all_finite(grads)
    params, opt, aux = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    state = state.replace(
        params=state.params | {phase.group: params}, opt=state.opt | {phase.group: opt}, aux=aux
    )
    averages = {
        group: _moving_average(state.params[group], state.ema[group], scalars["ema_decay"])
        for group in phase.ema
    }
    metrics = metrics | {
        "loss": loss,
        "grad_norm": optax.tree.norm(grads),
        "skipped": 1.0 - finite.astype(jnp.float32),
    }
    return state.replace(ema=state.ema | averages), {
        f"{phase.name}/{name}": value for name, value in metrics.items()
    }


def make_train_step(
    system: System,
    stage: Stage,
    active: tuple[str, ...],
    reduce: Callable[[Any], Any] = lambda tree: tree,
    accumulate: int = 1,
    shards: int = 1,
) -> Callable:
    """The step of a stage: a pure function, to be compiled once per (stage, active phases).

    Args:
      system: what is trained.
      stage: the static part.
      active: names of the phases that run, see `active_phases`.
      reduce, accumulate, shards: see `apply_phase`.

    Returns:
      (state, batch, scalars) -> (state, metrics).
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

    def train_step(state, batch, scalars):
        step_rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
        metrics = {}
        # Numbered over all phases, so that a lazy phase does not change the others' randomness.
        for number, phase in enumerate(phases):
            if phase.name not in active:
                continue
            state, new_metrics = apply_phase(
                phase,
                system.optimizer(phase.group),
                state,
                batch,
                jax.random.fold_in(step_rng, number),
                scalars,
                reduce,
                accumulate,
                shards,
            )
            metrics |= new_metrics
        return state.replace(step=state.step + 1), metrics

    return train_step
