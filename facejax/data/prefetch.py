"""A one-thread prefetcher: batches are made while the device works (numpy releases the GIL)."""

import collections
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def num_processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _Queue:
    """What the thread and the consumer share; the thread must not keep the consumer alive."""

    def __init__(self, depth: int):
        self.depth = depth
        self.items: collections.deque = collections.deque()
        self.condition = threading.Condition()
        self.closed = False  # the consumer wants no more
        self.done = False  # the thread makes no more
        self.error: BaseException | None = None

    def close(self) -> None:
        with self.condition:
            self.closed = True
            self.items.clear()
            self.condition.notify_all()


def _work(queue: _Queue, load: Callable[[int], T], start: int, stop: int | None) -> None:
    step = start
    try:
        while stop is None or step < stop:
            with queue.condition:
                queue.condition.wait_for(lambda: queue.closed or len(queue.items) < queue.depth)
                if queue.closed:
                    return
            item = load(step)
            with queue.condition:
                if queue.closed:
                    return
                queue.items.append(item)
                queue.condition.notify_all()
            step += 1
    except BaseException as error:  # whatever it is belongs to the consumer, not to this thread
        queue.error = error
    finally:
        with queue.condition:
            queue.done = True
            queue.condition.notify_all()


class Prefetcher(Generic[T]):
    """Iterates over load(start), load(start + 1), ... made ahead of time in one thread.

    An exception of `load` is raised by `next()` after the batches made before it. Use it as a
    context manager, or call `close()`; a forgotten prefetcher closes when it is garbage collected.

    Args:
      load: step -> batch.
      start: the first step.
      stop: one past the last step, or None for no end.
      depth: how many batches may wait, >= 1.
    """

    def __init__(
        self, load: Callable[[int], T], start: int = 0, stop: int | None = None, depth: int = 2
    ):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, found {depth}")
        self._queue = _Queue(depth)
        self._thread = threading.Thread(
            target=_work, args=(self._queue, load, start, stop), name="prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, self._queue.close)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        queue = self._queue
        with queue.condition:
            queue.condition.wait_for(lambda: queue.items or queue.done or queue.closed)
            if queue.items:
                item = queue.items.popleft()
                queue.condition.notify_all()
                return item
            error, queue.error = queue.error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Stops the thread, waits for it, and drops the batches that wait; may be called twice."""
        self._finalizer()
        self._thread.join()

    def __enter__(self) -> "Prefetcher[T]":
        return self

    def __exit__(self, *unused) -> None:
        self.close()
