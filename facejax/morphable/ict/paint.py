"""Albedo for ICT-FaceKit, which has none: the procedural paint in canonical coordinates.

The frontal plane of the ICT head is warped onto that of the procedural head by a thin-plate spline
through landmarks 17-67; azimuth and rows follow from proportions of the head. Eyeballs are
painted by the angle to their axis, the mouth socket dark red. Centimetres.
"""

import numpy as np

from facejax.morphable.procedural.curves import smoothstep
from facejax.morphable.procedural.landmarks import INNER_LIPS_SIDE, landmark_targets
from facejax.morphable.procedural.layout import CanonicalLayout, row_of_height
from facejax.morphable.procedural.paint import Painter, eye_color

# half axes of the ICT head's horizontal section at the ears, and the depth of its middle
_HALF_WIDTH, _DEPTH_FRONT, _DEPTH_BACK, _MIDDLE_Z = 7.5, 10.0, 8.6, 0.55
_CM_PER_RADIAN = 1.36  # eyeball angle -> radius of `eye_color`: its iris then ends at 0.42 rad
_PINK = np.array([0.80, 0.42, 0.38])


class WarpedLayout:
    """Canonical coordinates of points on the ICT head, as `CanonicalLayout` has them."""

    sheet_eyes = False

    def __init__(self, points: np.ndarray, landmarks: np.ndarray, in_mouth: np.ndarray):
        """Warps.

        Args:
          points: [N, 3] neutral positions.
          landmarks: [68, 3] of the neutral head.
          in_mouth: [N] bool, points of the mouth socket.
        """
        from scipy.interpolate import RBFInterpolator

        targets = landmark_targets().copy()
        inner = slice(60 - 17, None)
        targets[inner, 1] = _lip_line(np.abs(targets[inner, 0])) + 0.035 * INNER_LIPS_SIDE
        source = landmarks[17:, :2].astype(float)
        spline = RBFInterpolator(source, targets - source, smoothing=1e-3)
        distance = np.abs(points[:, None, :2] - source[None]).max(axis=-1).min(axis=1)
        near = 1 - smoothstep(distance, 2.0, 5.0)  # the spline is not to be trusted far away
        warped = points[:, :2] + near[:, None] * spline(points[:, :2])
        self.x, self.y = warped[:, 0], warped[:, 1]
        self.abs_x = np.abs(self.x)
        z = points[:, 2] - _MIDDLE_Z
        depth = np.where(z > 0, _DEPTH_FRONT, _DEPTH_BACK)
        self.phi = np.arctan2(points[:, 0] / _HALF_WIDTH, z / depth)
        self.v = row_of_height(self.y)
        self.front = smoothstep(np.cos(self.phi), -0.1, 0.35)
        self.inside_mouth = in_mouth
        self.almond = np.full(len(points), -0.5)  # deep in the mouth and below the teeth
        self.lip_line = _lip_line(self.abs_x)
        self._z = points[:, 2]

    def nostrils(self) -> np.ndarray:
        """[N] in [0, 1]: 1 inside the nostrils, which are holes in this head."""
        deep = smoothstep(self._z, 11.45, 11.0) * smoothstep(self._z, 8.0, 8.5)
        across = smoothstep(self.abs_x, 0.22, 0.36) * smoothstep(self.abs_x, 1.25, 1.10)
        return deep * across * smoothstep(self.y, -1.0, -0.75) * smoothstep(self.y, 0.15, 0.0)


def _lip_line(abs_x):
    """Height of the line between the lips over |x| on the procedural head."""
    u = np.linspace(0.5, 0.75, 200)
    row = CanonicalLayout(u, np.full_like(u, row_of_height(-3.36)))
    return np.interp(abs_x, row.x, row.lip_line)


class IctPainter:
    """Paints points of the ICT head; `IctPainter(...)(paint)` is the albedo [N, 3]."""

    def __init__(self, points, region, landmarks, names, spheres):
        """Prepares.

        Args:
          points: [N, 3] neutral positions.
          region: [N] region numbers.
          landmarks: [68, 3] of the neutral head.
          names: region names.
          spheres: region name of an eyeball -> its centre [3].
        """
        number = {name: i for i, name in enumerate(names)}
        self._painter = Painter(
            WarpedLayout(points, landmarks, region == number.get("mouth_socket", -1))
        )
        self.masks = dict(self._painter.masks)
        self._eyes = []
        eye = np.zeros(len(points))
        for name, center in spheres.items():
            where = np.flatnonzero(region == number[name])
            d = points[where] - center
            angle = np.arccos(np.clip(d[:, 2] / np.linalg.norm(d, axis=1), -1, 1))
            around = np.arctan2(d[:, 1], d[:, 0])
            under_lid = 0.62 + 0.38 * smoothstep(np.arctan2(d[:, 1], d[:, 2]), 0.42, 0.10)
            rim = smoothstep(angle, 0.75, 1.15)
            self._eyes.append((where, _CM_PER_RADIAN * angle, around, under_lid, rim))
            eye[where] = 1.0
        self.masks["eye"] = eye
        for name in self.masks:
            if name not in ("eye", "eye_radius"):
                self.masks[name] = self.masks[name] * (1 - eye)

    def __call__(self, paint: dict) -> np.ndarray:
        """Albedo [N, 3] in [0, 1] for paint parameters by name."""
        color = self._painter(paint)
        for where, radius, around, under_lid, rim in self._eyes:
            ball = eye_color(paint, radius, around) * under_lid[:, None]
            color[where] = ball + (_PINK - ball) * (0.6 * rim)[:, None]
        return color
