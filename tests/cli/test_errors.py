"""What becomes of exceptions: one line on stderr, and an exit code of the list."""

import logging
import os
import signal
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from facejax import cli
from facejax.commands import common
from facejax.commands.common import EXIT_CODES, FAULT, MACHINE, WRONG, report_errors
from facejax.host.errors import UsageError
from facejax.host.machine import MachineError
from facejax.io.checkpoints import CheckpointError


@pytest.fixture(autouse=True)
def _no_tracebacks(monkeypatch):
    monkeypatch.delenv("FACEJAX_TRACEBACK", raising=False)


class XlaRuntimeError(RuntimeError):
    """Called as jax calls its own."""


def numpy_is_short_of_memory():
    np.empty(1 << 55)


def deep(k=0):
    return deep(k + 1)


CASES = {
    "flag": (UsageError("--x: no"), WRONG, "error: --x: no"),
    "content": (ValueError("f.txt:\nodd"), WRONG, "error: f.txt: odd [FACEJAX_TRACEBACK=1"),
    "machine": (MachineError("no device"), MACHINE, "error: no device"),
    "checkpoint": (CheckpointError("no space"), MACHINE, "error: no space"),
    "file": (FileNotFoundError(2, "No such file", "a b.txt"), MACHINE, "error: a b.txt: No such"),
    "two files": (OSError(18, "Cross-device", "a", None, "b"), MACHINE, "error: a and b: Cross"),
    "decoder": (OSError("image file is truncated"), MACHINE, "error: image file is truncated"),
    "memory": (MemoryError(), MACHINE, "error: the memory of this machine is full: take fewer"),
    "numpy": (numpy_is_short_of_memory, MACHINE, "is full (Unable to allocate"),
    "device memory": (
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBuffers:\n..."),
        MACHINE,
        "error: the memory of the device is full (RESOURCE_EXHAUSTED: Out of memory allocating 9 "
        "bytes.): take fewer",
    ),
    "worker": (BrokenProcessPool("abruptly"), MACHINE, "was ended from outside"),
    "device": (XlaRuntimeError("INTERNAL: CUDA"), MACHINE, "failed on the device (INTERNAL: CUDA)"),
    "package": (
        ModuleNotFoundError("No module named 'PIL'", name="PIL.Image"),
        MACHINE,
        "error: the package PIL is not installed",
    ),
    "own module": (ModuleNotFoundError("x", name="facejax.x"), FAULT, "error: internal: Modul"),
    "import": (ImportError("libGL.so.1"), FAULT, "error: internal: ImportError: libGL.so.1"),
    "type": (TypeError("a\nb"), FAULT, "error: internal: TypeError: a b. This is a fault of"),
    "assertion": (AssertionError(), FAULT, "error: internal: AssertionError. This is"),
    "recursion": (deep, FAULT, "error: internal: RecursionError: maximum recursion depth"),
    "encoding": (lambda: "ü".encode("ascii"), FAULT, "error: internal: UnicodeEncodeError"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_exception_is_one_line(case, capsys):
    raised, code, text = CASES[case]

    def work():
        if isinstance(raised, Exception):
            raise raised
        return raised()

    assert report_errors(work) == code and code in EXIT_CODES
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and text in error and error.startswith("error: ")


def test_a_traceback_is_shown_where_asked(monkeypatch):
    monkeypatch.setenv("FACEJAX_TRACEBACK", "1")

    def work():
        raise UsageError("no")

    with pytest.raises(UsageError):
        report_errors(work)


def test_what_to_do_where_memory_is_short(capsys):
    def work():
        raise MemoryError

    assert report_errors(work, smaller="use a smaller --batch_size") == MACHINE
    assert "is full: use a smaller --batch_size\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_say_how_to_go_on(name, heard_signals, capsys):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")

    def work():
        signal.raise_signal(getattr(signal, name))
        return 0

    code = report_errors(lambda: report_errors(work, "The same command goes on"))
    assert code == 128 + getattr(signal, name) and code in EXIT_CODES
    words = "stopped by Ctrl-C" if name == "SIGINT" else f"stopped by {name}"
    assert capsys.readouterr().err == f"{words}. The same command goes on\n"


def test_a_full_disk_below_stdout(monkeypatch, capsys):
    try:
        stream = open("/dev/full", "w", encoding="utf-8")
    except OSError:
        pytest.skip("this system has no /dev/full")
    with stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert report_errors(lambda: print("figures") or 0) == MACHINE
        stream.flush()  # goes nowhere: Python may end in peace
    assert capsys.readouterr().err.startswith("error: standard output: No space left on device")


def test_the_process_is_as_before_afterwards():
    logger, stdout = logging.getLogger("facejax"), sys.stdout
    before = logger.level, logger.propagate, [*logger.handlers]

    def work():
        common.setup_logging()
        assert not logger.propagate and sys.stdout is not stdout
        return 7

    assert report_errors(work) == 7
    assert (logger.level, logger.propagate, logger.handlers) == before and sys.stdout is stdout


def test_an_unwritable_cache_switches_the_compile_cache_off(tmp_path, monkeypatch, caplog):
    import jax

    from facejax.host import cache

    cache._say.cache_clear()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "file" / "x"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    try:
        common.enable_compile_cache()
        assert not jax.config.jax_enable_compilation_cache
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        cache._say.cache_clear()
    assert len(caplog.messages) == 1 and "Set FACEJAX_CACHE_DIR" in caplog.text


def test_outputs_are_tried_before_the_work(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    common.prepare([None, "", tmp_path / "new"], compile_cache=False)
    with pytest.raises(MachineError, match="file is a file, wanted a folder"):
        common.prepare([tmp_path / "file" / "out"], compile_cache=False)
    assert os.listdir(tmp_path) == ["file"]


def test_the_list_of_exit_codes_is_in_the_help(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {code} " in text for code in EXIT_CODES)
    assert {0, MACHINE, WRONG, FAULT} < set(EXIT_CODES)
