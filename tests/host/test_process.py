"""Signals, streams that go away, and failures beside the main flow."""

import errno
import io
import logging
import os
import signal
import sys
import threading
import warnings

import pytest

from facejax.host import process

SIGNALS = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]


@pytest.fixture(autouse=True)
def _no_tracebacks(monkeypatch):
    monkeypatch.delenv("FACEJAX_TRACEBACK", raising=False)


@pytest.mark.parametrize("value, shown", [(None, False), ("", False), ("0", False), ("1", True)])
def test_tracebacks_are_asked_for(monkeypatch, value, shown):
    if value is not None:
        monkeypatch.setenv("FACEJAX_TRACEBACK", value)
    assert process.show_tracebacks() is shown


# --- Signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_lets_the_work_clean_up(signum, heard_signals):
    cleaned, before = [], signal.getsignal(signum)
    with pytest.raises(process.Stopped) as caught, process.stop_signals():
        try:
            os.kill(os.getpid(), signum)
            threading.Event().wait(10)
        finally:
            assert signal.getsignal(signum) == before  # a second one ends the process
            cleaned.append(True)
    assert cleaned and caught.value.exit_code == 128 + signum
    assert str(caught.value) == f"stopped by {signal.Signals(signum).name}"
    assert signal.getsignal(signum) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.stop_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_threads_and_systems_without_sighup_do_without():
    assert signal.SIGINT in process.STOP_SIGNALS and signal.SIGTERM in process.STOP_SIGNALS
    found = []
    thread = threading.Thread(target=lambda: found.append(process.listen(print)))
    thread.start()
    thread.join()
    assert found == [{}]


# --- Streams --------------------------------------------------------------------------------------


def pipe_without_reader(**options):
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8", **options)


@pytest.mark.parametrize("buffering", [1, -1])
def test_a_reader_that_went_away_is_no_error(monkeypatch, buffering):
    with pipe_without_reader(buffering=buffering) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with process.usable_streams():
            for _ in range(3):
                print("x" * 9000)
                sys.stdout.flush()
        assert sys.stdout is stream
        stream.flush()  # as Python does at the end: nothing is left that could fail


def test_a_full_disk_below_stdout_is_an_error_that_names_it(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="standard output") as caught, process.usable_streams():
        print("x")
    assert caught.value.errno == errno.ENOSPC


def test_letters_that_a_terminal_lacks_are_escaped(monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    with process.usable_streams():
        print("Gesicht für \udce9")  # and a byte of a file name that is no UTF-8
    assert raw.getvalue() == b"Gesicht f\\xfcr \\udce9\n" and stream.errors == "strict"


def test_a_process_without_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with process.usable_streams():
        print("x", file=sys.stderr)
        print("y")
        assert not sys.stdout.isatty()
    assert sys.stdout is None


# --- Failures beside the main flow ----------------------------------------------------------------


def fail():
    raise TypeError("two\nlines")


def test_nothing_prints_a_traceback(capsys):
    logger = logging.getLogger("some.library")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    hooks = threading.excepthook, sys.unraisablehook, logging.getLogRecordFactory()
    with process.quiet_failures():
        thread = threading.Thread(target=fail, name="writer")
        thread.start()
        thread.join()
        try:
            fail()
        except TypeError:
            logger.exception("went %s", "wrong")
            logger.error("stack", stack_info=True)
        for _ in range(2):
            warnings.warn("old\nname", DeprecationWarning, stacklevel=1)
            warnings.warn(
                "Error writing persistent compilation cache entry for 'jit_f': OSError: full",
                stacklevel=1,
            )
    logger.removeHandler(handler)
    assert capsys.readouterr().err.splitlines() == [
        "error in thread writer: TypeError: two lines",
        "went wrong (TypeError: two lines)",
        "stack",
        "warning: old name [DeprecationWarning]",
        "warning: compiled programs cannot be kept: full [UserWarning]",
    ]
    assert hooks == (threading.excepthook, sys.unraisablehook, logging.getLogRecordFactory())


def test_all_of_them_are_shown_where_asked(capsys, monkeypatch):
    monkeypatch.setenv("FACEJAX_TRACEBACK", "1")
    old = threading.excepthook
    with process.quiet_failures():
        assert threading.excepthook is old


@pytest.mark.parametrize(
    "error, text",
    [
        (KeyError("no 'x'"), "no 'x'"),
        (ValueError("a\n  b"), "a b"),
        (ValueError(), "ValueError"),
        (
            RuntimeError("callback: Traceback (most recent call last):\n  File x\nOSError: full\n"),
            "callback: OSError: full",
        ),
    ],
)
def test_one_line(error, text):
    assert process.one_line(error) == text
