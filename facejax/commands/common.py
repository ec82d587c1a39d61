"""What commands share: configuration files by name, errors and exit codes, compile cache, log.

Heavy modules are imported when a command needs them, so that --help answers at once.
Exit codes: 0 done; 1 disk or checkpoint trouble; 2 a wrong command or setting; 130 and 143 stopped
by SIGINT and SIGTERM with the state saved.
"""

import difflib
import importlib.util
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

from ml_collections import ConfigDict

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


class UsageError(ValueError):
    """A wrong flag, preset, key or value."""


def nearest(word: str, words: Iterable[str]) -> str:
    """The question whether the most similar word was meant; nothing where none is similar."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _config_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """{name: file} of the configurations in a folder; other Python files are none."""
    return {
        file.stem: file
        for file in sorted(folder.glob("*.py"))
        if "def get_config(" in file.read_text(errors="replace")
    }


def find_configs() -> dict[str, pathlib.Path]:
    """{name: file} of every configuration that goes by its name, in order of their names.

    Of equal names, the first counts: of ./configs, of folders `configs` on the path, of the package
    itself (facejax/configs in an installed wheel, the folder beside facejax in a checkout).
    """
    own = _PACKAGE / "configs"
    places = [pathlib.Path("configs"), *(pathlib.Path(p, "configs") for p in sys.path)]
    found: dict[str, pathlib.Path] = {}
    for folder in [*places, own if own.is_dir() else _PACKAGE.parent / "configs"]:
        found = _config_files(folder) | found
    return dict(sorted(found.items()))


def split_config(spec: str) -> tuple[pathlib.Path, str]:
    """The file and the preset ('' for none) of 'NAME[:PRESET]' or 'configs/NAME.py[:PRESET]'.

    Raises:
      UsageError: there is no such configuration.
    """
    path, _, preset = spec.partition(":")
    file = pathlib.Path(path)
    if file.is_file():
        return file, preset
    known = find_configs()
    if path in known:
        return known[path], preset
    names = ", ".join(known) or "no configuration"
    if file.suffix != ".py" and len(file.parts) < 2:
        raise UsageError(
            f"--config: no configuration {path!r}.{nearest(path, known)} Found: {names}"
        )
    folder = file.parent if file.parent.name == "configs" else pathlib.Path("configs")
    files = [str(f) for f in _config_files(folder).values()]
    hint = nearest(path, files) or nearest(file.stem, known)
    raise UsageError(
        f"--config: {path}: no such file.{hint} Found: "
        f"{', '.join(files) or f'no configuration file; by name: {names}'}"
    )


def config_module(file: pathlib.Path) -> ModuleType:
    """A configuration file as a module: `get_config`, perhaps `PRESETS`."""
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_config(spec: str) -> ConfigDict:
    """The configuration of 'NAME[:PRESET]' or 'configs/NAME.py[:PRESET]'.

    Raises:
      UsageError: there is no such configuration.
      ValueError: no such preset.
    """
    file, preset = split_config(spec)
    module = config_module(file)
    return module.get_config(preset) if preset else module.get_config()


def cache_folder() -> pathlib.Path:
    """Where compiled programs are kept: FACEJAX_CACHE_DIR, else the cache folder of the user."""
    if os.environ.get("FACEJAX_CACHE_DIR"):
        return pathlib.Path(os.environ["FACEJAX_CACHE_DIR"]) / "xla"
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "facejax" / "xla"


def enable_compile_cache() -> None:
    """Keeps compiled programs between runs; JAX_COMPILATION_CACHE_DIR takes precedence."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
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
