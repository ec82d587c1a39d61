"""Where the 68 (iBUG order) and 5 landmarks lie on the procedural head's grid.

iBUG order: 0-16 jaw from the subject's right ear over the chin (8) to the left ear, 17-26 brows,
27-35 nose, 36-47 eyes, 48-59 outer and 60-67 inner lips. The five points are image-left eye,
image-right eye, nose tip, image-left and image-right mouth corner.
"""

import numpy as np

from facejax.morphable.procedural.layout import EYE, MOUTH, CanonicalLayout, lids

# azimuth (degrees, the subject's right side) and row of landmarks 0..8; 9..16 mirror them
_JAW_PHI = np.deg2rad([-73.75, -72.80, -70.01, -65.57, -58.07, -45.38, -31.52, -14.67, 0.0])
_JAW_V = 1 - np.array([0.683, 0.546, 0.439, 0.269, 0.168, 0.129, 0.128, 0.136, 0.131])
_BROW = np.array([[5.75, 5.25], [4.93, 5.90], [3.79, 6.22], [2.41, 6.12], [1.17, 5.86]])
_NOSE_RIDGE_Y = np.array([3.74, 2.63, 1.61, 0.25])
_NOSE_BASE = np.array([[-1.3, -1.02], [-0.62, -1.2], [0, -1.22], [0.62, -1.2], [1.3, -1.02]])
_EYE_X = np.array([EYE["outer_x"], 3.87, 2.78, EYE["inner_x"], 2.73, 3.86])
_OUTER_LIPS = np.array(
    [
        [-2.5, -3.48], [-1.7, -2.8], [-0.73, -2.42], [0, -2.5], [0.73, -2.42], [1.7, -2.8],
        [2.5, -3.48], [1.8, -4.03], [1.03, -4.3], [0, -4.38], [-1.03, -4.3], [-1.8, -4.03],
    ]
)  # fmt: skip
_INNER_LIPS_X = np.array([-2.3, -1, 0, 1, 2.3, 1, 0, -1])
INNER_LIPS_SIDE = np.array([0, 1, 1, 1, 0, -1, -1, -1])  # 0 corner, +1 upper, -1 lower edge


def landmark_targets() -> np.ndarray:
    """[51, 2] canonical (x, y) of landmarks 17..67."""
    upper, lower, _ = lids(_EYE_X)
    eye_y = np.array([EYE["outer_y"], upper[1], upper[2], EYE["inner_y"], lower[4], lower[5]])
    left = np.stack([_EYE_X, eye_y], axis=-1)[[3, 2, 1, 0, 5, 4]]
    right = np.stack([-_EYE_X, eye_y], axis=-1)
    ridge = np.stack([np.zeros(4), _NOSE_RIDGE_Y], axis=-1)
    inner = np.stack([_INNER_LIPS_X, np.full(8, MOUTH["y"])], axis=-1)
    brows = [_BROW * [-1, 1], _BROW[::-1]]
    return np.concatenate([*brows, ridge, _NOSE_BASE, right, left, _OUTER_LIPS, inner])


def landmark_samples(layout: CanonicalLayout) -> tuple[np.ndarray, np.ndarray]:
    """Sample numbers of a flat layout: (landmarks68 [68] int32, landmarks5 [5] int32)."""
    targets = landmark_targets()
    hidden = 9.0 * ((layout.front < 0.9) | layout.inside_mouth)

    def nearest(x, y):
        return np.argmin((layout.x - x) ** 2 + (layout.y - y) ** 2 + hidden)

    side = np.concatenate([_JAW_PHI, -_JAW_PHI[7::-1]])
    rows = np.concatenate([_JAW_V, _JAW_V[7::-1]])
    jaw_distance = [
        ((layout.phi - phi) / np.pi) ** 2 + (layout.v - v) ** 2
        for phi, v in zip(side, rows, strict=True)
    ]
    ids = [np.argmin(d) for d in jaw_distance]
    ids += [nearest(x, y) for x, y in targets[: 60 - 17]]
    for (x, y), lip in zip(targets[60 - 17 :], INNER_LIPS_SIDE, strict=True):
        if lip == 0:
            ids.append(nearest(x, y))
        else:
            off = (layout.x - x) ** 2 + 0.2 * (layout.almond - 0.93 * lip) ** 2
            ids.append(np.argmin(off + 9.0 * ~layout.inside_mouth))
    eyes = [nearest(-EYE["x"], EYE["y"]), nearest(EYE["x"], EYE["y"])]
    return np.array(ids, np.int32), np.array([*eyes, ids[30], ids[48], ids[54]], np.int32)
