"""The only place that knows devices: where arrays live, how steps compile, who loads what.

'jit' lays the batch out over a one-dimensional mesh and lets the compiler insert the collectives.
'pmap' runs the same step once per device and averages gradients and metrics explicitly. State
trees look the same in both (no device axis), so a run may change from one to the other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from facejax.data.sampler import process_slice
from facejax.nn.devices import AXIS
from facejax.train.step import make_train_step
from facejax.train.system import Stage, System

MODES = ("jit", "pmap")


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins this process to a run of several; call it before anything touches a device.

    Args:
      coordinator: 'host:port' of process 0, 'auto' where the cluster tells (Slurm, TPU,
        Kubernetes), or None for a run of one process.
      num_processes: how many there are; not with 'auto'.
      process_id: which one this is, in 0 .. num_processes - 1; not with 'auto'.

    Raises:
      ValueError: some of the three are given and others are missing.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError(
                "num_processes and process_id were given without a coordinator: add "
                "--coordinator=HOST:PORT of process 0, the same for every process"
            )
        return
    if coordinator == "auto":
        jax.distributed.initialize()
        return
    if num_processes is None or process_id is None:
        raise ValueError(
            f"coordinator {coordinator!r} needs --num_processes and --process_id too (or use "
            "--coordinator=auto on Slurm, TPU pods and Kubernetes)"
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(f"process_id must be in 0 .. {num_processes - 1}, found {process_id}")
    jax.distributed.initialize(coordinator, num_processes, process_id)


def agree(flag: int) -> int:
    """The largest of the flags of all processes; every process must call it."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(flag))))


def _mean_over_devices(tree: Any) -> Any:
    """pmean of what is a floating-point number; counters are the same everywhere already."""

    def mean(x):
        return jax.lax.pmean(x, AXIS) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(mean, tree)


class Parallel:
    """Data parallelism over devices and processes.

    Attributes:
      mode: 'jit' or 'pmap'.
      devices: those of the run, over all processes.
    """

    def __init__(self, mode: str = "jit", devices: list | None = None):
        if mode not in MODES:
            raise ValueError(f"parallel must be one of {MODES}, found {mode!r}")
        self.mode = mode
        self.devices = list(devices if devices is not None else jax.devices())
        mesh = jax.make_mesh(
            (len(self.devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=self.devices
        )
        self._replicated = NamedSharding(mesh, P())
        self._sharded = NamedSharding(mesh, P(AXIS))

    @property
    def num_devices(self) -> int:
        """How many devices share the batch."""
        return len(self.devices)

    def check_batch_size(self, batch_size: int, accumulate: int = 1) -> None:
        """Raises a ValueError unless every device gets the same whole number of microbatches.

        Args:
          batch_size: of the global batch.
          accumulate: the number of microbatches.
        """
        unit = self.num_devices * accumulate
        if batch_size % unit:
            below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
            nearest = f"{below} or {above}" if below else f"{above}"
            raise ValueError(
                f"a batch of {batch_size} does not divide over {self.num_devices} device(s) with "
                f"{accumulate} microbatch(es) each: wanted a multiple of {unit}; the nearest batch "
                f"sizes are {nearest}"
            )

    def rows(self, batch_size: int) -> slice:
        """The rows of the global batch that this process loads."""
        return process_slice(batch_size, jax.process_index(), jax.process_count())

    def put_state(self, tree: Any) -> Any:
        """Host arrays to replicated arrays that may be donated.

        Args:
          tree: arrays, the same in every process.
        """

        def put(x):
            # A copy: on CPU a device array may be the memory of the numpy array it came from.
            x = np.array(x)
            return jax.make_array_from_process_local_data(self._replicated, x, x.shape)

        return jax.tree.map(put, tree)

    def to_local(self, tree: Any) -> Any:
        """A copy on the first device of this process, for what only one process does."""

        def copy(x):
            return jax.device_put(np.array(x), jax.local_devices()[0])

        return jax.tree.map(copy, tree)

    def put_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The rows of this process to the global batch on devices.

        Args:
          batch: arrays [B / num_processes, ...]. Their memory is not written to afterwards: on CPU
            it may become that of the device arrays.

        Returns:
          [B, ...] arrays for 'jit', [devices, B / devices, ...] for 'pmap'.
        """
        processes = jax.process_count()

        def put(x):
            if self.mode == "pmap":
                local_devices = self.num_devices // processes
                x = x.reshape(local_devices, x.shape[0] // local_devices, *x.shape[1:])
            shape = (x.shape[0] * processes, *x.shape[1:])
            return jax.make_array_from_process_local_data(self._sharded, x, shape)

        return {name: put(value) for name, value in batch.items()}

    def wrap(self, system: System, stage: Stage, active: tuple[str, ...], accumulate: int = 1):
        """The step of a stage as a function of arrays made by `put_state` and `put_batch`.

        The first argument is donated: use the state that comes back.

        Args:
          system: what is trained.
          stage: the static part; its batch size must divide.
          active: names of the phases that run.
          accumulate: the number of microbatches.

        Returns:
          A jitted (or pmapped) (state, batch, scalars) -> (state, metrics); it has `lower`.
        """
        self.check_batch_size(stage.batch_size, accumulate)
        if self.mode == "jit":
            step = make_train_step(
                system, stage, active, accumulate=accumulate, shards=self.num_devices
            )
            return jax.jit(
                step,
                donate_argnums=0,
                in_shardings=(self._replicated, self._sharded, self._replicated),
                out_shardings=(self._replicated, self._replicated),
            )
        step = make_train_step(
            system, stage, active, reduce=_mean_over_devices, accumulate=accumulate
        )
        return jax.pmap(
            step,
            axis_name=AXIS,
            devices=self.devices,
            in_axes=(None, 0, None),
            out_axes=(None, None),
            donate_argnums=0,
        )

    def compile(
        self,
        system: System,
        stage: Stage,
        active: tuple[str, ...],
        accumulate: int,
        arguments: tuple,
    ) -> Callable:
        """`wrap`, compiled ahead for the shapes of (state, batch, scalars); never recompiles."""
        return self.wrap(system, stage, active, accumulate).lower(*arguments).compile()
