"""Pictures of an evaluation: bars and a joint PCA scatter (drawn with Pillow), faces."""

import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh
from facejax.io.images import add_text_labels, image_grid, write_image
from facejax.morphable import decode_shape
from facejax.render.renderer import render

_COLORS = {
    "uniform": (200, 200, 200),
    "normal": (90, 140, 210),
    "real": (40, 160, 70),
    "manifold": (215, 70, 40),
}
_SIDE = 380
_SHOWN = 600  # points per population


def principal_plane(sets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[N, 2] of each population on the two main axes of their union, populations weighing alike."""
    mean = np.mean([v.mean(axis=0) for v in sets.values()], axis=0)
    moment = sum((v - mean).T @ (v - mean) / len(v) for v in sets.values())
    _, vectors = np.linalg.eigh(moment)
    return {k: (v - mean) @ vectors[:, :-3:-1] for k, v in sets.items()}


def _scatter(draw, font, left: int, top: int, sets, traces) -> None:
    points = principal_plane(sets)
    reach = max(np.abs(p).max() for p in points.values()) * 1.05
    draw.rectangle((left, top, left + _SIDE, top + _SIDE), outline=(0, 0, 0))
    for k, (name, color) in enumerate(_COLORS.items()):
        for x, y in points[name][:_SHOWN]:
            px, py = left + (x / reach + 1) * _SIDE / 2, top + (1 - y / reach) * _SIDE / 2
            draw.ellipse((px - 2, py - 2, px + 2, py + 2), fill=color)
        line = top + _SIDE + 8 + 16 * k
        draw.ellipse((left, line + 3, left + 8, line + 11), fill=color)
        draw.text((left + 16, line), f"{name}: trace {traces[name]:.4g}", 0, font)


def _bars(draw, font, left: int, top: int, target: str, errors: dict[str, float]) -> None:
    draw.text((left, top), f"{target}: mean squared error of coefficients", 0, font)
    longest = max(errors.values())
    for k, (name, value) in enumerate(errors.items()):
        y = top + 30 + 34 * k
        color = _COLORS["manifold"] if name.startswith("network") else (130, 130, 130)
        draw.text((left, y), name, 0, font)
        draw.rectangle((left + 130, y, left + 130 + 180 * value / longest, y + 16), fill=color)
        draw.text((left + 140 + 180 * value / longest, y), f"{value:.4g}", 0, font)


def write_summary(
    path: pathlib.Path, figures: dict[str, Any], sets: dict[str, dict[str, np.ndarray]]
) -> pathlib.Path:
    """One row per target: errors of all methods, and the populations on two principal axes.

    Args:
      path: of the picture.
      figures: {target: {'mse': {method: value}, 'trace': {population: value}}}.
      sets: {target: populations}.
    """
    from PIL import Image, ImageDraw, ImageFont

    height = _SIDE + 100
    canvas = Image.new("RGB", (2 * _SIDE + 80, height * len(sets)), (255, 255, 255))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for k, target in enumerate(sets):
        top = k * height + 15
        _bars(draw, font, 15, top, target, figures[target]["mse"])
        _scatter(draw, font, _SIDE + 65, top, sets[target], figures[target]["trace"])
    return write_image(path, np.asarray(canvas))


def render_faces(model, identity: np.ndarray, expression: np.ndarray, pixels: int) -> np.ndarray:
    """[N, pixels, pixels, 3] of faces with the model's mean complexion.

    Args:
      model: the face model.
      identity: [N, D_id].
      expression: [N, D_exp].
      pixels: on a side.
    """
    camera = Camera.look_at(distance_mm=900.0, yaw_rad=0.35)
    pictures = []
    for i in range(len(identity)):
        vertices = decode_shape(model, jnp.asarray(identity[i]), jnp.asarray(expression[i]))
        mesh = Mesh(vertices, model.topology.mesh, vertex_colors=model.mean_albedo)
        pictures.append(
            np.asarray(render(mesh, camera, None, (pixels, pixels), supersample=2).image)
        )
    return np.stack(pictures)


def write_faces(
    path: pathlib.Path, model, sets: dict[str, dict[str, np.ndarray]], num: int, pixels: int
) -> pathlib.Path:
    """One row of faces per population; a target without a network stays at zero.

    Args:
      path: of the picture.
      model: the face model.
      sets: {target: {population: [N, n]}}.
      num: faces per row.
      pixels: of a face, on a side.
    """
    rows = []
    for name in _COLORS:
        parts = {t: sets[t][name][:num].astype(np.float32) for t in sets}
        identity = parts.get("shape", np.zeros((num, model.num_id), np.float32))
        expression = parts.get("expression", np.zeros((num, model.num_exp), np.float32))
        rows.append(render_faces(model, identity, expression, pixels))
    grid = image_grid(np.concatenate(rows), columns=num, pad=4, background=1.0)
    return write_image(path, add_text_labels(grid, row_labels=tuple(_COLORS), pad=4))
