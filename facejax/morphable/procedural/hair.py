"""Short hair of the procedural head: where it grows, how thick it is, how its strands run."""

import numpy as np

from facejax.morphable.procedural.curves import ridge, smoothstep
from facejax.morphable.procedural.layout import CanonicalLayout, memoised


def strands(layout: CanonicalLayout, lowest: int, highest: int, waves: int = 24) -> np.ndarray:
    """[...] noise of about unit variance that varies around the head and hardly along the rows.

    Args:
      layout: canonical coordinates of the samples.
      lowest: fewest waves around the head (integers, so that the seam closes).
      highest: most waves around the head.
      waves: number of waves that are added up.
    """
    rng = np.random.default_rng(lowest + 1000 * highest)
    turns = rng.integers(lowest, highest + 1, waves)
    slant = rng.uniform(-14, 14, waves)
    phase = rng.uniform(0, 2 * np.pi, waves)
    total = sum(
        np.cos(n * layout.phi + k * layout.v + c)
        for n, k, c in zip(turns, slant, phase, strict=True)
    )
    return total * np.sqrt(2 / waves)


def hair_density(layout: CanonicalLayout) -> np.ndarray:
    """[...] in [0, 1]: 1 where hair grows, with a soft, slightly irregular hairline."""
    deg = np.rad2deg(np.abs(layout.phi))
    line = 9.9 + 0.6 * ridge(deg - 34, 12)
    line = line - 1.2 * smoothstep(deg, 38, 62) - 6.0 * smoothstep(deg, 60, 82)
    line = line + 3.1 * ridge(deg - 97, 12) - 6.6 * smoothstep(deg, 106, 132)
    line = line + 0.11 * strands(layout, 16, 44)
    return smoothstep(layout.y - line, -0.6, 1.0)


def add(layout: CanonicalLayout, p: dict, points: np.ndarray) -> None:
    """Lifts the surface (cm, in place) by the hair: thicker on top than on the sides."""
    normal = (points - [0, 2, 0.5]) * [1, 0.8, 1]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    on_top = smoothstep(layout.y, 7.0, 12.0)
    tufts = memoised(layout, "tufts", lambda: 0.10 * strands(layout, 4, 14, waves=12))
    cover = memoised(layout, "hair_cover", lambda: hair_density(layout) ** 0.6)
    thickness = 0.30 + (0.55 + tufts * smoothstep(layout.v, 0, 0.05)) * on_top
    thickness = np.clip(thickness + (1 + on_top) * p["hair"], 0.05, None)
    points += (thickness * cover)[..., None] * normal
