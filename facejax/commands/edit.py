"""Faces changed along what a trained run has learned: what its system offers.

facejax edit --workdir=RUN --out=DIR [...]
"""

from collections.abc import Sequence

from facejax.commands import run_verb


def main(argv: Sequence[str], program: str = "facejax edit") -> int:
    """Runs the command; returns the exit code."""
    return run_verb.main("edit", argv, program, __doc__)
