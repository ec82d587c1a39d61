"""`facejax VERB ...`: finds the command and hands the rest of the line to it.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

import importlib
import sys
from collections.abc import Sequence

from facejax.commands.common import EXIT_CODES, report_errors, whole_process
from facejax.host.errors import nearest
from facejax.version import __version__

# verb: what --help says; the module of that name in facejax.commands has main(argv, program)
COMMANDS = {
    "train": "trains a system; the same line again goes on where a run stopped",
    "evaluate": "figures of a trained run",
    "generate": "new faces from a trained run",
    "analyze": "a closer look at a trained run",
    "edit": "faces changed along what a trained run has learned",
    "denoise": "files in, cleaned files out, with a trained run",
    "reconstruct": "a photo in, a textured 3D face out",
    "make_dataset": "synthetic faces with ground truth",
    "import_weights": "published weights as a run or a file",
    "compare_shapes": "how far a reconstruction is from a scan",
    "systems": "the systems that are installed, their configurations and verbs",
    "doctor": "versions, devices, what is missing, and a self-test",
}


def _other_verbs() -> list[str]:
    """Verbs that systems bring, besides those above."""
    from facejax.train.verbs import find_verbs

    return [verb for verb in find_verbs() if verb not in COMMANDS]


def describe() -> str:
    """The text of --help."""
    texts = COMMANDS | dict.fromkeys(_other_verbs(), "of a system, see `facejax systems`")
    width = max(len(name) for name in texts)
    lines = [f"  {name.ljust(width)}  {text}" for name, text in texts.items()]
    return "\n".join(
        [
            f"facejax {__version__}: 3D morphable faces, rendering and face generators in JAX",
            "",
            "facejax VERB [flags]; `facejax VERB --help` lists the flags. Begin with",
            "facejax train --config=tbgan",
            "",
            *lines,
            "",
            "Exit codes",
            *(f"  {code:<{width}}  {text}" for code, text in EXIT_CODES.items()),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
      argv: verb and flags; by default what the process was started with.

    Returns:
      The exit code.
    """
    verb, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    report = whole_process if argv is None else report_errors
    return report(lambda: _run(verb, rest))


def _run(verb: str, rest: Sequence[str]) -> int:
    if verb in ("-h", "-help", "--help", "help"):
        print(describe())
        return 0
    if verb == "--version":
        print(__version__)
        return 0
    if verb in COMMANDS:
        return importlib.import_module(f"facejax.commands.{verb}").main(rest, f"facejax {verb}")
    return _other(verb, rest)


def _other(verb: str, rest: Sequence[str]) -> int:
    from facejax.commands import run_verb

    others = _other_verbs()
    if verb in others:
        return run_verb.main(verb, rest)
    known = [*COMMANDS, *others]
    print(
        f"error: no verb {verb!r}.{nearest(verb, known)} Verbs: {', '.join(known)}",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
