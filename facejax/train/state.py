"""Everything that one training step reads and writes, as one pytree."""

from typing import Any

import flax.struct
import jax
import numpy as np

from facejax.train.system import System


@flax.struct.dataclass
class TrainState:
    """The state of a run. What belongs to the host (images seen, segment) is not in here.

    Attributes:
      step: [] int32, the number of steps done.
      params: {group: tree} trainable parameters, float32.
      opt: {group: tree} optimiser states.
      ema: {group: tree} moving averages of the parameters of `System.ema_groups`.
      aux: {name: tree} whatever else the losses carry from step to step.
      rng: [2] uint32, the raw data of the key of the run; never changes, steps fold themselves in.
    """

    step: jax.Array
    params: dict[str, Any]
    opt: dict[str, Any]
    ema: dict[str, Any]
    aux: dict[str, Any]
    rng: jax.Array

    def as_used(self) -> dict[str, Any]:
        """{group: tree}: the moving average where there is one, the parameters elsewhere.

        With the entries of `aux`, among them running statistics, which inference needs too.
        """
        return as_used(self.params, self.ema, self.aux)


def as_used(params: dict, ema: dict, aux: dict, frozen: dict | None = None) -> dict[str, Any]:
    """What `System.predict` takes: of every group its moving average where it has one.

    Args:
      params, ema, aux: of a state or of a checkpoint.
      frozen: {name: tree}, see `System.frozen`.
    """
    return {**(frozen or {}), **aux, **params, **ema}


def init_state(system: System, seed: int) -> TrainState:
    """The state before the first step, as numpy arrays on the host.

    Args:
      system: what is trained.
      seed: of the parameters and of every random number drawn while training, >= 0.
    """
    params, aux = system.init(seed)
    params, aux = jax.device_get((params, aux))
    frozen = set(system.frozen()) if hasattr(system, "frozen") else set()
    names = [*params, *aux, *frozen]
    if len(set(names)) < len(names):
        raise ValueError(
            f"names of groups {sorted(params)}, aux {sorted(aux)} and frozen {sorted(frozen)} must "
            "differ"
        )
    unknown = set(system.ema_groups) - set(params)
    if unknown:
        raise ValueError(
            f"ema_groups names {sorted(unknown)}, which are not among the parameter groups "
            f"{sorted(params)}"
        )
    return TrainState(
        step=np.zeros((), np.int32),
        params=params,
        opt=init_optimizers(system, params),
        # A copy: donating one buffer twice is an error.
        ema=jax.tree.map(np.copy, {group: params[group] for group in system.ema_groups}),
        aux=aux,
        rng=np.asarray(jax.random.key_data(jax.random.key(seed))),
    )


def init_optimizers(system: System, params: dict[str, Any]) -> dict[str, Any]:
    """Fresh optimiser states {group: tree} on the host, for a new run or a new segment.

    Args:
      system: whose optimisers.
      params: {group: tree} of the groups that start afresh, numpy or replicated arrays.
    """

    def init(params):
        return {group: system.optimizer(group).init(tree) for group, tree in params.items()}

    # One compiled program instead of one per shape; the copy cuts every tie to `params`.
    return jax.tree.map(np.array, jax.device_get(jax.jit(init)(jax.device_get(params))))
