"""What a system (model, losses, schedule) is to the trainer: data and pure functions."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import optax

from facejax.data.source import Source

if TYPE_CHECKING:
    from facejax.train.state import TrainState


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
      segment: a change of segment re-initialises the optimiser state of every group.
      scalars: numbers passed to the step, traced, so that changing them compiles nothing:
        'lr/<group>' for every group that is trained, 'ema_decay' where a phase has `ema`, 'alpha',
        ... The names are the same throughout a stage.
    """

    stage: Stage
    segment: str
    scalars: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Phase:
    """One gradient step on one parameter group.

    Attributes:
      name: prefix of its metrics: 'disc', 'gen'.
      group: the parameter group that it updates.
      loss: (group_params, state, batch, rng, scalars) -> (scalar, (metrics, new_aux)). A mean over
        the batch that knows nothing of devices. `metrics` is a dict of scalars; `new_aux` holds
        the entries of `state.aux` to replace, {} for none. `batch['index']` [B] int32 is the
        position in the global batch: per-example randomness is drawn from fold_in(rng, index).
        The other groups are read from `state.params`.
      every: lazy regularisation: the phase runs on every n-th step only (chosen on the host).
      ema: groups whose moving average is taken right after this phase.
    """

    name: str
    group: str
    loss: Callable
    every: int = 1
    ema: tuple[str, ...] = ()

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"phase {self.name!r}: every must be positive, found {self.every}")


class System(Protocol):
    """What a system provides. `make_system(config)` in facejax/systems/<name>/system.py builds it.

    The methods from `samples` on are optional: the trainer asks whether they exist.

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

    def source(self) -> Source:
        """The examples; the trainer calls it once per run."""
        ...

    def samples(self, ema_params: dict[str, Any], plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Optional. Pictures of progress, {name: [H, W, C] uint8}, written to samples/.

        Args:
          ema_params: {group: tree}, the moving average where there is one, and the entries of aux.
          plan: of the step just done.
          step: the number of steps done. Any randomness is fixed, so that pictures compare.
        """
        ...

    def validation(self, ema_params: dict[str, Any]) -> dict[str, float]:
        """Optional. Figures of data that is not trained on, asked for whenever `samples` are.

        Args:
          ema_params: as for `samples`.

        Returns:
          {name: value}, logged as 'val/<name>'; {} for none.
        """
        ...

    def histograms(
        self, ema_params: dict[str, Any], plan: Plan, step: int
    ) -> dict[str, np.ndarray]:
        """Optional. {name: numbers of any shape} whose distribution TensorBoard shows.

        Args:
          ema_params, plan, step: as for `samples`, whenever those are asked for.
        """
        ...

    def real_samples(self, plan: Plan) -> dict[str, np.ndarray]:
        """Optional. Pictures of the data {name: [H, W, C] uint8}, asked for once per stage."""
        ...

    def finish(self, state: "TrainState", workdir: pathlib.Path) -> None:
        """Optional. Exports at the end of a run; may be called again after an interruption."""
        ...

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """Optional. What is printed last: where to look and what to type next."""
        ...

    def evaluate(
        self, ema_params: dict[str, Any], meta: dict[str, Any], workdir: pathlib.Path
    ) -> dict[str, Any]:
        """Optional. Measures a trained model; returns JSON-able figures.

        Args:
          ema_params: {group: tree} of numpy arrays from the newest good checkpoint, with the
            entries of aux.
          meta: that of the checkpoint: 'step', 'images', 'config', ...
          workdir: the run folder.
        """
        ...

    def abstract_params(self) -> dict[str, Any]:
        """Optional. {group: tree} of shapes for --dry_run, where making the numbers takes long."""
        ...

    def describe(self) -> list[dict[str, Any]]:
        """Optional. One dict per stage for --dry_run, in order, {column: value} for the table."""
        ...
