"""Figures of every checkpoint of a run: tables and plots."""

import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from facejax.io.checkpoints import CheckpointError, Checkpoints
from facejax.io.files import atomic_path
from facejax.io.images import write_image
from facejax.io.plots import line_plots
from facejax.systems.tbgan.metrics import evaluate
from facejax.train.runs import read_run_config

_log = logging.getLogger(__name__)
# first words of the names of figures
METRICS = ("swd", "ms_ssim", "frechet", "kernel", "inception", "energy", "faces")
_OF_CLASSIFIERS = {"kernel", "inception"}


def _flat(figures: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}/")
        else:
            out[prefix + key] = value
    return out


def metric_of(name: str) -> str | None:
    """Which of METRICS a figure 'modalities/texture/swd_x1e3/fake' belongs to."""
    if name.startswith("faces/"):
        return "faces"
    words = [m for part in name.split("/") for m in METRICS if part.startswith(m)]
    return words[0] if words else None


def evaluate_all(
    workdir: str | pathlib.Path, metrics: Sequence[str], inception: str = ""
) -> dict[str, list[dict[str, Any]]]:
    """Measures every checkpoint of a run, with the same real maps, latents and draws.

    Writes metric-<name>.jsonl, one line per checkpoint, and metrics.png into the run folder. A run
    keeps the newest config.keep checkpoints; those that it wrote and removed are named in the log.

    Args:
      workdir: of the run.
      metrics: some of METRICS; 'kernel' and 'inception' need Inception-v3.
      inception: file of `InceptionFeatures` for the Frechet distance; by default that is
        taken on the embedded random features, which is no FID.

    Returns:
      {metric: rows}, oldest checkpoint first; a row holds 'step', 'kimg' and the figures.

    Raises:
      ValueError: no run, no checkpoint, or an unknown metric.
    """
    from facejax.systems.tbgan.system import TBGANSystem

    unknown = set(metrics) - set(METRICS)
    if unknown or not metrics:
        raise ValueError(f"unknown metrics {sorted(unknown)}: wanted some of {', '.join(METRICS)}")
    if _OF_CLASSIFIERS & set(metrics) and not inception:
        raise ValueError(
            f"metrics {sorted(_OF_CLASSIFIERS & set(metrics))} are defined on Inception-v3: give "
            "its weights by --inception=FILE"
        )
    workdir = pathlib.Path(workdir)
    system = TBGANSystem(read_run_config(workdir, "tbgan"))
    extractor = None
    if inception:
        from facejax.metrics.inception import InceptionFeatures

        extractor = InceptionFeatures(inception)
    checkpoints = Checkpoints(workdir / "checkpoints")
    rows: dict[str, list[dict[str, Any]]] = {metric: [] for metric in metrics}
    oldest = None
    for step in checkpoints.steps():
        try:
            tree, meta = checkpoints.restore(step, only=("ema",))
        except CheckpointError as error:
            _log.warning("%s. It is left out.", error)
            continue
        oldest = oldest or meta
        system.gallery.stage = system.reached(meta)
        gen, faces = tree["ema"]["gen"], "faces" in metrics
        figures = _flat(evaluate(system, gen, workdir, faces=faces, extractor=extractor))
        _log.info("measured step %d (%g thousand images)", step, meta["images"] / 1000)
        for metric in metrics:
            row = {k: v for k, v in figures.items() if metric_of(k) == metric and v is not None}
            if row:
                head = {"step": step, "kimg": meta["images"] / 1000}
                rows[metric].append(head | {"resolution": figures["resolution"]} | row)
    gone = removed_checkpoints(oldest or {}, system.config.checkpoint_kimg)
    if gone:
        _log.warning(
            "not measured: %d checkpoint(s) that were written but not kept, %s thousand images "
            "(config.keep is %d; train with --config.keep=%d to keep all)",
            len(gone), _some(gone), system.config.keep, len(gone) + len(checkpoints.steps()),
        )  # fmt: skip
    rows = {metric: found for metric, found in rows.items() if found}
    if not rows:
        raise ValueError(
            f"{workdir} has no readable checkpoint with figures of {', '.join(metrics)}"
        )
    for metric, found in rows.items():
        with atomic_path(workdir / f"metric-{metric}.jsonl") as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in found))
    write_image(workdir / "metrics.png", line_plots(_panels(rows), "thousand images"))
    return rows


def removed_checkpoints(oldest: dict[str, Any], every_kimg: float) -> list[float]:
    """Thousand images of the checkpoints that a run wrote before the oldest that it kept.

    Args:
      oldest: meta of that checkpoint: 'images', and 'origin' where it was imported.
      every_kimg: config.checkpoint_kimg; a checkpoint is written after the step that reaches a
        multiple of it.
    """
    if "images" not in oldest or "origin" in oldest:
        return []
    reached = int(oldest["images"] / 1000 / every_kimg + 1e-9)
    return [round(k * every_kimg, 6) for k in range(1, reached)]


def _some(numbers: Sequence[float]) -> str:
    texts = [f"{x:g}" for x in numbers]
    if len(texts) > 8:
        texts = [*texts[:4], "...", *texts[-2:]]
    return ", ".join(texts)


def _panels(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict]:
    """One panel per figure; 'fake', 'real' and 'floor' are its curves."""
    panels: dict[str, dict] = {}
    for found in rows.values():
        for name in found[-1].keys() - {"step", "kimg", "resolution"}:
            title, _, curve = name.rpartition("/")
            points = [(row["kimg"], row[name]) for row in found if name in row]
            panel = panels.setdefault(title.removeprefix("modalities/"), {})
            panel[curve] = tuple(zip(*points, strict=True))
    return {title: dict(sorted(panels[title].items())) for title in sorted(panels)}
