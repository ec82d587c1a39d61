"""Keeps a head whole: closed lips, lids on the eyeballs, teeth behind the lips, a flat neck.

All of it is linear: corrections of the mean shape are added once, those of an offset are constant
matrices, so that they hold for every combination of the offsets.
"""

import numpy as np
from scipy.spatial import cKDTree

from data_prep.head.cage import (
    EYE_RADIUS_MM,
    EYE_RINGS_DEG,
    EYE_SIDES,
    LOWER_TEETH,
    MOUTH,
    NECK_RISE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
    Cage,
    eye_directions,
    eye_quads,
)  # fmt: skip
from facejax.morphable.makehuman.subdivision import Refinement

LID_GAP_MM = 0.35  # between the lids' inner side and the eyeball
_SLACK_MM = 0.06  # less in expressions: what the mean misses the gap by is no reason to push
_LID_NEAR_MM, _LID_FAR_MM = 1.5, 8.0  # above the eyeball: full hold, none
_STRIP = 0.955  # of the eyeball's radius: the strip behind the lids ends inside of it
_LIP_REACH_MM = 5.0
_LIP_GAP_MM = 0.15
_LID_REACH_MM, _BLINK_UPPER, _BLINK_OVERLAP_MM = 4.0, 0.85, 0.1
# parts of the mouth: scales about their middles, and shifts, mm
_MOUTH_PARTS = (
    (UPPER_TEETH, (0.88, 1.0, 0.95), (0.0, -2.0, -0.5)),
    (LOWER_TEETH, (0.88, 1.0, 0.95), (0.0, -1.5, -1.0)),
    (TONGUE, (0.8, 0.5, 0.85), (0.0, -8.0, -7.0)),
)
_FOLLOW_MM = 12.0  # width of the weights by which teeth and tongue follow the skin
_PUSH_MM = 3.0  # reach of a correction along the skin
# of the globe in a full blink (Riggs, Kelly, Manning, Moore 1987: about 1 mm back)
RETRACTION_MM = 1.0
# turns of the eyes at weight 1: about x (down) and y (to the subject's left)
GAZE_DEG = {"Up": (-20.0, 0.0), "Down": (25.0, 0.0), "In": (0.0, -30.0), "Out": (0.0, 30.0)}


class Closer:
    """Closes a seam, of lips or lids: vertices near it move by their share of the gap at their x.

    Args:
      p: [V, 3] mm, the head whose seam gives the weights.
      seam: vertex ids of both sides.
      movable: ids of the vertices that may move.
      reach_mm: how far from the seam the movement has faded to a third.
      upper: share of the gap that the upper side goes; the rest is the lower side's.
    """

    def __init__(
        self,
        p: np.ndarray,
        seam: np.ndarray,
        movable: np.ndarray,
        reach_mm: float,
        upper: float = 0.5,
    ):
        q = p[seam]
        left, right = q[:, 0].argmin(), q[:, 0].argmax()
        line = np.interp(q[:, 0], q[[left, right], 0], q[[left, right], 1])
        is_top = q[:, 1] > line + 0.05
        is_top[[left, right]] = True
        is_bottom = ~is_top
        is_bottom[[left, right]] = True
        self.top, self.bottom = (
            seam[m][np.argsort(q[m, 0])] for m in (is_top, is_bottom)
        )  # fmt: skip
        distance = cKDTree(q).query(p)[0]
        self.ids = movable[distance[movable] < 3 * reach_mm]
        x = np.clip(p[self.ids, 0], q[left, 0], q[right, 0])
        self.above, self.below = (_between(p[i, 0], x) for i in (self.top, self.bottom))
        middle = 0.5 * (self.above @ p[self.top, 1] + self.below @ p[self.bottom, 1])
        side = np.clip((p[self.ids, 1] - middle) / 0.3, -1, 1)
        side[np.isin(self.ids, self.top)] = 1
        side[np.isin(self.ids, self.bottom)] = -1
        inside = (p[self.ids, 0] > q[left, 0]) & (p[self.ids, 0] < q[right, 0])
        fade = np.exp(-((distance[self.ids] / reach_mm) ** 2))
        self.share = np.where(side > 0, upper, 1 - upper) * side * fade * inside

    def __call__(self, offsets: np.ndarray, gap_mm: float = 0.0) -> np.ndarray:
        """Offsets [..., V, 3] with a closed seam, or a shape whose sides are `gap_mm` apart."""
        out = offsets.copy()
        y = offsets[..., 1]
        gap = y[..., self.top] @ self.above.T - y[..., self.bottom] @ self.below.T - gap_mm
        out[..., self.ids, 1] -= self.share * gap
        return out


def _between(knots, x):
    """[N, K] weights of linear interpolation between sorted knots."""
    i = np.clip(np.searchsorted(knots, x) - 1, 0, len(knots) - 2)
    f = np.clip((x - knots[i]) / np.maximum(knots[i + 1] - knots[i], 1e-6), 0, 1)
    weights = np.zeros((len(x), len(knots)))
    weights[np.arange(len(x)), i], weights[np.arange(len(x)), i + 1] = 1 - f, f
    return weights


class Anatomy:
    """A mean head whose parts fit, and the corrections of what moves it.

    Args:
      cage: of the head.
      p: [V, 3] mm, the cage's mean; eyeballs and the strips behind the lids are placed here.

    Attributes:
      mean: [V, 3] mm.
      refinement: one Catmull-Clark step of the cage.
      centers: [2, 3] mm, of the left and right eyeball.
    """

    def __init__(self, cage: Cage, p: np.ndarray):
        self.cage = cage
        self.refinement = Refinement(cage.quads, cage.num_vertices)
        self._eye = _eye_cage()
        self._skin = cage.vertices_of(SKIN)
        self._movable = np.zeros(cage.num_vertices, bool)
        self._movable[cage.vertices_of(SKIN, MOUTH)] = True
        self._fine_skin = np.unique(self.refinement.quads[np.tile(cage.part == SKIN, 4)])
        p = p.copy()
        for _ in range(2):  # closing moves the fine surface a little less than the cage
            p = self._lips(p)(p, gap_mm=_LIP_GAP_MM)
        tongue = cage.vertices_of(TONGUE)
        self._tongue_back = -p[tongue]
        p = self._with_smaller_mouth_parts(p)
        self._tongue_back += p[tongue]
        self.centers = np.stack([_eye_center(p[lid]) for lid in cage.lids])
        before = p.copy()
        p = self._off_the_eyes(p, self.centers, LID_GAP_MM)
        p = self._with_followers(p, before)
        self.mean = self._flat_rim(self._with_eyes(p, self.centers), shape=True)
        self._closer = self._lips(self.mean)
        self._lids = [
            Closer(self.mean, lid, self._skin, _LID_REACH_MM, _BLINK_UPPER) for lid in cage.lids
        ]
        self._inner, self._inner_weights = self._inner_parts(self.mean)
        self._hold, self._radial = self._lid_zone(self.mean)

    def _lips(self, p):
        """Closes the lips of a shape."""
        return Closer(p, self.cage.lips, np.flatnonzero(self._movable), _LIP_REACH_MM)

    def _with_smaller_mouth_parts(self, p):
        """Teeth and tongue of the size of people's: the original's fill the whole mouth."""
        for part, scale, shift in _MOUTH_PARTS:
            ids = self.cage.vertices_of(part)
            middle = 0.5 * (p[ids].min(axis=0) + p[ids].max(axis=0))
            p[ids] = middle + scale * (p[ids] - middle) + shift
        return p

    def _inner_parts(self, p):
        """Ids [N] of teeth and tongue, and the weights [N, V] of the skin that they follow."""
        ids = self.cage.vertices_of(UPPER_TEETH, LOWER_TEETH, TONGUE)
        skin = self.cage.vertices_of(SKIN)
        squared = ((p[ids][:, None] - p[skin][None]) ** 2).sum(axis=2)
        nearest = squared.min(axis=1, keepdims=True)
        weights = np.zeros((len(ids), len(p)), np.float32)
        weights[:, skin] = np.exp(-(squared - nearest) / (2 * _FOLLOW_MM**2))
        return ids, weights / weights.sum(axis=1, keepdims=True)

    def _with_eyes(self, p, centers):
        """Places the eyeballs and the strips behind the lids."""
        for center, lid, strip, eye in zip(
            centers, self.cage.lids, self.cage.strips, self.cage.eyes, strict=True
        ):
            away = p[lid] - center
            p[strip] = center + _STRIP * EYE_RADIUS_MM * away / np.linalg.norm(
                away, axis=1, keepdims=True
            )
            p[eye] = center + self._eye
        return p

    def _with_followers(self, p, before):
        """Lashes move as the edge of the lids did."""
        roots = self.cage.lash_roots
        lash = np.flatnonzero(roots != np.arange(len(p)))
        p[lash] += (p - before)[roots[lash]]
        return p

    def _off_the_eyes(self, p, centers, gap_mm, rounds=4):
        """A shape [V, 3] whose fine skin lies outside of the eyeballs.

        Args:
          p: the shape.
          centers: [2, 3] of the eyeballs.
          gap_mm: between them and the skin.
          rounds: of the correction, whose effect on the fine surface is somewhat smaller.
        """
        for _ in range(rounds):
            fine = self.refinement(p)
            for center in centers:
                near = self._fine_skin[
                    np.linalg.norm(fine[self._fine_skin] - center, axis=1) < EYE_RADIUS_MM + 6
                ]
                away = fine[near] - center
                length = np.linalg.norm(away, axis=1)
                lack = np.maximum(EYE_RADIUS_MM + gap_mm - length, 0) * (away[:, 2] > -4)
                if not lack.any():
                    continue
                p = self._push(p, fine[near], lack, center)
        return p

    def _push(self, p, where, lack, center):
        """Moves the cage away from a centre by the largest lack nearby, fading along the skin."""
        away = np.linalg.norm(p[self._skin] - center, axis=1)
        ids = self._skin[away < EYE_RADIUS_MM + 10]
        worst = np.flatnonzero(lack > 0)
        distance = np.linalg.norm(p[ids][:, None] - where[worst][None], axis=2)
        push = (lack[worst] * np.exp(-((distance / _PUSH_MM) ** 2))).max(axis=1)
        away = p[ids] - center
        p = p.copy()
        p[ids] += push[:, None] * away / np.linalg.norm(away, axis=1, keepdims=True)
        return p

    def _lid_zone(self, p):
        """Per eye how firmly [V] the skin is held on the eyeball, and the direction outward."""
        held, radial = [], []
        for center in self.centers:
            away = p - center
            length = np.linalg.norm(away, axis=1)
            t = (length - EYE_RADIUS_MM - _LID_NEAR_MM) / (_LID_FAR_MM - _LID_NEAR_MM)
            hold = 0.5 + 0.5 * np.cos(np.pi * np.clip(t, 0, 1))
            hold *= away[:, 2] > -4  # not the skin of the temple, whose depth is free
            hold[~self._movable] = 0
            held.append(hold)
            radial.append(away / length[:, None])
        return np.stack(held), np.stack(radial)

    def _flat_rim(self, p, shape=False):
        """The rim of the neck in one plane: for offsets, its parts move alike across the plane."""
        normal = np.array([0.0, 1.0, NECK_RISE]) / np.hypot(1.0, NECK_RISE)
        height = p[..., self.cage.rim, :] @ normal
        lack = height.mean(axis=-1, keepdims=True) - height
        out = p if shape else p.copy()
        out[..., self.cage.rim, :] += lack[..., None] * normal
        return out

    def identity(self, offsets: np.ndarray) -> np.ndarray:
        """Offsets [K, V, 3] mm of identities, corrected.

        Lips stay closed; the skin over an eyeball moves with it and along it, by which it can only
        get farther away; teeth and tongue move with the skin around them, lashes with the lids.
        """
        cage = self.cage
        out = self._closer(offsets)
        for k, (lid, strip, eye) in enumerate(zip(cage.lids, cage.strips, cage.eyes, strict=True)):
            move = offsets[:, lid].mean(axis=1, keepdims=True)
            outward = ((out - move) * self._radial[k]).sum(axis=2, keepdims=True)
            out -= (self._hold[k][:, None] * outward) * self._radial[k]
            out[:, strip] = move + _STRIP * (out[:, lid] - move)
            out[:, eye] = move
        out[:, self._inner] = np.einsum("nv,kvc->knc", self._inner_weights, out, optimize=True)
        lash = np.flatnonzero(cage.lash_roots != np.arange(cage.num_vertices))
        out[:, lash] = out[:, cage.lash_roots[lash]]
        return self._flat_rim(out)

    def expression(self, name: str, offset: np.ndarray) -> np.ndarray:
        """Offset [V, 3] mm of a face unit at weight 1, corrected for all weights in [0, 1].

        Eyes turn by `GAZE_DEG` and draw back in a blink, which closes them; lids keep off them
        halfway and at the end.
        """
        cage = self.cage
        out = offset.astype(np.float64).copy()
        if name == "tongueOut":  # ends where the original's does
            out[cage.vertices_of(TONGUE)] -= self._tongue_back
        raw = out.copy()  # in which lashes and lids belong together
        moves = np.zeros((2, 3))
        for k, (side, eye) in enumerate(zip(("Left", "Right"), cage.eyes, strict=True)):
            out[eye] = 0
            if name == f"eyeBlink{side}":
                moves[k] = (0, 0, -RETRACTION_MM)
                out[eye] += moves[k]
                for _ in range(3):
                    closed = self._lids[k](self.mean + out, gap_mm=-_BLINK_OVERLAP_MM)
                    out = closed - self.mean
            if name.startswith("eyeLook") and name.endswith(side):
                down, left = GAZE_DEG[name.removeprefix("eyeLook").removesuffix(side)]
                turn = _turn(down, left if k == 0 else -left)
                out[eye] = self._eye @ turn.T - self._eye
        for share in (0.5, 1.0):
            end, centers = self.mean + share * out, self.centers + share * moves
            moved = self._off_the_eyes(end, centers, LID_GAP_MM - _SLACK_MM)
            out = (moved - self.mean) / share
        out[cage.vertices_of(UPPER_TEETH)] = 0  # part of the skull
        out = self._with_followers(out, raw)
        for move, lid, strip in zip(moves, cage.lids, cage.strips, strict=True):
            out[strip] = move + _STRIP * (out[lid] - move)
        return out


def _eye_center(edge):
    """Centre of the eyeball that fits the edge of the lids [N, 3], but for the inner corner."""
    outer = np.abs(edge[:, 0])
    t = (outer - outer.min()) / np.ptp(outer)
    fit = edge[t > 0.25]
    side = np.sign(edge[:, 0].mean())
    center = np.array([side * (0.47 * outer.min() + 0.53 * outer.max()), fit[:, 1].mean(), 0.0])
    rho = np.linalg.norm(fit[:, :2] - center[:2], axis=1)
    central = rho < 0.75 * EYE_RADIUS_MM
    radius = EYE_RADIUS_MM + LID_GAP_MM
    center[2] = (fit[central, 2] - np.sqrt(radius**2 - rho[central] ** 2)).mean()
    return center


def _eye_cage():
    """[N, 3] mm: control points whose surface, refined once, has the eyeball's radius."""
    directions = eye_directions()
    quads = eye_quads(np.arange(len(directions)))
    refinement = Refinement(quads, len(directions))
    ring = np.append(0, 1 + np.repeat(np.arange(len(EYE_RINGS_DEG)), EYE_SIDES))
    scale = np.ones(len(directions))
    for _ in range(30):
        points = refinement(EYE_RADIUS_MM * scale[:, None] * directions)[: len(directions)]
        factor = EYE_RADIUS_MM / np.linalg.norm(points, axis=1)
        mean = np.bincount(ring, factor) / np.bincount(ring)
        scale *= np.where(ring == len(EYE_RINGS_DEG), 1.0, mean[ring])  # the border is free
    return EYE_RADIUS_MM * scale[:, None] * directions


def _turn(down_deg, left_deg):
    """Rotation that turns +z down (about x) and to the subject's left (about y)."""
    a, b = np.deg2rad([down_deg, left_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return about_y @ about_x
