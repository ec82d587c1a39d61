"""Strands of hair on the mean head: where they grow and how they fall. Host, numpy.

A strand is a lock: a polyline that becomes a ribbon of triangles. A hairstyle has `ROWS` strips of
`NODES` nodes; a strip holds one long strand, two of 8 nodes or four of 4 nodes, all with ribbons
that begin and end in a point, so that one list of triangles serves every style.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from facejax.attachments.head import (
    Cloud,
    HeadSurface,
    farthest_points,
    smoothstep,
    unit_vectors,
)

ROWS, NODES = 160, 16
_STEP_MM = 6.0
_GOAL_MM = 14.0
_CANDIDATES = 10  # root candidates for each root

Field = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Growth:
    """How a bundle of S strands grows.

    Attributes:
      comb: points [S, 3] -> directions [S, 3] in which hair is combed where it lies on the scalp.
      length_mm: [S]; lowest_y: [S] mm, strands are cut where they fall below.
      lift_mm: [S] height above the head that a strand reaches, its layer.
      grows: points [N, 3] -> [N] mm inside the region where hair lies on the skin and is combed;
        None for the scalp.
      gravity: against the comb, 0 none, 1 limp.
      inertia: share of the old direction kept at each step, in [0, 1).
      hug: share of the height above its layer that a strand loses at each step, in [0, 1].
      rise: [S] share of the surface normal in the first direction.
      goal: [3] mm where strands end when they come near it (a hair tie), or None.
      clear_face: strands that fall below the hairline part around the face.
      clump: share by which tips are drawn to the tip of their clump, in [0, 1].
      jitter_mm: standard deviation of the tips.
      tilt: radians, standard deviation of the turn of a ribbon about its strand.
    """

    comb: Field
    length_mm: np.ndarray
    lowest_y: np.ndarray
    lift_mm: np.ndarray
    grows: Field | None = None
    gravity: float = 0.5
    inertia: float = 0.6
    hug: float = 0.3
    rise: np.ndarray | float = 0.3
    goal: np.ndarray | None = None
    clear_face: bool = True
    clump: float = 0.35
    jitter_mm: float = 2.0
    tilt: float = 0.45


@dataclasses.dataclass(frozen=True)
class Strands:
    """S strands of m nodes.

    Attributes:
      nodes: [S, m, 3] mm; side: [S, m, 3] unit, across the ribbon; out: [S, m, 3] unit, away from
        the head.
    """

    nodes: np.ndarray
    side: np.ndarray
    out: np.ndarray

    def __add__(self, other: "Strands") -> "Strands":
        """The strands of both."""
        return Strands(
            *(
                np.concatenate([getattr(self, f.name), getattr(other, f.name)])
                for f in dataclasses.fields(self)
            )
        )


def surface_samples(
    head: HeadSurface, num: int, rng: np.random.Generator, inside: Field
) -> np.ndarray:
    """[num, 3] points spread evenly over a part of the outer surface.

    Args:
      head: the mean head.
      num: S.
      rng: of the draws.
      inside: points [N, 3] -> [N] bool, the part; it must have an area.
    """
    whole = head.outer[head.triangles].all(axis=1) & ~head.is_ear[head.triangles].any(axis=1)
    corners = head.points[head.triangles[whole]]
    corners = corners[inside(corners.mean(axis=1))]
    edges = corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    pick = rng.choice(len(corners), _CANDIDATES * num, p=area / area.sum())
    a, b = np.sort(rng.random((2, len(pick))), axis=0)
    weight = np.stack([a, b - a, 1 - b], axis=1)
    points = np.einsum("nk,nkc->nc", weight, corners[pick])
    return points[farthest_points(points, num)]


def grow(
    head: HeadSurface,
    body: Cloud,
    roots: np.ndarray,
    growth: Growth,
    num_nodes: int,
    rng: np.random.Generator,
) -> Strands:
    """Strands from roots [S, 3] on the scalp.

    Each goes on in its old direction, is combed where it lies on the scalp, falls where it does
    not, keeps above the layer below it, and is cut at its length.

    Args:
      head: the mean head.
      body: what hair may not enter: the head and the shoulders.
      roots: [S, 3].
      growth: how they grow.
      num_nodes: m.
      rng: of tips and tilts.
    """
    u = head.unit
    steps = max(int(np.ceil(growth.length_mm.max() / (_STEP_MM * u))), num_nodes - 1)
    step = (growth.length_mm / steps)[:, None]
    _, normal = body.height(roots)
    p = roots.copy()
    direction = unit_vectors(
        _tangent(growth.comb(p), normal) + np.reshape(growth.rise, (-1, 1)) * normal
    )
    # hair from behind the ears falls on the back, most of the rest in front of the shoulders
    azimuth = np.degrees(np.abs(head.azimuth(roots)))
    behind = np.where(azimuth + rng.normal(0, 8, len(roots)) > 62, -1.0, 1.0)
    path, arrived = [p], np.zeros(len(p), bool)
    for k in range(steps):
        height, normal = body.height(p)
        on_scalp = smoothstep((growth.grows or head.above_hairline)(p), -22 * u, 6 * u)
        on_scalp = (on_scalp * (1 - smoothstep(height, 30 * u, 60 * u)))[:, None]
        combed = unit_vectors(_tangent(growth.comb(p), normal))
        aim = on_scalp * combed
        aim = aim + growth.gravity * (1 - 0.7 * on_scalp) * np.array([0.0, -1.0, 0.0])
        aim = aim + _off_the_shoulders(head, p, height, behind)
        direction = unit_vectors(growth.inertia * direction + (1 - growth.inertia) * aim)
        p = p + step * direction
        if growth.clear_face:
            p = _around_face(head, p)
        travelled = (k + 1) * step[:, 0]
        layer = 0.8 * u + growth.lift_mm * smoothstep(travelled, 0.0, 30.0 * u)
        height, normal = body.height(p)
        above = np.clip(height - layer, 0.0, 20 * u)
        move = np.clip(layer - height, 0.0, 20 * u) - growth.hug * on_scalp[:, 0] * above
        p = p + move[:, None] * normal
        if growth.goal is not None:
            there = np.linalg.norm(p - growth.goal, axis=1) < _GOAL_MM * u
            p = np.where((there | arrived)[:, None], growth.goal, p)
            arrived |= there
        direction = np.where(arrived[:, None], direction, unit_vectors(p - path[-1]))
        path.append(p)
    path = np.stack(path, axis=1)
    nodes = _resampled(path, growth.lowest_y, num_nodes)
    nodes = _clumped(nodes, growth, rng)
    return ribbons(body, nodes, rng, growth.tilt)


def ribbons(body: Cloud, nodes: np.ndarray, rng: np.random.Generator, tilt: float):
    """`Strands` of polylines [S, m, 3]: which way each ribbon faces.

    Args:
      body: for outward directions.
      nodes: [S, m, 3] mm.
      rng: of the tilts.
      tilt: radians, standard deviation of the turn of each ribbon about its strand: neighbours
        catch the light differently.
    """
    num, m = nodes.shape[:2]
    _, out = body.height(nodes.reshape(-1, 3))
    out = out.reshape(num, m, 3)
    along = unit_vectors(np.gradient(nodes, axis=1))
    side = np.cross(out, along)
    for k in range(1, m):  # where strands run along the normal, the ribbon keeps its face
        weak = np.linalg.norm(side[:, k], axis=1) < 0.3
        side[weak, k] = side[weak, k - 1]
    side = unit_vectors(side)
    # three-tap smoothing, so that no ribbon twists between two nodes
    ends = np.concatenate([side[:, :1], side, side[:, -1:]], axis=1)
    side = unit_vectors(ends[:, :-2] + 2 * ends[:, 1:-1] + ends[:, 2:])
    angle = rng.normal(0, tilt, (num, 1, 1))
    face = np.cross(side, along)
    return Strands(nodes, unit_vectors(np.cos(angle) * side + np.sin(angle) * face), out)


def _tangent(direction, normal):
    return direction - (direction * normal).sum(axis=-1, keepdims=True) * normal


def _around_face(head, p):
    """Moves points that hang in front of the face to its sides."""
    u = head.unit
    away = p - head.center
    azimuth = head.azimuth(p)
    low = smoothstep(-p[:, 1], -(head.brow_y + 42 * u), -(head.brow_y - 8 * u))
    least = np.radians(54.0) * low
    front = (away[:, 2] > 0) & (np.abs(azimuth) < least)
    # back along the cheek rather than around it, where hair would stand off
    x = np.maximum(np.abs(away[:, 0]), 60 * u * low)
    z = x / np.tan(np.maximum(least, 1e-3))
    turned = np.stack([np.where(azimuth < 0, -x, x), away[:, 1], z], axis=1) + head.center
    return np.where(front[:, None], p + 0.5 * (turned - p), p)


def _off_the_shoulders(head, p, height, behind):
    """Hair that lies on the shoulders slides off them, forward or backward."""
    u = head.unit
    low = smoothstep(-p[:, 1], -(head.chin_y + 10 * u), -(head.chin_y - 25 * u))
    lies = low * (1 - smoothstep(height, 8 * u, 40 * u))
    wide = smoothstep(np.abs(p[:, 0]), 70 * u, 105 * u)
    # what hangs free beside the neck falls back to it
    hangs = smoothstep(-p[:, 1], -(head.eye_y - 20 * u), -head.chin_y)
    hangs = 0.35 * hangs * smoothstep(height, 10 * u, 32 * u)
    inward = -np.sign(p[:, 0]) * (1.6 * wide * low + hangs)
    return np.stack([inward, 0 * low, 0.7 * behind * lies], axis=1)


def _resampled(path, lowest_y, num):
    """[S, T, 3] polylines, cut below lowest_y [S], as [S, num, 3] of even arc length."""
    segment = np.linalg.norm(np.diff(path, axis=1), axis=2)
    arc = np.concatenate([np.zeros((len(path), 1)), np.cumsum(segment, axis=1)], axis=1)
    out = np.zeros((len(path), num, 3))
    for s, line in enumerate(path):
        below = np.flatnonzero(line[:, 1] < lowest_y[s])
        end = arc[s, max(below[0], 2)] if len(below) else arc[s, -1]
        at = np.linspace(0, end, num)
        for axis in range(3):
            out[s, :, axis] = np.interp(at, arc[s], line[:, axis])
    return out


def _clumped(nodes, growth, rng):
    """Tips drawn together in clumps, and scattered."""
    num, m = nodes.shape[:2]
    t = np.linspace(0, 1, m)[None, :, None]
    if growth.clump > 0 and num >= 8:
        from scipy.spatial import cKDTree

        centers = farthest_points(nodes[:, -1], max(num // 6, 4))
        own = centers[cKDTree(nodes[centers, m // 2]).query(nodes[:, m // 2])[1]]
        close = np.linalg.norm(nodes[own] - nodes, axis=2).max(axis=1) < 60.0
        share = growth.clump * close[:, None, None] * t**2
        nodes = nodes + share * (nodes[own] - nodes)
    return nodes + t**2 * rng.normal(0, growth.jitter_mm, (num, 1, 3))
