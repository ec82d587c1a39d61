"""Trains or evaluates a system; the same command again goes on where a run stopped.

facejax train --config=NAME[:PRESET] [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import dataclasses
import json
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from facejax.commands.common import enable_compile_cache, one_line, report_errors, setup_logging
from facejax.train.config import UsageError, find_configs, load_config, nearest, split_config

MODES = ("train", "evaluate")


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


def _define(argv: list[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        None,
        "configuration with an optional preset, NAME[:PRESET] or configs/NAME.py[:PRESET]; single "
        "values are changed by --config.KEY=VALUE. By default that of the run in --workdir",
        flag_values=values,
        sys_argv=argv,
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


def _with_config_file(argv: list[str]) -> tuple[str | None, list[str]]:
    """The value of --config, and the command line with a file in its place, as absl wants it."""
    for i, argument in enumerate(argv):
        match = re.fullmatch(r"(--?config)(=.*)?", argument)
        if not match or (match[2] is None and i + 1 == len(argv)):
            continue
        spec = argv[i + 1] if match[2] is None else match[2][1:]
        file, preset = split_config(spec)
        value = f"{file}:{preset}" if preset else str(file)
        rest = argv[i + 2 :] if match[2] is None else argv[i + 1 :]
        return spec, [*argv[:i], f"--config={value}", *rest]
    return None, argv


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


def parse(argv: Sequence[str]) -> tuple[ConfigDict, Options] | None:
    """The configuration and the options of a command line.

    Args:
      argv: the flags.

    Returns:
      None where help was asked for.

    Raises:
      UsageError: something is not right; the text is one message for the user.
    """
    from facejax.train.run_folder import read_config

    if any(argument in ("-h", "-help", "--help", "--helpfull") for argument in argv):
        return None
    spec, argv = _with_config_file(["facejax", *argv])
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
            raise UsageError("--config.KEY=VALUE needs --config=NAME before it") from error
        raise UsageError(one_line(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UsageError(f"--config={spec}: {one_line(error)}") from error
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}: flags are written --NAME=VALUE")
    if config is None:
        config = values.workdir and read_config(values.workdir)
        if not config:
            found = ", ".join(find_configs())
            raise UsageError(
                "give --config=NAME" + (f", one of {found}" if found else "")
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
    from facejax.train.runs import load_params, make_system, resolve

    workdir = pathlib.Path(workdir)
    if mode == "train":
        from facejax.train.loop import train
        from facejax.train.prerequisites import train_prerequisites

        train_prerequisites(config, workdir)
        system = make_system(resolve(config, workdir))
        return train(system, config, workdir, profile_steps=profile_steps)
    system = make_system(resolve(config, workdir))
    if mode != "evaluate":
        raise UsageError(f"mode must be one of {MODES}, found {mode!r}")
    if not hasattr(system, "evaluate"):
        raise UsageError(f"system {config.system!r} has nothing to evaluate")
    from facejax.host.files import atomic_path
    from facejax.train.evaluation import finite_figures

    params, meta = load_params(system, workdir)
    figures = finite_figures(system.evaluate(params, meta, workdir), f"step {meta['step']}")
    with atomic_path(workdir / "evaluation.json") as path:
        content = json.dumps({"step": meta["step"], **figures}, indent=2, allow_nan=False)
        path.write_text(content + "\n")
    return figures


def main(argv: Sequence[str], program: str = "facejax train", doc: str | None = None) -> int:
    """Runs the command.

    Args:
      argv: the flags.
      program: what the user typed before them.
      doc: the text above the list of flags.

    Returns:
      The exit code.
    """
    return report_errors(lambda: _main(list(argv), program, doc))


def _main(argv: list[str], program: str, doc: str | None) -> int:
    parsed = parse(argv)
    if parsed is None:
        text = _define(["facejax"]).get_help(prefix="  ")
        print(f"{(doc or __doc__).strip()}\n\nFlags:\n{text}")
        return 0
    config, options = parsed
    if options.dry_run:
        from facejax.train.describe import describe
        from facejax.train.runs import make_system, resolve

        system = make_system(resolve(config, options.workdir))
        print(describe(config, system, options.workdir))
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
        print(f"{error}. Go on with: {program} {shlex.join(argv)}", file=sys.stderr)
        return error.exit_code
    if options.mode == "evaluate":
        from facejax.train.describe import figure_rows, format_table

        print(format_table(figure_rows(result)))
        print(f"also in {options.workdir / 'evaluation.json'}")
        return 0
    import jax

    from facejax.train.runs import make_system, resolve

    system = make_system(resolve(config, options.workdir))
    if hasattr(system, "closing_lines") and jax.process_index() == 0:
        print("\n".join(system.closing_lines(options.workdir)))
    return 0
