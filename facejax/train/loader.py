"""Batches in order: drawn on the host, made on the devices."""

import concurrent.futures
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from facejax.data.prefetch import num_processors
from facejax.data.sampler import IndexSampler
from facejax.data.source import Source
from facejax.train.parallel import Parallel
from facejax.train.system import Stage, System

_DRAWING_THREADS = 8


class Loader:
    """Global batches in order, addressed by the number of images seen.

    Args:
      system: whose sources.
      parallel: where batches go.
      seed: of their order.
      images: seen before the first batch.
      placed: what is frozen, on the host and as placed, see `Parallel.put_frozen`.
    """

    def __init__(
        self, system: System, parallel: Parallel, seed: int, images: int, placed: tuple[Any, Any]
    ):
        self._system, self._parallel, self._seed = system, parallel, seed
        self._images, self._placed = images, placed
        self._sources: dict[Stage, tuple[Source, IndexSampler]] = {}
        self._makers: dict[tuple, Callable] = {}
        self._threads = min(num_processors(), _DRAWING_THREADS)
        self._pool = concurrent.futures.ThreadPoolExecutor(self._threads, "draw")
        self._drawn = [0, 0.0]  # examples, seconds

    def load(self, step: int) -> tuple[int, dict[str, Any]] | None:
        """(images seen before it, batch on devices); None after the end of the run."""
        del step
        images = self._images
        if images >= self._system.total_images:
            return None
        stage = self._system.plan(images).stage
        source, sampler = self._source(stage)
        rows = self._parallel.rows(stage.batch_size)
        indices = sampler.indices(images, stage.batch_size)[rows]
        started = time.monotonic()
        drawn = dict(self._draw(source, indices, dict(stage.static)))
        self._drawn = [self._drawn[0] + len(indices), self._drawn[1] + time.monotonic() - started]
        drawn["index"] = np.arange(rows.start, rows.stop, dtype=np.int32)
        batch = self._parallel.put_batch(drawn)
        self._images += stage.batch_size
        return images, self._made(stage, source, batch)

    def take_rate(self) -> float | None:
        """Examples per second of drawing since the last call; None where nothing was drawn."""
        (count, seconds), self._drawn = self._drawn, [0, 0.0]
        return count / max(seconds, 1e-9) if count else None

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _source(self, stage: Stage) -> tuple[Source, IndexSampler]:
        if stage not in self._sources:
            source = self._system.source(stage)
            self._sources[stage] = source, IndexSampler(len(source), self._seed)
        return self._sources[stage]

    def _draw(self, source: Source, indices: np.ndarray, static: dict) -> dict[str, Any]:
        if not source.in_threads or self._threads == 1 or len(indices) < 2:
            return source.draw(indices, **static)
        parts = np.array_split(indices, min(self._threads, len(indices)))
        drawn = list(self._pool.map(lambda part: source.draw(part, **static), parts))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *drawn)

    def _made(self, stage: Stage, source: Source, batch: dict[str, Any]) -> dict[str, Any]:
        """The examples: queued on the devices behind earlier steps, nothing comes back."""
        if not source.has_make:
            return batch
        key = (id(source), stage.static, stage.batch_size)  # `_sources` holds the source
        if key not in self._makers:
            static = dict(stage.static)
            tables = self._parallel.put_frozen(source.tables(**static), self._placed)
            make = self._parallel.wrap_examples(functools.partial(source.make, **static))
            program = make.lower(tables, batch).compile()
            self._makers = {key: functools.partial(program, tables)}  # the last one's may go
        return self._makers[key](batch)
