"""Named regions of the procedural head, as functions of the canonical coordinates (centimetres)."""

import numpy as np

from facejax.morphable.procedural.curves import bump, cubic, smoothstep
from facejax.morphable.procedural.hair import hair_density
from facejax.morphable.procedural.layout import EYE, CanonicalLayout, lids

# masks that a model carries; the painter uses more
MASK_NAMES = ("skin", "face", "eye", "lips", "brow", "hair", "mouth_inside", "nostril")
_BROW = np.array(  # |x| and height of the brow's middle line
    [[0.9, 1.3, 2.5, 3.9, 5.0, 6.0], [5.72, 5.85, 6.10, 6.20, 5.85, 5.15]]
)
_BROW_THICKNESS = np.array([[0.85, 1.3, 2.6, 4.2, 5.9], [0.20, 0.30, 0.30, 0.22, 0.06]])
_LIP_TOP = np.array([[0, 0.25, 0.73, 1.7, 2.5], [-2.52, -2.46, -2.42, -2.80, -3.48]])
_LIP_BOTTOM = np.array([[0, 1.03, 1.8, 2.5], [-4.38, -4.28, -4.0, -3.48]])


def regions(layout: CanonicalLayout) -> dict[str, np.ndarray]:
    """Masks [...] in [0, 1] by name: `MASK_NAMES` and the finer ones that paint needs."""
    x, y, a, front = layout.x, layout.y, layout.abs_x, layout.front
    upper, lower, in_eye = lids(a)
    facing = front > 0.5
    eye = (in_eye & (y < upper) & (y > lower) & facing & layout.sheet_eyes).astype(float)
    inside = layout.inside_mouth.astype(float)
    teeth = smoothstep(layout.almond, 0.30, 0.42) * smoothstep(-layout.almond, -0.93, -0.85)
    beard = np.maximum(
        smoothstep(a, 1.9, 3.2) * smoothstep(-y, 2.2, 4.0),
        np.maximum(smoothstep(-y, 4.4, 5.2), bump(x, y, 0, -1.95, 2.0, 0.7)),
    )
    face = smoothstep(y, -8.5, -7.2) * smoothstep(-y, -10.2, -9.0)
    lid_edge = np.maximum(
        np.exp(-(((y - upper - 0.02) / 0.075) ** 2)), 0.45 * np.exp(-(((y - lower) / 0.05) ** 2))
    )
    return dict(
        skin=1.0 - eye - inside,
        face=facing * face * smoothstep(np.cos(layout.phi), 0.1, 0.3),
        eye=eye,
        lips=_lips(layout) * facing,
        brow=_brows(layout) * facing,
        hair=hair_density(layout),
        mouth_inside=inside,
        nostril=layout.nostrils() * facing,
        teeth=inside * teeth * smoothstep(-a, -2.2, -1.7),
        lid_edge=facing * in_eye * lid_edge,
        beard=facing
        * smoothstep(-y, 1.5, 2.4)
        * smoothstep(layout.v, 0.97, 0.90)
        * smoothstep(-a, -7.0, -6.0)
        * beard,
        eye_radius=np.hypot(a - EYE["x"], y - EYE["y"] - 0.02),
    )


def _lips(layout):
    y, a = layout.y, layout.abs_x
    top, bottom = np.interp(a, *_LIP_TOP), np.interp(a, *_LIP_BOTTOM)
    return (
        smoothstep(top - y, -0.06, 0.06)
        * smoothstep(y - bottom, -0.06, 0.06)
        * smoothstep(-a, -2.56, -2.40)
        * ~layout.inside_mouth
    )


def _brows(layout):
    a = layout.abs_x
    middle = cubic(np.clip(a, _BROW[0, 0], _BROW[0, -1]), *_BROW)
    thickness = np.interp(a, *_BROW_THICKNESS)
    across = 1 - smoothstep(np.abs(layout.y - middle + 0.02), 0.55 * thickness, 1.45 * thickness)
    return across * smoothstep(a, 0.8, 1.1) * smoothstep(-a, -5.9, -5.2)
