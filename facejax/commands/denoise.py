"""Files in, cleaned files out, with a trained run: what its system offers.

facejax denoise --workdir=RUN --path=FILE --out=DIR [...]

Without --workdir, runs/SYSTEM of the only system that has the verb.
"""

from collections.abc import Sequence

from facejax.commands import run_verb


def main(argv: Sequence[str], program: str = "facejax denoise") -> int:
    """Runs the command; returns the exit code."""
    return run_verb.main("denoise", argv, program, __doc__)
