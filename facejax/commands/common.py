"""What commands share: errors and exit codes, compile cache, log.

Heavy modules are imported when a command needs them, so that --help answers at once.
Exit codes: 0 done; 1 disk or checkpoint trouble; 2 a wrong command or setting; 130 and 143 stopped
by SIGINT and SIGTERM with the state saved.
"""

import logging
import os
import re
import sys
from collections.abc import Callable

from facejax.host.machine import cache_folder
from facejax.train.config import UsageError


def enable_compile_cache() -> None:
    """Keeps compiled programs between runs; JAX_COMPILATION_CACHE_DIR takes precedence."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
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


def one_line(error: BaseException) -> str:
    """The text of an error without line breaks."""
    # str() of a KeyError is the repr of its text.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    # absl passes a boolean that it cannot parse on as a tuple.
    text = re.sub(r"\('(.*?)', '(.*?)'\)", r"\1: '\2'", text)
    return " ".join(text.split()) or type(error).__name__


def report_errors(function: Callable[[], int], stopped: str | None = None) -> int:
    """The exit code of a function whose errors become one message on stderr.

    FACEJAX_TRACEBACK=1 in the environment shows where an error comes from.

    Args:
      function: does the work and returns an exit code.
      stopped: what Ctrl-C prints, with exit code 130; None lets the interruption through.
    """
    try:
        return function()
    except KeyboardInterrupt:
        if stopped is None:
            raise
        print(stopped, file=sys.stderr)
        return 130
    except (UsageError, ValueError, OSError) as error:
        if os.environ.get("FACEJAX_TRACEBACK"):
            raise
        hint = "" if isinstance(error, UsageError) else " [FACEJAX_TRACEBACK=1 shows where]"
        print(f"error: {one_line(error)}{hint}", file=sys.stderr)
        disk = isinstance(error, OSError) or type(error).__name__ == "CheckpointError"
        return 1 if disk else 2


def run_command(work: Callable[[], int], stopped: str | None = None) -> int:
    """`report_errors` of a command that computes: with the compile cache and log lines.

    Args:
      work: does the work and returns an exit code.
      stopped: see `report_errors`.
    """

    def prepared() -> int:
        enable_compile_cache()
        setup_logging()
        return work()

    return report_errors(prepared, stopped)
