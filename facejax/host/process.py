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
        super().__init__(f"stopped by {signal.Signals(signum).name}")
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
def usable_streams() -> Iterator[None]:
    """While the block runs, stdout and stderr take whatever is printed, wherever it goes.

    A reader that went away (`| head`, a closed terminal) is no error; letters that the terminal
    lacks are written as escapes; a process started without streams writes nowhere.
    """
    _fill_standard_files()
    old = sys.stdout, sys.stderr
    encodings = [getattr(stream, "errors", None) for stream in old]
    sys.stdout, sys.stderr = (
        _Stream(io.StringIO() if stream is None else _escaping(stream), name)
        for stream, name in zip(old, ("standard output", "standard error"), strict=True)
    )
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()  # else it fails when Python ends, with words of its own
        for stream, name in zip(old, encodings, strict=True):
            if name is not None and hasattr(stream, "reconfigure"):
                with contextlib.suppress(OSError, ValueError):
                    stream.reconfigure(errors=name)
        sys.stdout, sys.stderr = old


def _fill_standard_files() -> None:
    """Opens what is closed of the first three files: else the next one that is opened gets the
    number, and what a library prints goes into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number


def _escaping(stream: Any) -> Any:
    if hasattr(stream, "reconfigure"):
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")
    return stream


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
def quiet_failures() -> Iterator[None]:
    """While the block runs, nothing prints a traceback, unless FACEJAX_TRACEBACK=1 asks for all.

    Exceptions of threads and destructors, log records of any library that carry one, and warnings
    become one line each.
    """
    if show_tracebacks():
        yield
        return
    factory = logging.getLogRecordFactory()

    def record(*args, **kwargs):
        made = factory(*args, **kwargs)
        error = made.exc_info[1] if made.exc_info else None
        if error is not None:
            made.msg, made.args = f"{made.getMessage()} ({named(error)})", ()
        made.exc_info = made.exc_text = made.stack_info = None
        return made

    def in_thread(args):
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread else "of a library"
            _say(f"error in thread {name}: {named(args.exc_value or args.exc_type())}")

    def unraisable(args):
        if args.exc_value is not None:
            _say(f"warning: passed over: {named(args.exc_value)}")

    said = set()

    def warned(message, category, filename, lineno, file=None, line=None):
        del filename, lineno, file, line
        text = " ".join(str(message).split())
        if text.startswith(_CACHE_WRITE):  # one for each program; the disk is full, say
            text = f"compiled programs cannot be kept: {text.rpartition(': ')[2]}"
        if text not in said:
            said.add(text)
            _say(f"warning: {text} [{category.__name__}]")

    old = threading.excepthook, sys.unraisablehook
    with warnings.catch_warnings():  # puts showwarning back
        warnings.showwarning = warned
        logging.setLogRecordFactory(record)
        threading.excepthook, sys.unraisablehook = in_thread, unraisable
        try:
            yield
        finally:
            logging.setLogRecordFactory(factory)
            threading.excepthook, sys.unraisablehook = old


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr)
