"""The only place that knows devices: where arrays live, how steps compile, who loads what.

One function, the step of one device, runs on every device with its rows of the batch, under
`jax.shard_map` over the axis 'data' (or under `jax.pmap`); gradients, metrics and declared
statistics are averaged explicitly, everything else stays on its device. State trees look the same
in both forms (no device axis), so a run may change from one to the other.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from facejax.data.sampler import process_slice
from facejax.host.locks import FolderLock, LockError, folder_lock
from facejax.host.machine import MachineError
from facejax.io.checkpoints import CheckpointError
from facejax.nn.devices import AXIS
from facejax.train.step import make_phase_step
from facejax.train.system import Stage, System

MODES = ("shard_map", "pmap")
_OLD_NAMES = {"jit": "shard_map"}  # in the configuration of older runs


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
      MachineError: the others cannot be reached.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError(
                "num_processes and process_id were given without a coordinator: add "
                "--coordinator=HOST:PORT of process 0, the same for every process"
            )
        return
    if coordinator == "auto":
        _join(coordinator)
        return
    if num_processes is None or process_id is None:
        raise ValueError(
            f"coordinator {coordinator!r} needs --num_processes and --process_id too (or use "
            "--coordinator=auto on Slurm, TPU pods and Kubernetes)"
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(f"process_id must be in 0 .. {num_processes - 1}, found {process_id}")
    _join(coordinator, coordinator, num_processes, process_id)


def _join(coordinator: str, *arguments) -> None:
    try:
        jax.distributed.initialize(*arguments)
    except Exception as error:  # ValueError or RuntimeError, by the layer
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise MachineError(
            f"--coordinator={coordinator}: cannot join the run of several processes ({reason})"
        ) from error


def agree(flag: int) -> int:
    """The largest of the flags of all processes; every process must call it."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(flag))))


@contextlib.contextmanager
def run_lock(
    folder: str | os.PathLike, purpose: str = "training", part: str = ""
) -> Iterator[FolderLock | None]:
    """Holds the lock of a run folder: process 0 for all processes of a run.

    Args:
      folder: of the run; made.
      purpose, part: see `folder_lock`. A run may be evaluated, part 'evaluation', while it trains.

    Yields:
      The lock; None in the processes other than 0.

    Raises:
      LockError: another run is writing there; raised by every process.
      CheckpointError: the folder cannot be written; raised by every process.
    """
    with contextlib.ExitStack() as stack:
        lock = problem = None
        if jax.process_index() == 0:
            try:
                lock = stack.enter_context(folder_lock(folder, purpose, part))
            except LockError as error:
                problem = error
            except OSError as error:
                problem = CheckpointError(
                    f"{folder}: cannot write to the run folder ({error.strerror}). Choose another "
                    "--workdir"
                )
        if agree(int(problem is not None)) and problem is None:
            problem = CheckpointError(f"{folder}: process 0 cannot write to the run folder")
        if problem is not None:
            raise problem
        yield lock


def _mean_over_devices(tree: Any) -> Any:
    """pmean of what is a floating-point number; counters are the same everywhere already."""

    def mean(x):
        return jax.lax.pmean(x, AXIS) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(mean, tree)


class Parallel:
    """Data parallelism over devices and processes.

    Attributes:
      mode: 'shard_map' or 'pmap'.
      devices: those of the run, over all processes.
    """

    def __init__(self, mode: str = "shard_map", devices: list | None = None):
        mode = _OLD_NAMES.get(mode, mode)
        if mode not in MODES:
            raise ValueError(f"parallel must be one of {MODES}, found {mode!r}")
        self.mode = mode
        self.devices = list(devices if devices is not None else jax.devices())
        mesh = jax.make_mesh(
            (len(self.devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=self.devices
        )
        self._mesh = mesh
        self._replicated = NamedSharding(mesh, P())
        self._sharded = NamedSharding(mesh, P(AXIS))

    @property
    def num_devices(self) -> int:
        """How many devices share the batch."""
        return len(self.devices)

    def check_batch_size(self, batch_size: int, accumulate: int = 1, together: int = 1) -> None:
        """Raises a ValueError unless every device gets the same whole number of microbatches.

        Args:
          batch_size: of the global batch.
          accumulate: the number of microbatches.
          together: where a batch is cut, the parts must be multiples of it, see
            `System.device_batch`.
        """
        parts = self.num_devices * accumulate
        unit = parts * together if parts > 1 else 1
        if batch_size % unit:
            below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
            nearest = f"{below} or {above}" if below else f"{above}"
            groups = f", in groups of {together}" if together > 1 else ""
            raise ValueError(
                f"a batch of {batch_size} does not divide over {self.num_devices} device(s) with "
                f"{accumulate} microbatch(es) each{groups}: wanted a multiple of {unit}; the "
                f"nearest batch sizes are {nearest}"
            )

    def check_stage(self, system: System, stage: Stage, accumulate: int = 1) -> None:
        """`check_batch_size` of a stage, whose system may say what belongs together."""
        together = system.device_batch(stage) if hasattr(system, "device_batch") else 1
        self.check_batch_size(stage.batch_size, accumulate, together)

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
            return self._replicate(np.array(x))

        return jax.tree.map(put, tree)

    def put_frozen(self, tree: Any, placed: tuple[Any, Any] = ((), ())) -> Any:
        """Arrays that no step changes, replicated.

        Args:
          tree: arrays, the same in every process.
          placed: a tree and what this method made of it: arrays of `tree` that are in there too are
            not placed again.
        """
        known = {id(x): y for x, y in zip(*map(jax.tree.leaves, placed), strict=True)}
        return jax.tree.map(
            lambda x: known[id(x)] if id(x) in known else self._replicate(np.asarray(x)), tree
        )

    def _replicate(self, x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(self._replicated, x, x.shape)

    def to_local(self, tree: Any) -> Any:
        """A copy on the first device of this process, for what only one process does."""

        def copy(x):
            return jax.device_put(np.array(x), jax.local_devices()[0])

        return jax.tree.map(copy, tree)

    def view_local(self, tree: Any) -> Any:
        """What `put_frozen` made as arrays of one device of this process, without a copy."""
        return jax.tree.map(lambda x: x.addressable_data(0), tree)

    def put_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The rows of this process to the global batch on devices.

        Args:
          batch: {name: array or tree of arrays [B / num_processes, ...]}. Their memory is not
            written to afterwards: on CPU it may become that of the device arrays.

        Returns:
          [B, ...] arrays for 'shard_map', [devices, B / devices, ...] for 'pmap'.
        """
        processes = jax.process_count()

        def put(x):
            if self.mode == "pmap":
                local_devices = self.num_devices // processes
                x = x.reshape(local_devices, x.shape[0] // local_devices, *x.shape[1:])
            shape = (x.shape[0] * processes, *x.shape[1:])
            return jax.make_array_from_process_local_data(self._sharded, x, shape)

        return jax.tree.map(put, batch)

    def wrap(self, system: System, stage: Stage, phase: str, accumulate: int = 1) -> Callable:
        """The step of a phase as a function of arrays made by the `put_...` methods.

        The first argument is donated: use the state that comes back.

        Args:
          system: what is trained.
          stage: the static part; its batch size must divide.
          phase: its name.
          accumulate: the number of microbatches.

        Returns:
          (state, frozen, batch, scalars) -> (state, metrics); it has `lower`.
        """
        self.check_stage(system, stage, accumulate)
        alone = self.num_devices == 1
        reduce = {} if alone else {"reduce": _mean_over_devices}
        step = make_phase_step(system, stage, phase, accumulate=accumulate, **reduce)
        # state, frozen, batch, scalars
        return self._spread(step, (None, None, AXIS, None), (None, None), donate=0)

    def wrap_examples(self, make: Callable) -> Callable:
        """(tables, drawn) -> examples, every device making those of its own rows.

        Args:
          make: see `facejax.data.source.Source.make`; the stage's keywords are bound.
        """

        def examples(tables, drawn):
            made = make(tables, {k: v for k, v in drawn.items() if k != "index"})
            return {**made, "index": drawn["index"]}

        return self._spread(examples, (None, AXIS), AXIS)

    def _spread(self, function: Callable, inputs, outputs, donate: int | None = None) -> Callable:
        """A function of one device, compiled to run on all.

        Args:
          function: of arrays of one device.
          inputs, outputs: for each argument, and for the result (or each entry of a tuple), None
            where it is replicated, AXIS where every device has rows of its own.
          donate: the argument whose memory may be used again.
        """
        donated = () if donate is None else (donate,)

        def placed(kinds: dict) -> tuple:
            return tuple(
                tuple(kinds[n] for n in names) if isinstance(names, tuple) else kinds[names]
                for names in (inputs, outputs)
            )

        if self.mode == "pmap":
            in_axes, out_axes = placed({None: None, AXIS: 0})
            return jax.pmap(
                function, axis_name=AXIS, devices=self.devices,
                in_axes=in_axes, out_axes=out_axes, donate_argnums=donated,
            )  # fmt: skip
        if self.num_devices > 1:
            # Gradients of replicated parameters are each device's own: `reduce` averages them.
            in_specs, out_specs = placed({None: P(), AXIS: P(AXIS)})
            function = jax.shard_map(
                function, mesh=self._mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
            )
        in_places, out_places = placed({None: self._replicated, AXIS: self._sharded})
        return jax.jit(
            function, donate_argnums=donated, in_shardings=in_places, out_shardings=out_places
        )
