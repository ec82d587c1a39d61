"""What attachments need to know of a head: its outer surface, where hair grows, ears and landmarks.

Everything is derived on the host from the mean shape, masks and landmarks of a face model, never
from vertex numbers. Frame and units as in docs/conventions.md; lengths written for a head whose
outer eye corners are 82 mm apart are multiplied by `HeadSurface.unit`.
"""

import dataclasses
import functools

import numpy as np

from facejax.morphable.model import MorphableModel

_EYE_CORNERS_MM = 82.0
_STILL_MM = 2.0  # expressions move these vertices at most so far: what may carry hair and hats
_INSIDE = ("interior", "eye", "mouth_inside", "lashes", "teeth", "tongue")
_NEIGHBOURS = 8
_BESIDE_MM = 2.5
# Front hairline: (degrees around the head from the front, share of the way between two heights)
_LINE_DEG = (0, 22, 36, 46, 54, 60, 66, 73, 80, 100, 112, 124, 140, 180)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[V, 3] unit normals, area-weighted; 0 at vertices without a triangle. Host, float64."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(points)
    for k in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(triangles[:, k], face[:, axis], len(points))
    return unit_vectors(total)


def unit_vectors(x: np.ndarray) -> np.ndarray:
    """[..., 3] vectors of length one; those without a length stay 0."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cubic between them."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def farthest_points(points: np.ndarray, num: int, first: int = 0) -> np.ndarray:
    """Ids [num] of points that lie far from each other (greedy), fewer where there are fewer."""
    num = min(num, len(points))
    chosen = np.zeros(num, int)
    chosen[0] = first
    gap = np.full(len(points), np.inf)
    for k in range(1, num):
        gap = np.minimum(gap, ((points - points[chosen[k - 1]]) ** 2).sum(1))
        chosen[k] = gap.argmax()
    return chosen


class Cloud:
    """A surface as points with normals: how high something is above it.

    Args:
      points: [V, 3] mm; normals: [V, 3] unit, outward.
    """

    def __init__(self, points: np.ndarray, normals: np.ndarray):
        from scipy.spatial import cKDTree

        self.points, self.normals = points, normals
        self.tree = cKDTree(points)

    def height(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height over the surface, mm, negative inside, and a smooth outward direction.

        Args:
          p: [N, 3].

        Returns:
          ([N] the least height over the tangent planes of the nearest points, [N, 3] unit).
        """
        distance, near = self.tree.query(p, k=_NEIGHBOURS)
        away = 1.0 / (distance + 2.0)
        normal = unit_vectors((self.normals[near] * away[..., None]).sum(axis=1))
        over = np.einsum("nkc,nc->nk", p[:, None] - self.points[near], normal)
        # only points beside the foot of p count, not those farther up a slope
        return np.where(distance < distance[:, :1] + _BESIDE_MM, over, np.inf).min(axis=1), normal

    def push_out(self, p: np.ndarray, least_mm: float | np.ndarray, rounds: int = 3) -> np.ndarray:
        """Points [N, 3] moved outward until they are `least_mm` over the surface."""
        for _ in range(rounds):
            height, normal = self.height(p)
            p = p + np.clip(least_mm - height, 0.0, 25.0)[:, None] * normal
        return p


@dataclasses.dataclass(frozen=True)
class Ear:
    """One ear of the mean head; ids of head vertices.

    Attributes:
      top: where the bow of glasses rests, between ear and skull.
      lobe: where an earring hangs.
      tip: the point farthest from the head's middle plane.
    """

    top: int
    lobe: int
    tip: int


class HeadSurface:
    """The outer surface of a face model's mean head, for building what is worn on it.

    Args:
      model: with 68 landmarks; the masks 'ears', 'interior', 'eye', 'mouth_inside' are used where
        there are any.

    Attributes:
      points: [V, 3] mm, float64; normals: [V, 3].
      outer: [V] bool, vertices of the outer surface (no eyeballs, no mouth, no lashes).
      unit: the head's size, 1 for outer eye corners 82 mm apart.
      center: [3] middle of the skull between and above the ears.
      ears: subject's right and left `Ear`.

    Raises:
      ValueError: the outer surface is empty, or its ears cannot be found.
    """

    def __init__(self, model: MorphableModel):
        topology = model.topology
        self.points = np.asarray(model.mean_shape, np.float64)
        self.triangles = topology.mesh.triangles
        self.normals = vertex_normals(self.points, self.triangles)
        self.landmarks = self.points[topology.landmarks68]
        masks = topology.masks
        inside = np.any([masks[k] > 0.5 for k in _INSIDE if k in masks], axis=0)
        used = np.zeros(len(self.points), bool)
        used[self.triangles.reshape(-1)] = True
        self.outer = used & ~inside & (np.linalg.norm(self.normals, axis=1) > 0.5)
        if self.outer.sum() < 100:
            raise ValueError(
                f"the face model {topology.name!r} has {self.outer.sum()} vertices outside its "
                f"masks {[k for k in _INSIDE if k in masks]}; wanted a head's surface"
            )
        moved = np.linalg.norm(np.asarray(model.exp_basis, np.float32), axis=2)
        self.mobility = (moved * np.asarray(model.exp_std)[:, None]).max(axis=0, initial=0.0)
        lm = self.landmarks
        self.unit = float(np.linalg.norm(lm[45] - lm[36]) / _EYE_CORNERS_MM)
        self.brow_y = lm[17:27, 1].mean()
        self.eye_y = lm[36:48, 1].mean()
        self.nose_base_y = lm[33, 1]
        self.chin_y = lm[8, 1]
        self.is_ear = self._find_ears(masks.get("ears"))
        self.ears = tuple(self._ear(side) for side in (-1, 1))
        ear_z = np.mean([self.points[e.top, 2] for e in self.ears])
        self.center = np.array([0.0, self.brow_y + 5 * self.unit, ear_z - 4 * self.unit])
        self.top_y = self.points[self.outer, 1].max()

    def _find_ears(self, mask):
        """[V] bool; without a mask, what sticks out of the sides below the brows."""
        if mask is not None and (mask > 0.5).any():
            return self.outer & (mask > 0.5)
        x, y, z = self.points.T
        u = self.unit
        skull = self.outer & (y > self.brow_y + 25 * u)
        wide = np.abs(x[skull]).max() - 1.0 * u
        behind = z < self.landmarks[[0, 16], 2].mean()
        level = (y > self.nose_base_y - 25 * u) & (y < self.brow_y + 8 * u)
        out = self.outer & behind & level & (np.abs(x) > wide)
        for side in (-1, 1):
            own = out & (np.sign(x) == side)
            if own.any():
                tip = self.points[np.flatnonzero(own)[np.abs(x[own]).argmax()]]
                far = np.hypot((y - tip[1]) / 34.0, (z - tip[2]) / 30.0) > u
                out &= ~(own & far)
        return out

    def _ear(self, side):
        ids = np.flatnonzero(self.is_ear & (np.sign(self.points[:, 0]) == side))
        if len(ids) < 5:
            raise ValueError("found no ears on the face model; wanted a mask 'ears' of vertices")
        x, y, _ = (self.points[ids] * [side, 1, 1]).T
        upper = y > np.quantile(y, 0.9)
        lower = y < np.quantile(y, 0.06)
        outward = x - 0.05 * y
        return Ear(
            top=int(ids[upper][x[upper].argmin()]),
            lobe=int(ids[lower][outward[lower].argmax()]),
            tip=int(ids[x.argmax()]),
        )

    @functools.cached_property
    def outer_ids(self) -> np.ndarray:
        """Ids of the vertices of the outer surface."""
        return np.flatnonzero(self.outer)

    @functools.cached_property
    def cloud(self) -> Cloud:
        """The outer surface."""
        return Cloud(self.points[self.outer], self.normals[self.outer])

    @functools.cached_property
    def _still(self):
        from scipy.spatial import cKDTree

        ids = np.flatnonzero(self.outer & (self.mobility < _STILL_MM) & ~self.is_ear)
        return ids, cKDTree(self.points[ids])

    @functools.cached_property
    def draped(self) -> Cloud:
        """The outer surface as hair lies on it: over the ears, not around them."""
        normals = self.normals.copy()
        normals[self.is_ear] = 0
        normals[self.is_ear, 0] = np.sign(self.points[self.is_ear, 0])
        return Cloud(self.points[self.outer], normals[self.outer])

    @property
    def still_ids(self) -> np.ndarray:
        """Vertices of the outer surface that expressions hardly move."""
        return self._still[0]

    def nearest_still(self, p: np.ndarray) -> np.ndarray:
        """[N] ids of the nearest vertices that expressions hardly move, for points [N, 3]."""
        ids, tree = self._still
        return ids[tree.query(p)[1]]

    def nearest(self, p: np.ndarray) -> np.ndarray:
        """[N] ids of the nearest vertices of the outer surface."""
        return self.outer_ids[self.cloud.tree.query(p)[1]]

    def azimuth(self, p: np.ndarray) -> np.ndarray:
        """[...] radians around the head's vertical axis: 0 in front, positive to the left."""
        return np.arctan2(p[..., 0] - self.center[0], p[..., 2] - self.center[2])

    @functools.cached_property
    def _line_y(self):
        """Heights of the hairline at `_LINE_DEG`."""
        u = self.unit
        front = self.brow_y + 0.74 * (self.brow_y - self.nose_base_y)
        ear_top = np.mean([self.points[e.top, 1] for e in self.ears])
        lobe = np.mean([self.points[e.lobe, 1] for e in self.ears])
        return np.array([
            front, front + 1 * u, front - 2 * u, front - 12 * u, self.brow_y + 17 * u,
            self.brow_y + 5 * u, self.eye_y, lobe + 18 * u, ear_top + 2 * u, ear_top + 6 * u,
            ear_top - 12 * u, lobe - 12 * u, lobe - 28 * u, lobe - 36 * u,
        ])  # fmt: skip

    def above_hairline(self, p: np.ndarray) -> np.ndarray:
        """[...] mm above the hairline, negative where no hair grows; p [..., 3] near the surface.

        The line runs over the forehead, down the temples to the sideburns, over the ears and down
        to the nape.
        """
        degrees = np.degrees(np.abs(self.azimuth(p)))
        return p[..., 1] - np.interp(degrees, _LINE_DEG, self._line_y)

    @functools.cached_property
    def _hairline_z(self):
        """z of the middle of the front hairline."""
        x, y, z = self.points[self.outer].T
        middle = (np.abs(x) < 12 * self.unit) & (z > self.center[2])
        return z[middle][np.abs(y[middle] - self._line_y[0]).argmin()]

    def recession(self, p: np.ndarray) -> np.ndarray:
        """[...] order in which hair is lost: 0 first (temples, front), 1 last of the top.

        Sides and back have more than 1. After the Norwood scale: temples, front, crown.
        """
        q = (p - self.center) / self.unit
        back = 0.12 + (self._hairline_z - p[..., 2]) / (185.0 * self.unit)
        temple = 0.25 * smoothstep(np.abs(q[..., 0]), 14.0, 46.0) * smoothstep(q[..., 2], 0.0, 60.0)
        side = smoothstep(np.abs(q[..., 0]), 48.0, 66.0)
        low = smoothstep(-q[..., 1], -34.0, -12.0)
        return np.clip(back - temple, 0, None) + np.maximum(side, low)

    def rays(self, directions: np.ndarray) -> np.ndarray:
        """[N, 3] points where rays from the centre leave the outer surface (ears left out).

        Args:
          directions: [N, 3] unit.
        """
        from scipy.spatial import cKDTree

        ids = np.flatnonzero(self.outer & ~self.is_ear & (self.points[:, 1] > self.chin_y))
        away = self.points[ids] - self.center
        radius = np.linalg.norm(away, axis=1)
        distance, near = cKDTree(away / radius[:, None]).query(directions, k=4)
        weight = 1.0 / (distance + 1e-3) ** 2
        r = (weight * radius[near]).sum(1) / weight.sum(1)
        return self.center + directions * r[:, None]
