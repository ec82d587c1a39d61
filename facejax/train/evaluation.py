"""Figures as they are shown and written; those of every checkpoint of a run, with a plot."""

import json
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from facejax.host.files import atomic_path
from facejax.io.checkpoints import CheckpointError, Checkpoints
from facejax.io.images import write_image
from facejax.io.plots import line_plots
from facejax.metrics.plausibility import reported
from facejax.train.runs import load_params
from facejax.train.system import System

_log = logging.getLogger(__name__)
Rows = dict[str, list[dict[str, Any]]]


def finite_figures(figures: dict[str, Any], of: str) -> dict[str, Any]:
    """Figures with None for NaN and infinity, which are said in the log.

    JSON does not know them, and a table would show them among numbers.

    Args:
      figures: nested.
      of: what was measured, for the log.
    """
    found = reported(figures)
    if found.lost:
        _log.warning(
            "%s: %d figure(s) came out as no finite number and are left empty: %s. Either there was"
            " nothing to measure, or the networks have diverged",
            of, len(found.lost), ", ".join(found.lost[:6]) + (", ..." if found.lost[6:] else ""),
        )  # fmt: skip
    return found.figures


def _flat(figures: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}/")
        elif value is not None:
            out[prefix + key] = value
    return out


def evaluate_checkpoints(
    folder: str | pathlib.Path,
    config: Any,
    system: System,
    evaluate: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    metric_of: Callable[[str], str | None],
    *,
    context: Sequence[str] = (),
    prefix: str = "",
) -> Rows:
    """Measures every checkpoint of a run.

    Writes metric-<name>.jsonl, one line per checkpoint, after each of them, and metrics.png into
    the run folder. A run keeps the newest config.keep checkpoints; those that it wrote and removed
    are named in the log, and so are those that cannot be read, with the reason.

    Args:
      folder: of the run.
      config: of the run.
      system: made from it.
      evaluate: (params, meta) of a checkpoint, as `load_params` returns them, to figures, nested.
      metric_of: which file a figure such as 'modalities/texture/swd_x1e3/fake' belongs to; None
        leaves it out.
      context: names of figures that stand in every line and are not plotted.
      prefix: of names, not shown in the titles of the plot.

    Returns:
      {metric: rows}, oldest checkpoint first; a row holds 'step', 'kimg' and the figures.

    Raises:
      ValueError: there is no checkpoint, or none has figures of a metric.
      CheckpointError: no checkpoint can be read.
    """
    folder = pathlib.Path(folder)
    rows: Rows = {}
    oldest, left_out = None, []
    steps = Checkpoints(folder / "checkpoints").steps()
    for step in steps:
        try:
            params, meta = load_params(system, folder, step)
        except CheckpointError as error:
            left_out.append(error)
            _log.warning("%s. It is left out.", error)
            continue
        oldest = oldest or meta
        figures = _flat(finite_figures(evaluate(params, meta), f"step {step}"))
        kimg = meta["images"] / 1000
        _log.info("measured step %d (%g thousand images)", step, kimg)
        head = {"step": step, "kimg": kimg} | {k: figures.pop(k) for k in context}
        found: dict[str, dict[str, Any]] = {}
        for name, value in figures.items():
            if (metric := metric_of(name)) is not None:
                found.setdefault(metric, dict(head))[name] = value
        for metric, row in found.items():
            rows.setdefault(metric, []).append(row)
            with atomic_path(folder / f"metric-{metric}.jsonl") as path:
                text = "".join(json.dumps(row) + "\n" for row in rows[metric])
                path.write_text(text, encoding="utf-8")
    if left_out:
        _log.warning("%d of %d checkpoints were left out, see above", len(left_out), len(steps))
        if oldest is None:
            raise left_out[-1]
    gone = removed_checkpoints(oldest or {}, config.checkpoint_kimg)
    if gone:
        _log.warning(
            "not measured: %d checkpoint(s) that were written but not kept, %s thousand images "
            "(config.keep is %d; train with --config.keep=%d to keep all)",
            len(gone), _some(gone), config.keep, len(gone) + len(steps),
        )  # fmt: skip
    if not rows:
        raise ValueError(f"{folder} has no readable checkpoint with the figures that were wanted")
    panels = _panels(rows, ("step", "kimg", *context), prefix)
    if panels:
        write_image(folder / "metrics.png", line_plots(panels, "thousand images"))
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _panels(rows: Rows, heads: Sequence[str], prefix: str) -> dict[str, dict]:
    """One panel per figure; the last words of names ('fake', 'real', 'floor') are its curves."""
    panels: dict[str, dict] = {}
    for found in rows.values():
        for name in found[-1].keys() - set(heads):
            title, _, curve = name.rpartition("/")
            points = [(row["kimg"], row[name]) for row in found if _is_number(row.get(name))]
            if points:
                panel = panels.setdefault((title or name).removeprefix(prefix), {})
                panel[curve] = tuple(zip(*points, strict=True))
    return {title: dict(sorted(panels[title].items())) for title in sorted(panels)}
