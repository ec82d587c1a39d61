"""Earrings at the lobes. Host, numpy."""

import numpy as np

from facejax.attachments.head import HeadSurface

EARRING_NAMES = ("none", "stud", "hoop", "drop")
_RINGS, _CORNERS = 13, 7
EARRING_GRID = (_RINGS, _CORNERS)
# (radius of the ring, of its wire, stretch in y, how far it hangs) in mm
_SHAPES = (
    (1.0, 1.0, 1.0, 0.0),
    (1.3, 1.5, 1.0, 0.0),
    (11.0, 0.9, 1.0, 10.5),
    (2.2, 2.2, 3.2, 12.0),
)


def make_earrings(head: HeadSurface, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Both earrings of one style.

    Returns:
      (points [N, 3], ids [N, 1] of the lobes that they hang from).
    """
    radius, wire, stretch, drop = np.array(_SHAPES[number]) * head.unit
    stretch /= head.unit
    a, b = np.meshgrid(
        np.linspace(0, 2 * np.pi, _RINGS), np.linspace(0, 2 * np.pi, _CORNERS), indexing="ij"
    )
    reach = radius + wire * np.cos(b)
    ring = np.stack([wire * np.sin(b), stretch * reach * np.cos(a), reach * np.sin(a)], axis=-1)
    points, ids = [], []
    for side, ear in zip((-1, 1), head.ears, strict=True):
        lobe = head.points[ear.lobe] + [side * 1.2 * head.unit, 2.0 * head.unit - drop, 0]
        part = ring * [side, 1, 1] + lobe
        points.append((part[:, ::-1] if side > 0 else part).reshape(-1, 3))
        ids.append(np.full((_RINGS * _CORNERS, 1), ear.lobe))
    return np.concatenate(points), np.concatenate(ids)
