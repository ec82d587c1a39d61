"""Texture coordinates of the cage: one square, v down, in which nothing overlaps.

The skin's island is turned upright, widened where the face is and fills the square below a strip
that holds the eyes, the mouth, teeth, tongue and lashes. The neck hangs below the island without a
seam.
"""

import numpy as np
from scipy.interpolate import PchipInterpolator

from data_prep.head.cage import (
    EYE,
    EYE_RINGS_DEG,
    EYE_SIDES,
    LASH,
    LID,
    LOWER_TEETH,
    MOUTH,
    NECK_RISE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
    Cage,
)  # fmt: skip

_MARGIN = 0.004
STRIP = 0.150  # height of the strip of parts
_CHIN = 0.885  # where the island of the head ends and the neck begins
_WIDEN = 0.75  # how much wider the middle of the face becomes
# share of the island's height, from the crown to the chin, before and after: the scalp is narrowed
_ROWS = ((0.0, 0.15, 0.30, 0.65, 1.0), (0.0, 0.075, 0.17, 0.585, 1.0))
# boxes u0, v0, u1, v1; of lids and lashes one for each eye
BOXES = {
    "eye_left": (0.150, _MARGIN, 0.292, 0.146), "eye_right": (_MARGIN, _MARGIN, 0.146, 0.146),
    MOUTH: (0.296, _MARGIN, 0.438, 0.146), TONGUE: (0.442, _MARGIN, 0.512, 0.146),
    UPPER_TEETH: (0.516, _MARGIN, 0.658, 0.073), LOWER_TEETH: (0.516, 0.077, 0.658, 0.146),
    "lid_left": (0.662, 0.077, 0.826, 0.098), "lid_right": (0.662, _MARGIN, 0.826, 0.025),
    "lash": ((0.662, 0.102, 0.742, 0.146), (0.746, 0.102, 0.826, 0.146),
             (0.662, 0.029, 0.742, 0.073), (0.746, 0.029, 0.826, 0.073)),
}  # fmt: skip


def build_layout(cage: Cage, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UV vertices and the quads' corners among them.

    Args:
      cage: of the head.
      p: [V, 3] mm, an average adult; turns the island upright and unrolls the neck.

    Returns:
      uv [S, 2] in [0, 1], v down; quads_uv [Q, 4].
    """
    corners = np.zeros((len(cage.quads), 4, 2))
    head = (cage.part == SKIN) & ~cage.neck
    corners[head] = _head(cage.corner_uv[head], p[cage.quads[head], 0])
    corners[cage.neck] = _neck(cage, p, corners)
    for part in (MOUTH, UPPER_TEETH, LOWER_TEETH, TONGUE):
        own = cage.part == part
        corners[own] = _fit(cage.corner_uv[own] * [1, -1], BOXES[part])
    lashes = np.unique(cage.island[cage.part == LASH])
    for island, box in zip(lashes, BOXES["lash"], strict=True):
        own = (cage.part == LASH) & (cage.island == island)
        corners[own] = _fit(cage.corner_uv[own] * [1, -1], box)
    for k, side in enumerate(("left", "right")):
        own = np.flatnonzero((cage.part == EYE) & np.isin(cage.quads, cage.eyes[k]).all(axis=1))
        corners[own] = _fit(_flat_eye()[cage.quads[own] - cage.eyes[k][0]], BOXES[f"eye_{side}"])
        own = np.flatnonzero((cage.part == LID) & np.isin(cage.quads, cage.lids[k]).any(axis=1))
        num = len(cage.lids[k])  # its quads are in the order of the edge
        u = 1 - (np.arange(num)[:, None] + [0, 1, 1, 0]) / num
        v = np.broadcast_to([0.0, 0.0, 1.0, 1.0], u.shape)
        corners[own] = _fit(np.stack([u, v], -1), BOXES[f"lid_{side}"])
    keys = np.concatenate(
        [cage.quads.reshape(-1, 1), np.round(corners.reshape(-1, 2) * 1e7).astype(np.int64)], axis=1
    )
    _, first, quads_uv = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners.reshape(-1, 2)[first], quads_uv.reshape(-1, 4)


def _fit(points, box):
    """Points [..., 2] stretched to fill a box."""
    low, high = (f(points.reshape(-1, 2), axis=0) for f in (np.min, np.max))
    box = np.array(box)
    return box[:2] + (points - low) / (high - low) * (box[2:] - box[:2])


def _head(corner_uv, x):
    """The island of the head, which lies on its side in the base mesh: the chin shows to +u."""
    turned = corner_uv[..., ::-1]
    if np.corrcoef(turned[..., 0].ravel(), x.ravel())[0, 1] < 0:
        turned = turned * [-1, 1]
    box = _fit(turned, (0.0, 0.0, 1.0, 1.0))
    t = 2 * box[..., 0] - 1
    u = 0.5 + 0.5 * (1 + _WIDEN) * t / (1 + _WIDEN * np.abs(t))
    v = PchipInterpolator(*_ROWS)(box[..., 1])
    return np.stack([_MARGIN + (1 - 2 * _MARGIN) * u, STRIP + (_CHIN - STRIP) * v], axis=-1)


def _neck(cage, p, corners):
    """Corners of the neck: below the rim of the head at the same azimuth, rows by height."""
    head = (cage.part == SKIN) & ~cage.neck
    places = {}
    for vertex, place in zip(cage.quads[head].ravel(), corners[head].reshape(-1, 2), strict=True):
        places.setdefault(int(vertex), set()).add(tuple(place))
    quads = cage.quads[cage.neck]
    ids = np.unique(quads)
    depth = p[ids, 2].mean()

    def azimuth(vertex, side):
        """Of a vertex, -pi or pi for those in the middle of the back, by the side they are seen."""
        x, z = p[vertex, 0], p[vertex, 2] - depth
        return side * np.pi if z < 0 and abs(x) < 0.5 else np.arctan2(x, z)

    height = p[:, 1] + NECK_RISE * p[:, 2]
    above = np.maximum(height - height[cage.rim].mean(), 0)  # the cut
    knots = [
        (azimuth(i, np.sign(u - 0.5)), u, v, above[i])
        for i in map(int, ids)
        for u, v in places.get(i, ())
    ]
    knots = np.array(sorted(knots, key=lambda knot: knot[1]))
    knots[:, 0] = np.maximum.accumulate(knots[:, 0])
    out = np.zeros((len(quads), 4, 2))
    for q, quad in enumerate(quads):
        side = np.sign(p[quad, 0].mean())
        for c, i in enumerate(map(int, quad)):
            if i in places:
                out[q, c] = max(places[i], key=lambda place: side * place[0])
                continue
            angle = azimuth(i, side)
            u, top, height = (np.interp(angle, knots[:, 0], knots[:, k]) for k in (1, 2, 3))
            share = np.clip(1 - above[i] / max(height, 1e-3), 0.02, 1.0)
            out[q, c] = u, top + share * (1 - _MARGIN - top)
    return out


def _flat_eye():
    """[N, 2] of the vertices of an eyeball, v down: the iris takes 42 % of the disc's radius."""
    polar = np.deg2rad(np.append(0.0, np.repeat(EYE_RINGS_DEG, EYE_SIDES)))
    radius = np.sin(polar * (np.pi / 2) / polar.max())
    around = np.append(
        0.0, np.tile(2 * np.pi * np.arange(EYE_SIDES) / EYE_SIDES, len(EYE_RINGS_DEG))
    )
    return np.stack([radius * np.cos(around), -radius * np.sin(around)], axis=-1)
