"""Shoulders with clothes: a bust under the neck, with collars. Host, numpy."""

import dataclasses

import numpy as np

from facejax.attachments.head import Cloud, HeadSurface, vertex_normals
from facejax.attachments.shapes import grid_triangles

_COLLAR, _BODY, _COLUMNS = 5, 11, 41
CLOTHES_GRID = (_COLLAR + _BODY, _COLUMNS)
COLLAR_SHARE = (_COLLAR - 1) / (_COLLAR + _BODY - 1)  # of v


@dataclasses.dataclass(frozen=True)
class ClothesStyle:
    """Lengths in mm on a head of unit size.

    Attributes:
      name: of the style.
      height: of the collar over the neck's lower rim.
      flare: how far the collar stands away from the neck.
      fold: how far its edge is turned down.
      shoulders: half width.
    """

    name: str
    height: float
    flare: float
    fold: float = 0.0
    shoulders: float = 195.0


CLOTHES = (
    ClothesStyle("none", 12, 2),
    ClothesStyle("crew neck", 11, 2.0),
    ClothesStyle("wide neck", 5, 3.0, shoulders=178),
    ClothesStyle("turtleneck", 42, 4.0, fold=14, shoulders=188),
    ClothesStyle("shirt", 26, 5.0, fold=30),
    ClothesStyle("hood", 16, 18.0, fold=16, shoulders=205),
)
WIDEST = 5  # of CLOTHES: hair falls on it whatever is worn
CLOTHES_NAMES = tuple(style.name for style in CLOTHES)


class _Neck:
    """The neck as radii around an upright axis."""

    def __init__(self, head: HeadSurface):
        from scipy.spatial import cKDTree

        u = head.unit
        bottom = head.points[head.outer, 1].min()
        part = head.outer & (head.points[:, 1] < max(head.chin_y + 15 * u, bottom + 60 * u))
        part &= head.points[:, 2] < head.landmarks[8, 2] - 12 * u
        p = head.points[part]
        self.z = 0.5 * (p[:, 2].min() + p[:, 2].max())
        away = p - [0, 0, self.z]
        azimuth = np.arctan2(away[:, 0], away[:, 2])
        self._around, self._y = azimuth, p[:, 1]
        self._radius = np.hypot(away[:, 0], away[:, 2])
        self._scale = 60.0 * u
        self._tree = cKDTree(np.stack([azimuth * self._scale, p[:, 1]], axis=1))

    def rim_y(self, azimuth: np.ndarray) -> np.ndarray:
        """[C] where the neck ends, smooth around it."""
        out = np.array([
            self._y[np.abs(_turn(self._around - a)) < np.radians(14)].min(initial=np.inf)
            for a in azimuth
        ])  # fmt: skip
        out = np.where(np.isfinite(out), out, self._y.min())
        for _ in range(4):
            ring = out[:-1]
            ring = (np.roll(ring, 1) + 2 * ring + np.roll(ring, -1)) / 4
            out = np.append(ring, ring[0])
        return out

    def radius(self, azimuth: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[...] mm at azimuths and heights."""
        query = np.stack([azimuth * self._scale, y], axis=-1)
        distance, near = self._tree.query(query, k=5)
        weight = 1 / (distance + 1.0)
        return (weight * self._radius[near]).sum(-1) / weight.sum(-1)


def _turn(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi


def make_clothes(head: HeadSurface, number: int) -> np.ndarray:
    """[N, 3] points of one garment under the mean head, row by row from the collar's edge down."""
    style, u, neck = CLOTHES[number], head.unit, _Neck(head)
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS)
    around = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], axis=1)
    axis = np.array([0, 0, neck.z])
    rim = neck.rim_y(azimuth)
    base = rim - 2 * u
    top = rim + style.height * u
    hug = neck.radius(azimuth, top) + 1.5 * u

    def ring(radius, y):
        return axis + around * radius[:, None] + np.stack([0 * y, y, 0 * y], axis=1)

    inner = ring(hug, top - 3 * u)
    edge = ring(hug + 0.5 * style.flare * u, top)
    outer = ring(hug + (1.0 + style.flare) * u, top - 1.5 * u)
    widest = np.maximum(hug, neck.radius(azimuth, base)) + style.flare * u
    if style.fold:
        turned = np.clip(top - style.fold * u, base + 4 * u, None)
        hem = ring(widest + 5 * u, turned)
        under = ring(widest + 1.5 * u, turned - 1 * u)
    else:
        hem = ring(widest + 1.5 * u, 0.5 * (top + base))
        under = ring(widest + 1.5 * u, base)
    collar = np.stack([inner, edge, outer, hem, under])
    t = np.linspace(0, 1, _BODY + 1)[1:, None]
    ease = np.sin(np.pi / 2 * np.minimum(1, 1.35 * t))
    start = under - axis
    target_x, target_z = style.shoulders * u, 100.0 * u
    power = 2 / 2.5
    wide = np.stack([
        target_x * np.sign(around[:, 0]) * np.abs(around[:, 0]) ** power,
        0 * azimuth,
        target_z * np.sign(around[:, 2]) * np.abs(around[:, 2]) ** power,
    ], axis=1)  # fmt: skip
    body = start + ease[..., None] * (wide - start)
    level = under[:, 1].mean()
    body[..., 1] = under[:, 1] + (level - under[:, 1]) * ease - 250 * u * t**1.8
    # the chest comes forward and the back goes back a little lower than the shoulders
    body[..., 2] -= 12 * u * t
    return np.concatenate([collar, body + axis]).reshape(-1, 3)


def bust_cloud(points: np.ndarray) -> Cloud:
    """The surface of a garment, for hair that falls on it."""
    return Cloud(points, vertex_normals(points, grid_triangles(*CLOTHES_GRID)))
