"""Albedo of the procedural head: skin, lips, brows, eyes, hair and mouth painted by region.

17 standard normal parameters (`PAINT_NAMES`) vary it; everything that does not depend on them is
computed once per layout, so that drawing many paints is cheap. Colours are sRGB in [0, 1].
"""

import numpy as np

from facejax.morphable.procedural.curves import bump, clamp, logistic, ridge, smoothstep, twin_bump
from facejax.morphable.procedural.ears import ear_coordinates, hollows
from facejax.morphable.procedural.hair import strands
from facejax.morphable.procedural.head import nasolabial_line
from facejax.morphable.procedural.layout import EYE, CanonicalLayout, lids
from facejax.morphable.procedural.regions import regions

PAINT_NAMES = (
    "melanin", "blood", "warm", "lip_red", "lip_dark", "brow_dark", "brow_thick", "hair_l",
    "hair_r", "iris_l", "iris_b", "blush", "beard", "freckle", "under_eye", "sclera", "tzone",
)  # fmt: skip
_CLIP_STD = 2.2


def _rgb(*values: float) -> np.ndarray:
    """A colour in float32: paints are drawn by the hundred, and float64 would double their cost."""
    return np.array(values, np.float32)


_LIGHT_SKIN, _DARK_SKIN = _rgb(0.89, 0.72, 0.63), _rgb(0.36, 0.235, 0.17)
_DARK_HAIR, _LIGHT_HAIR = _rgb(0.075, 0.055, 0.045), _rgb(0.62, 0.46, 0.27)
_BROWN_IRIS = _rgb(0.20, 0.11, 0.06)
_BLUE_IRIS, _GREEN_IRIS = _rgb(0.34, 0.46, 0.60), _rgb(0.42, 0.44, 0.28)
_SCLERA = _rgb(0.89, 0.87, 0.85)
_MOUTH, _TEETH = _rgb(0.36, 0.10, 0.10), _rgb(0.90, 0.87, 0.80)


def draw_paint(rng: np.random.Generator) -> dict:
    """Random paint parameters by name, standard normal, clipped at 2.2."""
    values = np.clip(rng.standard_normal(len(PAINT_NAMES)), -_CLIP_STD, _CLIP_STD)
    return dict(zip(PAINT_NAMES, values.tolist(), strict=True))


def skin_color(paint: dict) -> np.ndarray:
    """[3] the base skin colour."""
    dark = _darkness(paint)
    warm, blood = paint.get("warm", 0.0), paint.get("blood", 0.0)
    tint = _rgb(1 + 0.01 * warm, 1 - 0.012 * blood, 1 - 0.015 * warm - 0.01 * blood)
    return (_LIGHT_SKIN * (1 - dark) + _DARK_SKIN * dark) * tint


def eye_color(paint: dict, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """[..., 3] albedo of an eyeball: sclera, iris with rays and a dark limbus, pupil.

    Args:
      paint: paint parameters by name.
      radius: [...] distance from the middle of the iris, cm (iris 0.56, pupil 0.23).
      angle: [...] direction around the middle of the iris, radians.
    """
    light = logistic(1.2 * paint.get("iris_l", 0.0) - 1.2 - _pigment(paint))
    blue = logistic(1.5 * paint.get("iris_b", 0.0))
    base = _BROWN_IRIS * (1 - light) + light * (_BLUE_IRIS * blue + _GREEN_IRIS * (1 - blue))
    rays = 1 + 0.18 * np.cos(26 * angle) * smoothstep(radius, 0.2, 0.4)
    limbus = 1.25 - 0.75 * smoothstep(radius, 0.40, 0.58)
    sclera = _SCLERA * (1 - 0.02 * paint.get("sclera", 0.0))
    color = np.broadcast_to(sclera, (*radius.shape, 3))
    color = _mix(color, base * (rays * limbus)[..., None], 1 - smoothstep(radius, 0.53, 0.60))
    return _mix(color, _rgb(0.02, 0.02, 0.02), 1 - smoothstep(radius, 0.20, 0.26))


def _mix(below, above, weight):
    return below + (above - below) * weight[..., None]


def _darkness(paint):
    return logistic(paint.get("melanin", 0.0) * 1.1 - 0.9)


def _pigment(paint):
    """Dark skin comes with dark hair and eyes."""
    return 0.9 * max(paint.get("melanin", 0.0), 0.0)


class Painter:
    """Paints the samples of one layout; `Painter(layout)(paint)` is the albedo [..., 3]."""

    def __init__(self, layout: CanonicalLayout):
        self.layout = layout
        self.masks = regions(layout)
        self._noise = dict(
            blotch=self._band_noise(3, 1.1, 40),
            grain=self._band_noise(4, 3.5, 40),
            freckle=self._band_noise(9, 9.0, 60),
            stubble=self._band_noise(11, 8.0, 40),
            brow=self._band_noise(12, 4.0, 40),
            hair=0.75 * strands(layout, 14, 44) + 0.4 * self._band_noise(13, 6.0, 40),
        )
        self._prepare_skin()
        self._prepare_eyes()
        self._gaps = 0.82 + 0.18 * np.abs(np.sin(layout.x * 3.9))
        self._mouth_depth = 0.25 + 0.75 * np.abs(layout.almond)
        for fields in (self.masks, self._noise, self.__dict__):
            for name, value in fields.items():
                if isinstance(value, np.ndarray):
                    fields[name] = value.astype(np.float32)

    def _band_noise(self, seed, frequency, waves):
        """Smooth noise of about unit variance: random plane waves over the canonical surface."""
        rng = np.random.default_rng(seed)
        lay = self.layout
        space = np.stack([lay.x, lay.y, 6 * np.cos(lay.phi)], axis=-1).astype(np.float32)
        k = (rng.standard_normal((waves, 3)) * frequency).astype(np.float32)
        phase = rng.uniform(0, 2 * np.pi, waves).astype(np.float32)
        total = sum(np.cos(space @ k[i] + phase[i]) for i in range(waves))
        return total / np.sqrt(waves)

    def _prepare_skin(self):
        x, y, a, front = self.layout.x, self.layout.y, self.layout.abs_x, self.layout.front
        ear = ear_coordinates(self.layout)
        self._cheek = twin_bump(x, y, 4.1, 0.3, 1.6, 1.2)
        self._red = (
            0.50 * bump(x, y, 0, 0.2, 0.9, 0.7)
            + 0.45 * twin_bump(x, y, 1.1, -0.5, 0.5, 0.5)
            + 0.35 * ear.flap
            + 0.25 * bump(x, y, 0, -6.6, 1.2, 0.8)
        )
        self._tzone = bump(x, y, 0, 8, 3, 2) * front
        self._under_eye = front * (
            twin_bump(x, y, 2.9, 2.35, 1.3, 0.45)
            + 0.8 * twin_bump(x, y, 1.6, 3.4, 0.45, 0.7)
            + 0.5 * twin_bump(x, y, 3.1, 4.6, 1.5, 0.45)
        )
        self._ear_shade = hollows(ear) * ear.flap
        freckles = twin_bump(x, y, 3.2, 0.8, 2.4, 1.6) + bump(x, y, 0, 1, 1.3, 1.6)
        self._freckle_area = freckles * front
        fold = ridge(a - nasolabial_line(y), 0.22)
        self._fold = fold * smoothstep(y, -3.6, -2.4) * smoothstep(-y, 0.1, 0.7) * front
        between = ridge(y - self.layout.lip_line, 0.07) * smoothstep(-a, -2.75, -2.3)
        self._between_lips = front * between * ~self.layout.inside_mouth

    def _prepare_eyes(self):
        x, y, a = self.layout.x, self.layout.y, self.layout.abs_x
        self._eye_angle = np.arctan2(y - EYE["y"], a - EYE["x"])
        self._lid_shade = 0.66 + 0.34 * smoothstep(np.minimum(lids(a)[0] - y, 0.6), -0.02, 0.34)
        self._caruncle = np.clip(1.2 * bump(a, y, 1.92, 3.27, 0.16, 0.16), 0, 1)
        glint = np.hypot(x - np.sign(x) * EYE["x"] - 0.20, y - EYE["y"] - 0.2)
        self._glint = 1 - smoothstep(glint, 0.06, 0.12)
        self._eye_samples = np.nonzero(self.masks["eye"])

    def __call__(self, paint: dict) -> np.ndarray:
        """Albedo [..., 3] in [0, 1] for paint parameters by name (missing ones are 0)."""
        g = {name: paint.get(name, 0.0) for name in PAINT_NAMES}
        m, noise = self.masks, self._noise
        skin = skin_color(g)
        color = self._skin(g, skin)
        lip_tint = _rgb(1 + 0.05 * g["lip_red"], 1 - 0.05 * g["lip_red"], 1)
        lip = skin * _rgb(0.85, 0.63, 0.64) * (1 - 0.08 * g["lip_dark"]) * lip_tint
        color = _mix(color, lip, 0.92 * m["lips"])
        color *= (1 - 0.40 * self._between_lips)[..., None]
        hair = self._hair_color(g)
        brow = m["brow"] * clamp(0.86 + 0.10 * g["brow_thick"], 0.5, 1)
        brow = brow * (0.92 + 0.08 * noise["brow"]) * clamp(0.86 + 0.08 * g["brow_dark"], 0.4, 1)
        color = _mix(color, hair * 0.9, np.clip(brow, 0, 1))
        color = _mix(color, skin * 0.25, 0.9 * np.clip(m["nostril"] * 1.25, 0, 1))
        strands = np.clip(0.88 + 0.20 * noise["hair"], 0.4, 1.5)[..., None]
        color = _mix(color, hair * strands, np.clip(m["hair"], 0, 1))
        self._paint_eyes(g, color)
        lashes = np.clip(0.95 * m["lid_edge"] * (1 - m["eye"] * 0.6), 0, 1)
        color = _mix(color, _rgb(0.10, 0.07, 0.06), lashes)
        color = _mix(color, _MOUTH * self._mouth_depth[..., None], m["mouth_inside"])
        return np.clip(_mix(color, _TEETH * self._gaps[..., None], m["teeth"]), 0, 1)

    def _skin(self, g, skin):
        dark, noise = _darkness(g), self._noise
        color = skin * (1 + 0.018 * noise["blotch"] + 0.012 * noise["grain"])[..., None]
        red = np.clip((0.55 + 0.25 * g["blush"]) * self._cheek + self._red, 0, 1.5)
        color *= 1 - red[..., None] * _rgb(0.01, 0.10, 0.09) * (1 - 0.5 * dark)
        color *= (1 + (0.03 + 0.015 * g["tzone"]) * self._tzone)[..., None]
        under = (0.12 + 0.05 * g["under_eye"]) * self._under_eye
        color *= 1 - under[..., None] * _rgb(0.8, 1.0, 0.9)
        color *= 1 - self._ear_shade[..., None] * _rgb(0.22, 0.32, 0.32)
        freckles = np.clip(noise["freckle"] - 1.7 + 0.30 * g["freckle"], 0, 0.7)
        freckles = 0.35 * freckles * self._freckle_area * (1 - dark)
        color *= 1 - freckles[..., None] * _rgb(0.6, 0.9, 1.0)
        stubble = clamp(0.10 + 0.16 * g["beard"], 0, 0.75) * self.masks["beard"]
        stubble = stubble * (0.7 + 0.3 * noise["stubble"])
        color *= 1 - stubble[..., None] * _rgb(0.75, 0.72, 0.66)
        return color * (1 - 0.07 * self._fold)[..., None]

    def _hair_color(self, g):
        light = logistic(g["hair_l"] * 1.2 - 1.4 - _pigment(g))
        red = max(g["hair_r"], -0.5)  # less red than that is olive
        hair = _DARK_HAIR * (1 - light) + _LIGHT_HAIR * light
        return np.clip(hair * _rgb(1 + 0.10 * red, 1, 1 - 0.08 * red), 0.02, 1)

    def _paint_eyes(self, g, color):
        at = self._eye_samples
        eye = eye_color(g, self.masks["eye_radius"][at], self._eye_angle[at])
        pink = _SCLERA * (1 - 0.02 * g["sclera"]) * _rgb(0.95, 0.66, 0.62)
        eye = _mix(eye, pink, self._caruncle[at])
        eye = _mix(eye, _rgb(0.97, 0.97, 0.97), self._glint[at])
        color[at] = eye * self._lid_shade[at][..., None]
