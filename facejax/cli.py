"""The command line of launch/main.py: flags, configuration files, exit codes, messages.

Heavy modules are imported when a command needs them, so that --help answers at once.
Exit codes: 0 done; 1 disk or checkpoint trouble; 2 a wrong command or setting; 130 and 143 stopped
by SIGINT and SIGTERM with the state saved.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import json
import logging
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

_log = logging.getLogger(__name__)
MODES = ("train", "evaluate")


class UsageError(ValueError):
    """A wrong flag, preset, key or value."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags of launch/main.py say, besides the configuration.

    Attributes:
      workdir: folder of the run.
      mode: 'train' or 'evaluate'.
      dry_run: print what would be done, and stop.
      coordinator, num_processes, process_id: see `facejax.train.parallel.initialize`.
      profile_steps: length of a profiler trace.
      compile_cache: keep compiled programs between runs.
    """

    workdir: pathlib.Path
    mode: str = "train"
    dry_run: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    profile_steps: int = 0
    compile_cache: bool = True


def _define(argv: list[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        None,
        "configuration file with an optional preset, configs/NAME.py[:PRESET]; single values are "
        "changed by --config.KEY=VALUE. By default that of the run in --workdir",
        flag_values=values,
        sys_argv=argv,
    )
    text = {
        "workdir": "folder of the run; by default runs/SYSTEM",
        "parallel": "how a batch is spread over devices, 'jit' or 'pmap'; by default "
        "config.parallel",
        "coordinator": "HOST:PORT of process 0 in a run of several processes, or 'auto' "
        "(Slurm, TPU, Kubernetes)",
    }
    for name, help_text in text.items():
        flags.DEFINE_string(name, None, help_text, flag_values=values)
    flags.DEFINE_string("mode", "train", "'train' or 'evaluate'", flag_values=values)
    integers = {
        "num_processes": (None, "number of processes, with --coordinator=HOST:PORT"),
        "process_id": (None, "number of this process, from 0"),
        "profile_steps": (0, "write a profiler trace of so many steps to WORKDIR/profile"),
    }
    for name, (default, help_text) in integers.items():
        flags.DEFINE_integer(name, default, help_text, lower_bound=0, flag_values=values)
    flags.DEFINE_boolean(
        "dry_run", False, "print the configuration and the stages, then stop", flag_values=values
    )
    flags.DEFINE_boolean(
        "compile_cache",
        True,
        "keep compiled programs in FACEJAX_CACHE_DIR, by default ~/.cache/facejax/xla",
        flag_values=values,
    )
    flags.DEFINE_boolean("help", False, "show this text", short_name="h", flag_values=values)
    return values


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _config_argument(argv: list[str]) -> str | None:
    """The value of --config in the command line."""
    for i, argument in enumerate(argv):
        match = re.fullmatch(r"--?config=(.*)", argument)
        if match:
            return match.group(1)
        if re.fullmatch(r"--?config", argument) and i + 1 < len(argv):
            return argv[i + 1]
    return None


def load_config(spec: str) -> ConfigDict:
    """The configuration of 'configs/NAME.py' or 'configs/NAME.py:PRESET'.

    Raises:
      UsageError: there is no such file.
      ValueError: no such preset.
    """
    path, _, preset = spec.partition(":")
    file = pathlib.Path(path)
    if not file.is_file():
        folder = file.parent if file.parent.name == "configs" else pathlib.Path("configs")
        found = sorted(str(p) for p in folder.glob("*.py") if p.stem not in ("common", "__init__"))
        raise UsageError(
            f"--config: {path}: no such file.{_nearest(path, found)} Found: "
            f"{', '.join(found) or 'no configuration file'}"
        )
    module_spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module.get_config(preset) if preset else module.get_config()


def _check_overrides(argv: list[str], config: ConfigDict) -> None:
    from facejax.train.run_folder import as_plain, flatten

    plain = as_plain(config)
    keys = list(flatten(plain))
    groups = {key.rsplit(".", i)[0] for key in keys for i in range(1, key.count(".") + 1)}
    for argument in argv[1:]:
        match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if match and re.sub(r"\[.*", "", match.group(1)) not in {*keys, *groups, *_empty(plain)}:
            key = match.group(1)
            near = _nearest(f"config.{key}", [f"config.{k}" for k in keys])
            hint = near or f" Top-level keys: {', '.join(sorted(plain))}."
            raise UsageError(f"unknown configuration key 'config.{key}'.{hint}")


def _empty(config: dict[str, Any], prefix: str = "") -> set[str]:
    """Names of empty groups, which `flatten` does not list."""
    found = set()
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _empty(value, f"{prefix}{key}.") or {f"{prefix}{key}"}
    return found


def parse(argv: list[str]) -> tuple[ConfigDict, Options] | None:
    """The configuration and the options of a command line.

    Args:
      argv: with the name of the program first.

    Returns:
      None where help was asked for.

    Raises:
      UsageError: something is not right; the text is one message for the user.
    """
    from facejax.train.run_folder import read_config

    if any(argument in ("-h", "-help", "--help", "--helpfull") for argument in argv[1:]):
        return None
    spec = _config_argument(argv)
    try:
        if spec is not None:
            _check_overrides(argv, load_config(spec))
        values = _define(argv)
        rest = values(argv)
        config = values["config"].value
    except UsageError:
        raise
    except flags.Error as error:
        if spec is None and "config." in str(error):
            raise UsageError(
                "--config.KEY=VALUE needs --config=configs/NAME.py before it"
            ) from error
        raise UsageError(_one_line(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        where = "" if str(error).startswith("configs") else f"--config={spec}: "
        raise UsageError(f"{where}{_one_line(error)}") from error
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}: flags are written --NAME=VALUE")
    if config is None:
        config = values.workdir and read_config(values.workdir)
        if not config:
            found = sorted(
                str(p) for p in pathlib.Path("configs").glob("*.py") if p.stem != "common"
            )
            raise UsageError(
                "give --config=FILE" + (f", one of {', '.join(found)}" if found else "")
                + ", or the --workdir of an existing run"
            )  # fmt: skip
        config = ConfigDict(config)
    if "system" not in config:
        raise UsageError(f"--config={spec}: the configuration has no key 'system'")
    if values.mode not in MODES:
        raise UsageError(f"--mode={values.mode}: wanted one of {MODES}")
    if values.parallel is not None:
        config.parallel = values.parallel
    config.lock()
    names = [f.name for f in dataclasses.fields(Options) if f.name != "workdir"]
    workdir = pathlib.Path(values.workdir or f"runs/{config.system}")
    return config, Options(workdir, **{name: values[name].value for name in names})


def _one_line(error: BaseException) -> str:
    # str() of a KeyError is the repr of its text.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    # absl passes a boolean that it cannot parse on as a tuple.
    text = re.sub(r"\('(.*?)', '(.*?)'\)", r"\1: '\2'", text)
    return " ".join(text.split()) or type(error).__name__


def make_system(config: Any) -> Any:
    """The system that a configuration names: facejax/systems/NAME/system.py.

    Raises:
      UsageError: there is no such system.
    """
    name = f"facejax.systems.{config.system}.system"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and not name.startswith(error.name):
            raise  # the system exists, and something that it imports does not
        folder = pathlib.Path(__file__).parent / "systems"
        found = sorted(p.parent.name for p in folder.glob("*/system.py"))
        raise UsageError(
            f"config.system: no system {config.system!r}.{_nearest(config.system, found)} Found: "
            f"{', '.join(found)}"
        ) from error
    return module.make_system(config)


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


def run(
    config: Any, workdir: str | pathlib.Path, mode: str = "train", profile_steps: int = 0
) -> Any:
    """Trains or evaluates; what the command line calls, for scripts and tests.

    Args:
      config: ConfigDict of a config file.
      workdir: folder of the run.
      mode: 'train' or 'evaluate'.
      profile_steps: see `facejax.train.loop.train`.

    Returns:
      A `RunResult`, or the figures of `System.evaluate`, also written to evaluation.json.
    """
    workdir = pathlib.Path(workdir)
    system = make_system(config)
    if mode == "train":
        from facejax.train.loop import train

        return train(system, config, workdir, profile_steps=profile_steps)
    if mode != "evaluate":
        raise UsageError(f"mode must be one of {MODES}, found {mode!r}")
    if not hasattr(system, "evaluate"):
        raise UsageError(f"system {config.system!r} has nothing to evaluate")
    from facejax.io.checkpoints import Checkpoints
    from facejax.io.files import atomic_path

    found = Checkpoints(workdir / "checkpoints").restore_latest(only=("params", "ema", "aux"))
    if found is None:
        raise UsageError(f"{workdir}: no checkpoint to evaluate. Train first, or give --workdir")
    tree, meta = found
    trees = {**tree["aux"], **tree["params"], **tree["ema"]}
    figures = system.evaluate(trees, meta, workdir)
    with atomic_path(workdir / "evaluation.json") as path:
        path.write_text(json.dumps({"step": meta["step"], **figures}, indent=2) + "\n")
    return figures


def setup_logging() -> None:
    """Log lines of facejax on stderr, without cutting through progress bars."""
    from facejax.train.logging import TerminalHandler

    logger = logging.getLogger("facejax")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, TerminalHandler) for handler in logger.handlers):
        logger.addHandler(TerminalHandler())
    logger.propagate = False


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
        print(f"error: {_one_line(error)}{hint}", file=sys.stderr)
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


def main(argv: list[str], doc: str | None = None) -> int:
    """launch/main.py.

    Args:
      argv: the command line, with the name of the program first.
      doc: the text above the list of flags.

    Returns:
      The exit code.
    """
    return report_errors(lambda: _main(argv, doc))


def _main(argv: list[str], doc: str | None) -> int:
    parsed = parse(argv)
    if parsed is None:
        print(f"{(doc or __doc__).strip()}\n\nFlags:\n{_define(argv).get_help(prefix='  ')}")
        return 0
    config, options = parsed
    if options.dry_run:
        from facejax.train.describe import describe

        print(describe(config, make_system(config)))
        return 0
    from facejax.train.control import Interrupted
    from facejax.train.parallel import initialize

    if options.compile_cache:
        enable_compile_cache()
    setup_logging()
    initialize(options.coordinator, options.num_processes, options.process_id)
    try:
        result = run(config, options.workdir, options.mode, options.profile_steps)
    except Interrupted as error:
        command = shlex.join(["python", *argv])
        print(f"{error}. Go on with: {command}", file=sys.stderr)
        return error.exit_code
    if options.mode == "evaluate":
        from facejax.train.describe import figure_rows, format_table

        print(format_table(figure_rows(result)))
        print(f"also in {options.workdir / 'evaluation.json'}")
        return 0
    import jax

    system = make_system(config)
    if hasattr(system, "closing_lines") and jax.process_index() == 0:
        print("\n".join(system.closing_lines(options.workdir)))
    return 0
