"""Figures of a trained run: all at once, or one experiment that its system offers, by its name.

facejax evaluate --workdir=RUN [--config=NAME --config.KEY=VALUE ...]
facejax evaluate --all --workdir=RUN [...]
facejax evaluate EXPERIMENT --workdir=RUN [...]

The first line is `facejax train --mode=evaluate` and takes the same flags; the second measures not
only the newest but every checkpoint: metric-NAME.jsonl for each group of figures, and metrics.png.
"""

from collections.abc import Sequence

from facejax.commands import run_verb, train
from facejax.commands.common import prepare, report_errors

_ALL = ("--all", "-all")


def main(argv: Sequence[str], program: str = "facejax evaluate") -> int:
    """Runs the command; returns the exit code."""
    asks = any(argument in ("-h", "-help", "--help") for argument in argv)
    if asks or run_verb.subcommand(argv, program):
        return run_verb.main("evaluate", argv, program, __doc__)
    if any(argument in _ALL for argument in argv):
        return report_errors(lambda: _every_checkpoint([a for a in argv if a not in _ALL]))
    return train.main(["--mode=evaluate", *argv], program)


def _every_checkpoint(argv: Sequence[str]) -> int:
    config, options = train.parse(["--mode=evaluate", *argv])
    prepare([options.workdir], compile_cache=options.compile_cache)
    from facejax.pipelines.evaluate_all import evaluate_all
    from facejax.train.describe import format_table

    rows = evaluate_all(options.workdir, config)
    for metric, found in rows.items():
        print(f"{metric}\n{format_table(found)}")
    print(f"also in {options.workdir}: metric-NAME.jsonl, and metrics.png")
    return 0
