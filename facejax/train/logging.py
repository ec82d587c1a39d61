"""Figures and pictures of a run: averages on the device, writers on process 0."""

import contextlib
import functools
import io
import itertools
import json
import logging
import math
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics

from facejax.host.files import atomic_path
from facejax.io.images import write_image
from facejax.io.tfrecord import write_record


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
    with atomic_path(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


class _Appended:
    """A file that grows by whole pieces, without a buffer: a full disk is an error at once.

    Args:
      path: the file; made where it is missing.
      new: it must not exist yet.
    """

    def __init__(self, path: str | pathlib.Path, new: bool = False):
        self._path = str(path)
        self._file = open(path, "xb", buffering=0) if new else open(path, "ab", buffering=0)

    def append(self, content: bytes) -> None:
        """Writes all of it, or raises an OSError that names the file."""
        left = memoryview(content)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    def close(self) -> None:
        """Closes the file; nothing is left to write."""
        self._file.close()


class _Events:
    """A TensorBoard event file. tensorboardX makes the messages.

    Its own writer is not used: it writes in a thread, which a full disk ends, and then the queue of
    that thread fills up and the training waits for ever.

    Args:
      folder: where to; made.
      step: TensorBoard drops what earlier files say of this step and later ones.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(int(time.time())):  # the names of TensorBoard: by the second
            path = folder / f"events.out.tfevents.{number}.{socket.gethostname()}"
            with contextlib.suppress(FileExistsError):
                self._file = _Appended(path, new=True)
                break
        self._event = Event
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        record = io.BytesIO()
        write_record(record, event.SerializeToString())
        self._file.append(record.getvalue())

    def add(self, summary: Any, step: int) -> None:
        """Writes a summary, as the functions of tensorboardX.summary make them."""
        self._add(self._event(step=int(step), summary=summary))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@functools.cache
def _histogram_bins() -> tuple[float, ...]:
    """TensorBoard's: each a tenth wider than the one before, from 1e-12 to 1e20, both signs."""
    ends = [1e-12]
    while ends[-1] < 1e20:
        ends.append(1.1 * ends[-1])
    return (*(-x for x in reversed(ends)), 0.0, *ends)


class RunWriter:
    """Writes metrics.jsonl, TensorBoard events and samples/ of a run; a context manager.

    What cannot be written is an OSError of the call that wanted it.

    Args:
      folder: of the run; created.
      step: the step from which the run goes on: later figures of an interrupted run are dropped.
    """

    def __init__(self, folder: str | pathlib.Path, step: int = 0):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        truncate_lines(self.folder / "metrics.jsonl", step)
        self._lines = _Appended(self.folder / "metrics.jsonl")
        try:
            self._events = _Events(self.folder / "tensorboard", step + 1)
        except BaseException:
            self._lines.close()
            raise

    def scalars(self, step: int, record: dict[str, Any]) -> None:
        """One line: `step` and a record of numbers and strings; strings are not plotted."""
        from tensorboardX import summary

        line = json.dumps({"step": step, **record}, allow_nan=False) + "\n"
        self._lines.append(line.encode("utf-8"))
        for name, value in record.items():
            if not isinstance(value, str) and math.isfinite(value):
                self._events.add(summary.scalar(name, value), step)

    def images(self, step: int, kimg: int, images: dict[str, np.ndarray]) -> None:
        """Pictures [H, W, C] uint8 to samples/<name>-<kimg, 6 digits>.png and TensorBoard."""
        from tensorboardX import summary

        for name, image in images.items():
            write_image(self.folder / "samples" / f"{name}-{kimg:06d}.png", image)
            self._events.add(summary.image(name, np.asarray(image), dataformats="HWC"), step)

    def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Distributions of numbers of any shape, to TensorBoard; what is not finite is left out."""
        from tensorboardX import summary

        for name, numbers in values.items():
            numbers = np.asarray(numbers).reshape(-1)
            numbers = numbers[np.isfinite(numbers)]
            if len(numbers):
                bins = np.asarray(_histogram_bins())
                self._events.add(summary.histogram(name, numbers, bins), step)

    def close(self) -> None:
        """Closes every file."""
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


class _LogFile(logging.Handler):
    """Appends records to a file. A full disk ends the file, with a warning, and not the work."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self._path, self._file = path, _Appended(path)

    def emit(self, record: logging.LogRecord) -> None:
        """One record, with time and level."""
        if self._file is None:
            return
        try:
            self._file.append(f"{self.format(record)}{os.linesep}".encode("utf-8", "replace"))
        except OSError as error:
            self.close()
            logging.getLogger(__name__).warning("%s ends here: %s", self._path, error.strerror)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()


@contextlib.contextmanager
def log_file(path: pathlib.Path) -> Iterator[None]:
    """Appends what facejax logs to a file while the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path)
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
