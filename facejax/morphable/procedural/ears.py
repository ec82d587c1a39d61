"""Ears of the procedural head."""

import numpy as np

from facejax.morphable.procedural.curves import smoothstep
from facejax.morphable.procedural.layout import CanonicalLayout

_AZIMUTH_DEG, _HEIGHT = 92.0, 1.45  # the middle of the ear


def add(layout: CanonicalLayout, p: dict, points: np.ndarray) -> None:
    """Moves points [..., 3] (cm, in place) out of the side of the head into a pinna."""
    s = np.rad2deg(np.abs(layout.phi)) - _AZIMUTH_DEG
    t = layout.y - _HEIGHT
    rim = np.exp(-(((s / 13) ** 2 + (t / 2.75) ** 2) ** 2))
    concha = np.exp(-((((s + 5) / 7) ** 2 + ((t - 0.1) / 1.6) ** 2) ** 2))
    out = (1.15 + p["ear_out"]) * rim * (1 + 0.25 * smoothstep(s, -8, 8)) - 0.75 * concha
    points[..., 0] += np.sign(layout.x) * out
    points[..., 2] -= 0.9 * rim * smoothstep(s, -9, 9)
    points[..., 1] += rim * t * (0.12 + p["ear"])
