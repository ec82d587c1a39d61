"""Glasses: frames and lenses that sit on the nose and on the ears. Host, numpy."""

import dataclasses

import numpy as np

from facejax.attachments.binding import Binding, bind
from facejax.attachments.head import HeadSurface, smoothstep
from facejax.attachments.shapes import grid_triangles, grid_uv, tube

_RIM = 33  # points around a lens, the first repeated
_TEMPLE = 14
_CORNERS = 4
_WRAP_MM = 260.0  # radius of the curve of the front, seen from above
_LENS_IN_FRONT_MM = 11.0  # of the lids


@dataclasses.dataclass(frozen=True)
class GlassesStyle:
    """Lengths in mm on a head of unit size.

    Attributes:
      name: of the style.
      width, height: half axes of a lens.
      power: of its superellipse: 2 round, larger squarer.
      taper: narrower below (positive) or above (negative), share of the width.
      raised: how far the outer upper corner is pulled up.
      rim: half thickness of the rim seen from the front.
    """

    name: str
    width: float
    height: float
    power: float
    taper: float
    raised: float
    rim: float


GLASSES = (
    GlassesStyle("none", 22, 20, 2, 0, 0, 1),
    GlassesStyle("round", 22, 21, 2.0, 0.0, 0.0, 0.8),
    GlassesStyle("rectangular", 26, 15, 4.5, 0.05, 0.0, 1.1),
    GlassesStyle("wayfarer", 25, 19, 3.4, 0.16, 2.0, 2.2),
    GlassesStyle("aviator", 27, 22, 2.3, 0.14, -1.0, 0.7),
    GlassesStyle("cat eye", 25, 17, 2.6, 0.12, 6.0, 1.7),
    GlassesStyle("half moon", 24, 12, 3.0, 0.12, 0.0, 0.8),
)
GLASSES_NAMES = tuple(style.name for style in GLASSES)


class FrontSurface:
    """z of the foremost outer surface at (x, y): what the front of glasses has to clear."""

    def __init__(self, head: HeadSurface):
        from scipy.spatial import cKDTree

        front = head.outer & (head.normals[:, 2] > 0.15) & (head.points[:, 2] > head.center[2])
        front &= head.points[:, 1] > head.nose_base_y - 25 * head.unit
        self._z = head.points[front, 2]
        self._tree = cKDTree(head.points[front, :2])

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """[N] mm at [N, 2]."""
        return self._z[self._tree.query(xy, k=4)[1]].max(axis=1)


def _outline(style: GlassesStyle, unit: float) -> np.ndarray:
    """[_RIM, 2] of the lens of the subject's left eye about its centre, x outward, y up."""
    angle = np.linspace(0, 2 * np.pi, _RIM)
    c, s = np.cos(angle), np.sin(angle)
    x = style.width * np.sign(c) * np.abs(c) ** (2 / style.power)
    y = style.height * np.sign(s) * np.abs(s) ** (2 / style.power)
    x = x * (1 + style.taper * y / style.height)
    y = y + style.raised * smoothstep(x / style.width, -0.2, 1.0) * smoothstep(y, 0, style.height)
    return unit * np.stack([x, y], axis=1)


def make_glasses(head: HeadSurface, number: int) -> tuple[np.ndarray, Binding, float]:
    """One frame on the mean head.

    Args:
      head: the mean head.
      number: of the style.

    Returns:
      (points [N, 3], their binding, gap: mm between the bridge and the nose).
    """
    style, u = GLASSES[number], head.unit
    lm = head.landmarks
    eyes = lm[36:42].mean(0), lm[42:48].mean(0)
    eye_x = np.abs([eyes[0][0], eyes[1][0]]).mean()
    eye_y = head.eye_y - 2.5 * u
    outline = _outline(style, u)
    center_x = max(eye_x + 1 * u, -outline[:, 0].min() + 7 * u)
    rim_xy = outline + [center_x, eye_y]
    pad_y = head.eye_y - 3 * u
    bridge_xy = np.array([[rim_xy[:, 0].min(), pad_y + 7 * u], [0, pad_y + 9 * u]])

    def curve(x):
        return -(x**2) / (2 * _WRAP_MM * u)

    surface = FrontSurface(head)
    touch = np.concatenate([rim_xy, bridge_xy])
    touch = np.concatenate([touch, touch * [-1, 1]])
    rest = (surface(touch) - curve(touch[:, 0])).max() + 1.0 * u
    z = max(rest + style.rim * u, lm[36:48, 2].max() + _LENS_IN_FRONT_MM * u)
    gap = float(z - surface(np.array([[0.0, bridge_xy[1, 1]]]))[0])

    parts = []
    weights = []  # of the subject's right and left nose pad, right and left ear
    for index, side in enumerate((-1.0, 1.0)):
        ring = np.stack([side * rim_xy[:, 0], rim_xy[:, 1], z + curve(rim_xy[:, 0])], axis=1)
        if side < 0:
            ring = ring[::-1]
        parts.append(tube(ring, u * np.array([style.rim, style.rim]), [0, 0, 1.0], _CORNERS))
        lens = ring - [0, 0, 0.3 * u]
        parts.append(np.stack([np.broadcast_to(lens[:-1].mean(0), lens.shape), lens]))
        ear = head.points[head.ears[index].top]
        hinge = ring[np.argmax(side * ring[:, 0] + 0.35 * ring[:, 1])]
        knee = [max(side * ear[0] + 1.0 * u, side * hinge[0]), ear[1] + 2.0 * u, ear[2] + 2 * u]
        knots = np.array([
            [side * hinge[0], hinge[1], hinge[2] - 0.5 * u],
            [side * hinge[0] + 3.5 * u, hinge[1], hinge[2] - 4 * u],
            knee,
            [side * ear[0] - 1.0 * u, ear[1] - 6 * u, ear[2] - 12 * u],
            [side * ear[0] - 4.0 * u, ear[1] - 24 * u, ear[2] - 20 * u],
        ])  # fmt: skip
        at = np.concatenate([[0, 0.06], np.linspace(0.1, 0.72, _TEMPLE - 5), [0.8, 0.9, 1.0]])
        path = np.stack([np.interp(at, [0, 0.06, 0.72, 0.82, 1], k) for k in knots.T], axis=1)
        path = path * [side, 1, 1]
        behind_front = np.arange(len(path)) > 1
        path[behind_front] = head.cloud.push_out(path[behind_front], 1.6 * u)
        parts.append(tube(path, u * np.array([max(style.rim, 1.3), 0.8]), [0, 1.0, 0], _CORNERS))
    span = np.linspace(-1, 1, 9)
    bridge = np.stack([
        bridge_xy[0, 0] * span,
        bridge_xy[0, 1] + (bridge_xy[1, 1] - bridge_xy[0, 1]) * (1 - span**2),
        z + curve(bridge_xy[0, 0] * span),
    ], axis=1)  # fmt: skip
    parts.append(tube(bridge, u * np.array([max(style.rim, 1.1), 1.0]), [0, 1.0, 0], _CORNERS))
    points = np.concatenate([part.reshape(-1, 3) for part in parts])

    pads = head.nearest(np.array([[side * 9.0 * u, pad_y, z - 6 * u] for side in (-1, 1)]))
    ids = np.array([*pads, *(e.top for e in head.ears)])
    left = np.clip(0.5 + points[:, 0] / (2 * center_x), 0, 1)
    ear_z = head.points[[e.top for e in head.ears], 2].mean()
    back = smoothstep(z - 6 * u - points[:, 2], 0.0, z - 6 * u - ear_z)
    pad, ear = (1 - back)[:, None], back[:, None]
    on_left = (points[:, 0] > 0)[:, None]
    weights = np.concatenate(
        [pad * np.stack([1 - left, left], 1), ear * np.concatenate([~on_left, on_left], 1)], axis=1
    )
    ids = np.broadcast_to(ids, weights.shape)
    return points, bind(head, points, ids, weights), gap


def _blocks():
    """(rows, columns, kind) of the grids that make up a frame, in their order."""
    side = [(_RIM, _CORNERS + 1, "rim"), (2, _RIM, "lens"), (_TEMPLE, _CORNERS + 1, "bow")]
    return [*side, *side, (9, _CORNERS + 1, "bow")]


def glasses_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(triangles [F, 3], uv_triangles [F, 3], uv [N, 2], is_lens [N] bool) of every frame."""
    triangles, uv_triangles, uv, lens, first = [], [], [], [], 0
    for rows, columns, kind in _blocks():
        is_lens = kind == "lens"
        tri = grid_triangles(rows, columns, closed=True, torus=kind == "rim", pole=is_lens)
        uv_tri = grid_triangles(rows, columns)
        if is_lens:  # half of them touch the middle with an edge
            area = (tri[:, 0] != tri[:, 1]) & (tri[:, 1] != tri[:, 2]) & (tri[:, 2] != tri[:, 0])
            tri, uv_tri = tri[area], uv_tri[area]
        triangles.append(tri + first)
        uv_triangles.append(uv_tri + first)
        uv.append(grid_uv(rows, columns))
        lens.append(np.full(rows * columns, is_lens))
        first += rows * columns
    return tuple(np.concatenate(x) for x in (triangles, uv_triangles, uv, lens))
