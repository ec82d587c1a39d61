"""The canonical coordinates of the procedural head: from (u, v) to a frontal plane and an azimuth.

A UV grid is lofted into a head from rings: each row of the grid is a closed curve given by the
front profile, the side and the back of the head. Canonical coordinates never depend on identity or
expression, so UV, masks, landmarks and paint stay where they are while the surface moves, and the
same functions evaluate at vertices or at the texels of any resolution.

Inside `facejax.morphable.procedural` lengths are **centimetres** and v is 0 at the crown (row 0);
u = 0.5 is the mid line of the face and u grows with x, the subject's left. `build` converts to
millimetres. Frame: y up, z out of the face.
"""

from collections.abc import Callable

import numpy as np

from facejax.morphable.procedural.curves import cubic, smoothstep, twin_bump

# Row knots: v | front profile y, z | side half width, y, z | back y, z | squareness: depth, width
_RINGS = np.array(
    [
        [0.00, 14.60, -0.50, 0.02, 14.60, -0.50, 14.60, -0.52, 1.00, 1.00],
        [0.03, 14.15, 2.80, 3.00, 14.00, -0.50, 14.00, -3.60, 1.00, 1.00],
        [0.06, 12.95, 6.20, 5.25, 12.50, -0.40, 12.20, -6.60, 0.98, 1.00],
        [0.09, 11.20, 8.70, 6.70, 10.40, -0.20, 9.80, -8.50, 0.94, 1.00],
        [0.13, 8.80, 10.30, 7.42, 8.00, 0.10, 7.00, -9.40, 0.90, 0.98],
        [0.17, 6.90, 10.75, 7.58, 6.40, 0.40, 5.00, -9.50, 0.90, 0.96],
        [0.26, 4.90, 10.65, 7.58, 4.60, 0.67, 3.00, -9.30, 0.94, 0.95],
        [0.41, 2.20, 10.56, 7.53, 2.20, 0.94, 0.30, -8.60, 0.98, 0.95],
        [0.56, -1.30, 11.21, 7.19, 0.00, 1.07, -2.60, -7.50, 1.02, 0.96],
        [0.61, -2.20, 11.34, 7.10, -0.50, 1.06, -3.40, -7.20, 1.03, 0.96],
        [0.78, -4.80, 11.18, 6.74, -1.60, 0.96, -5.00, -6.70, 1.04, 0.98],
        [0.83, -6.50, 10.99, 6.34, -2.20, 0.71, -6.00, -6.40, 1.04, 0.99],
        [0.88, -7.60, 10.17, 5.84, -3.00, 0.31, -6.90, -6.20, 1.02, 1.00],
        [0.91, -8.30, 8.40, 5.35, -4.80, -0.20, -8.00, -6.10, 1.00, 1.00],
        [0.94, -9.40, 5.90, 5.10, -7.40, -0.60, -9.50, -6.20, 1.00, 1.00],
        [0.97, -12.20, 4.90, 5.35, -11.20, -0.90, -12.20, -6.70, 1.00, 1.00],
        [1.00, -16.50, 5.30, 7.60, -16.00, -1.00, -16.30, -7.60, 1.00, 1.00],
    ]
)
# |2u - 1| -> azimuth in degrees: columns are dense at eyes, nose, mouth and ears
_COLUMNS = np.array([[0, 0.25, 0.48, 0.60, 0.68, 0.86, 1.0], [0, 19, 43, 66, 79, 107, 180]])

# the subject's left eye: centre and radius of the ball, inner and outer corner, lid heights over
# them
EYE = dict(
    x=3.11, y=3.50, z=8.02, radius=1.50, inner_x=1.84, inner_y=3.25, outer_x=4.46, outer_y=3.42
)
_LID_UPPER, _LID_LOWER = 0.60, 0.32
# lip line, half width, half height of the almond of UV rows that becomes the mouth's interior
MOUTH = dict(y=-3.36, half_width=2.45, half_height=0.55, sag=0.12)
_LIP_GAP = 0.035  # half the opening between the lips at rest

# Standard deviations of the anatomical parameters (mean 0); cm unless they are relative sizes
IDENTITY_STD = dict(
    face_w=0.035, temple_w=0.03, cheek_w=0.03, jaw_w=0.045, head_len=0.03, head_h=0.03,
    fore_slope=0.35, chin_z=0.35, chin_y=0.35, chin_w=0.22, neck_w=0.06, brow_ridge=0.14,
    brow_y=0.16, brow_tilt=0.10, eye_gap=0.14, eye_size=0.06, eye_open=0.09, eye_tilt=0.10,
    eye_depth=0.18, eye_y=0.10, eye_bag=0.07, lid_fold=0.05, nose_len=0.24, nose_w=0.15,
    nose_h=0.22, bridge_h=0.20, bridge_w=0.12, tip_up=0.16, tip_size=0.12, hump=0.12, ala=0.12,
    cheekbone=0.18, cheekbone_y=0.30, cheek=0.17, fold=0.05, mouth_w=0.20, mouth_y=0.16,
    lip_up=0.14, lip_lo=0.14, lip_z=0.16, bow=0.08, corner=0.09, philtrum=0.05, philtrum_l=0.12,
    ear=0.12, ear_out=0.22, fore_h=0.30, fore_bump=0.14, mentolabial=0.10, jowl=0.09,
    asym_eye=0.035, asym_mouth=0.04, asym_nose=0.08, asym_jaw=0.07, hair=0.12,
)  # fmt: skip
# Offsets of identity parameters that bring the 68 landmarks of the mean face onto those of an
# average head (fitted offline).
MEAN_IDENTITY = dict(
    chin_z=0.06,
    chin_y=0.11,
    brow_ridge=0.02,
    brow_y=0.03,
    eye_gap=-0.02,
    eye_depth=0.02,
    nose_len=-0.04,
    bridge_h=-0.05,
    tip_up=0.03,
    lip_z=0.11,
    corner=-0.02,
)


def complete_identity(identity: dict) -> dict:
    """Every identity parameter: the given deviations (default 0) plus the mean head's values."""
    return {k: identity.get(k, 0.0) + MEAN_IDENTITY.get(k, 0.0) for k in IDENTITY_STD}


def azimuth(u: np.ndarray) -> np.ndarray:
    """Azimuth (radians) of columns u in [0, 1]: 0 at the front, +pi/2 at the left ear."""
    side = 2 * u - 1
    return np.sign(side) * np.deg2rad(cubic(np.abs(side), *_COLUMNS))


def front_profile_y(v: np.ndarray) -> np.ndarray:
    """Height (cm) of the front profile at rows v, before any feature."""
    return cubic(v, _RINGS[:, 0], _RINGS[:, 1])


def row_of_height(y: np.ndarray) -> np.ndarray:
    """The row v whose front profile has height y (cm): the inverse of `front_profile_y`."""
    v = np.linspace(0, 1, 2000)
    return np.interp(-np.asarray(y), -front_profile_y(v), v)


def loft(v: np.ndarray, phi: np.ndarray, identity: dict) -> np.ndarray:
    """The featureless head: [..., 3] points (cm) at rows v and azimuths phi.

    Args:
      v: [...] rows, 0 at the crown.
      phi: [...] azimuth, radians.
      identity: as `complete_identity` returns it.
    """
    p = identity
    k = cubic(v, _RINGS[:, 0], _RINGS[:, 1:])
    front_y, front_z, width, side_y, side_z, back_y, back_z, power_z, power_x = np.moveaxis(
        k, -1, 0
    )

    def around(center, spread):
        return np.exp(-(((v - center) / spread) ** 2))

    width = width * (
        1
        + p["face_w"]
        + p["temple_w"] * around(0.16, 0.09)
        + p["cheek_w"] * around(0.45, 0.12)
        + p["jaw_w"] * around(0.80, 0.10)
        + p["neck_w"] * smoothstep(v, 0.88, 0.95)
    )
    front_z = front_z + p["fore_slope"] * around(0.10, 0.05) + p["chin_z"] * around(0.85, 0.045)
    back_z = back_z * (1 + 2 * p["head_len"] * (1 - smoothstep(v, 0.5, 0.9)))
    taller = 10 * p["head_h"] * (1 - smoothstep(v, 0, 0.16))
    front_y = front_y - p["chin_y"] * around(0.87, 0.06) + taller
    side_y, back_y = side_y + taller, back_y + taller
    cos, sin = np.cos(phi), np.sin(phi)
    x = width * np.sign(sin) * np.abs(sin) ** power_x
    toward = np.abs(cos) ** power_z
    y = side_y + np.where(cos >= 0, front_y - side_y, back_y - side_y) * toward
    z = side_z + np.where(cos >= 0, front_z - side_z, back_z - side_z) * toward
    return np.stack([x, y, z], axis=-1)


def lids(abs_x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights of the upper and the lower lid edge over |x|, and where the eye is (bool)."""
    e = EYE
    s = np.clip((abs_x - e["inner_x"]) / (e["outer_x"] - e["inner_x"]), 0, 1)
    corner_line = e["inner_y"] + (e["outer_y"] - e["inner_y"]) * s

    def arch(rise, fall):  # a beta curve with its peak scaled to 1
        peak = (rise / (rise + fall)) ** rise * (fall / (rise + fall)) ** fall
        return s**rise * (1 - s) ** fall / peak

    upper = corner_line + _LID_UPPER * arch(0.62, 0.72)
    lower = corner_line - _LID_LOWER * arch(0.85, 0.70)
    return upper, lower, (abs_x > e["inner_x"]) & (abs_x < e["outer_x"])


def memoised(layout, name: str, compute: Callable[[], object]):
    """What `compute()` returns, kept with a layout: fields that no parameter changes."""
    memo = layout.__dict__.setdefault("_memo", {})
    if name not in memo:
        memo[name] = compute()
    return memo[name]


class CanonicalLayout:
    """Canonical coordinates of arbitrary (u, v) samples; everything else is a function of them.

    Attributes (all [...], lengths in cm):
      v, phi: row and azimuth of the samples.
      x, y: position in the frontal plane of the mean loft, with the mouth closed.
      y_open: the same with the mouth's almond of rows still open.
      abs_x: |x|.
      front: 1 on the face, 0 behind the ears.
      inside_mouth: bool, samples of the mouth's interior.
      almond: -1 at the lower lip's inner edge .. +1 at the upper's.
      pouch: depth of the mouth's interior, 0..1.
      lip_line: height of the line between the lips at this column.
      jaw: 0 where the surface moves with the skull .. 1 where it moves with the jaw.
      lower_lip: the same without the fade into the neck: which lip a sample belongs to.
      sheet_eyes: True: the eyes are part of the surface (they are not where eyeballs are separate).
    """

    sheet_eyes = True

    def __init__(self, u: np.ndarray, v: np.ndarray):
        self.v, self.phi = np.asarray(v, float), azimuth(np.asarray(u, float))
        base = loft(self.v, self.phi, complete_identity({}))
        self.front = smoothstep(np.cos(self.phi), -0.1, 0.35)
        self.x, self.y_open = base[..., 0], base[..., 1]
        self.abs_x = np.abs(self.x)
        self._close_mouth()
        jaw = self._jaw_weight()
        self.lower_lip = jaw * self.front
        neck = smoothstep(self.v, 0.885, 0.95)
        self.jaw = jaw * (1 - neck) * smoothstep(np.cos(self.phi), 0.05, 0.55)

    def nostrils(self) -> np.ndarray:
        """[...] in [0, 1]: 1 in the nostrils."""
        return twin_bump(self.x, self.y, 0.60, -1.02, 0.30, 0.16)

    def _close_mouth(self):
        m, front = MOUTH, self.front
        half, half_width = m["half_height"], m["half_width"]
        row = front_profile_y(self.v) - m["y"]  # constant along a row: the almond follows the rows
        past_corner = smoothstep(self.abs_x, half_width, half_width + 1.6)
        lip_row = np.full_like(self.v, row_of_height(m["y"]))
        climb = (
            loft(lip_row, self.phi, complete_identity({}))[..., 1] - m["y"]
        )  # the ring climbs sideways
        sag = -(climb + m["sag"] * (self.abs_x / half_width) ** 2)
        sag = sag * (1 - smoothstep(self.abs_x, 1.2, 4.6)) * front
        fade = 1 - smoothstep(np.abs(row) - half, 0, 1.7)
        shut = np.where(
            np.abs(row) < half, row * (1 - _LIP_GAP / half), np.sign(row) * (half - _LIP_GAP) * fade
        )
        self.lip_line = m["y"] + climb + sag
        self.y = (
            self.y_open
            - shut * (1 - past_corner) * front
            + sag * (1 - smoothstep(np.abs(row) - half, 0.3, 2.2))
        )
        self.inside_mouth = (np.abs(row) < half) & (self.abs_x < half_width) & (front > 0.99)
        self.almond = np.clip(row / half, -1, 1)
        across = np.clip(1 - (self.abs_x / half_width) ** 2, 0, 1)
        self.pouch = np.where(self.inside_mouth, np.sqrt(1 - self.almond**2) * np.sqrt(across), 0.0)
        self._below = row < 0

    def _jaw_weight(self):
        half_width = MOUTH["half_width"]
        outside = np.clip(self.abs_x - half_width, 0, None)
        softness = 0.16 + 1.6 * smoothstep(self.abs_x, 1.6, 5.0)
        lowered = (self.lip_line + 0.50 * outside - self.y) / softness
        jaw = np.where(self.inside_mouth, (1 - self.almond) / 2, smoothstep(lowered, -1, 1))
        on_lip = ~self.inside_mouth & (self.abs_x < half_width)
        upper = np.minimum(jaw, 0.5 * smoothstep(lowered, -3.0, 1.5))
        lower = np.maximum(jaw, 1 - 0.5 * smoothstep(-lowered, -1.5, 3.0))
        jaw = np.where(on_lip, np.where(self._below, lower, upper), jaw)
        crisp = np.where(self.inside_mouth, (1 - self.almond) / 2, self._below * 1.0)
        edge = smoothstep(self.abs_x, 1.5, half_width)
        return np.where(self.abs_x < half_width, crisp * (1 - edge) + jaw * edge, jaw)
