"""How strongly labels steer the generator: expressions recovered from shape maps, by scale."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from facejax.host.files import atomic_path
from facejax.io.images import write_image
from facejax.io.plots import line_plots
from facejax.metrics import uvmaps
from facejax.systems.tbgan.generate import gallery_of
from facejax.systems.tbgan.metrics import expression_coefficients
from facejax.train.runs import Run

MULTIPLIERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def measure_control(
    run: Run,
    multipliers: Sequence[float] = MULTIPLIERS,
    num: int = 511,
    seed: int = 1,
) -> list[dict[str, Any]]:
    """Accuracy and strength of the expression that was asked for, against the scale of the labels.

    The same latents and labels at every scale; labels are one-hot, all in turn.

    Args:
      run: a trained or imported one; its data must belong to a face model.
      multipliers: factors on what the run was trained with (loss.label_scale).
      num: faces per scale.
      seed: of the latents.

    Returns:
      A row per multiplier: 'multiplier', 'label_scale' (their product), 'accuracy' in [0, 1],
      'strength' (mean coefficient of the expression asked for, 1 in real maps, over those that are
      not neutral), and 'accuracy/<label>'.

    Raises:
      ValueError: the run has no face model or no labels, or no faces are asked for.
    """
    gallery = gallery_of(run)
    count = gallery.net.label_size
    if gallery.maker is None or not count:
        raise ValueError(
            "control is measured on the expressions of a face model: wanted a run with labels and "
            "with data of a face model"
        )
    if num < 1 or not multipliers:
        raise ValueError(f"wanted faces and multipliers, found num={num}, {list(multipliers)}")
    classes = np.arange(num) % count
    one_hot = np.eye(count, dtype=np.float32)[classes]
    latents = gallery.latents(num, seed)
    prototypes = np.eye(count)[:, 1:]
    rows = []
    for multiplier in multipliers:
        maps = gallery.maps(run.params["gen"], latents, one_hot * np.float32(multiplier))
        found = expression_coefficients(gallery, maps)
        right = uvmaps.nearest_label(found, prototypes) == classes
        asked = classes > 0
        strength = found[asked, classes[asked] - 1]
        rows.append(
            {
                "multiplier": float(multiplier),
                "label_scale": float(multiplier) * float(gallery.label_scale),
                "accuracy": float(right.mean()),
                "strength": float(strength.mean()) if asked.any() else None,
            }
            | {
                f"accuracy/{name}": float(right[classes == k].mean())
                for k, name in enumerate(gallery.names)
                if (classes == k).any()
            }
        )
    return rows


def write_control(
    run: Run, out: str | pathlib.Path, **options: Any
) -> tuple[list[dict[str, Any]], list[pathlib.Path]]:
    """Writes control.json and control.png.

    Args:
      run: a trained or imported one.
      out: folder; made if missing.
      **options: of `measure_control`.

    Returns:
      The rows and the files.
    """
    rows, out = measure_control(run, **options), pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "control.json") as path:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    scale = [row["multiplier"] for row in rows]
    chance = 1.0 / run.system.net.label_size
    panels = {
        "accuracy": {
            "all": (scale, [row["accuracy"] for row in rows]),
            "chance": (scale, [chance] * len(scale)),
        },
        "strength (1 = in full)": {"mean": (scale, [row["strength"] for row in rows])},
        "accuracy by expression": {
            name.removeprefix("accuracy/"): (scale, [row[name] for row in rows])
            for name in rows[0]
            if name.startswith("accuracy/")
        },
    }
    if rows[0]["strength"] is None:
        del panels["strength (1 = in full)"]
    picture = write_image(out / "control.png", line_plots(panels, "factor on the labels"))
    return rows, [out / "control.json", picture]
