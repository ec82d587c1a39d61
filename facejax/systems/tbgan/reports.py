"""Figures of every checkpoint of a run, by the names of the original's metrics."""

import pathlib
from collections.abc import Sequence

from facejax.systems.tbgan.metrics import evaluate
from facejax.train.evaluation import Rows, evaluate_checkpoints
from facejax.train.runs import make_system, read_run_config

# first words of the names of figures
METRICS = ("swd", "ms_ssim", "frechet", "kernel", "inception", "energy", "faces")
_OF_CLASSIFIERS = {"kernel", "inception"}


def metric_of(name: str) -> str | None:
    """Which of METRICS a figure 'modalities/texture/swd_x1e3/fake' belongs to."""
    if name.startswith("faces/"):
        return "faces"
    words = [m for part in name.split("/") for m in METRICS if part.startswith(m)]
    return words[0] if words else None


def evaluate_all(workdir: str | pathlib.Path, metrics: Sequence[str], inception: str = "") -> Rows:
    """Measures every checkpoint of a run, with the same real maps, latents and draws.

    Writes what `facejax.train.evaluation.evaluate_checkpoints` writes.

    Args:
      workdir: of the run.
      metrics: some of METRICS; 'kernel' and 'inception' need Inception-v3.
      inception: file of `InceptionFeatures` for the Frechet distance; by default that is
        taken on the embedded random features, which is no FID.

    Returns:
      {metric: rows}, oldest checkpoint first; a row holds 'step', 'kimg', 'resolution' and the
      figures.

    Raises:
      ValueError: no run, no checkpoint, or an unknown metric.
    """
    unknown = set(metrics) - set(METRICS)
    if unknown or not metrics:
        raise ValueError(f"unknown metrics {sorted(unknown)}: wanted some of {', '.join(METRICS)}")
    if _OF_CLASSIFIERS & set(metrics) and not inception:
        raise ValueError(
            f"metrics {sorted(_OF_CLASSIFIERS & set(metrics))} are defined on Inception-v3: give "
            "its weights by --inception=FILE"
        )
    workdir = pathlib.Path(workdir)
    config = read_run_config(workdir, "tbgan")
    system = make_system(config)
    extractor = None
    if inception:
        from facejax.metrics.inception import InceptionFeatures

        extractor = InceptionFeatures(inception)

    def measure(params, meta):
        system.gallery.stage = system.reached(meta)
        return evaluate(
            system, params["gen"], workdir, faces="faces" in metrics, extractor=extractor
        )

    def wanted(name):
        metric = metric_of(name)
        return metric if metric in metrics else None

    rows = evaluate_checkpoints(
        workdir, config, system, measure, wanted, context=("resolution",), prefix="modalities/"
    )
    return {metric: rows[metric] for metric in metrics if metric in rows}
