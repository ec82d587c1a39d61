"""New faces from a trained run: what its system offers.

facejax generate --workdir=RUN --out=DIR [--seed=0] [...]

Without --workdir, runs/SYSTEM of the only system that has the verb.
"""

from collections.abc import Sequence

from facejax.commands import run_verb


def main(argv: Sequence[str], program: str = "facejax generate") -> int:
    """Runs the command; returns the exit code."""
    return run_verb.main("generate", argv, program, __doc__)
