"""A plain albedo per vertex: one colour for each region, with a few linear modes.

No pores, no strokes: enough for shapes to be told apart and for tests. Colours are sRGB.
"""

import numpy as np

_PARTS = {  # of what is no skin
    "mouth": (0.45, 0.16, 0.15), "lid": (0.72, 0.44, 0.40), "eye": (0.90, 0.88, 0.86),
    "upper_teeth": (0.87, 0.84, 0.77), "lower_teeth": (0.84, 0.81, 0.74),
    "tongue": (0.66, 0.30, 0.30), "lash": (0.16, 0.12, 0.10),
}  # fmt: skip
_SKIN, _TONE = (0.68, 0.50, 0.41), (0.15, 0.155, 0.15)  # medium, and one step of lightness
_LIPS, _BROW, _NOSTRIL = (0.60, 0.31, 0.29), (0.24, 0.17, 0.13), (0.16, 0.08, 0.07)
_IRIS, _PUPIL = (0.36, 0.27, 0.19), (0.03, 0.03, 0.03)
_IRIS_COS, _PUPIL_COS = np.cos(np.deg2rad((28.0, 11.0)))  # as seen from the middle of the eyeball


def plain_albedo(
    p: np.ndarray,
    masks: dict[str, np.ndarray],
    triangles: np.ndarray,
    triangle_part: np.ndarray,
    part_names: list[str],
) -> dict[str, np.ndarray]:
    """The arrays mean_albedo [V, 3], alb_basis [D, V, 3] and alb_std [D] of a model file.

    The modes are lightness of the skin, its redness, redness of the lips, darkness of the brows,
    and colour of the irises from brown to blue.

    Args:
      p: [V, 3] mm, the mean shape.
      masks: [V] each, 'skin', 'lips', 'brow', 'nostril', 'eye', 'eyelids'.
      triangles: [F, 3]; triangle_part: [F] index into `part_names`.
    """
    color = np.tile(np.float32(_SKIN), (len(p), 1))
    skin = masks["skin"]
    for number, name in enumerate(part_names):
        if name in _PARTS:
            inside = np.zeros(len(p), bool)
            inside[triangles[triangle_part == number].ravel()] = True
            color[inside & (skin < 0.5)] = _PARTS[name]
    lips, brow, nostril = (skin * masks[k] for k in ("lips", "brow", "nostril"))
    for mask, shade, share in ((lips, _LIPS, 1.0), (brow, _BROW, 0.85), (nostril, _NOSTRIL, 1.0)):
        color += (share * mask)[:, None] * (np.float32(shade) - color)
    iris, pupil = _iris(p, masks["eye"] > 0.5)
    color[iris], color[pupil] = _IRIS, _PUPIL

    plain = skin * (1 - brow) * (1 - nostril)
    modes = [
        plain[:, None] * np.float32(_TONE),
        (plain * (1 - lips))[:, None] * np.float32([0.03, -0.012, -0.012]),
        lips[:, None] * np.float32([0.05, -0.04, -0.035]),
        brow[:, None] * np.float32([0.10, 0.09, 0.08]),
        iris[:, None] * ~pupil[:, None] * np.float32([-0.04, 0.06, 0.16]),
    ]
    modes = np.stack(modes).astype(np.float32)
    length = np.sqrt((modes**2).sum(axis=(1, 2)))
    return dict(
        mean_albedo=np.clip(color, 0, 1).astype(np.float32),
        alb_basis=modes / length[:, None, None],
        alb_std=length.astype(np.float32),
    )


def _iris(p, eye):
    """Which vertices [V] belong to an iris with its pupil, and to a pupil."""
    iris, pupil = np.zeros(len(p), bool), np.zeros(len(p), bool)
    for side in (1, -1):
        ids = np.flatnonzero(eye & (side * p[:, 0] > 0))
        # on a sphere, of which a part is missing at the back
        equations = np.c_[2 * p[ids], np.ones(len(ids))]
        center = np.linalg.lstsq(equations, (p[ids] ** 2).sum(axis=1), rcond=None)[0][:3]
        away = p[ids] - center
        forward = away[:, 2] / np.linalg.norm(away, axis=1)
        iris[ids], pupil[ids] = forward > _IRIS_COS, forward > _PUPIL_COS
    return iris, pupil
