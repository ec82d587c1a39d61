"""Lines on a face: hairs of brows and lashes, creases of age, the rims of the lids (numpy)."""

import dataclasses

import numpy as np

from facejax.morphable.skin.anatomy import PARTS, Head

BROW_S = (-0.45, 1.15)  # along the brow: 0 is the inner end of the landmarks, 1 the outer
BROW_T = 8.0  # mm above and below its middle line
_HAIRS_PER_BROW = 620


@dataclasses.dataclass(frozen=True)
class Curves:
    """Points along many curves. All [N].

    Attributes:
      points: [N, 2 or 3] mm, denser than the curves are wide.
      width: mm, half width of the stroke there.
      owner: number of the curve.
    """

    points: np.ndarray
    width: np.ndarray
    owner: np.ndarray

    def nearest(self, at: np.ndarray, count: int, reach: float, blur: float):
        """The strokes over each point.

        Args:
          at: [M, 2 or 3].
          count: how many curve points to look at.
          reach: mm beyond which there is nothing.
          blur: mm, size of a texel: thinner strokes become as wide and fainter.

        Returns:
          cover [M, count] in [0, 1] and owner [M, count] (-1 for none).
        """
        from scipy.spatial import cKDTree

        distance, index = cKDTree(self.points).query(at, k=count, distance_upper_bound=reach)
        distance, index = distance.reshape(len(at), count), index.reshape(len(at), count)
        found = np.isfinite(distance)
        index = np.where(found, index, 0)
        width = self.width[index]
        drawn = np.maximum(width, 0.7 * blur)
        cover = np.clip(1.15 - (np.where(found, distance, reach) / drawn) ** 2, 0, 1)
        return cover * found * width / drawn, np.where(found, self.owner[index], -1)


def spline(points: np.ndarray, count: int) -> np.ndarray:
    """[count, D]: a smooth curve through points [K, D], evenly spaced."""
    from scipy.interpolate import CubicSpline

    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    curve = CubicSpline(length, points)(np.linspace(0, length[-1], 8 * count))
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], count)
    return np.stack([np.interp(wanted, along, c) for c in curve.T], axis=1)


def lid_rims(head: Head) -> dict[str, np.ndarray]:
    """'upper' and 'lower': [2, 60, 3] curves of both eyes (right first), inner to outer corner.

    They run where the skin of the mesh ends, and through the landmarks where it does not end.
    """
    lm = head.landmarks
    upper = [[39, 38, 37, 36], [42, 43, 44, 45]]
    lower = [[39, 40, 41, 36], [42, 47, 46, 45]]
    border = _skin_border(head)
    out = {"upper": [], "lower": []}
    for side in (0, 1):
        corners = lm[[39, 36] if side == 0 else [42, 45]]
        center = corners.mean(axis=0)
        near = border[np.linalg.norm(border - center, axis=1) < 21]
        for name, ids, sign in (("upper", upper[side], 1), ("lower", lower[side], -1)):
            own = near[sign * (near[:, 1] - center[1]) > 0.3] if len(near) else near
            if len(own) < 6:
                out[name].append(spline(lm[ids], 60))
                continue
            outward = own[:, 0] * np.sign(center[0])  # away from the nose
            order = np.argsort(outward)
            path = np.concatenate([corners[:1], own[order], corners[1:]])
            out[name].append(_resampled(path, 60))
    return {name: np.stack(curves) for name, curves in out.items()}


def _skin_border(head):
    """[N, 3]: vertices of the skin that touch the rims of the eye sockets."""
    part = head.part[head.triangles]
    mixed = (part == 0).any(axis=1) & (part == PARTS.index("lid")).any(axis=1)
    ids = np.unique(head.triangles[mixed])
    return head.vertices[ids[head.part[ids] == 0]]


def _resampled(path, count):
    """[count, D]: evenly spaced points of a polyline, a little smoothed."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], count)
    curve = np.stack([np.interp(wanted, along, c) for c in path.T], axis=1)
    for _ in range(4):
        curve[1:-1] = (curve[:-2] + 2 * curve[1:-1] + curve[2:]) / 4
    return curve


class BrowFrame:
    """Coordinates along and across the brows of a head, alike on both sides."""

    def __init__(self, head: Head):
        lm = head.landmarks[22:27]  # inner to outer on the subject's left
        curve = spline(lm, 80)
        self.length = float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())
        along = np.linspace(0, 1, 80)
        ahead = np.array([curve[0, 0] - 0.45 * self.length, curve[-1, 0] + 0.15 * self.length])
        self._a = np.concatenate([[ahead[0]], curve[:, 0], [ahead[1]]])
        self._s = np.concatenate([[-0.45], along, [1.15]])
        # beyond the landmarks the brow goes on level, and down at the temple
        self._y = np.concatenate([[curve[0, 1] - 0.5], curve[:, 1], [curve[-1, 1] - 2.5]])

    def coordinates(self, ay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Along (0 to 1 over the landmarks) and across (mm, up) of points [N, 2] = (|x|, y)."""
        return np.interp(ay[:, 0], self._a, self._s), ay[:, 1] - np.interp(
            ay[:, 0], self._a, self._y
        )

    def plane(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """[..., 2] mm, an unrolled brow in which lengths are right."""
        return np.stack([s * self.length, t], axis=-1)


def brow_hairs(frame: BrowFrame, seed: int) -> tuple[Curves, np.ndarray]:
    """The hairs of one brow on the unrolled plane, more of them than any brow shows.

    Returns:
      Curves, and the root (s, t) of each hair [H, 2].
    """
    rng = np.random.default_rng(seed)
    num = _HAIRS_PER_BROW
    s = rng.uniform(*BROW_S, num)
    t = rng.uniform(-1, 1, num) * BROW_T * np.sqrt(rng.random(num)) ** 0.5
    roots = np.stack([s, t], axis=1)
    # steep at the nose, flat at the temple; above the middle they lean down, below it up
    lean = np.interp(s, [-0.45, 0.0, 0.15, 0.45, 1.0], [1.45, 1.25, 0.95, 0.50, 0.05])
    lean = lean - 0.055 * t * np.clip(s + 0.2, 0, 1) + rng.normal(0, 0.20, num)
    bend = rng.normal(-0.35, 0.15, num) * np.clip(s + 0.3, 0, 1)
    length = np.interp(s, [-0.2, 0.2, 0.8, 1.1], [5.0, 8.0, 7.0, 4.5]) * rng.uniform(0.7, 1.15, num)
    step = np.linspace(0, 1, 40)
    angle = lean[:, None] + bend[:, None] * step
    path = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (length[:, None, None] / 39)
    points = frame.plane(s, t)[:, None] + np.cumsum(path, axis=1)
    width = 0.17 * rng.uniform(0.8, 1.3, num)[:, None] * (1 - 0.75 * step**2)
    owner = np.repeat(np.arange(num), len(step))
    return Curves(points.reshape(-1, 2), width.reshape(-1), owner), roots


def lash_hairs(head: Head, seed: int) -> Curves:
    """Lashes as seen from the front, (x, y): fanned out, long and curved above, short below."""
    rng = np.random.default_rng(seed)
    points, widths, owners = [], [], []
    number = 0
    for lid, count, reach, sign in (("upper", 85, 4.2, 1), ("lower", 55, 2.4, -1)):
        for side, rim in zip((-1, 1), lid_rims(head)[lid], strict=True):
            place = 0.10 + 0.885 * (np.arange(count) + rng.random(count)) / count
            at = np.arange(60) / 59
            root = np.stack([np.interp(place, at, rim[:, c]) for c in (0, 1)], axis=1)
            fan = np.interp(place, [0, 0.5, 1], [-0.45, 0.15, 0.85]) + rng.normal(0, 0.12, count)
            length = reach * np.interp(place, [0, 0.5, 0.9, 1], [0.5, 0.9, 1.0, 0.8])
            length = length * rng.uniform(0.75, 1.1, count)
            step = np.linspace(0, 1, 30)
            tilt = fan[:, None] * (0.5 + 0.7 * step)
            path = np.stack([side * np.sin(tilt), sign * np.cos(tilt)], axis=-1)
            curve = root[:, None] + np.cumsum(path * (length[:, None, None] / 29), axis=1)
            points.append(curve.reshape(-1, 2))
            widths.append(np.tile((0.22 if sign > 0 else 0.15) * (1 - 0.8 * step), count))
            owners.append(number + np.repeat(np.arange(count), len(step)))
            number += count
    return Curves(np.concatenate(points), np.concatenate(widths), np.concatenate(owners))


def _line(points, strength=1.0, count=120):
    """A curve [count, 2] with strengths [count] that fade at the ends."""
    curve = spline(np.asarray(points, float), count)
    fade = np.clip(np.minimum(np.linspace(0, 6, count), np.linspace(6, 0, count)), 0, 1)
    return curve, strength * fade


def age_lines(face) -> dict[str, list]:
    """Creases by coefficient: lists of (curve [K, 2] over (|x|, y) or (x, y), strength [K]).

    Args:
      face: `anatomy.Face`; only its landmarks are used.
    """
    rng = np.random.default_rng(31)
    lm = face.head.landmarks
    brow, hair = face.brow_y, face.hair_y
    forehead = []
    for i, part in enumerate((0.27, 0.42, 0.56, 0.70)):
        y = brow + part * (hair - brow)
        x = np.linspace(-39 + 3 * i, 39 - 3 * i, 9) + rng.normal(0, 1.0, 9)
        sag = 2.2 * np.cos(np.pi * x / 40 * 1.3) + rng.normal(0, 0.5, 9)
        curve, strength = _line(np.stack([x, y - sag], 1), (1.0, 0.95, 0.8, 0.55)[i], 240)
        wave = np.interp(np.linspace(0, 1, 240), np.linspace(0, 1, 12), rng.uniform(0.35, 1, 12))
        forehead.append((curve, strength * wave))
    for x, k in ((-4.5, 0.9), (5.2, 0.75)):
        frown = [(x * 0.8, brow - 7), (x, brow), (x * 1.25, brow + 8)]
        forehead.append(_line(frown, k))
    eye = []
    ox, oy = face.outer
    for angle, length, k in ((32, 10, 0.6), (12, 14, 1.0), (-10, 15, 0.9), (-32, 13, 0.7)):
        r = np.radians(angle)
        start = np.array([ox + 5.0, oy + 2.6 * np.sin(r)])
        end = start + length * np.array([np.cos(r), np.sin(r)])
        mid = (start + end) / 2 + np.array([0, 0.8 if angle > 0 else -0.9])
        eye.append(_line([start, mid, end], k))
    ix = face.inner[0]
    low = lm[[40, 41], 1].mean()
    for drop, k in ((3.4, 0.45), (6.6, 0.7)):
        arc = [
            (ix + 1, low - drop + 1),
            ((ix + ox) / 2, low - drop - 1.6),
            (ox - 1, low - drop + 1.5),
        ]
        eye.append(_line(arc, k))
    ca, cy = face.corner
    wing = np.array([abs(lm[31, 0]) + 7.5, lm[33, 1] + 7])
    fold = [wing, (wing[0] + 6.5, lm[33, 1] - 3), (ca + 7.5, cy + 7), (ca + 10, cy - 4)]
    marionette = [(ca + 2.0, cy - 2.5), (ca + 4.5, cy - 9), (ca + 5.5, cy - 19)]
    fold_lines = [_line(fold, 1.0), _line(marionette, 0.65)]
    neck = []
    for drop, k in ((20, 0.9), (36, 1.0), (50, 0.6)):
        y = face.chin[1] - drop
        neck.append(
            _line([(-48, y + 12), (-20, y + 1.5), (0, y), (22, y + 2), (48, y + 11)], k, 240)
        )
    return dict(forehead_lines=forehead, eye_lines=eye, fold_lines=fold_lines, neck_lines=neck)


def crease(lines: list, at: np.ndarray, width: float, blur: float) -> np.ndarray:
    """[M] in [0, 1]: nearness to the lines of `age_lines`, at points [M, 2]."""
    from scipy.spatial import cKDTree

    points = np.concatenate([curve for curve, _ in lines])
    strength = np.concatenate([k for _, k in lines])
    drawn = np.hypot(width, 0.5 * blur)
    distance, index = cKDTree(points).query(at, distance_upper_bound=4 * drawn)
    found = np.isfinite(distance)
    near = np.exp(-((np.where(found, distance, 0) / drawn) ** 2))
    return np.where(found, near * strength[np.where(found, index, 0)], 0) * (width / drawn)
