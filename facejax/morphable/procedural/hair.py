"""Short hair of the procedural head: where it grows and how thick it is."""

import numpy as np

from facejax.morphable.procedural.curves import ridge, smoothstep
from facejax.morphable.procedural.layout import CanonicalLayout


def hair_density(layout: CanonicalLayout) -> np.ndarray:
    """[...] in [0, 1]: 1 where hair grows, with a soft hairline around forehead, temples and ears."""
    deg = np.rad2deg(np.abs(layout.phi))
    line = 10.1 + 0.5 * ridge(deg - 34, 12)
    line = line - 0.9 * smoothstep(deg, 35, 62) - 6.3 * smoothstep(deg, 58, 84)
    line = line + 2.3 * ridge(deg - 96, 9) - 6.6 * smoothstep(deg, 104, 132)
    return smoothstep(layout.y - line, -0.6, 0.9)


def add(layout: CanonicalLayout, p: dict, points: np.ndarray) -> None:
    """Lifts the surface (cm, in place) by the thickness of the hair."""
    normal = (points - [0, 2, 0.5]) * [1, 0.8, 1]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    thickness = (0.28 + p["hair"]) * hair_density(layout) ** 0.6
    points += thickness[..., None] * normal
