"""Figures of every checkpoint of a run, for every system that has `evaluate`."""

import pathlib
from typing import Any

from facejax.train.evaluation import Rows, evaluate_checkpoints
from facejax.train.parallel import run_lock
from facejax.train.run_folder import check_evaluation
from facejax.train.runs import make_system, read_run_config, resolve


def metric_of(name: str) -> str:
    """The metric of a figure: the first word of its name; of a plain one 'figures'."""
    first, slash, _ = name.partition("/")
    return first if slash else "figures"


def evaluate_all(folder: str | pathlib.Path, config: Any = None) -> Rows:
    """Measures every checkpoint of a run by `System.evaluate`.

    Writes metric-<name>.jsonl for every group of figures, and metrics.png, into the run folder.

    Args:
      folder: of the run.
      config: ConfigDict; None takes that of the run.

    Returns:
      {metric: rows}, see `facejax.train.evaluation.evaluate_checkpoints`.

    Raises:
      ValueError: no run, one of another configuration, no checkpoint, or a system without
        `evaluate`.
      LockError: another process evaluates the run.
    """
    folder = pathlib.Path(folder)
    config = read_run_config(folder) if config is None else config
    check_evaluation(folder, config)
    system = make_system(resolve(config, folder))
    if not hasattr(system, "evaluate"):
        raise ValueError(f"system {config.system!r} has nothing to evaluate")
    with run_lock(folder, "evaluating", "evaluation"):
        return evaluate_checkpoints(
            folder,
            config,
            system,
            lambda params, meta: system.evaluate(params, meta, folder),
            metric_of,
        )
