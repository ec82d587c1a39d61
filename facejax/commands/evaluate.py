"""Figures of a trained run: all at once, or one experiment that its system offers, by its name.

facejax evaluate --workdir=RUN [--config=NAME --config.KEY=VALUE ...]
facejax evaluate EXPERIMENT --workdir=RUN [...]

The first line is `facejax train --mode=evaluate` and takes the same flags.
"""

from collections.abc import Sequence

from facejax.commands import run_verb, train


def main(argv: Sequence[str], program: str = "facejax evaluate") -> int:
    """Runs the command; returns the exit code."""
    asks = any(argument in ("-h", "-help", "--help") for argument in argv)
    if asks or run_verb.subcommand(argv, program):
        return run_verb.main("evaluate", argv, program, __doc__)
    return train.main(["--mode=evaluate", *argv], program)
