"""What commands share: errors and exit codes, the machine, compile cache, log.

Only the standard library is imported here, so that --help answers at once and a missing package is
an error like others. EXIT_CODES is the one list of exit codes, which `facejax --help` prints.
"""

import contextlib
import importlib
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterable

from facejax.host import cache, machine, process
from facejax.host.errors import UsageError
from facejax.host.process import named, one_line
from facejax.host.shell import command_line

EXIT_CODES = {
    0: "done",
    1: "the machine: a device, a folder, the disk, memory, a package, a checkpoint; or what a "
    "command looked at is not in order (doctor, compare), or was left out (reconstruct)",
    2: "a wrong flag or setting, or a file with the wrong content",
    3: "a fault of facejax itself",
    129: "stopped by SIGHUP: the terminal was closed (128 + 1)",
    130: "stopped by Ctrl-C, SIGINT (128 + 2)",
    143: "stopped by SIGTERM (128 + 15); what was done until then is kept",
}
MACHINE, WRONG, FAULT = 1, 2, 3

_SMALLER = "take fewer or smaller things at a time"
_DEVICE_ERRORS = ("XlaRuntimeError", "JaxRuntimeError")
# import name: how pip calls it, where that differs
_PIP = {
    "PIL": "pillow", "cv2": "opencv-python-headless", "ml_collections": "ml-collections",
    "absl": "absl-py", "orbax": "orbax-checkpoint", "tensorflow_datasets": "tensorflow-datasets",
    "skimage": "scikit-image", "imageio_ffmpeg": "imageio-ffmpeg",
}  # fmt: skip
_entered = False  # whether a command of this process is running


def enable_compile_cache() -> None:
    """Keeps compiled programs between runs; JAX_COMPILATION_CACHE_DIR takes precedence.

    Where the folder cannot be written, jax's cache is switched off: it warns once per program.
    """
    import jax

    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not ((own or cache.is_usable()) and cache.is_usable(machine.compile_cache_folder)):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if not own:
        jax.config.update("jax_compilation_cache_dir", machine.compile_cache_folder())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def setup_logging() -> None:
    """Log lines of facejax on stderr, without cutting through progress bars."""
    from facejax.train.logging import TerminalHandler

    logger = logging.getLogger("facejax")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, TerminalHandler) for handler in logger.handlers):
        logger.addHandler(TerminalHandler())
    logger.propagate = False


# --- Errors ---------------------------------------------------------------------------------------


def report_errors(
    function: Callable[[], int], stopped: str | None = None, smaller: str = _SMALLER
) -> int:
    """The exit code of a function whose errors become one message on stderr, of any kind.

    FACEJAX_TRACEBACK=1 in the environment shows where an error comes from. Inside another call of
    `report_errors`, only the innermost reports.

    Args:
      function: does the work and returns an exit code.
      stopped: what to say where a signal or Ctrl-C ended the work, for instance how to go on.
      smaller: what to do where memory is short.

    Returns:
      One of EXIT_CODES.
    """
    with _own_process():
        try:
            code = _flushed(function)
        except KeyboardInterrupt as error:
            words = str(error) or "stopped by Ctrl-C"
            code = getattr(error, "exit_code", 130)
            print(f"{words}. {stopped}" if stopped else words, file=sys.stderr)
        except SystemExit:  # argparse has said what it wanted to say
            raise
        except Exception as error:
            if process.show_tracebacks():
                raise
            code, text = explain(error, smaller)
            print(f"error: {text}", file=sys.stderr)
        return code


def _flushed(function: Callable[[], int]) -> int:
    code = function()
    sys.stdout.flush()  # a disk that is full under a redirected stdout is found out here
    return code


@contextlib.contextmanager
def _own_process(to_the_end: bool = False):
    """The outermost command takes care of streams, signals and what fails beside it.

    Args:
      to_the_end: of the process, whose threads may outlive the command.
    """
    global _entered
    if _entered:
        yield
        return
    _entered = True
    logger = logging.getLogger("facejax")
    level, propagate, handlers = logger.level, logger.propagate, [*logger.handlers]
    try:
        with (
            process.usable_streams(to_the_end),
            process.quiet_failures(to_the_end),
            process.stop_signals(),
        ):
            yield
    finally:
        _entered = False
        if not to_the_end:
            logger.propagate, logger.handlers = propagate, handlers
            logger.setLevel(level)


def explain(error: Exception, smaller: str = _SMALLER) -> tuple[int, str]:
    """The exit code of an error and its one line.

    Args:
      error: any exception.
      smaller: what to do where memory is short.
    """
    where = " [FACEJAX_TRACEBACK=1 shows where]"
    if isinstance(error, UsageError | machine.MachineError):
        return getattr(error, "exit_code", WRONG), one_line(error)
    if isinstance(error, MemoryError):
        text = "" if type(error) is MemoryError and not error.args else f" ({one_line(error)})"
        return MACHINE, f"the memory of this machine is full{text}: {smaller}"
    if type(error).__name__ == "BrokenProcessPool":
        return MACHINE, (
            "a process that helped with the work was ended from outside, as happens where memory "
            f"is full: {smaller}, or use fewer --jobs"
        )
    if type(error).__name__ in _DEVICE_ERRORS:
        text = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        if "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
            return MACHINE, f"the memory of the device is full ({text}): {smaller}"
        return MACHINE, f"a computation failed on the device ({text}){where}"
    if isinstance(error, ImportError):
        return _explain_import(error, where)
    if isinstance(error, OSError):
        return MACHINE, f"{_explain_os(error)}{where}"
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return getattr(error, "exit_code", WRONG), f"{one_line(error)}{where}"
    return FAULT, (
        f"internal: {named(error)}. This is a fault of facejax; FACEJAX_TRACEBACK=1 shows where"
    )


def _explain_os(error: OSError) -> str:
    if error.strerror is None:
        return one_line(error)
    files = [os.fsdecode(f) for f in (error.filename, error.filename2)
             if isinstance(f, str | bytes | os.PathLike)]  # fmt: skip
    return f"{' and '.join(files)}: {error.strerror}" if files else one_line(error)


def _explain_import(error: ImportError, where: str) -> tuple[int, str]:
    missing = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or missing in ("", "facejax", "data_prep"):
        text = f"internal: {named(error)}. A package is damaged or too old, or this is a fault of "
        return FAULT, f"{text}facejax; FACEJAX_TRACEBACK=1 shows where"
    return MACHINE, (
        f"the package {missing} is not installed in {sys.executable}: pip install "
        f"{_PIP.get(missing, missing)}, or install facejax with all that it needs"
    )


# --- Commands -------------------------------------------------------------------------------------


def prepare(outputs: Iterable[str | os.PathLike | None] = (), compile_cache: bool = True) -> None:
    """Log and compile cache, and all questions to the machine, before anything takes time.

    Args:
      outputs: folders that will be written to; None and '' are passed over.
      compile_cache: keep compiled programs between runs.

    Raises:
      MachineError: no device starts, an output cannot be written, or there is no current folder.
    """
    setup_logging()
    machine.working_folder()
    for folder in outputs:
        if folder:
            machine.check_writable(folder)
    if compile_cache:
        enable_compile_cache()
    machine.devices()


def folder_of(file: str | os.PathLike | None) -> pathlib.Path | None:
    """The folder of a file that will be written, for `prepare`; None for None and ''."""
    return pathlib.Path(file).parent if file else None


def run_script(verb: str, program: str = "", **options: str) -> int:
    """What a script of launch/ does: the command of a verb, with the process's own arguments.

    Args:
      verb: a module of facejax.commands.
      program: what the user typed before the arguments; '' for `python SCRIPT`.
      **options: of the command's `main`, besides `argv` and `program`.
    """
    program = program or command_line("python", sys.argv[0])

    def work() -> int:
        module = importlib.import_module(f"facejax.commands.{verb}")
        return module.main(sys.argv[1:], program, **options)

    return whole_process(work)


def whole_process(work: Callable[[], int]) -> int:
    """`report_errors` of what is all that this process does.

    Args:
      work: returns an exit code.
    """
    with _own_process(to_the_end=True):
        return report_errors(work)
