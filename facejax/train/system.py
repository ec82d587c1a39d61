"""What a system (model, losses, schedule) is to the trainer: data and pure functions."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Protocol

import flax.struct
import jax
import numpy as np
import optax

from facejax.data.source import Source


@dataclasses.dataclass(frozen=True)
class Stage:
    """Everything static in one compiled step. Hashable; a new stage means a new compilation.

    Attributes:
      name: shown to people, '16x16'.
      batch_size: of the global batch, over all devices and processes.
      static: sorted (key, value) pairs, passed to `Source.batch` as keywords and read by losses.
    """

    name: str
    batch_size: int
    static: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(
                f"stage {self.name!r}: batch_size must be positive, found {self.batch_size}"
            )
        if tuple(sorted(self.static)) != self.static:
            raise ValueError(f"stage {self.name!r}: static must be a sorted tuple of pairs")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the host decides for one step: a pure function of the number of images seen.

    Attributes:
      stage: which compiled step runs.
      segment: where it changes, the optimiser states of all groups start afresh. {group: name} does
        so group by group; a group that it does not name keeps its state.
      scalars: numbers passed to the step, traced, so that changing them compiles nothing:
        'lr/<group>' for every group that is trained, 'ema_decay' where a phase has `ema`, 'alpha',
        ... The names are the same throughout a stage; 'step' is the trainer's.
    """

    stage: Stage
    segment: str | dict[str, str]
    scalars: dict[str, float]


def segment_of(segment: str | dict[str, str] | None, group: str) -> str | None:
    """The segment that a group is in; None where `Plan.segment` does not name it."""
    return segment.get(group) if isinstance(segment, dict) else segment


@flax.struct.dataclass
class LossInputs:
    """What a loss reads besides the parameters.

    Attributes:
      batch: {name: [B, ...]} of this device. `batch['index']` [B] int32 is the position in the
        global batch: per-example randomness is drawn from `nn.keys.example_keys(rng, index)`.
      rng: the key of this step and phase.
      scalars: {name: [] float32} of the plan, and 'step', [] int32, the number of steps done.
      aux: {name: tree} carried from step to step.
      ema: {group: tree} moving averages.
      frozen: {name: tree}, see `System.frozen`.
    """

    batch: dict[str, Any]
    rng: jax.Array
    scalars: dict[str, jax.Array]
    aux: dict[str, Any]
    ema: dict[str, Any]
    frozen: dict[str, Any]

    def trees(self, params: dict[str, Any]) -> dict[str, Any]:
        """`params` with the entries of frozen and aux: what `System.predict` takes."""
        return {**self.frozen, **self.aux, **params}


@dataclasses.dataclass(frozen=True)
class Phase:
    """One gradient step on one or more parameter groups; compiles to one program.

    Attributes:
      name: prefix of its metrics: 'disc', 'gen'.
      groups: the parameter groups that it updates, each at its own learning rate. A string is a
        single one.
      loss: (params, inputs) -> (scalar, (metrics, new_aux)). `params` is {group: tree} of all
        groups; the gradient is taken with respect to those of the phase. `inputs` is a
        `LossInputs`. A mean over the batch that knows nothing of devices. `metrics` is a dict of
        scalars; `new_aux` holds the entries of aux to replace, {} for none.
      every: lazy regularisation: the phase runs on every n-th step only (chosen on the host).
      ema: groups whose moving average is taken right after this phase.
    """

    name: str
    groups: tuple[str, ...] | str
    loss: Callable[[dict[str, Any], LossInputs], tuple[jax.Array, tuple[dict, dict]]]
    every: int = 1
    ema: tuple[str, ...] = ()

    def __post_init__(self):
        if isinstance(self.groups, str):
            object.__setattr__(self, "groups", (self.groups,))
        if self.every < 1:
            raise ValueError(f"phase {self.name!r}: every must be positive, found {self.every}")
        if not self.groups or len(set(self.groups)) < len(self.groups):
            raise ValueError(
                f"phase {self.name!r}: groups must be some different names, found {self.groups}"
            )


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Something that losses read and nobody trains: a face model, a network of another run.

    Attributes:
      tree: pytree of arrays on the host.
      origin: where it comes from, for people: 'runs/idnet, step 1563'.
    """

    tree: Any
    origin: str


@dataclasses.dataclass(frozen=True)
class Prerequisite:
    """A run that a system's frozen networks come from, and that can be trained on demand.

    Attributes:
      name: of the folder in <run>/prerequisites, and for people.
      key: of the configuration: names a run folder; 'auto' trains one.
      spec: configuration that 'auto' trains, 'NAME[:PRESET]'.
      overrides: {key: value} for it.
    """

    name: str
    key: str
    spec: str
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)


class System(Protocol):
    """What a system provides. `make_system(config)` in facejax/systems/<name>/system.py builds it.

    The methods from `frozen` on are optional: the trainer asks whether they exist. Where they take
    `params`, it is {name: tree}: of every group the moving average where there is one, and the
    entries of aux and of `frozen`.

    Attributes:
      ema_groups: parameter groups with a moving average.
      total_images: the length of the run.
    """

    ema_groups: tuple[str, ...]
    total_images: int

    def init(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """({group: parameter tree}, aux), numpy arrays made on the host."""
        ...

    def plan(self, images_seen: int) -> Plan:
        """What the step that follows `images_seen` images does."""
        ...

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """What one step does, in order; names are unique."""
        ...

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Transforms the gradients of a group, without the learning rate and its sign."""
        ...

    def source(self, stage: Stage) -> Source:
        """The examples of a stage; the trainer asks once per stage."""
        ...

    def frozen(self) -> dict[str, Frozen]:
        """Optional. What losses read and never train, by name.

        An argument of the compiled step: never donated, averaged over devices or saved. Names
        differ from those of groups and of aux. Checkpoints keep origin and digest.
        """
        ...

    def predict(self, params: dict[str, Any], *inputs: Any) -> Any:
        """Optional. The networks as they are used: pure, to be jitted by the caller.

        Args:
          params: see above.
          *inputs: arrays with leading axis B, as `predict_inputs` describes.

        Returns:
          A NamedTuple or struct of arrays with leading axis B.
        """
        ...

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Optional. Shapes of `predict`'s inputs for a batch."""
        ...

    def device_batch(self, stage: Stage) -> int:
        """Optional. Examples that belong together (groups of statistics, every n-th example).

        A device's microbatch is a multiple of it, so that the number of devices changes nothing.
        """
        ...

    def samples(self, params: dict[str, Any], plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Optional. Pictures of progress, {name: [H, W, C] uint8}, written to samples/.

        Args:
          params: see above.
          plan: of the step just done.
          step: the number of steps done. Any randomness is fixed, so that pictures compare.
        """
        ...

    def validation(self, params: dict[str, Any]) -> dict[str, float]:
        """Optional. Figures of data that is not trained on, asked for whenever `samples` are.

        Args:
          params: see above.

        Returns:
          {name: value}, logged as 'val/<name>'; {} for none.
        """
        ...

    def histograms(self, params: dict[str, Any], plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Optional. {name: numbers of any shape} whose distribution TensorBoard shows.

        Args:
          params, plan, step: as for `samples`, whenever those are asked for.
        """
        ...

    def real_samples(self, plan: Plan) -> dict[str, np.ndarray]:
        """Optional. Pictures of the data {name: [H, W, C] uint8}, asked for once per stage."""
        ...

    def finish(self, params: dict[str, Any], workdir: pathlib.Path) -> None:
        """Optional. Exports at the end of a run; may be called again after an interruption."""
        ...

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """Optional. What is printed last: where to look and what to type next."""
        ...

    def evaluate(
        self, params: dict[str, Any], meta: dict[str, Any], workdir: pathlib.Path
    ) -> dict[str, Any]:
        """Optional. Measures a trained model; returns JSON-able figures.

        Args:
          params: numpy arrays from the newest good checkpoint.
          meta: that of the checkpoint: 'step', 'images', 'config', ...
          workdir: the run folder.
        """
        ...

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """Optional. Shapes of a batch of a stage, without making a source: for --dry_run."""
        ...

    def describe(self) -> list[dict[str, Any]]:
        """Optional. One dict per stage for --dry_run, in order, {column: value} for the table."""
        ...
