"""Verbs that ask the run: the system of the run in --workdir says what there is to do with it."""

import argparse
import contextlib
import pathlib
from collections.abc import Mapping, Sequence

from facejax.commands.common import prepare, report_errors
from facejax.host.errors import UsageError, nearest
from facejax.train.runs import find_systems, read_run_config
from facejax.train.verbs import Verb, find_verbs, system_verbs, verb_names

_HELP = ("-h", "-help", "--help")


def _workdir(argv: Sequence[str], program: str) -> tuple[str | None, list[str]]:
    """The value of --workdir, which says whose flags the rest are, and the rest."""
    parser = argparse.ArgumentParser(prog=program, add_help=False)
    parser.add_argument("--workdir", "-workdir")
    known, rest = parser.parse_known_args(list(argv))
    return known.workdir, rest


def _subcommand(rest: Sequence[str]) -> str | None:
    return rest[0] if rest and not rest[0].startswith("-") else None


def _matches(verb: Verb | Mapping[str, Verb] | None, sub: str | None) -> bool:
    """Whether a system's verb is there, with the subcommand that was typed, if one was."""
    return verb is not None and (isinstance(verb, Verb) or sub is None or sub in verb)


def _offering(name: str, sub: str | None) -> list[str]:
    """Systems that have a verb, with the subcommand that was typed, if one was."""
    return [s for s, verb in find_verbs().get(name, {}).items() if _matches(verb, sub)]


def _lacking(name: str, sub: str | None, workdir: str | None, system: str | None) -> UsageError:
    """What to say where the run, or no system at all, has the verb."""
    typed = f"{name} {sub}" if sub and _nested(name) else name
    if system is None:
        known = [n for s in find_systems() for n in verb_names(s)]
        return UsageError(f"no system offers {typed!r}.{nearest(typed, known)}")
    own, where = verb_names(system), f"systems with it: {', '.join(_offering(name, sub)) or 'none'}"
    return UsageError(
        f"{workdir} holds a run of {system!r}, which does not offer {typed!r}. It offers: "
        f"{', '.join(own) or 'no verbs'}; {where}.{nearest(typed, own)}"
    )


def _nested(name: str) -> bool:
    return any(not isinstance(verb, Verb) for verb in find_verbs().get(name, {}).values())


def _parser(name: str, system: str, program: str, workdir: str) -> argparse.ArgumentParser:
    """The flags of a verb of a system."""
    verb = system_verbs(system)[name]

    def fill(parser: argparse.ArgumentParser, verb: Verb) -> None:
        parser.add_argument(
            "--workdir", "-workdir", default=workdir, help=f"of the run ({workdir})"
        )
        parser.set_defaults(verb=verb)
        verb.flags(parser)

    text = f"Of runs of {system}."
    if isinstance(verb, Verb):
        parser = argparse.ArgumentParser(prog=program, description=f"{verb.help} {text}")
        fill(parser, verb)
        return parser
    parser = argparse.ArgumentParser(prog=program, description=text)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for sub, one in verb.items():
        fill(commands.add_parser(sub, help=one.help, description=f"{one.help} {text}"), one)
    return parser


def _show_help(name: str, program: str, workdir: str | None, rest: Sequence[str], doc: str) -> None:
    """The flags for the run in --workdir; without it, what each system offers."""
    sub = _subcommand(rest)
    system = read_run_config(workdir).system if workdir else None
    systems = [s for s in _offering(name, sub) if system in (None, s)]
    if sub and not systems:
        raise _lacking(name, sub, workdir, system)
    if not sub:
        print(f"{doc.strip()}\n")
    if not systems and system is None:
        print(f"No system has flags for {name!r} yet.")
    elif not systems:
        own = ", ".join(verb_names(system)) or "none"
        print(f"Runs of {system} have no flags for {name!r}; their verbs: {own}.")
    for system in systems:
        parser = _parser(name, system, program, workdir or f"runs/{system}")
        typed = [sub] if sub and not isinstance(system_verbs(system)[name], Verb) else []
        try:
            parser.parse_args([*typed, "--help"])
        except SystemExit:  # argparse has printed the text
            if system != systems[-1]:
                print()


def _work(name: str, program: str, workdir: str | None, rest: Sequence[str]) -> int:
    """Finds the verb of the run, then parses its flags, then computes."""
    sub = _subcommand(rest)
    system = None
    if workdir is None:
        systems = _offering(name, sub)
        if not systems:
            raise _lacking(name, sub, None, None)
        if len(systems) > 1:
            raise UsageError(f"give --workdir=RUN: {', '.join(systems)} offer {name!r}")
        (system,) = systems
        workdir = f"runs/{system}"
    config = read_run_config(workdir, system)
    if not _matches(system_verbs(config.system).get(name), sub):
        raise _lacking(name, sub, workdir, config.system)
    args = _parser(name, config.system, program, workdir).parse_args(list(rest))
    out = getattr(args, "out", None)
    prepare([out])
    from facejax.host.locks import folder_lock
    from facejax.train.runs import Run, load_run, make_system

    if args.verb.checkpoint:
        run = load_run(workdir)
    else:
        run = Run(pathlib.Path(workdir), config, make_system(config), {}, {})
    # A name with a suffix is that of a file, which is written at once or not at all.
    folder = out and (pathlib.Path(out).is_dir() or not pathlib.Path(out).suffix)
    with folder_lock(out, program, name) if folder else contextlib.nullcontext():
        written = args.verb.run(run, args)
    if written:
        print(f"Look at: {', '.join(map(str, written))}")
    return 0


def subcommand(argv: Sequence[str], program: str) -> str | None:
    """The subcommand in a command line, wherever --workdir stands."""
    return _subcommand(_workdir(argv, program)[1])


def main(name: str, argv: Sequence[str], program: str | None = None, doc: str = "") -> int:
    """Runs a verb on the run in --workdir.

    Args:
      name: of the verb.
      argv: the flags; a subcommand comes first.
      program: what the user typed before them.
      doc: the text above the list of flags.

    Returns:
      The exit code.
    """
    program = program or f"facejax {name}"

    def work() -> int:
        workdir, rest = _workdir(argv, program)
        if any(argument in _HELP for argument in rest):
            _show_help(name, program, workdir, rest, doc)
            return 0
        return _work(name, program, workdir, rest)

    return report_errors(work)
