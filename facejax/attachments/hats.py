"""Hats: a cap with a visor, a knitted hat, a hat with a brim. Host, numpy."""

import dataclasses

import numpy as np

from facejax.attachments.head import HeadSurface, smoothstep, unit_vectors

_ROWS, _COLUMNS = 11, 37  # of the crown; the last column is the first again
_BRIM = 6


@dataclasses.dataclass(frozen=True)
class HatStyle:
    """Lengths in mm on a head of unit size.

    Attributes:
      name: of the style.
      front, back: heights of the rim over the brows, in front and above the ears.
      clearance: between hat and skull, room for flattened hair.
      crown: how much higher the top is.
      flat: 1 for a crown with a flat top, 0 for a dome.
      visor: length of the brim in front, all_round: at the sides and the back.
      droop: how far the edge of the brim hangs down.
      fold: height of a turned-up band instead of a brim.
    """

    name: str
    front: float
    back: float
    clearance: float
    crown: float
    flat: float = 0.0
    visor: float = 0.0
    all_round: float = 0.0
    droop: float = 0.0
    fold: float = 0.0


HATS = (
    HatStyle("none", 24, 10, 8, 0),
    HatStyle("cap", 26, 8, 8, 10, visor=68, droop=14),
    HatStyle("beanie", 18, -14, 6, 18, fold=34),
    HatStyle("brim", 24, 12, 8, 24, flat=0.7, visor=52, all_round=52, droop=6),
    HatStyle("bucket", 20, 8, 8, 14, flat=0.5, visor=42, all_round=42, droop=30),
)
HAT_NAMES = tuple(style.name for style in HATS)


def rim_height(head: HeadSurface, style: HatStyle, p: np.ndarray) -> np.ndarray:
    """[...] mm over the rim's plane, negative below; p [..., 3]."""
    u = head.unit
    front_z, back_z = head.landmarks[27, 2], head.center[2]
    front_y, back_y = head.brow_y + style.front * u, head.brow_y + style.back * u
    slope = (front_y - back_y) / (front_z - back_z)
    return p[..., 1] - (back_y + slope * (p[..., 2] - back_z))


def make_hat(head: HeadSurface, number: int) -> np.ndarray:
    """[N, 3] points of one hat on the mean head, row by row from the top."""
    style, u = HATS[number], head.unit
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS)
    flat = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], axis=1)
    polar = np.radians(np.linspace(20, 150, 66))
    # where each meridian crosses the rim
    rays = np.sin(polar)[:, None, None] * flat + np.cos(polar)[:, None, None] * [0, 1.0, 0]
    skull = head.rays(rays.reshape(-1, 3)).reshape(rays.shape)
    below = rim_height(head, style, skull) < 0
    last = polar[below.argmax(axis=0)]
    angle = last * np.linspace(0, 1, _ROWS)[:, None] ** 0.85
    rays = np.sin(angle)[..., None] * flat + np.cos(angle)[..., None] * [0, 1.0, 0]
    skull = head.rays(rays.reshape(-1, 3)).reshape(rays.shape)
    # a hat is rounder than a skull: radii are smoothed around it
    radius = np.linalg.norm(skull - head.center, axis=2)
    for _ in range(3):
        inner = radius[:, :-1]
        inner = np.maximum(inner, (np.roll(inner, 1, 1) + inner + np.roll(inner, -1, 1)) / 3)
        radius = np.concatenate([inner, inner[:, :1]], axis=1)
    share = np.linspace(1, 0, _ROWS)[:, None]
    crown = head.center + (radius + style.clearance * u)[..., None] * rays
    rise = style.crown * u * smoothstep(share, 0.0, 0.75)
    level = crown[..., 1] + rise
    top = crown[0, 0, 1] + style.crown * u
    # a flat top: everything above the walls lies in one plane, the walls stand up
    wall = crown[-1, :, :][None] + (crown - crown[-1:]) * [0.35, 1, 0.35]
    walls = np.where(share[..., None] < 0.55, wall, crown)
    crown[..., 1] = level
    flattened = np.stack(
        [walls[..., 0], np.minimum(level + 12 * u * share, top), walls[..., 2]], -1
    )
    crown = crown + style.flat * (flattened - crown)
    enclosed = head.cloud.push_out(crown.reshape(-1, 3), 0.8 * style.clearance * u)
    crown = enclosed.reshape(crown.shape)
    crown[:, -1] = crown[:, 0]
    crown[0] = crown[0].mean(axis=0)
    rim = crown[-1]
    out = unit_vectors((rim - head.center) * [1, 0, 1])
    if style.fold:
        turned = [
            rim + out * 3.5 * u + [0, style.fold * u * t, 0] for t in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        turned = np.stack([*turned, turned[-1] - out * 4 * u])
        # the band follows the dome that it is folded over
        upper = _dome_radius(crown, turned[2:, :, 1])
        middle = crown[-1].mean(0)
        reach = np.linalg.norm((turned[2:] - middle) * [1, 0, 1], axis=2)
        wanted = np.stack([upper[0], upper[1], upper[2], upper[3] - 5 * u]) + 4 * u
        turned[2:, :, [0, 2]] = (
            middle[[0, 2]] + (turned[2:] - middle)[..., [0, 2]] * (wanted / reach)[..., None]
        )
        return np.concatenate([crown, turned]).reshape(-1, 3)
    front = np.clip(np.cos(azimuth), 0, 1)
    length = u * (style.all_round + (style.visor - style.all_round) * smoothstep(front, 0.35, 0.9))
    length = np.maximum(length, 1.0 * u)[:, None]
    forward = unit_vectors(out + 0.6 * (style.all_round == 0) * np.array([0, 0, 1.0]))
    sag = np.array([0, -style.droop * u, 0])
    share = length / (u * max(style.visor, 1.0))
    bend = -14 * u * (np.abs(np.sin(azimuth)) ** 2)[:, None] * (style.all_round == 0) * share
    rows = [
        rim + forward * length * t + sag * share * t**1.5 + np.array([0, 1.0, 0]) * bend * t
        for t in (0.15, 0.6, 1.0)
    ]
    rows += [row - [0, 1.6 * u, 0] for row in (rows[2], rows[1], rows[0])]
    return np.concatenate([crown, np.stack(rows)]).reshape(-1, 3)


def _dome_radius(crown, y):
    """Horizontal distance of a dome's meridians from its middle at heights y [R, C]."""
    middle = crown[-1].mean(0)
    reach = np.linalg.norm((crown - middle) * [1, 0, 1], axis=2)
    return np.stack([
        np.stack([np.interp(level, col[::-1], r[::-1]) for level, col, r in
                  zip(row, crown[..., 1].T, reach.T, strict=True)])
        for row in y
    ])  # fmt: skip


HAT_GRID = (_ROWS + _BRIM, _COLUMNS)
