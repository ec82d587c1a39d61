"""Pictures of an evaluation: bars and joint PCA scatters (drawn with Pillow), faces."""

import functools
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh
from facejax.io.images import add_text_labels, image_grid, write_image
from facejax.morphable import decode_albedo, decode_shape
from facejax.render.renderer import render
from facejax.systems.manifold.data import in_model_unit

COLORS = {
    "uniform": (200, 200, 200),
    "normal": (90, 140, 210),
    "gaussian": (150, 120, 200),
    "real": (40, 160, 70),
    "varied": (240, 150, 30),
    "manifold": (215, 70, 40),
}
TRIPLE = ("gt", "input", "output")
_MARKERS = {"normal": "star", "real": "circle"}  # the rest: triangles
_SIDE = 380
_SHOWN = 600  # points per population


def principal_plane(sets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[N, 2] of each population on the two main axes of their union, populations weighing alike."""
    mean = np.mean([v.mean(axis=0) for v in sets.values()], axis=0)
    moment = sum((v - mean).T @ (v - mean) / len(v) for v in sets.values())
    _, vectors = np.linalg.eigh(moment)
    return {k: (v - mean) @ vectors[:, :-3:-1] for k, v in sets.items()}


def _marker(draw, kind: str, x: float, y: float, r: float, color) -> None:
    if kind == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=color)
        return
    corners = 10 if kind == "star" else 3
    radii = [r * 1.6 if kind != "star" or k % 2 == 0 else r * 0.6 for k in range(corners)]
    turns = [2 * math.pi * k / corners for k in range(corners)]
    draw.polygon(
        [(x + q * math.sin(a), y - q * math.cos(a)) for q, a in zip(radii, turns, strict=True)],
        fill=color,
    )


def _scatter(draw, font, left: int, top: int, side: int, sets, names, traces) -> None:
    points = principal_plane({k: sets[k] for k in names})
    reach = max(np.abs(p).max() for p in points.values()) * 1.05
    radius = side / 190
    draw.rectangle((left, top, left + side, top + side), outline=(0, 0, 0))
    for k, name in enumerate(names):
        kind, color = _MARKERS.get(name, "triangle"), COLORS[name]
        for x, y in points[name][:_SHOWN]:
            px, py = left + (x / reach + 1) * side / 2, top + (1 - y / reach) * side / 2
            _marker(draw, kind, px, py, radius, color)
        line = top + side + 8 + (font.size + 3) * k
        _marker(draw, kind, left + 6, line + font.size / 2 + 2, 4, color)
        draw.text((left + 16, line), f"{name}: trace {traces[name]:.4g}", 0, font)


def _bars(draw, font, left: int, top: int, target: str, figures: Mapping[str, Any]) -> None:
    draw.text((left, top), f"{target}: mean squared error of coefficients", 0, font)
    errors, longest = figures["mse"], max(figures["mse"].values())
    for k, (name, value) in enumerate(errors.items()):
        y = top + 30 + 34 * k
        color = COLORS["manifold"] if name.startswith("network") else (130, 130, 130)
        millimetres = figures.get("vertex_rms_mm", {}).get(name)
        text = f"{value:.4g}" + (f" ({millimetres:.2f} mm)" if millimetres is not None else "")
        draw.text((left, y), name, 0, font)
        draw.rectangle((left + 130, y, left + 130 + 120 * value / longest, y + 16), fill=color)
        draw.text((left + 140 + 120 * value / longest, y), text, 0, font)


def write_summary(
    path: pathlib.Path, figures: dict[str, Any], sets: dict[str, dict[str, np.ndarray]]
) -> pathlib.Path:
    """One row per target: errors of all methods, and the populations on two principal axes.

    Args:
      path: of the picture.
      figures: {target: {'mse': {method: value}, 'trace': {population: value}}}; 'vertex_rms_mm'
        like 'mse' where there is one.
      sets: {target: populations}.
    """
    from PIL import Image, ImageDraw, ImageFont

    height = _SIDE + 40 + 16 * len(COLORS)
    canvas = Image.new("RGB", (2 * _SIDE + 80, height * len(sets)), (255, 255, 255))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for k, target in enumerate(sets):
        top = k * height + 15
        _bars(draw, font, 15, top, target, figures[target])
        names = [n for n in COLORS if n in sets[target]]
        traces = figures[target]["trace"]
        _scatter(draw, font, _SIDE + 65, top, _SIDE, sets[target], names, traces)
    return write_image(path, np.asarray(canvas))


def write_scatter(
    path: pathlib.Path, sets: Mapping[str, np.ndarray], traces: Mapping[str, float]
) -> pathlib.Path:
    """The published diversity figure: populations on the two principal axes of their union.

    Args:
      path: of the picture.
      sets: {population: [N, n]}, names from `COLORS`.
      traces: {population: value}, written below.
    """
    from PIL import Image, ImageDraw, ImageFont

    side = 2 * _SIDE
    canvas = Image.new("RGB", (side + 40, side + 60 + 30 * len(sets)), (255, 255, 255))
    font = ImageFont.load_default(24)
    _scatter(ImageDraw.Draw(canvas), font, 20, 20, side, sets, list(sets), traces)
    return write_image(path, np.asarray(canvas))


class Painter:
    """Draws faces from coefficients in the unit of a run.

    Args:
      config: of the run: what unit its coefficients have.
      model: the face model.
      pixels: of a picture, on a side.
    """

    def __init__(self, config, model, pixels: int):
        self.config, self.model, self.pixels = config, model, pixels
        self._draw = jax.jit(functools.partial(_draw, pixels=pixels))

    def faces(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """[N, pixels, pixels, 3] in [0, 1].

        Args:
          parts: what there is of 'shape' [N, n] and 'expression' [N, m], in the unit of the run,
            and 'albedo' [N, k], unit variance; what is not there stays at zero.

        Raises:
          ValueError: the face model has another number of coefficients.
        """
        m, num = self.model, len(next(iter(parts.values())))
        lengths = {"shape": m.num_id, "expression": m.num_exp, "albedo": m.num_alb}
        full = []
        for name, length in lengths.items():
            rows = np.asarray(parts.get(name, np.zeros((num, length))))
            if rows.shape != (num, length):
                raise ValueError(
                    f"found {name} coefficients of shape {rows.shape}, the face model "
                    f"{m.topology.name!r} wants {(num, length)}"
                )
            if name != "albedo":
                rows = in_model_unit(self.config, m, name, rows)
            full.append(rows.astype(np.float32))
        return np.stack([np.asarray(self._draw(m, *row)) for row in zip(*full, strict=True)])

    def write_rows(
        self,
        path: pathlib.Path,
        sets: Mapping[str, Mapping[str, np.ndarray]],
        names: Iterable[str],
        num: int,
    ) -> pathlib.Path:
        """One row of faces per population, as one picture.

        Args:
          path: of the picture.
          sets: {target: {population: [N, n]}}; a target that is absent stays at zero.
          names: populations, from top to bottom.
          num: faces per row.
        """
        names = tuple(names)
        num = min(num, *(len(s[name]) for s in sets.values() for name in names))
        rows = [self.faces({t: s[name][:num] for t, s in sets.items()}) for name in names]
        grid = image_grid(np.concatenate(rows), columns=num, pad=4, background=1.0)
        return write_image(path, add_text_labels(grid, row_labels=names, pad=4))


def _draw(model, identity, expression, albedo, *, pixels):
    vertices = decode_shape(model, identity, expression)
    colors = jnp.clip(decode_albedo(model, albedo), 0.0, 1.0)
    camera = Camera.look_at(distance_mm=1000.0, yaw_rad=0.35)
    mesh = Mesh(vertices, model.topology.mesh, vertex_colors=colors)
    return render(mesh, camera, None, (pixels, pixels), supersample=2).image
