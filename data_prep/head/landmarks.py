"""The 68 and 5 landmarks by geometry of the mean head, without any other face model.

Eyes and mouth follow the seams of lids and lips, the nose the middle line, outer lips the mask of
the lips. Heights and widths of brows and nostrils are shares of the distance between the outer
corners of the eyes. The jaw runs from in front of the ear round the angle of the jaw to the chin.
"""

import numpy as np
from scipy.spatial import cKDTree

# from the middle outward to inward, in distances between the outer corners of the eyes
_BROW_X, _BROW_Y = (0.64, 0.55, 0.42, 0.27, 0.13), (0.165, 0.225, 0.24, 0.215, 0.175)
_WING_X = (0.14, 0.07)
_JAW_AT = (0.0, 0.13, 0.25, 0.37, 0.51, 0.65, 0.78, 0.90)  # shares of its length, from the ear
_JAW_DIRECTIONS_DEG = (75, 62, 50, 38, 26, 14, 4)  # from straight down to the side
_DOWN = (-0.95, 0.31)  # y and z of the direction in which the chin is the farthest point
_INNER_CORNER = 0.07  # share of the mouth's width between the outer and the inner corner


def find_landmarks(
    p: np.ndarray,
    skin: np.ndarray,
    head: np.ndarray,
    lids: tuple[np.ndarray, np.ndarray],
    mouth: np.ndarray,
    lips: np.ndarray,
    ears: np.ndarray,
) -> np.ndarray:
    """[68] vertex ids.

    Args:
      p: [V, 3] mm.
      skin: ids of the skin.
      head: ids of the skin without the neck.
      lids: ids of the edges of the lids, left and right.
      mouth: ids of the seam of the lips.
      lips, ears: [V] masks in [0, 1].
    """
    out = np.full(68, -1)
    for start, ring in ((36, lids[1]), (42, lids[0])):
        first, last = _ends(p, ring)
        upper = _on_ring(p, ring, (0.33, 0.67), 1)
        out[start : start + 6] = [first, *upper, last, *_on_ring(p, ring, (0.67, 0.33), -1)]
    right, left = _ends(p, mouth)
    out[48], out[54] = right, left
    at = (_INNER_CORNER, 0.27, 0.5, 0.73, 1 - _INNER_CORNER)
    out[60:65] = _on_ring(p, mouth, at, 1)
    out[65:68] = _on_ring(p, mouth, (0.73, 0.5, 0.27), -1)
    lip = np.setdiff1d(skin[lips[skin] > 0.5], mouth)
    for ids, shares, side in (
        (range(49, 54), (0.17, 0.36, 0.5, 0.64, 0.83), 1),
        (range(55, 60), (0.8, 0.65, 0.5, 0.35, 0.2), -1),
    ):
        out[ids] = [_lip_edge(p, lip, p[right, 0], p[left, 0], f, side) for f in shares]

    eyes = p[out[36:48]].mean(axis=0)
    unit = p[out[45], 0] - p[out[36], 0]
    front = head[(p[head, 2] > eyes[2] - 0.5 * unit) & (ears[head] < 0.05)]
    middle = front[(np.abs(p[front, 0]) < 0.3) & (p[front, 1] > p[out[51], 1] + 2)]
    tip = middle[np.where(p[middle, 1] < eyes[1], p[middle, 2], -np.inf).argmax()]
    bridge = middle[(p[middle, 1] >= p[tip, 1]) & (p[middle, 1] < eyes[1] + 8)]
    heights = np.linspace(eyes[1] + 1.0, p[tip, 1], 4)[:3]
    out[27:31] = [*(bridge[np.abs(p[bridge, 1] - h).argmin()] for h in heights), tip]
    # where nose and lip meet: farthest behind the line from the tip to the upper lip
    below = middle[p[middle, 1] < p[tip, 1] - 2]
    line = p[out[51]] - p[tip]
    t = np.clip((p[below] - p[tip]) @ line / (line @ line), 0, 1)
    behind = (p[tip] + t[:, None] * line - p[below]) @ np.array([0, 0.35, 0.94])
    out[33] = below[behind.argmax()]

    def frontmost(x, y):
        """The vertex of the front nearest to (x, y); of two sheets the nearer one."""
        distance = np.hypot(p[front, 0] - x, p[front, 1] - y)
        close = distance < distance.min() + 2.0
        return front[np.where(close, p[front, 2] - 2 * distance, -np.inf).argmax()]

    out[17:22] = [
        frontmost(-x * unit, eyes[1] + y * unit) for x, y in zip(_BROW_X, _BROW_Y, strict=True)
    ]
    out[31:33] = [frontmost(-x * unit, p[out[33], 1] + 0.5) for x in _WING_X]
    out[8], out[:8] = _jaw(p, front, head, ears, eyes, unit, p[out[57], 1])
    tree = cKDTree(p[head])
    for ids, mirrored in ((range(8), 16), (range(17, 22), 43), ((31, 32), 66)):
        for k in ids:
            out[mirrored - k] = head[tree.query(p[out[k]] * [-1, 1, 1])[1]]
    return out


def _ends(p, ids):
    """The ids of smallest and largest x."""
    return ids[p[ids, 0].argmin()], ids[p[ids, 0].argmax()]


def _on_ring(p, ids, shares, side):
    """Ids of a closed ring at shares of its width, on its upper (1) or lower (-1) half."""
    first, last = (p[i] for i in _ends(p, ids))
    q = p[ids]
    slope = (last[1] - first[1]) / (last[0] - first[0])
    half = ids[side * (q[:, 1] - first[1] - slope * (q[:, 0] - first[0])) > 0]
    at = [first[0] + f * (last[0] - first[0]) for f in shares]
    return [half[np.abs(p[half, 0] - x).argmin()] for x in at]


def _lip_edge(p, lip, low, high, share, side):
    """The vertex of the lips that is highest (1) or lowest (-1) at a share of the mouth's width."""
    x = low + share * (high - low)
    near = lip[np.abs(p[lip, 0] - x) < 0.05 * (high - low)]
    return near[(side * p[near, 1] - 0.3 * np.abs(p[near, 0] - x)).argmax()]


def _jaw(p, front, head, ears, eyes, unit, lip_y):
    """The chin, and 8 ids from the right ear towards it."""
    middle = front[(np.abs(p[front, 0]) < 0.3) & (p[front, 1] < lip_y - 0.1 * unit)]
    chin = middle[(p[middle] @ np.array([0, *_DOWN])).argmax()]
    ear = head[(ears[head] > 0.5) & (p[head, 0] < 0)]
    top = eyes[1] + 0.02 * unit
    ear_front = p[ear[np.abs(p[ear, 1] - top) < 0.1 * unit], 2].max()
    border = head[
        (p[head, 0] < 1) & (ears[head] < 0.05) & (p[head, 1] < top)
        & (p[head, 2] > ear_front - 2) & (p[head, 1] > p[chin, 1] - 1)
    ]  # fmt: skip
    points = [[p[head[ears[head] < 0.05], 0].min(), top, ear_front + 2.0]]
    for angle in np.deg2rad(_JAW_DIRECTIONS_DEG):
        down, back = np.cos(angle), np.sin(angle)
        direction = np.array([-back, _DOWN[0] * down, _DOWN[1] * down - 0.2 * back])
        points.append(p[border[(p[border] @ direction).argmax()]])
    points = np.array([*points, p[chin]])
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    at = np.array(_JAW_AT) * along[-1]
    where = np.stack([np.interp(at, along, points[:, c]) for c in range(3)], axis=1)
    free = head[ears[head] < 0.05]
    return chin, free[cKDTree(p[free]).query(where)[1]]
