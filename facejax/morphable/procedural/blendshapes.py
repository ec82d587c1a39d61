"""Expressions of the procedural head: 45 named displacement fields with ARKit-style names.

`_L` and `_R` are the subject's sides. Closing and opening the eyes moves lid rows over the
eyeball and therefore is part of `head`; everything else is here. Centimetres.
"""

import numpy as np

from facejax.morphable.procedural.curves import bump, smoothstep, twin_bump
from facejax.morphable.procedural.layout import CanonicalLayout

EXPRESSION_NAMES = (
    "jawOpen", "jawForward", "jawLeft", "jawRight", "mouthClose", "mouthPucker", "mouthFunnel",
    "mouthLeft", "mouthRight", "mouthRollUpper", "mouthRollLower", "mouthShrugUpper",
    "mouthShrugLower", "mouthSmile_L", "mouthSmile_R", "mouthFrown_L", "mouthFrown_R",
    "mouthStretch_L", "mouthStretch_R", "mouthDimple_L", "mouthDimple_R", "mouthUpperUp_L",
    "mouthUpperUp_R", "mouthLowerDown_L", "mouthLowerDown_R", "mouthPress_L", "mouthPress_R",
    "cheekPuff_L", "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R",
    "eyeSquint_L", "eyeSquint_R", "eyeWide_L", "eyeWide_R", "browDown_L", "browDown_R",
    "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "noseSneer_L",
    "noseSneer_R",
)  # fmt: skip
_JAW_OPEN_RAD = np.deg2rad(19)
_JAW_JOINT_Y, _JAW_JOINT_Z = 1.2, 2.2


class Weights:
    """Expression weights by name; `side(name)` blends the _L and _R weights across the mid line."""

    def __init__(self, layout: CanonicalLayout, weights: dict):
        self._weights = weights
        self._left = smoothstep(layout.x, -0.5, 0.5)
        self._right = smoothstep(-layout.x, -0.5, 0.5)

    def __getitem__(self, name: str) -> float:
        return self._weights.get(name, 0.0)

    def __bool__(self) -> bool:
        return bool(self._weights)

    def side(self, name: str) -> np.ndarray:
        """[...] weight of a two-sided expression at each sample."""
        return self[f"{name}_L"] * self._left + self[f"{name}_R"] * self._right


def displacement(layout: CanonicalLayout, w: Weights, points: np.ndarray) -> np.ndarray:
    """[..., 3] displacement (cm) of points [..., 3] of the neutral face, eye closing apart."""
    d = np.zeros(points.shape)
    _jaw(layout, w, points, d)
    _lips(layout, w, d)
    _mouth_corners(layout, w, d)
    _cheeks_nose_brows(layout, w, d)
    return d


def _jaw(layout, w, points, d):
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    open_rad = _JAW_OPEN_RAD * w["jawOpen"]
    dy, dz = points[..., 1] - _JAW_JOINT_Y, points[..., 2] - _JAW_JOINT_Z
    d[..., 1] += layout.jaw * (dy * (np.cos(open_rad) - 1) - dz * np.sin(open_rad))
    d[..., 2] += layout.jaw * (dz * (np.cos(open_rad) - 1) + dy * np.sin(open_rad))
    hollow = np.sign(x) * twin_bump(x, y, 4, -3, 2, 2) + x * bump(x, y, 0, -3.4, 2.6, 1.2)
    d[..., 0] -= 0.10 * w["jawOpen"] * hollow * front
    slide = layout.jaw * (1 - smoothstep(a, 3.8, 6.8))
    d[..., 2] += slide * 0.8 * w["jawForward"]
    d[..., 0] += slide * 0.65 * (w["jawLeft"] - w["jawRight"])


def _lips(layout, w, d):
    x, y, front, lower = layout.x, layout.y, layout.front, layout.lower_lip
    upper = 1 - lower
    mouth = bump(x, y, 0, -3.4, 3.0, 1.25) * front
    upper_lip = bump(x, y, 0, -2.7, 2.4, 0.9) * front * upper
    lower_lip = bump(x, y, 0, -4.0, 2.4, 0.9) * front * lower
    upper_half = twin_bump(x, y, 1.1, -2.6, 1.1, 0.9) * front * upper
    lower_half = twin_bump(x, y, 1.1, -4.1, 1.1, 0.9) * front * lower
    upper_mid = bump(x, y, 0, -2.6, 0.9, 0.8) * front * upper
    chin = bump(x, y, 0, -6.2, 1.8, 1.0) * front

    d[..., 1] += w["mouthClose"] * 0.9 * lower_lip
    d[..., 0] -= x * mouth * (0.42 * w["mouthPucker"] + 0.26 * w["mouthFunnel"])
    forward = 0.75 * (w["mouthPucker"] + 0.8 * w["mouthFunnel"])
    d[..., 2] += mouth * forward * np.clip(1 - (layout.abs_x / 3.0) ** 2, 0, 1)
    d[..., 1] += w["mouthFunnel"] * (0.34 * (upper_half + upper_mid) - 0.55 * lower_lip)
    d[..., 0] += mouth * 0.85 * (w["mouthLeft"] - w["mouthRight"])
    for name, lip, sign in (("Upper", upper_lip, -1), ("Lower", lower_lip, 1)):
        d[..., 2] -= 0.40 * w[f"mouthRoll{name}"] * lip
        d[..., 1] += 0.30 * sign * w[f"mouthRoll{name}"] * lip
    d[..., 1] += 0.38 * w["mouthShrugUpper"] * upper_lip
    d[..., 1] += 0.45 * w["mouthShrugLower"] * (lower_lip + 0.8 * chin)
    d[..., 2] += 0.15 * w["mouthShrugUpper"] * upper_lip
    d[..., 2] += 0.18 * w["mouthShrugLower"] * lower_lip
    d[..., 1] += 0.55 * w.side("mouthUpperUp") * upper_half
    d[..., 1] -= 0.60 * w.side("mouthLowerDown") * lower_half
    d[..., 1] += w.side("mouthPress") * (0.14 * lower_half - 0.10 * upper_half)
    d[..., 2] -= w.side("mouthPress") * 0.16 * (lower_half + upper_half)


def _mouth_corners(layout, w, d):
    x, y, front = layout.x, layout.y, layout.front
    sign = np.sign(x)
    corner = twin_bump(x, y, 2.6, -3.45, 1.25, 1.2) * front
    around = twin_bump(x, y, 3.6, -2.2, 1.8, 1.9) * front
    smile, frown = w.side("mouthSmile"), w.side("mouthFrown")
    stretch, dimple = w.side("mouthStretch"), w.side("mouthDimple")
    sideways = 0.62 * smile + 0.15 * frown + 0.80 * stretch + 0.35 * dimple
    d[..., 0] += sign * (corner * sideways + around * 0.20 * smile)
    d[..., 1] += corner * (0.78 * smile - 0.62 * frown - 0.30 * stretch + 0.05 * dimple)
    d[..., 1] += around * (0.32 * smile - 0.05 * frown)
    d[..., 2] -= corner * (0.38 * smile + 0.10 * frown + 0.30 * stretch + 0.45 * dimple)
    d[..., 2] += 0.30 * smile * twin_bump(x, y, 4.2, 0.4, 1.5, 1.1) * front
    d[..., 1] += 0.24 * smile * twin_bump(x, y, 4.0, 1.0, 1.6, 1.2) * front
    d[..., 1] -= 0.18 * frown * bump(x, y, 0, -4.2, 2.4, 0.8) * front * layout.lower_lip


def _cheeks_nose_brows(layout, w, d):
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    sign = np.sign(x)
    puff = w.side("cheekPuff") * twin_bump(x, y, 4.2, -2.9, 1.7, 1.6) * front
    d[..., 0] += sign * 0.85 * puff
    d[..., 2] += 0.75 * puff
    squint = w.side("cheekSquint") * twin_bump(x, y, 3.8, 1.4, 1.7, 1.1) * front
    d[..., 1] += 0.40 * squint
    d[..., 2] += 0.22 * squint
    sneer = w.side("noseSneer")
    wing = 0.34 * twin_bump(x, y, 1.3, -0.3, 0.8, 0.9)
    lip = 0.25 * twin_bump(x, y, 1.3, -2.3, 1.0, 0.7) * (1 - layout.lower_lip)
    d[..., 1] += sneer * (wing + lip) * front
    d[..., 2] += sneer * 0.08 * twin_bump(x, y, 0.8, 2.2, 0.6, 0.9) * front
    inner = twin_bump(x, y, 1.5, 6.0, 1.5, 1.3) * front
    outer = twin_bump(x, y, 4.6, 5.9, 1.6, 1.3) * front
    down = w.side("browDown")
    d[..., 1] += -0.48 * down * (inner + 0.45 * outer)
    d[..., 1] += 0.72 * (w.side("browInnerUp") * inner + w.side("browOuterUp") * outer)
    d[..., 0] -= 0.22 * sign * down * inner * smoothstep(a, 0, 0.5)
    d[..., 2] += 0.12 * down * inner
    d[..., 1] += 0.14 * w.side("eyeSquint") * twin_bump(x, y, 3.1, 2.75, 1.5, 0.5) * front
    d[..., 1] += 0.10 * w.side("eyeWide") * twin_bump(x, y, 3.1, 4.8, 1.6, 0.7) * front
