"""What reaches into a running loop from outside: signals and the profiler."""

import logging
import pathlib
import signal
from typing import Any

import jax

from facejax.host.process import listen
from facejax.host.shell import command_line

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
    """Notes signals that ask to stop while the block runs; a second one acts as if nobody listened.

    They are those of `host.process.STOP_SIGNALS` that this process does not ignore.

    Attributes:
      received: the number of the signal, 0 for none.
    """

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
        self._old = listen(self._note)
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
            _log.info("profile: %s", command_line("tensorboard", "--logdir", self._folder))

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *unused) -> None:
        self.close()
