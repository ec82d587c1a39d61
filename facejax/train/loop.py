"""The training loop: the only owner of time and disk. Any moment is a good moment to kill it."""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import time
from typing import Any

import jax
import numpy as np

from facejax.data.prefetch import Prefetcher
from facejax.data.sampler import IndexSampler
from facejax.io.checkpoints import CheckpointError, Checkpoints
from facejax.train import run_folder
from facejax.train.control import Interrupted, Profiler, StopSignals
from facejax.train.logging import MetricAverages, NullWriter, RunWriter, log_file, versions
from facejax.train.parallel import Parallel, agree
from facejax.train.progress import Stopwatch, format_duration, stage_images
from facejax.train.state import TrainState, init_optimizers, init_state
from facejax.train.step import active_phases, traced_scalars
from facejax.train.system import Plan, System

_log = logging.getLogger(__name__)
_REPORT_SECONDS = 30.0


@dataclasses.dataclass
class RunResult:
    """What `train` returns.

    Attributes:
      state: the last one, on devices.
      step: steps done in all.
      images: images seen in all.
      compiled: names of the programs compiled in this process, one per (stage, active phases).
    """

    state: TrainState
    step: int
    images: int
    compiled: list[str]


class _Loader:
    """Global batches in order, addressed by the number of images seen."""

    def __init__(self, system: System, source: Any, parallel: Parallel, seed: int, images: int):
        self._system, self._source, self._parallel = system, source, parallel
        self._sampler = IndexSampler(len(source), seed)
        self._images = images

    def load(self, step: int) -> tuple[int, dict[str, Any]] | None:
        """(images seen before it, batch on devices); None after the end of the run."""
        del step
        images = self._images
        if images >= self._system.total_images:
            return None
        stage = self._system.plan(images).stage
        rows = self._parallel.rows(stage.batch_size)
        indices = self._sampler.indices(images, stage.batch_size)[rows]
        batch = dict(self._source.batch(indices, **dict(stage.static)))
        batch["index"] = np.arange(rows.start, rows.stop, dtype=np.int32)
        self._images += stage.batch_size
        return images, self._parallel.put_batch(batch)


def _crossed(before: int, after: int, every_kimg: float) -> bool:
    every = max(1, round(1000 * every_kimg))
    return every_kimg > 0 and before // every != after // every


class _Run:
    """The state of one call of `train`."""

    def __init__(self, system, config, workdir, parallel, writer, checkpoints):
        self.system, self.config, self.workdir = system, config, workdir
        self.parallel, self.writer, self.checkpoints = parallel, writer, checkpoints
        self.step, self.images = 0, 0
        self.segment: str | None = None
        self.stage_name: str | None = None
        self.averages = MetricAverages()
        self.stopwatch = Stopwatch()
        self.programs: dict[tuple, Any] = {}
        self.compile_seconds = 0.0
        self.lap_images = 0
        self.saved_step: int | None = None
        self.seconds_per_kimg: float | None = None
        self.state: Any = None

    def start(self, host_state: TrainState, meta: dict[str, Any] | None) -> None:
        self.state = self.parallel.put_state(host_state)
        if meta is None:
            return
        self.step, self.images = meta["step"], meta["images"]
        self.segment, self.stage_name = meta["segment"], meta["stage"]
        self.averages.load(meta["averages"], self.parallel.put_state)
        self.saved_step = self.step

    def train_step(self, plan: Plan, batch: dict[str, Any]) -> Any:
        """One step; returns something to wait for."""
        if self.segment not in (None, plan.segment):
            opt = init_optimizers(self.system, self.state.params)
            self.state = self.state.replace(opt=self.parallel.put_state(opt))
            _log.info("%s: optimisers start afresh", plan.segment)
        if self.stage_name != plan.stage.name:
            _log.info("stage %s, batch %d", plan.stage.name, plan.stage.batch_size)
            self._pictures("real_samples", plan)
        self.segment, self.stage_name = plan.segment, plan.stage.name
        arguments = (self.state, batch, traced_scalars(plan.scalars))
        program = self._program(plan, arguments)
        try:
            self.state, metrics = program(*arguments)
        except TypeError as error:
            raise ValueError(
                f"stage {plan.stage.name}: the arrays of a batch or the names of the scalars "
                f"changed within the stage ({error}). Put what changes shapes into Stage.static"
            ) from error
        self.averages.update(metrics)
        self.step += 1
        self.images += plan.stage.batch_size
        self.lap_images += plan.stage.batch_size
        return metrics

    def _program(self, plan: Plan, arguments: tuple):
        active = active_phases(self.system.phases(plan.stage), self.step)
        key = (plan.stage, active)
        if key not in self.programs:
            jax.block_until_ready(arguments)  # earlier steps are training, not compilation
            started = time.monotonic()
            self.programs[key] = self.parallel.compile(
                self.system, plan.stage, active, self.config.accumulate, arguments
            )
            seconds = time.monotonic() - started
            self.compile_seconds += seconds
            self.stopwatch.exclude(seconds)
            _log.info("compiled %s (%s) in %.1f s", plan.stage.name, ", ".join(active), seconds)
        return self.programs[key]

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
        params = self.parallel.to_local(self.state.ema_params())
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

    def save(self) -> None:
        if self.saved_step == self.step:
            return
        with self._not_training():
            meta = {
                "images": self.images,
                "segment": self.segment,
                "stage": self.stage_name,
                "averages": self.averages.state(),
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


def _as_dict(state: TrainState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


def restore_state(
    checkpoints: Checkpoints, like: TrainState
) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest good checkpoint of a run as (state of numpy arrays, meta); None without any.

    Args:
      checkpoints: of the run.
      like: a state of the same system, for its structure.
    """
    found = checkpoints.restore_latest(like=_as_dict(like))
    return None if found is None else (TrainState(**found[0]), found[1])


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
      ValueError: a batch does not divide over the devices, or `workdir` holds another run.
      CheckpointError: no space, or nothing readable left.
    """
    workdir = pathlib.Path(workdir)
    parallel = parallel or Parallel(config.parallel)
    for stage in stage_images(system):
        parallel.check_batch_size(stage.batch_size, config.accumulate)
    main = jax.process_index() == 0
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep)
    if checkpoints.steps():
        run_folder.check_config(workdir, config)
    with contextlib.ExitStack() as stack:
        if main:
            _write_config(workdir, config)
            stack.enter_context(log_file(workdir / "log.txt"))
        stack.enter_context(checkpoints)
        state = init_state(system, config.seed)
        restored = restore_state(checkpoints, state)
        state, meta = restored or (state, None)
        step = meta["step"] if meta else 0
        writer = stack.enter_context(RunWriter(workdir, step) if main else NullWriter())
        run = _Run(system, config, workdir, parallel, writer, checkpoints)
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
        return RunResult(
            run.state,
            run.step,
            run.images,
            [f"{stage.name} ({', '.join(active)})" for stage, active in run.programs],
        )


def _write_config(workdir: pathlib.Path, config: Any) -> None:
    try:
        run_folder.write_config(workdir, config)
    except OSError as error:
        raise CheckpointError(
            f"{workdir}: cannot write to the run folder ({error}). Choose another --workdir"
        ) from error


def _train(run: _Run, profile_steps: int, show_progress: bool) -> None:
    system, config = run.system, run.config
    total = system.total_images
    loader = _Loader(system, system.source(), run.parallel, config.seed, run.images)
    ahead = stage_images(system, run.images)
    in_flight: collections.deque = collections.deque()
    reported = time.monotonic()
    with (
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
    done = marker.read_text().strip() if marker.exists() else ""
    if hasattr(run.system, "finish") and jax.process_index() == 0 and done != str(run.images):
        state = run.parallel.to_local(run.state)
        run.system.finish(state, run.workdir)
        marker.write_text(f"{run.images}\n")
