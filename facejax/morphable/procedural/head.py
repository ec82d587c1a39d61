"""The procedural head's surface: the loft plus anatomical features, for one identity and
expression.

Every feature is a smooth function of the canonical coordinates (`layout.CanonicalLayout`) that
moves the points of the loft; functions named `_feature(layout, p, points, ...)` change `points`
in place, in the order of `head_points`. Centimetres. `p` holds every identity parameter
(`complete_identity`).
"""

import numpy as np

from facejax.morphable.procedural import ears, hair
from facejax.morphable.procedural.blendshapes import Weights, displacement
from facejax.morphable.procedural.curves import (
    bump,
    cubic,
    ridge,
    smooth_max,
    smoothstep,
    twin_bump,
)
from facejax.morphable.procedural.layout import (
    EYE,
    IDENTITY_STD,
    CanonicalLayout,
    complete_identity,
    lids,
    loft,
    memoised,
)

NUM_WARPS = 36  # smooth random warps that fill the tail of the identity spectrum
_WARP_STD = 0.045
_CLIP_STD = 2.3  # draws beyond this leave the range in which the features fit together


def head_points(
    layout: CanonicalLayout,
    identity: dict | None = None,
    expression: dict | None = None,
    warp: np.ndarray | None = None,
) -> np.ndarray:
    """The surface of one head, [..., 3] cm, at the samples of a layout.

    Args:
      layout: canonical coordinates of the samples.
      identity: deviations of anatomical parameters from the mean head, by name (`IDENTITY_STD`).
      expression: weights by name (`blendshapes.EXPRESSION_NAMES`), 0 neutral, 1 full.
      warp: [NUM_WARPS, 3] coefficients of `warp_fields`.
    """
    p = complete_identity(identity or {})
    w = Weights(layout, expression or {})
    points = loft(layout.v, layout.phi, p)
    points[..., 1] += layout.y - layout.y_open
    _forehead(layout, p, points)
    _eyes(layout, p, points, w)
    _nose(layout, p, points)
    _cheeks_and_chin(layout, p, points, w)
    _lips(layout, p, points)
    ears.add(layout, p, points)
    _proportions(layout, p, points)
    hair.add(layout, p, points)
    if warp is not None:
        points += warp_fields(layout) @ warp
    if w:
        points += displacement(layout, w, points)
    return points


def draw_identity(rng: np.random.Generator) -> tuple[dict, np.ndarray]:
    """A random identity: (anatomical parameters by name, warp coefficients [NUM_WARPS, 3])."""

    def draw(*shape):
        return np.clip(rng.standard_normal(shape), -_CLIP_STD, _CLIP_STD)

    anatomy = {name: std * float(draw()) for name, std in IDENTITY_STD.items()}
    return anatomy, _WARP_STD * draw(NUM_WARPS, 3)


def warp_fields(layout: CanonicalLayout) -> np.ndarray:
    """[..., NUM_WARPS] smooth hills on the face, symmetric and (weaker) antisymmetric in turn."""
    return memoised(layout, "warp_fields", lambda: _warp_fields(layout))


def _warp_fields(layout):
    rng = np.random.default_rng(7)
    fields = []
    for _ in range(NUM_WARPS // 2):
        cx, cy, radius = rng.uniform(0, 6.5), rng.uniform(-7.5, 9), rng.uniform(1.6, 3.2)
        left = bump(layout.x, layout.y, cx, cy, radius, radius) * layout.front
        right = bump(layout.x, layout.y, -cx, cy, radius, radius) * layout.front
        fields += [left + right, (left - right) * 0.45]
    return np.stack(fields, axis=-1)


def _forehead(layout, p, points):
    x, y, front = layout.x, layout.y, layout.front
    points[..., 2] += front * (
        (0.20 + p["brow_ridge"]) * twin_bump(x, y, 2.6, 5.75 + p["brow_y"], 2.3, 0.62)
        + 0.10 * bump(x, y, 0, 5.9, 1.3, 0.8)
        + p["fore_bump"] * twin_bump(x, y, 2.6, 9, 2, 1.6)
        - 0.10 * twin_bump(x, y, 6.9, 6.2, 1.2, 2.0)
    )


def _eyes(layout, p, points, w):
    """Socket, lids sliding over a ball, and the ball itself inside the opening."""
    x, y, a, front, e = layout.x, layout.y, layout.abs_x, layout.front, EYE
    socket = twin_bump(x, y, 3.05, 3.75, 1.75, 1.05) + 0.35 * twin_bump(x, y, 1.55, 4.1, 0.65, 0.8)
    z = points[..., 2] - front * (0.62 + p["eye_depth"]) * socket
    ball_z = e["z"] - 0.8 * p["eye_depth"]
    upper, lower, in_eye = lids(a)
    close = w.side("eyeBlink") + 0.38 * w.side("eyeSquint") + 0.25 * w.side("cheekSquint")
    close = np.clip(close - 0.25 * w.side("eyeWide"), -0.4, 1)
    gap = (upper - lower) * in_eye
    opening = in_eye & (y < upper) & (y > lower) & (front > 0.5)
    height = np.where(gap > 1e-6, np.clip((y - lower) / np.maximum(gap, 1e-6), 0, 1), 0)
    sliding_skin = 1 - smoothstep(y - upper, 0.0, 0.62)
    corners = smoothstep(a, e["inner_x"] - 0.05, e["inner_x"] + 0.3)
    corners = corners * smoothstep(-a, -e["outer_x"] - 0.05, -e["outer_x"] + 0.3)
    move = np.where(opening, height, np.where(y >= upper, sliding_skin, 0.0)) * front
    dy = (gap * p["eye_open"] / 0.8 - 0.99 * close * gap) * move
    points[..., 1] += dy

    r2 = (a - e["x"]) ** 2 + (y + dy - e["y"]) ** 2
    ball = ball_z + np.sqrt(np.clip(e["radius"] ** 2 - r2, 0, None))
    near = smoothstep(-np.sqrt(r2), -1.50, -0.95) * front
    lid = smooth_max(z, ball + 0.13, 0.16)
    fold = (0.10 + p["lid_fold"]) * ridge(y - upper - 0.40, 0.13)
    fold = fold * corners * (1 - np.clip(close, 0, 1))
    z = np.where(near > 0, z * (1 - near) + lid * near, z) - fold * front
    cornea = 0.16 * np.exp(-r2 / 0.45**2)
    corner_z = 9.12 - 0.55 * np.clip((a - e["inner_x"]) / 2.62, 0, 1) - 0.8 * p["eye_depth"]
    inside = smooth_max(ball + cornea, corner_z - 0.12, 0.08)
    z = np.where(opening, inside + (z - 0.22 - inside) * np.clip(close, 0, 1) ** 2, z)
    margin = ridge(y - upper, 0.10) + 0.8 * ridge(y - lower, 0.10)  # lid edges stand proud
    z = z + 0.07 * np.where(opening, 0, margin * corners * front)
    points[..., 2] = z + front * (p["eye_bag"] + 0.05) * twin_bump(x, y, 3.0, 2.25, 1.3, 0.35)


def _nose(layout, p, points):
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    sign = np.sign(x)
    heights = np.array([5.2, 4.5, 3.75, 2.65, 1.6, 0.75, 0.25, -0.20, -0.60, -0.95, -1.20, -1.6])
    bridge, tip = p["bridge_h"], p["nose_h"]
    profile = [0, 0.10, 0.38 + bridge, 1.02 + bridge + p["hump"]]
    profile += [1.60 + 0.6 * tip + p["hump"] + 0.4 * bridge, 2.04 + tip, 2.10 + tip, 1.86 + tip]
    profile += [1.36 + 0.8 * tip, 0.72 + 0.4 * tip, 0.30, 0]
    half_width = [0.9, 0.82, 0.74, 0.76, 0.80, 0.90, 0.96, 0.98, 0.96, 0.9, 0.9, 0.9]
    down = -np.clip(y, heights[-1], heights[0])
    profile = cubic(down, -heights, np.array(profile)) * (y > heights[-1]) * (y < heights[0])
    width = cubic(down, -heights, np.array(half_width)) * (
        1
        + p["bridge_w"] * smoothstep(y, -0.5, 2)
        + p["nose_w"] * 0.3
        + p["tip_size"] * bump(0, y, 0, 0, 1, 1)
    )
    section = 0.78 * np.exp(-(np.abs(a / width) ** 2.1)) + 0.22 * ridge(a, 1.8 * width)
    ala = twin_bump(x, y, 1.18, -0.50, 0.40, 0.52) * front
    points[..., 2] += front * profile * section
    points[..., 2] += front * (0.10 + p["tip_size"] * 0.6) * bump(x, y, 0, 0.15, 0.62, 0.62)
    points[..., 2] += (0.62 + p["ala"]) * ala
    points[..., 2] += 0.22 * twin_bump(x, y, 1.0, -0.1, 0.35, 0.4) * front
    points[..., 0] += sign * ala * (0.22 + 0.8 * p["nose_w"] + 0.5 * p["ala"])
    points[..., 2] -= 0.13 * twin_bump(x, y, 1.80, -0.55, 0.30, 0.60) * front
    points[..., 2] -= 0.34 * twin_bump(x, y, 0.60, -1.02, 0.26, 0.17) * front  # nostrils
    points[..., 1] -= 0.12 * front * bump(x, y, 0, -0.35, 0.45, 0.4)
    length = bump(x, y, 0, -0.1, 1.5, 1.5) * front
    lift = p["tip_up"] * smoothstep(y, -1.4, 0.4) * 1.2
    points[..., 1] += length * (lift - p["nose_len"])


def nasolabial_line(y):
    """|x| (cm) of the fold between nose and mouth corner at height y."""
    return 1.75 + (-0.55 - y) * 0.52


def _cheeks_and_chin(layout, p, points, w):
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    sign = np.sign(x)
    bone = twin_bump(x, y, 4.9, 1.6 + p["cheekbone_y"], 1.5, 1.1)
    points[..., 2] += (0.28 + p["cheekbone"]) * bone * front
    zygoma = twin_bump(x, y, 6.2, 1.5, 1.3, 1.3)
    points[..., 0] += sign * (0.10 + 0.7 * p["cheekbone"]) * zygoma * front
    points[..., 2] += (0.10 + p["cheek"]) * twin_bump(x, y, 4.3, -2.3, 1.7, 1.8) * front
    points[..., 0] += sign * p["cheek"] * twin_bump(x, y, 5.6, -2.4, 1.5, 2.0) * front
    points[..., 0] += sign * p["jowl"] * twin_bump(x, y, 4.6, -5.0, 1.6, 1.5) * front
    fold = 0.09 + p["fold"] + 0.12 * (w.side("mouthSmile") + w.side("noseSneer"))
    fold = fold * smoothstep(y, -4.0, -2.6) * smoothstep(-y, 0.1, 0.7)
    points[..., 2] -= front * fold * ridge(a - nasolabial_line(y), 0.26)
    points[..., 2] -= front * (0.20 + p["mentolabial"]) * bump(x, y, 0, -5.20, 1.7, 0.42)
    points[..., 2] += front * 0.30 * bump(x, y, 0, -6.55, 1.25, 0.75)
    points[..., 0] += sign * p["chin_w"] * twin_bump(x, y, 1.6, -6.9, 1.2, 0.9) * front


def _lips(layout, p, points):
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    across = np.clip(1 - (a / 2.62) ** 2, 0, 1)
    crest = -2.86 - 0.342 * (a / 2.5) ** 2 + p["bow"] * ridge(a - 0.6, 0.35)
    upper = ridge(y - crest, 0.40 + 0.5 * p["lip_up"]) * across**0.9
    lower = ridge(y + 3.86 - 0.22 * (a / 2.5) ** 2, 0.40 + 0.5 * p["lip_lo"]) * across
    tubercle = 0.10 * ridge(x, 0.4)
    points[..., 2] += front * (0.62 + p["lip_z"] + p["lip_up"] + tubercle) * upper
    points[..., 2] += front * (0.60 + 0.8 * p["lip_z"] + p["lip_lo"]) * lower
    points[..., 2] -= front * 0.26 * ridge(y - layout.lip_line, 0.12) * np.sqrt(across)
    points[..., 2] -= front * 0.42 * twin_bump(x, y, 2.60, -3.45, 0.50, 0.36)
    raise_upper = (p["lip_up"] + 0.5 * p["bow"]) * 0.9 * ridge(y + 2.5, 0.5)
    lower_lower = p["lip_lo"] * 0.9 * ridge(y + 4.3, 0.5)
    points[..., 1] += front * (raise_upper - lower_lower) * across
    groove = (0.11 + p["philtrum"]) * bump(x, y, 0, -1.95, 0.24, 0.45)
    points[..., 2] -= front * (groove - 0.06 * twin_bump(x, y, 0.48, -1.95, 0.18, 0.5))
    points[..., 2] -= 1.5 * layout.pouch * front


def _proportions(layout, p, points):
    """Identity parameters that move whole features, and asymmetries."""
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    sign = np.sign(x)
    eye = twin_bump(x, y, 3.1, 3.7, 2.4, 1.5) * front
    from_eye = a - EYE["x"]
    points[..., 0] += sign * eye * (p["eye_gap"] + p["eye_size"] * 1.1 * from_eye)
    tilt = p["eye_tilt"] * from_eye * 0.8
    points[..., 1] += eye * (p["eye_y"] + tilt + sign * p["asym_eye"])
    points[..., 1] += p["eye_size"] * 0.8 * eye * (y - EYE["y"])
    brow = twin_bump(x, y, 3.0, 6.0, 3.0, 0.9) * front
    points[..., 1] += brow * (p["brow_y"] + p["brow_tilt"] * (a - 3))
    mouth = bump(x, y, 0, -3.4, 3.3, 1.5) * front
    points[..., 0] += mouth * x * p["mouth_w"] / 2.5
    points[..., 1] += mouth * (p["mouth_y"] + sign * smoothstep(a, 0, 1.5) * p["asym_mouth"])
    points[..., 1] += front * twin_bump(x, y, 2.5, -3.5, 0.8, 0.6) * p["corner"]
    points[..., 1] += p["fore_h"] * smoothstep(y, 6.5, 11)
    points[..., 1] += front * bump(x, y, 0, -1.2, 2, 0.8) * p["philtrum_l"]
    points[..., 0] += front * p["asym_nose"] * bump(x, y, 0, 0.2, 1.3, 1.8)
    points[..., 0] += front * p["asym_jaw"] * bump(x, y, 0, -6.5, 4, 2.0)
