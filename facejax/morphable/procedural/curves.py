"""Smooth one- and two-dimensional shapes that the procedural head is put together from (numpy)."""

import math

import numpy as np


def cubic(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """C1 cubic Hermite curve through knots, slopes by finite differences, clamped at the ends.

    Args:
      x: [...] where to evaluate.
      knots: [K] increasing.
      values: [K] or [K, D].

    Returns:
      [...] or [..., D].
    """
    knots, values = np.asarray(knots, float), np.asarray(values, float)
    slopes = np.diff(values, axis=0) / np.diff(knots).reshape((-1,) + (1,) * (values.ndim - 1))
    tangents = np.concatenate([slopes[:1], (slopes[1:] + slopes[:-1]) / 2, slopes[-1:]])
    i = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    h = knots[i + 1] - knots[i]
    s = np.clip((x - knots[i]) / h, 0, 1)
    if values.ndim > 1:
        s, h = s[..., None], h[..., None]
    return (
        (1 + 2 * s) * (1 - s) ** 2 * values[i]
        + s * (1 - s) ** 2 * h * tangents[i]
        + s * s * (3 - 2 * s) * values[i + 1]
        + s * s * (s - 1) * h * tangents[i + 1]
    )


def smoothstep(x, start, end):
    """0 at `start`, 1 at `end` (either may be the larger), cubic between, clamped."""
    s = np.clip((x - start) / (end - start), 0, 1)
    return s * s * (3 - 2 * s)


def bump(x, y, center_x, center_y, radius_x, radius_y):
    """Gaussian hill of height 1; the radii are where it falls to 1/e."""
    return np.exp(-(((x - center_x) / radius_x) ** 2) - ((y - center_y) / radius_y) ** 2)


def twin_bump(x, y, center_x, center_y, radius_x, radius_y):
    """`bump` on both sides of the mid line."""
    return bump(np.abs(x), y, center_x, center_y, radius_x, radius_y)


def ridge(distance, width):
    """Gaussian cross-section of a crease or ridge, 1 where the distance is 0."""
    return np.exp(-((distance / width) ** 2))


def smooth_max(a, b, width):
    """The larger of two, rounded over about `width`."""
    return 0.5 * (a + b + np.sqrt((a - b) ** 2 + width * width))


def logistic(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + math.exp(-x))


def clamp(x: float, low: float, high: float) -> float:
    """x, not below `low` and not above `high`; a Python number, which leaves float32 arrays so."""
    return min(max(x, low), high)
