"""What a command does to its process, so that trouble beside the main flow is a line and no more.

Streams that may be closed, signals that ask to stop, exceptions in threads and destructors, and
tracebacks that libraries log.
"""

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

# that ask a process to stop and leave it the time to save; SIGHUP: its terminal was closed
STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)  # neither of the last two is everywhere
)
_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO)  # who read the stream went away
_CACHE_WRITE = "Error writing persistent compilation cache entry"


def show_tracebacks() -> bool:
    """Whether the user asked where errors come from: FACEJAX_TRACEBACK=1."""
    return os.environ.get("FACEJAX_TRACEBACK", "0") not in ("", "0")


# --- Signals --------------------------------------------------------------------------------------


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop.

    Attributes:
      signum: its number.
      exit_code: 128 + the number, as shells report it.
    """

    def __init__(self, signum: int):
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(f"stopped by {name}")
        self.signum = signum
        self.exit_code = 128 + signum


def listen(handler: Any) -> dict[int, Any]:
    """Makes `handler` that of the signals in STOP_SIGNALS, where Python allows it.

    A signal that the process was started to ignore, as by nohup, stays ignored.

    Returns:
      {signal: handler before}, for `signal.signal`.
    """
    if threading.current_thread() is not threading.main_thread():  # elsewhere it is not allowed
        return {}
    heard = [s for s in STOP_SIGNALS if signal.getsignal(s) not in (signal.SIG_IGN, None)]
    return {signum: signal.signal(signum, handler) for signum in heard}


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """While the block runs, signals that ask to stop raise `Stopped`, so that it can clean up.

    A second one acts as if nobody listened.
    """
    old: dict[int, Any] = {}

    def restore():
        while old:
            signal.signal(*old.popitem())

    def stop(signum, frame):
        del frame
        restore()
        raise Stopped(signum)

    old |= listen(stop)
    try:
        yield
    finally:
        restore()


def end_quietly() -> None:
    """To be called in a process that works for another: signals end it without a word.

    Ctrl-C reaches both, and the other one reports it.
    """
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


# --- Streams --------------------------------------------------------------------------------------


class _Stream:
    """A text stream whose reader may go away: what nobody reads does not stop the work."""

    def __init__(self, stream: Any, name: str):
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        self._tried(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, function, *arguments) -> None:
        try:
            function(*arguments)
        except OSError as error:
            self._drop()
            if error.errno not in _GONE:  # a full disk: what was to be kept is lost
                raise OSError(error.errno, error.strerror, self._name) from error
        except ValueError:
            if not self._stream.closed:
                raise

    def _drop(self) -> None:
        """Sends the rest nowhere, also what is flushed when the process ends."""
        try:
            number = self._stream.fileno()
        except (OSError, ValueError, AttributeError):  # no file of the system
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def usable_streams(to_the_end: bool = False) -> Iterator[None]:
    """While the block runs, stdout and stderr take whatever is printed, wherever it goes.

    A reader that went away (`| head`, a closed terminal) is no error; letters that the terminal
    lacks are written as escapes; a process started without streams writes nowhere.

    Args:
      to_the_end: of the process, not of the block.
    """
    _fill_standard_files()
    old = sys.stdout, sys.stderr
    modes = [getattr(stream, "errors", None) for stream in old]
    sys.stdout, sys.stderr = (
        _Stream(io.StringIO() if stream is None else stream, name)
        for stream, name in zip(old, ("standard output", "standard error"), strict=True)
    )
    for stream in old:
        _set_errors(stream, "backslashreplace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()  # else it fails when Python ends, with words of its own
        if not to_the_end:
            for stream, mode in zip(old, modes, strict=True):
                _set_errors(stream, mode)
            sys.stdout, sys.stderr = old


def _set_errors(stream: Any, mode: str | None) -> None:
    """What a text stream does with letters that it has no bytes for."""
    if mode is not None and hasattr(stream, "reconfigure"):
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(errors=mode)


def _fill_standard_files() -> None:
    """Opens what is closed of the first three files: else the next one that is opened gets the
    number, and what a library prints goes into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number


# --- Failures beside the main flow ----------------------------------------------------------------


def one_line(error: BaseException) -> str:
    """The text of an error without line breaks and without tracebacks of others inside it."""
    # str() of a KeyError is the repr of its text.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    head, traceback, rest = text.partition("Traceback (most recent call last):")
    if traceback:  # of another process or a callback: its last line is the error
        text = f"{head} {rest.strip().splitlines()[-1] if rest.strip() else ''}"
    return " ".join(text.split()) or type(error).__name__


def named(error: BaseException) -> str:
    """'TypeError: text' on one line."""
    text, kind = one_line(error), type(error).__name__
    return kind if text == kind else f"{kind}: {text}"


@contextlib.contextmanager
def quiet_failures(to_the_end: bool = False) -> Iterator[None]:
    """While the block runs, nothing prints a traceback, unless FACEJAX_TRACEBACK=1 asks for all.

    Exceptions of threads, log records of any library that carry one, and warnings become one line
    each. What orbax logs of writers in the background is left out: their errors are raised where
    their end is waited for. So are exceptions that Python itself passes over, of destructors.

    Args:
      to_the_end: of the process, not of the block.
    """
    if show_tracebacks():
        yield
        return
    factory, hook = logging.getLogRecordFactory(), threading.excepthook
    unraisable, show = sys.unraisablehook, warnings.showwarning
    absl = logging.getLogger("absl")
    logging.setLogRecordFactory(_one_line_records(factory))
    threading.excepthook, warnings.showwarning = _say_thread, _warner()
    sys.unraisablehook = lambda args: None
    absl.addFilter(_not_of_orbax)
    try:
        yield
    finally:
        if not to_the_end:
            logging.setLogRecordFactory(factory)
            threading.excepthook, warnings.showwarning = hook, show
            sys.unraisablehook = unraisable
            absl.removeFilter(_not_of_orbax)


def _one_line_records(factory):
    """A factory of log records without tracebacks."""

    def record(*args, **kwargs):
        made = factory(*args, **kwargs)
        error = made.exc_info[1] if made.exc_info else None
        text = made.getMessage() if error is not None else ""
        if error is not None and one_line(error) not in " ".join(text.split()):
            made.msg, made.args = f"{text} ({named(error)})", ()
        made.exc_info = made.exc_text = made.stack_info = None
        return made

    return record


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _say_thread(args) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "of a library"
        _say(f"error in thread {name}: {named(args.exc_value or args.exc_type())}")


def _warner():
    """Shows each warning once, as a line without the place in the code."""
    said = set()

    def show(message, category, filename, lineno, file=None, line=None):
        del filename, lineno, file, line
        text = " ".join(str(message).split())
        if text.startswith(_CACHE_WRITE):  # one for each program; the disk is full, say
            text = f"compiled programs cannot be kept: {text.rpartition(': ')[2]}"
        if text not in said:
            said.add(text)
            _say(f"warning: {text} [{category.__name__}]")

    return show


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr)
