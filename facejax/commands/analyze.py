"""A closer look at a trained run: what its system offers, each by its name.

facejax analyze COMMAND --workdir=RUN [...]

Without --workdir, runs/SYSTEM of the only system that has the command.
"""

from collections.abc import Sequence

from facejax.commands import run_verb


def main(argv: Sequence[str], program: str = "facejax analyze") -> int:
    """Runs the command; returns the exit code."""
    return run_verb.main("analyze", argv, program, __doc__)
