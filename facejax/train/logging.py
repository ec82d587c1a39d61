"""Figures and pictures of a run: averages on the device, writers on process 0."""

import contextlib
import functools
import json
import logging
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics

from facejax.io.images import write_image


@jax.jit
def _begin(values):
    return {name: _average(value) for name, value in values.items()}


@jax.jit
def _add(averages, values):
    return {name: averages[name].merge(_average(value)) for name, value in values.items()}


def _average(value):
    # A figure that is not a number (of a skipped step) must not hide those that are.
    value = jnp.reshape(value, 1)  # clu wants a batch axis where there is a mask
    return clu_metrics.Average.from_model_output(value, mask=jnp.isfinite(value))


class MetricAverages:
    """Running means of the metrics of the steps since the last `fetch`, kept on the device.

    Steps with different active phases have different metrics; each set has its own total.
    """

    def __init__(self):
        self._sets: dict[tuple[str, ...], dict[str, clu_metrics.Average]] = {}

    def update(self, values: dict[str, jax.Array]) -> None:
        """Adds one step; returns without waiting for the device."""
        names = tuple(sorted(values))
        if names in self._sets:
            self._sets[names] = _add(self._sets[names], values)
        else:
            self._sets[names] = _begin(values)

    def fetch(self) -> dict[str, float]:
        """The means, and a fresh start. A metric that was never finite is left out."""
        totals: dict[str, clu_metrics.Average] = {}
        for names in sorted(self._sets):
            for name, average in jax.device_get(self._sets[names]).items():
                totals[name] = totals[name].merge(average) if name in totals else average
        self._sets = {}
        means = {name: float(a.total) / float(a.count) for name, a in totals.items() if a.count}
        return dict(sorted(means.items()))

    def state(self) -> list[dict[str, list[float]]]:
        """JSON-able, exact: what a checkpoint keeps of a window that is not finished."""
        return [
            {
                name: [float(a.total), float(a.count)]
                for name, a in jax.device_get(self._sets[names]).items()
            }
            for names in sorted(self._sets)
        ]

    def load(self, state: list[dict[str, list[float]]], put: Any) -> None:
        """Goes on from `state()`.

        Args:
          state: what it returned.
          put: numpy pytree -> arrays laid out like the metrics.
        """
        self._sets = {}
        for entry in state:
            averages = {
                name: clu_metrics.Average(np.float32(total), np.float32(count))
                for name, (total, count) in entry.items()
            }
            self._sets[tuple(sorted(entry))] = put(averages)


def truncate_lines(path: pathlib.Path, step: int) -> None:
    """Drops the lines of a metrics.jsonl that come after a step, and a half-written last one.

    Args:
      path: the file; nothing happens where there is none.
      step: the last step to keep.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


class RunWriter:
    """Writes metrics.jsonl, TensorBoard events and samples/ of a run; a context manager.

    Args:
      folder: of the run; created.
      step: the step from which the run goes on: later figures of an interrupted run are dropped.
    """

    def __init__(self, folder: str | pathlib.Path, step: int = 0):
        from tensorboardX import SummaryWriter

        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        truncate_lines(self.folder / "metrics.jsonl", step)
        self._lines = open(self.folder / "metrics.jsonl", "a", buffering=1, encoding="utf-8")
        self._events = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, record: dict[str, Any]) -> None:
        """One line: `step` and a record of numbers and strings; strings are not plotted."""
        self._lines.write(json.dumps({"step": step, **record}, allow_nan=False) + "\n")
        for name, value in record.items():
            if not isinstance(value, str) and math.isfinite(value):
                self._events.add_scalar(name, value, step)

    def images(self, step: int, kimg: int, images: dict[str, np.ndarray]) -> None:
        """Pictures [H, W, C] uint8 to samples/<name>-<kimg, 6 digits>.png and TensorBoard."""
        for name, image in images.items():
            write_image(self.folder / "samples" / f"{name}-{kimg:06d}.png", image)
            self._events.add_image(name, np.asarray(image), step, dataformats="HWC")

    def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Distributions of numbers of any shape, to TensorBoard; what is not finite is left out."""
        for name, numbers in values.items():
            numbers = np.asarray(numbers).reshape(-1)
            numbers = numbers[np.isfinite(numbers)]
            if len(numbers):
                self._events.add_histogram(name, numbers, step)

    def close(self) -> None:
        """Flushes and closes every file."""
        self._lines.close()
        self._events.close()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *unused) -> None:
        self.close()


class NullWriter:
    """What the processes other than 0 write: nothing. See `RunWriter`."""

    def scalars(self, step: int, record: dict[str, Any]) -> None:
        """Nothing."""

    def images(self, step: int, kimg: int, images: dict[str, np.ndarray]) -> None:
        """Nothing."""

    def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Nothing."""

    def __enter__(self) -> "NullWriter":
        return self

    def __exit__(self, *unused) -> None:
        pass


@contextlib.contextmanager
def log_file(path: pathlib.Path) -> Iterator[None]:
    """Appends what facejax logs to a file while the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("facejax")
    level = logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)  # the file is whole whatever the caller shows on screen
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class TerminalHandler(logging.Handler):
    """Log lines on stderr that do not cut through a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the level where it is a warning or worse."""
        from tqdm import tqdm

        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        with contextlib.suppress(OSError, ValueError):  # of a closed terminal: no end of the run
            tqdm.write(level + record.getMessage(), file=_stderr())


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    import importlib.metadata

    names = ("facejax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _stderr():
    import sys

    return sys.stderr  # looked up late: tests and notebooks replace it
