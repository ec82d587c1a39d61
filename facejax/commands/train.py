"""Trains or evaluates a system; the same command again goes on where a run stopped.

facejax train --config=NAME[:PRESET] [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from facejax.commands.common import prepare, report_errors
from facejax.host import machine
from facejax.host.errors import UsageError, nearest
from facejax.host.process import named, one_line
from facejax.host.shell import command_line
from facejax.train.config import find_configs, load_config
from facejax.train.runs import system_module

MODES = ("train", "evaluate")
_SMALLER = (
    "use smaller batches (--config.accumulate=2 cuts each in two), --config.dtype=bfloat16 or a "
    "smaller network; --dry_run estimates the memory of a step"
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags say, besides the configuration.

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


def _define(argv: list[str], config: ConfigDict | None = None) -> flags.FlagValues:
    """The flags.

    Args:
      argv: the command line without --config, which says what of the configuration is changed.
      config: whose values --config.KEY=VALUE changes; None for the text of --help.
    """
    values = flags.FlagValues()
    help_text = (
        "configuration with an optional preset, NAME[:PRESET] or configs/NAME.py[:PRESET]; single "
        "values are changed by --config.KEY=VALUE. By default that of the run in --workdir"
    )
    if config is None:
        flags.DEFINE_string("config", None, help_text, flag_values=values)
    else:
        # not DEFINE_config_file, which takes the first colon of a path for the end of it
        config_flags.DEFINE_config_dict(
            "config", config, help_text, flag_values=values, sys_argv=argv
        )
    text = {
        "workdir": "folder of the run; by default runs/SYSTEM",
        "parallel": "how a batch is spread over devices, 'shard_map' or 'pmap'; by default "
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


def _split_config(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of the last --config, and the rest of the command line."""
    spec, rest, words = None, [], iter(argv)
    for word in words:
        match = re.fullmatch(r"--?config(=.*)?", word, re.DOTALL)
        value = match and (match[1][1:] if match[1] is not None else next(words, None))
        if value is None:
            rest.append(word)
        else:
            spec = value
    return spec, rest


def _value_of(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag in a command line that is not parsed yet; the last one counts."""
    found = None
    for i, word in enumerate(argv):
        if match := re.fullmatch(rf"--?{flag}(=.*)?", word, re.DOTALL):
            found = match[1][1:] if match[1] is not None else "".join(argv[i + 1 : i + 2])
    return found


def _check_overrides(argv: Sequence[str], config: ConfigDict) -> None:
    from facejax.train.run_folder import as_plain, flatten

    plain = as_plain(config)
    keys = list(flatten(plain))
    groups = {key.rsplit(".", i)[0] for key in keys for i in range(1, key.count(".") + 1)}
    for argument in argv:
        match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if match and re.sub(r"\[.*", "", match.group(1)) not in {*keys, *groups, *_empty(plain)}:
            key = match.group(1)
            near = nearest(f"config.{key}", [f"config.{k}" for k in keys])
            hint = near or f" Top-level keys: {', '.join(sorted(plain))}."
            raise UsageError(f"unknown configuration key 'config.{key}'.{hint}")


def _empty(config: dict[str, Any], prefix: str = "") -> set[str]:
    """Names of empty groups, which `flatten` does not list."""
    found = set()
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _empty(value, f"{prefix}{key}.") or {f"{prefix}{key}"}
    return found


def _chosen_config(spec: str | None, argv: Sequence[str]) -> ConfigDict | None:
    """The configuration that --config names, or that of the run in --workdir."""
    from facejax.train.run_folder import read_config

    if spec is None:
        workdir = _value_of(argv, "workdir")
        kept = read_config(workdir) if workdir else None
        if kept is None and any(re.match(r"--?(no)?config\.", word) for word in argv):
            raise UsageError("--config.KEY=VALUE needs --config=NAME before it")
        return kept and ConfigDict(kept)
    try:
        config = load_config(spec)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"--config={spec}: {one_line(error)}") from error
    except Exception as error:  # the file is a program, and somebody's
        raise UsageError(f"--config={spec}: cannot be read: {named(error)}") from error
    if not isinstance(config, ConfigDict):
        found = type(config).__name__
        raise UsageError(f"--config={spec}: get_config gives {found}, wanted a ConfigDict")
    return config


def parse(argv: Sequence[str]) -> tuple[ConfigDict, Options] | None:
    """The configuration and the options of a command line.

    Args:
      argv: the flags.

    Returns:
      None where help was asked for.

    Raises:
      UsageError: something is not right; the text is one message for the user.
    """
    from facejax.train.run_folder import check_settings

    if any(argument in ("-h", "-help", "--help", "--helpfull") for argument in argv):
        return None
    spec, argv = _split_config(argv)
    config = _chosen_config(spec, argv)
    system = config and config.get("system")
    try:
        if config is not None:
            _check_overrides(argv, config)
        values = _define(argv, config)
        rest = values(["facejax", *argv])
    except flags.Error as error:
        # a boolean that absl cannot parse comes as the text of a tuple
        text = re.sub(r"\('(.*?)', '(.*?)'\)", r"\1: '\2'", one_line(error))
        raise UsageError(text) from error
    except (TypeError, KeyError, AttributeError) as error:  # of ml_collections, by kind of value
        raise UsageError(f"--config={spec}: {one_line(error)}") from error
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}: flags are written --NAME=VALUE")
    if config is None:
        found = ", ".join(find_configs())
        raise UsageError(
            "give --config=NAME" + (f", one of {found}" if found else "")
            + ", or the --workdir of an existing run"
        )  # fmt: skip
    config = values["config"].value
    if "system" not in config:
        raise UsageError(f"--config={spec}: the configuration has no key 'system'")
    if config.system != system:
        system_module(config.system)  # there may be no such system at all
        raise UsageError(
            f"--config.system={config.system}: found a configuration of {system!r}, whose other "
            f"keys do not fit; use --config={config.system}"
        )
    if values.mode not in MODES:
        raise UsageError(f"--mode={values.mode}: wanted one of {MODES}")
    if values.parallel is not None:
        config.parallel = values.parallel
    check_settings(config)
    config.lock()
    names = [f.name for f in dataclasses.fields(Options) if f.name != "workdir"]
    workdir = pathlib.Path(values.workdir or f"runs/{config.system}")
    return config, Options(workdir, **{name: values[name].value for name in names})


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

    Raises:
      ValueError: the folder holds no run, or one of another configuration.
      LockError: another process trains, or evaluates, in the folder.
    """
    if mode not in MODES:
        raise UsageError(f"mode must be one of {MODES}, found {mode!r}")
    workdir = pathlib.Path(workdir)
    from facejax.train.parallel import run_lock

    if mode == "evaluate":
        with run_lock(workdir, "evaluating", "evaluation"):
            step, figures = _evaluate(config, workdir)
            _write_figures(workdir, step, figures)
        return figures
    from facejax.train.loop import train
    from facejax.train.prerequisites import train_prerequisites
    from facejax.train.runs import make_system, resolve

    with run_lock(workdir):  # from the first prerequisite to the end of the run
        train_prerequisites(config, workdir)
        system = make_system(resolve(config, workdir))
        return train(system, config, workdir, profile_steps=profile_steps)


def _evaluate(config: ConfigDict, workdir: pathlib.Path) -> tuple[int, dict[str, Any]]:
    """The step of the newest checkpoint, and its figures."""
    from facejax.train.evaluation import finite_figures
    from facejax.train.run_folder import check_evaluation
    from facejax.train.runs import load_params, make_system, resolve

    check_evaluation(workdir, config)
    system = make_system(resolve(config, workdir))
    if not hasattr(system, "evaluate"):
        raise UsageError(f"system {config.system!r} has nothing to evaluate")
    params, meta = load_params(system, workdir)
    step = meta["step"]
    return step, finite_figures(system.evaluate(params, meta, workdir), f"step {step}")


def _write_figures(workdir: pathlib.Path, step: int, figures: dict[str, Any]) -> None:
    from facejax.host.files import atomic_path

    with atomic_path(workdir / "evaluation.json") as path:
        text = json.dumps({"step": step, **figures}, indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def main(argv: Sequence[str], program: str = "facejax train", doc: str | None = None) -> int:
    """Runs the command.

    Args:
      argv: the flags.
      program: what the user typed before them.
      doc: the text above the list of flags.

    Returns:
      The exit code.
    """
    return report_errors(lambda: _main(list(argv), program, doc), smaller=_SMALLER)


def _main(argv: list[str], program: str, doc: str | None) -> int:
    parsed = parse(argv)
    if parsed is None:
        text = _define(["facejax"]).get_help(prefix="  ")
        print(f"{(doc or __doc__).strip()}\n\nFlags:\n{text}")
        return 0
    config, options = parsed
    if options.dry_run:
        return _dry_run(config, options)
    from facejax.train.control import Interrupted
    from facejax.train.parallel import initialize

    initialize(options.coordinator, options.num_processes, options.process_id)
    prepare(compile_cache=options.compile_cache)
    import jax

    if jax.process_index() == 0:
        machine.check_writable(options.workdir)
    if options.mode == "evaluate":
        return _evaluate_and_print(config, options.workdir)
    try:
        run(config, options.workdir, options.mode, options.profile_steps)
    except Interrupted as error:
        print(f"{error}. Go on with: {program} {command_line(*argv)}", file=sys.stderr)
        return error.exit_code
    from facejax.train.runs import make_system, resolve

    system = make_system(resolve(config, options.workdir))
    if hasattr(system, "closing_lines") and jax.process_index() == 0:
        print("\n".join(system.closing_lines(options.workdir)))
    return 0


def _dry_run(config: ConfigDict, options: Options) -> int:
    from facejax.io.checkpoints import Checkpoints
    from facejax.train.describe import describe
    from facejax.train.run_folder import check_config, check_evaluation
    from facejax.train.runs import make_system, resolve

    if options.mode == "evaluate":
        check_evaluation(options.workdir, config)
    elif Checkpoints(options.workdir / "checkpoints").steps():
        check_config(options.workdir, config)
    system = make_system(resolve(config, options.workdir))
    print(describe(config, system, options.workdir))
    return 0


def _evaluate_and_print(config: ConfigDict, workdir: pathlib.Path) -> int:
    from facejax.train.describe import figure_rows, format_table
    from facejax.train.parallel import run_lock

    with run_lock(workdir, "evaluating", "evaluation"):
        step, figures = _evaluate(config, workdir)
        print(format_table(figure_rows(figures)))  # first: a full disk does not take them away
        _write_figures(workdir, step, figures)
    print(f"also in {workdir / 'evaluation.json'}")
    return 0
