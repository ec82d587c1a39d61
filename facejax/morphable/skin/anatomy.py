"""Where things are on a face: parts of the mesh and areas of the skin (numpy, on the host).

Areas are functions of the canonical position: millimetres from the middle between the eyes of the
mean face, scaled so that the pupils are 63 mm apart (a grown face), x the subject's left, y up, z
forward. They depend on landmarks, masks and UVs by name, never on vertex numbers.
"""

import dataclasses

import numpy as np

from facejax.geometry.sphere import fit_sphere
from facejax.morphable.model import MorphableModel

PUPIL_DISTANCE_MM = 63.0
PARTS = ("skin", "eye", "mouth", "tongue", "upper_teeth", "lower_teeth", "lid", "lash")
_MIRROR68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47,
     46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60,
     67, 66, 65]
)  # fmt: skip


def smoothstep(x, start, end):
    """0 at `start`, 1 at `end` (either may be the larger), cubic between, clamped."""
    s = np.clip((x - start) / (end - start), 0, 1)
    return s * s * (3 - 2 * s)


def bump(points: np.ndarray, center, radii) -> np.ndarray:
    """Gaussian [N] about a centre with a radius per axis, of points [N, 2 or 3]."""
    return np.exp(-0.5 * (((points - center) / radii) ** 2).sum(axis=-1))


@dataclasses.dataclass(frozen=True)
class Head:
    """The mean face of a model in canonical coordinates.

    Attributes:
      vertices: [V, 3]; normals: [V, 3] unit.
      triangles: [F, 3]; part: [V] index into PARTS.
      masks: name -> [V].
      landmarks: [68, 3], made symmetric.
      eyes: for the subject's right and left: centre [3] of the eyeball, or of the opening of the
        lids where there is no eyeball.
      eyeballs: whether the eyes are balls of their own.
      scale: canonical units per millimetre of the model.
    """

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    masks: dict[str, np.ndarray]
    landmarks: np.ndarray
    eyes: np.ndarray
    eyeballs: bool
    scale: float

    def mask(self, name: str) -> np.ndarray:
        """[V], zeros where the model has no such mask."""
        return self.masks.get(name, np.zeros(len(self.vertices), np.float32))


def make_head(model: MorphableModel) -> Head:
    """Canonical frame, parts and eyes of a face model."""
    topology = model.topology
    shape = np.asarray(model.mean_shape, np.float64)
    points = shape[topology.landmarks68]
    middle = points[36:48].mean(axis=0)
    centers = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    part, components = _parts(topology, shape)
    balls = _eyeballs(part, components, shape, centers)
    if balls is not None:
        centers = balls
    scale = PUPIL_DISTANCE_MM / np.linalg.norm((centers[0] - centers[1])[:2])
    landmarks = (points - middle) * scale
    landmarks = (landmarks + landmarks[_MIRROR68] * [-1, 1, 1]) / 2
    vertices = (shape - middle) * scale
    triangles = topology.mesh.triangles
    return Head(
        vertices=vertices,
        normals=_normals(vertices, triangles),
        triangles=triangles,
        part=part,
        masks=topology.masks,
        landmarks=landmarks,
        eyes=(centers - middle) * scale,
        eyeballs=balls is not None,
        scale=float(scale),
    )


def _normals(vertices, triangles):
    corners = vertices[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [
            sum(np.bincount(triangles[:, k], face[:, c], len(vertices)) for k in range(3))
            for c in range(3)
        ],
        axis=1,
    )
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _parts(topology, shape):
    """Part [V] and connected component [V], from `topology.parts` or from masks and components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    triangles = topology.mesh.triangles
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), tuple(edges.T)), (len(shape),) * 2)
    component = connected_components(graph, directed=False)[1]
    part = np.zeros(len(shape), np.int32)
    none = np.zeros(len(shape), np.float32)
    eye, mouth, inner = (
        topology.masks.get(k, none) > 0.5 for k in ("eye", "mouth_inside", "interior")
    )
    points = shape[topology.landmarks68]
    main = component[topology.landmarks68[30]]
    part[(component == main) & inner] = PARTS.index("lid")
    part[mouth] = PARTS.index("mouth")
    part[eye] = PARTS.index("eye")
    lip_line = points[[62, 66], 1].mean()
    for number in range(component.max() + 1):
        own = component == number
        if number == main or eye[own].any():
            continue
        if not mouth[own].any():
            part[own] = PARTS.index("lash")
            continue
        # teeth are arches: nothing of them lies in the middle behind the front; a tongue is whole
        x, y, z = (shape[own] - points[[62, 66]].mean(axis=0)).T
        behind = (np.abs(x) < 5) & (z < z.max() - 0.45 * np.ptp(z))
        name = "upper_teeth" if y.mean() + points[[62, 66], 1].mean() > lip_line else "lower_teeth"
        part[own] = PARTS.index("tongue" if behind.mean() > 0.03 else name)
    for number, name in enumerate(PARTS):  # skin first: the others' borders are theirs
        if name in topology.parts:
            part[np.unique(triangles[topology.parts[name]])] = number
    return part, component


def _eyeballs(part, component, shape, openings):
    """Centres [2, 3] of the eyeballs behind the openings of the lids, or None."""
    eye = part == PARTS.index("eye")
    centers = []
    for opening in openings:
        if not eye.any():
            return None
        near = np.flatnonzero(eye)[np.linalg.norm(shape[eye] - opening, axis=1).argmin()]
        own = component == component[near]
        if not eye[own].all():  # the eye is a patch of the face
            return None
        centers.append(fit_sphere(shape[own])[0])
    return np.stack(centers)


class Face:
    """Areas of the skin of a head at given points; every attribute or method is [N] in [0, 1].

    Args:
      head: the head.
      points, normals: [N, 3] canonical.
      ears: [N], the mask of the ears, or None where the model has none.
    """

    def __init__(self, head: Head, points: np.ndarray, normals: np.ndarray, ears=None):
        self.head, self.points, self.normals = head, points, normals
        lm = head.landmarks
        self.x, self.y, self.z = points.T
        self.a = np.abs(self.x)
        self.xy = points[:, :2]
        self.ay = np.stack([self.a, self.y], axis=1)
        self.chin, self.nose = lm[8], lm[30]
        self.corner = np.array([abs(lm[48, 0]), lm[48, 1]])
        self.brow_y = lm[17:27, 1].mean()
        self.hair_y = self.brow_y + 0.80 * (self.brow_y - lm[33, 1])
        self.outer = np.array([abs(lm[36, 0]), lm[36, 1]])
        self.inner = np.array([abs(lm[39, 0]), lm[39, 1]])
        depth = lm[[0, 16], 2].mean()
        self.front = smoothstep(normals[:, 2], -0.15, 0.35) * smoothstep(self.z, depth, depth + 18)
        if ears is None:
            side = np.array([abs(lm[0, 0]) + 7, lm[0, 1] - 18, depth - 16])
            ears = bump(np.stack([self.a, self.y, self.z], 1), side, (9, 20, 14))
            ears = ears * smoothstep(self.a, abs(lm[0, 0]) - 3, abs(lm[0, 0]) + 5)
        self.ears = ears
        self.depth = depth

    def cheeks(self):
        middle = (0.95 * self.outer[0], 0.52 * self.corner[1])
        return bump(self.ay, middle, (16, 13)) * self.front

    def flushed(self):
        """Nose, wings of the nose, chin and ears."""
        lm = self.head.landmarks
        wing = (abs(lm[31, 0]) + 4, lm[33, 1] + 5)
        face = (
            0.85 * bump(self.xy, (0, self.nose[1] + 2), (9, 8))
            + 0.6 * bump(self.ay, wing, (6, 6))
            + 0.25 * bump(self.xy, (0, self.chin[1] + 10), (15, 8))
        )
        return np.clip(face * self.front + 0.65 * self.ears, 0, 1)

    def oily(self):
        """Forehead, nose and chin."""
        forehead = bump(self.xy, (0, (self.brow_y + self.hair_y) / 2), (24, 14))
        nose = bump(self.xy, (0, self.nose[1] / 2), (7, 22))
        chin = 0.6 * bump(self.xy, (0, self.chin[1] + 12), (11, 8))
        return np.clip(forehead + nose + chin, 0, 1) * self.front

    def under_eyes(self):
        low = self.head.landmarks[[40, 41], 1].mean()
        eye_x = (self.outer[0] + self.inner[0]) / 2
        trough = (self.inner[0] - 1.5, low - 4)
        bags = bump(self.ay, (eye_x - 1, low - 5.5), (11, 4.2)) + 0.8 * bump(
            self.ay, trough, (4, 5)
        )
        return np.clip(bags, 0, 1) * self.front

    def lids(self):
        """The upper lid up to the brow, strongest in the fold."""
        high = self.head.landmarks[[37, 38], 1].mean()
        eye_x = (self.outer[0] + self.inner[0]) / 2
        return bump(self.ay, (eye_x + 1, high + 4.5), (13, 4.2)) * self.front

    def freckled(self):
        nose, cheek = (0, 0.62 * self.nose[1]), (28, 0.45 * self.corner[1])
        spots = bump(self.xy, nose, (13, 12)) + bump(self.ay, cheek, (21, 13))
        forehead = bump(self.xy, (0, self.hair_y - 18), (32, 14))
        return np.clip(spots + 0.35 * forehead, 0, 1) * self.front

    def weathered(self):
        """Where spots of age come: temples, forehead, cheekbones."""
        temple = (self.outer[0] + 14, 0.5 * self.brow_y)
        forehead = bump(self.xy, (0, self.hair_y - 12), (36, 14))
        cheek = bump(self.ay, (self.outer[0] + 6, 0.4 * self.corner[1]), (13, 14))
        spots = bump(self.ay, temple, (12, 18)) + forehead + cheek
        return np.clip(spots, 0, 1) * smoothstep(self.z, self.depth - 30, self.depth)

    def moustache(self):
        lm = self.head.landmarks
        lip = np.interp(self.a, np.abs(lm[[51, 50, 49, 48], 0]), lm[[51, 50, 49, 48], 1])
        nose = lm[33, 1] + np.interp(self.a, [0, 10, 16, self.corner[0] + 8], [-2, 0, -3, -14])
        inside = smoothstep(self.y, lip - 0.5, lip + 2.5) * smoothstep(self.y, nose + 2, nose - 3)
        return inside * smoothstep(self.a, self.corner[0] + 7, self.corner[0]) * self.front

    def chin_beard(self):
        """Soul patch, chin, and the bridge from the corners of the mouth down."""
        lm = self.head.landmarks
        below = smoothstep(self.y, lm[57, 1] - 1, lm[57, 1] - 7)
        soul = bump(self.xy, (0, lm[57, 1] - 5), (5, 4)) * smoothstep(
            self.y, lm[57, 1], lm[57, 1] - 2
        )
        bridge = bump(self.ay, (self.corner[0] + 3, self.corner[1] - 9), (4, 9))
        wide = smoothstep(self.a, 27, 16)
        return np.clip(below * wide + 0.6 * soul + 0.8 * bridge, 0, 1) * self._over_neck()

    def jaw_beard(self):
        """Cheeks below a line from the side of the ear to the corner of the mouth, and the jaw."""
        lm = self.head.landmarks
        line = np.interp(
            self.a,
            [self.corner[0] + 2, self.corner[0] + 14, abs(lm[0, 0]) - 12, abs(lm[0, 0]) - 2],
            [self.corner[1] - 3, self.corner[1] + 2, lm[0, 1] - 26, lm[0, 1] + 4],
        )
        under = smoothstep(self.y, line + 7, line - 10) * smoothstep(self.a, 10, 28)
        ahead = smoothstep(self.z, self.depth - 22, self.depth - 8)
        ahead = np.maximum(ahead, smoothstep(self.y, lm[3, 1], lm[4, 1]))
        return under * ahead * self._over_neck() * (1 - smoothstep(self.ears, 0.1, 0.5))

    def _over_neck(self):
        """1 on the face, fading below the jaw."""
        lm = self.head.landmarks
        jaw = np.interp(self.a, np.abs(lm[8:17, 0]), lm[8:17, 1])
        behind = smoothstep(self.z, self.depth - 55, self.depth - 30)
        return smoothstep(self.y, jaw - 34, jaw - 8) * behind

    def neck(self):
        below = smoothstep(self.y, self.chin[1] - 4, self.chin[1] - 16)
        return below * smoothstep(self.normals[:, 2], -0.3, 0.4)

    def hair_depth(self) -> np.ndarray:
        """[N] mm inside the hairline of the scalp, negative outside it."""
        x, y, a = self.x, self.y, self.a
        back = -(self.z - self.depth) - 8  # behind the front of the ears
        front_line = self.hair_y - 0.006 * a**2 + 2 * np.cos(0.09 * x)
        ear = self.head.landmarks[0, 1]
        side = np.interp(
            back,
            [-36, -20, -6, 4, 14, 40, 70, 110],
            np.array([56, 34, 16, -16, -20, -34, -52, -58]) + ear - 10,
        )
        turn = smoothstep(back, -38, -18)
        depth = (y - front_line) * (1 - turn) + (y - side) * turn
        depth = np.where(back > 0, y - side, depth)
        return np.clip(depth, -60, 60) - 40 * smoothstep(self.ears, 0.05, 0.5)

    def temples(self) -> np.ndarray:
        """Where a hairline recedes first: both sides of the forehead, into the hair."""
        return bump(self.ay, (36, self.hair_y - 4), (14, 15)) * smoothstep(self.z, -90, -40)

    def crown(self) -> np.ndarray:
        top = self.head.vertices[:, 1].max()
        middle = np.array([0, top - 6, self.depth - 48])
        return bump(self.points, middle, (34, 22, 36))
