"""What reaches into a running loop from outside: signals and the profiler."""

import logging
import pathlib
import signal
import threading
from typing import Any

import jax

_log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The run was asked to stop, and its state is saved.

    Attributes:
      exit_code: 128 + the number of the signal, as shells report it.
    """

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}, saved")
        self.exit_code = 128 + signum


class StopSignals:
    """Notes SIGTERM and SIGINT while the block runs; a second one acts as if nobody listened.

    Attributes:
      received: the number of the signal, 0 for none.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received = 0
        self._old: dict[int, Any] = {}

    def _note(self, signum, frame):
        del frame
        self.received = signum
        self._restore()

    def _restore(self):
        for signum, handler in self._old.items():
            signal.signal(signum, handler)
        self._old = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # elsewhere it is not allowed
            self._old = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def __exit__(self, *unused):
        self._restore()


class Profiler:
    """A profiler trace of a few steps, after those that compile.

    Args:
      folder: where to.
      steps: how many; 0 for none.
    """

    SKIP = 2

    def __init__(self, folder: pathlib.Path, steps: int):
        self._folder, self._left, self._skip = folder, steps, self.SKIP
        self._running = False

    def after_step(self, state: Any) -> None:
        """To be called after every step, with something to wait for."""
        if not self._left:
            return
        if self._skip:
            self._skip -= 1
            if not self._skip:
                jax.profiler.start_trace(str(self._folder))
                self._running = True
            return
        self._left -= 1
        if not self._left:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Ends a trace that is not finished; may be called twice."""
        if self._running:
            jax.profiler.stop_trace()
            self._running, self._left = False, 0
            _log.info("profile: tensorboard --logdir %s", self._folder)

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *unused) -> None:
        self.close()
