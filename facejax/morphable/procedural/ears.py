"""Ears of the procedural head: a flap with helix, antihelix, concha, tragus and lobe."""

from typing import NamedTuple

import numpy as np

from facejax.morphable.procedural.curves import bump, ridge, smoothstep
from facejax.morphable.procedural.layout import CanonicalLayout, memoised

_AZIMUTH_DEG, _HEIGHT = 92.0, 1.45  # the middle of the ear
_HALF_WIDTH_DEG, _HALF_HEIGHT = 12.0, 2.95
_LEAN_DEG_PER_CM = 0.7  # the top lies further back than the lobe


class EarCoordinates(NamedTuple):
    """Coordinates on the ear's outline, each [...].

    Attributes:
      back: -1 at the front edge .. +1 at the back edge.
      up: -1 at the lobe .. +1 at the top.
      radius: 0 in the middle, 1 on the outline.
      flap: 1 inside the outline, 0 outside.
    """

    back: np.ndarray
    up: np.ndarray
    radius: np.ndarray
    flap: np.ndarray


def ear_coordinates(layout: CanonicalLayout) -> EarCoordinates:
    """Where samples lie relative to the ear on their side."""
    height = layout.y - _HEIGHT
    up = height / _HALF_HEIGHT
    deg = np.rad2deg(np.abs(layout.phi)) - _AZIMUTH_DEG - _LEAN_DEG_PER_CM * height
    narrow = 1 - 0.18 * smoothstep(-up, 0.05, 0.95)
    back = deg / (_HALF_WIDTH_DEG * narrow)
    radius = np.hypot(back, up)
    return EarCoordinates(back, up, radius, smoothstep(radius, 1.22, 0.90))


def hollows(ear: EarCoordinates) -> np.ndarray:
    """[...] in [0, 1]: how much a sample lies in the concha or in the groove below the helix."""
    concha = np.exp(-(((ear.back + 0.18) / 0.36) ** 4) - ((ear.up + 0.10) / 0.34) ** 4)
    groove = ridge(ear.radius - 0.70, 0.10) * smoothstep(ear.up, -0.55, 0.0)
    return np.clip(concha + 0.6 * groove * smoothstep(ear.back, -0.5, 0.1), 0, 1)


def add(layout: CanonicalLayout, p: dict, points: np.ndarray) -> None:
    """Moves points [..., 3] (cm, in place) out of the side of the head into a pinna."""
    ear = memoised(layout, "ear", lambda: ear_coordinates(layout))
    hollow = memoised(layout, "ear_hollows", lambda: hollows(ear))
    # the plate is attached in front and stands off at the back; the helix is rolled on its edge
    stand = smoothstep(ear.back, -1.05, 0.75) * (0.55 + 0.45 * smoothstep(ear.up, -1.0, 0))
    plate = (0.95 + p["ear_out"]) * stand
    around = np.maximum(smoothstep(ear.back, -0.5, 0.3), smoothstep(ear.up, 0.1, 0.7))
    helix = 0.42 * ridge(ear.radius - 0.90, 0.13) * around * smoothstep(ear.up, -0.75, -0.2)
    antihelix = 0.16 * ridge(ear.radius - 0.52, 0.12) * smoothstep(ear.back, -0.1, 0.3)
    lobe = 0.18 * bump(ear.back, ear.up, -0.1, -0.82, 0.5, 0.2)
    tragus = 0.34 * bump(ear.back, ear.up, -0.66, -0.14, 0.20, 0.20)
    out = ear.flap * (plate + helix + antihelix + lobe + tragus - 0.62 * hollow)
    points[..., 0] += np.sign(layout.x) * out
    overhang = 0.70 * smoothstep(ear.back, -0.4, 0.95) * (0.35 + 0.65 * smoothstep(ear.up, -0.9, 0))
    points[..., 2] -= ear.flap * overhang
    points[..., 1] += ear.flap * ear.up * _HALF_HEIGHT * (0.06 + p["ear"])
