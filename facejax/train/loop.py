"""The training loop: the only owner of time and disk. Any moment is a good moment to kill it."""

import collections
import contextlib
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from facejax.data.prefetch import Prefetcher
from facejax.host.files import atomic_path
from facejax.io.checkpoints import CheckpointError, Checkpoints
from facejax.train import run_folder
from facejax.train.control import Interrupted, Profiler, StopSignals
from facejax.train.frozen import check_frozen, describe_frozen, frozen_trees
from facejax.train.loader import Loader
from facejax.train.logging import MetricAverages, NullWriter, RunWriter, log_file, versions
from facejax.train.parallel import Parallel, agree, run_lock
from facejax.train.progress import Stopwatch, format_duration, stage_images
from facejax.train.state import TrainState, init_optimizers, init_state
from facejax.train.step import active_phases, checked_phases, traced_scalars
from facejax.train.system import Plan, Stage, System, segment_of
from facejax.train.warm_start import warm_start

_log = logging.getLogger(__name__)
_REPORT_SECONDS = 30.0


@dataclasses.dataclass
class RunResult:
    """What `train` returns.

    Attributes:
      state: the last one, on devices.
      step: steps done in all.
      images: images seen in all.
      compiled: names of the programs compiled in this process, one per phase of a stage.
    """

    state: TrainState
    step: int
    images: int
    compiled: list[str]


def _crossed(before: int, after: int, every_kimg: float) -> bool:
    every = max(1, round(1000 * every_kimg))
    return every_kimg > 0 and before // every != after // every


class _Run:
    """The state of one call of `train`."""

    def __init__(self, system, config, workdir, parallel, writer, checkpoints, frozen_record, lock):
        self.system, self.config, self.workdir = system, config, workdir
        self.frozen_record, self.lock = frozen_record, lock
        self.parallel, self.writer, self.checkpoints = parallel, writer, checkpoints
        self.step, self.images = 0, 0
        self.segment: str | None = None
        self.stage_name: str | None = None
        self.averages = MetricAverages()
        self.stopwatch = Stopwatch()
        self.programs: dict[Stage, dict[str, Callable]] = {}
        self.shapes: dict[Stage, Any] = {}  # of a batch and the scalars
        self.loader: Loader | None = None
        self.compile_seconds = 0.0
        self.lap_images = 0
        self.saved_step: int | None = None
        self.seconds_per_kimg: float | None = None
        self.state: Any = None
        self.frozen: dict[str, Any] = {}

    def start(self, host_state: TrainState, meta: dict[str, Any] | None) -> None:
        self.state = self.parallel.put_state(host_state)
        self.frozen = self.parallel.put_frozen(frozen_trees(self.system))
        if meta is None:
            return
        self.step, self.images = meta["step"], meta["images"]
        self.segment, self.stage_name = meta["segment"], meta["stage"]
        self.averages.load(meta["averages"], self.parallel.put_state)
        self.saved_step = self.step

    def train_step(self, plan: Plan, batch: dict[str, Any]) -> Any:
        """One step; returns something to wait for."""
        self._begin_segment(plan)
        if self.stage_name != plan.stage.name:
            _log.info("stage %s, batch %d", plan.stage.name, plan.stage.batch_size)
            self._pictures("real_samples", plan)
        self.segment, self.stage_name = plan.segment, plan.stage.name
        scalars = traced_scalars(plan.scalars, self.step)
        if plan.stage not in self.programs:
            self._compile(plan.stage, (self.state, self.frozen, batch, scalars))
        metrics = {}
        for name in active_phases(self.system.phases(plan.stage), self.step):
            try:
                self.state, found = self.programs[plan.stage][name](
                    self.state, self.frozen, batch, scalars
                )
            except TypeError as error:
                if _shapes(batch, scalars) == self.shapes[plan.stage]:
                    raise
                raise ValueError(
                    f"stage {plan.stage.name}: the arrays of a batch or the names of the scalars "
                    f"changed within the stage ({error}). Put what changes shapes into Stage.static"
                ) from error
            metrics |= found
        self.averages.update(metrics)
        self.step += 1
        self.images += plan.stage.batch_size
        self.lap_images += plan.stage.batch_size
        return metrics

    def _begin_segment(self, plan: Plan) -> None:
        """New optimiser states for the groups whose segment changes."""
        if self.segment in (None, plan.segment):
            return
        groups = [
            group
            for group in self.state.params
            if segment_of(self.segment, group) != segment_of(plan.segment, group)
            and segment_of(plan.segment, group) is not None
        ]
        if groups:
            fresh = init_optimizers(self.system, {g: self.state.params[g] for g in groups})
            opt = self.state.opt | self.parallel.put_state(fresh)
            self.state = self.state.replace(opt=opt)
            _log.info("%s: optimisers start afresh (%s)", plan.segment, ", ".join(groups))

    def _compile(self, stage: Stage, arguments: tuple) -> None:
        """All phases of a stage, one after the other: side by side they take twice the memory."""
        jax.block_until_ready(arguments)  # earlier steps are training, not compilation
        started = time.monotonic()
        self.shapes[stage] = _shapes(*arguments[-2:])
        self.programs[stage] = {
            phase.name: self.parallel.wrap(self.system, stage, phase.name, self.config.accumulate)
            .lower(*arguments)
            .compile()
            for phase in checked_phases(self.system, stage)
        }
        seconds = time.monotonic() - started
        self.compile_seconds += seconds
        self.stopwatch.exclude(seconds)
        names = ", ".join(self.programs[stage])
        _log.info("compiled %s (%s) in %.1f s", stage.name, names, seconds)

    @contextlib.contextmanager
    def _not_training(self):
        jax.block_until_ready(self.state)
        started = time.monotonic()
        yield
        self.stopwatch.exclude(time.monotonic() - started)

    def log(self, plan: Plan) -> None:
        means = self.averages.fetch()  # waits for the device
        seconds = self.stopwatch.lap(plan.stage, self.lap_images)
        record = {"kimg": round(self.images / 1000, 3), "stage": plan.stage.name}
        if self.lap_images:
            self.seconds_per_kimg = 1000 * seconds / self.lap_images
            record["sec/kimg"] = round(self.seconds_per_kimg, 4)
            record["images/s"] = round(self.lap_images / seconds, 3)
            rate = self.loader and self.loader.take_rate()
            if rate:
                record["drawn/s"] = round(rate, 1)
        if self.compile_seconds:
            record["compile_s"] = round(self.compile_seconds, 3)
        record["time"] = round(time.time(), 3)
        record |= {f"plan/{k}": float(np.float32(v)) for k, v in plan.scalars.items()}
        self.writer.scalars(self.step, record | means)
        self.lap_images, self.compile_seconds = 0, 0.0
        skipped = {k.split("/")[0]: v for k, v in means.items() if k.endswith("/skipped") and v}
        for phase, share in skipped.items():
            _log.warning(
                "step %d: %.0f %% of the %s updates since the last line were skipped because of "
                "gradients that are not finite", self.step, 100 * share, phase,
            )  # fmt: skip

    def _pictures(self, hook: str, *arguments) -> None:
        if not hasattr(self.system, hook) or jax.process_index():
            return
        with self._not_training():
            images = getattr(self.system, hook)(*arguments)
            self.writer.images(self.step, self.images // 1000, images)

    def samples(self, plan: Plan) -> None:
        names = ("samples", "validation", "histograms")
        hooks = [h for h in names if hasattr(self.system, h)]
        if not hooks or jax.process_index():
            return
        params = self.params_as_used()
        self._pictures("samples", params, plan, self.step)
        if "histograms" in hooks:
            with self._not_training():
                values = self.system.histograms(params, plan, self.step)
                self.writer.histograms(self.step, values)
        if "validation" in hooks:
            with self._not_training():
                found = self.system.validation(params)
            record = {"kimg": round(self.images / 1000, 3), "stage": plan.stage.name}
            if found:
                self.writer.scalars(self.step, record | {f"val/{k}": v for k, v in found.items()})

    def params_as_used(self) -> dict[str, Any]:
        """What the hooks of a system take, on one device of this process."""
        trees = self.parallel.to_local(self.state.as_used())
        return {**self.parallel.view_local(self.frozen), **trees}

    def save(self) -> None:
        if self.saved_step == self.step:
            return
        if self.lock is not None:
            self.lock.check()
        with self._not_training():
            meta = {
                "images": self.images,
                "segment": self.segment,
                "stage": self.stage_name,
                "averages": self.averages.state(),
                "frozen": self.frozen_record,
                "config": run_folder.as_plain(self.config),
                "versions": versions(),
            }
            self.checkpoints.save(self.step, _as_dict(self.state), meta)
        self.saved_step = self.step

    def progress(self, plan: Plan, ahead: dict) -> str:
        left = self.stopwatch.seconds_left(ahead)
        parts = [plan.stage.name]
        if self.seconds_per_kimg:
            parts.append(f"{self.seconds_per_kimg:.3g} s/kimg")
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return ", ".join(parts)


def _shapes(*trees: Any) -> Any:
    return jax.tree.map(lambda x: (np.shape(x), str(x.dtype)), trees)


def _as_dict(state: TrainState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


def restore_state(
    checkpoints: Checkpoints, like: TrainState, frozen: dict[str, dict[str, str]]
) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest good checkpoint of a run as (state of numpy arrays, meta); None without any.

    Args:
      checkpoints: of the run.
      like: a state of the same system, for its structure.
      frozen: of `describe_frozen`, compared with what the checkpoint was trained with.

    Raises:
      ValueError: something frozen has changed.
      CheckpointError: none can be read, or the newest is of another model.
    """
    found = checkpoints.restore_latest(like=_as_dict(like), forget=_forgotten(frozen))
    if found is None:
        return None
    check_frozen(found[1].get("frozen", {}), frozen, checkpoints.folder.parent)
    return TrainState(**found[0]), found[1]


def _forgotten(frozen: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Checkpoints of versions before 'frozen' hold such trees in aux: they are passed over."""
    return tuple(("aux", name) for name in frozen)


def train(
    system: System,
    config: Any,
    workdir: str | pathlib.Path,
    *,
    parallel: Parallel | None = None,
    profile_steps: int = 0,
    show_progress: bool = True,
) -> RunResult:
    """Trains to the end, from the newest good checkpoint in `workdir` or from the beginning.

    The losses, the parameters and the order of the data are a function of `config` alone: a run
    that was killed and started again equals one that was not, bit for bit on the same devices.

    Args:
      system: what to train.
      config: ConfigDict with the keys of `facejax.train.config.train_config`.
      workdir: folder of the run; gets config.json, checkpoints/, metrics.jsonl, tensorboard/,
        samples/, log.txt and what the system exports.
      parallel: devices; by default all of them in mode `config.parallel`.
      profile_steps: writes a profiler trace of so many steps to profile/; 0 for none.
      show_progress: a progress bar where stderr is a terminal.

    Returns:
      See `RunResult`.

    Raises:
      Interrupted: after SIGTERM or SIGINT; the state is saved.
      ValueError: a batch does not divide over the devices, a setting is out of its range, or
        `workdir` holds another run.
      LockError: another process trains in `workdir`.
      CheckpointError: something cannot be written into `workdir`, or no checkpoint can be read.
    """
    workdir = pathlib.Path(workdir)
    run_folder.check_settings(config)
    parallel = parallel or Parallel(config.parallel)
    for stage in stage_images(system):
        parallel.check_stage(system, stage, config.accumulate)
    main = jax.process_index() == 0
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(run_lock(workdir))
        stack.enter_context(_write_errors(workdir, checkpoints))
        changed = run_folder.check_config(workdir, config) if checkpoints.steps() else []
        if main:
            run_folder.write_config(workdir, config)
            stack.enter_context(log_file(workdir / "log.txt"))
        stack.enter_context(checkpoints)
        for line in changed:
            _log.warning("%s: the plan follows the new value from here on", line)
        state = init_state(system, config.seed)
        frozen = describe_frozen(system)
        restored = restore_state(checkpoints, state, frozen)
        if restored is None and config.get("init_from"):
            state = warm_start(state, config.init_from, config.init_with)
        state, meta = restored or (state, None)
        step = meta["step"] if meta else 0
        writer = stack.enter_context(RunWriter(workdir, step) if main else NullWriter())
        run = _Run(system, config, workdir, parallel, writer, checkpoints, frozen, lock)
        run.start(state, meta)
        del state, restored
        if meta and run.images >= system.total_images:
            _log.info("%s: the run is complete (%.1f kimg)", workdir, run.images / 1000)
        else:
            if meta:
                _log.info("%s: going on from step %d (%.1f kimg)", workdir, step, run.images / 1000)
            _train(run, profile_steps, show_progress and main)
        checkpoints.wait()
        _finish(run)
        compiled = [
            f"{stage.name} ({name})" for stage, found in run.programs.items() for name in found
        ]
        return RunResult(run.state, run.step, run.images, compiled)


@contextlib.contextmanager
def _write_errors(workdir: pathlib.Path, checkpoints: Checkpoints) -> Iterator[None]:
    """What cannot be written into the run folder is one error that says how to go on."""
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str | os.PathLike) else None
        if name is None or not pathlib.Path(name).absolute().is_relative_to(workdir.absolute()):
            raise  # of the data, say
        raise CheckpointError(
            f"{name}: cannot be written ({error.strerror}). Checkpoints are untouched: steps "
            f"{checkpoints.steps()}. Make room, or let this user write there, then repeat the "
            "command to go on from the newest"
        ) from error


def _train(run: _Run, profile_steps: int, show_progress: bool) -> None:
    system, config = run.system, run.config
    total = system.total_images
    placed = (frozen_trees(system), run.frozen)
    run.loader = loader = Loader(system, run.parallel, config.seed, run.images, placed)
    ahead = stage_images(system, run.images)
    in_flight: collections.deque = collections.deque()
    reported = time.monotonic()
    with (
        contextlib.closing(loader),
        StopSignals() as signals,
        Prefetcher(loader.load) as batches,
        Profiler(run.workdir / "profile", profile_steps) as profiler,
        _bar(run, total, show_progress) as bar,
    ):
        while run.images < total:
            plan = system.plan(run.images)
            before = run.images
            images, batch = next(batches)
            if images != before:
                raise RuntimeError(f"the plan is not a pure function: {images} != {before} images")
            in_flight.append(run.train_step(plan, batch))
            del batch
            if len(in_flight) > 2:  # the host runs ahead, but not by batches without number
                jax.block_until_ready(in_flight.popleft())
            profiler.after_step(in_flight[-1])
            ended = run.images >= total
            stage_ends = ended or system.plan(run.images).stage != plan.stage
            stop = signals.received if jax.process_count() == 1 else 0
            if run.step % config.log_every == 0 or stage_ends:
                run.log(plan)
                if jax.process_count() > 1:  # processes must leave the loop at the same step
                    stop = agree(signals.received)
            if ended or _crossed(before, run.images, config.sample_kimg):
                run.samples(plan)
            if ended or stop or _crossed(before, run.images, config.checkpoint_kimg):
                run.save()
            ahead[plan.stage] = max(0, ahead.get(plan.stage, 0) - plan.stage.batch_size)
            if not bar.disable:
                bar.set_postfix_str(run.progress(plan, ahead), refresh=False)
            elif time.monotonic() - reported > _REPORT_SECONDS:  # no terminal: a line now and then
                reported = time.monotonic()
                kimg = f"{run.images / 1000:.1f}/{total / 1000:.1f} kimg"
                _log.info("%s, %s", kimg, run.progress(plan, ahead))
            bar.update(min(run.images, total) / 1000 - bar.n)
            if stop:
                run.checkpoints.wait()
                raise Interrupted(stop, run.step)


def _bar(run: _Run, total: int, show: bool):
    from tqdm import tqdm

    return tqdm(
        total=total / 1000,
        initial=run.images / 1000,
        disable=None if show else True,  # None: where stderr is not a terminal
        bar_format="{percentage:3.0f}%|{bar:20}| {n:.1f}/{total:.1f} kimg {postfix}",
    )


def _finish(run: _Run) -> None:
    """Exports, once per length of the run: a marker tells that they were completed."""
    marker = run.workdir / "finished.txt"
    done = marker.read_text(encoding="utf-8").strip() if marker.exists() else ""
    if hasattr(run.system, "finish") and jax.process_index() == 0 and done != str(run.images):
        run.system.finish(run.params_as_used(), run.workdir)
        with atomic_path(marker) as path:
            path.write_text(f"{run.images}\n", encoding="utf-8")
