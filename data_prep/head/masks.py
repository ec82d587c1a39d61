"""Named regions of the cage: from MakeHuman's textures, from landmarks, from geometry."""

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import ConvexHull, cKDTree

from data_prep.head.cage import SKIN, Cage
from data_prep.head.source import Source

TEXTURES = ("face", "lips", "eyelids", "ears")
_NOSTRIL_MM = 5.0  # below the hull of the nose
_BROW_MM = 3.5


def texture_masks(source: Source, cage: Cage) -> dict[str, np.ndarray]:
    """Masks [V] in [0, 1] of MakeHuman's textures, on the skin of the head; 0 on the neck."""
    head = (cage.part == SKIN) & ~cage.neck
    vertices, uv = cage.quads[head].ravel(), cage.corner_uv[head].reshape(-1, 2)
    out = {}
    for name in TEXTURES:
        picture = source.picture(f"mpfb_{name}.jpg")
        rows = (1 - uv[:, 1]) * picture.shape[0] - 0.5
        columns = uv[:, 0] * picture.shape[1] - 0.5
        values = map_coordinates(picture, [rows, columns], order=1, mode="nearest")
        out[name] = np.zeros(cage.num_vertices)
        np.maximum.at(out[name], vertices, np.clip(values, 0, 1))
    return out


def shape_masks(
    cage: Cage, p: np.ndarray, landmarks: np.ndarray, ears: np.ndarray
) -> dict[str, np.ndarray]:
    """Masks [V] in [0, 1] by geometry: brow, nostril, scalp, neck.

    Args:
      cage: of the head.
      p: [V, 3] mm, its mean.
      landmarks: [68, 3] mm.
      ears: [V] mask.
    """
    skin = cage.vertices_of(SKIN)
    out = {name: np.zeros(cage.num_vertices) for name in ("brow", "nostril", "scalp", "neck")}
    knots = np.linspace(0, 4, 25)
    lines = [
        np.stack([np.interp(knots, range(5), part[:, c]) for c in range(3)], axis=1)
        for part in (landmarks[17:22], landmarks[22:27])
    ]
    distance = cKDTree(np.concatenate(lines)).query(p[skin])[0]
    out["brow"][skin] = np.exp(-((distance / _BROW_MM) ** 2))

    unit = landmarks[45, 0] - landmarks[36, 0]
    low, tip = landmarks[33, 1] - 0.05 * unit, landmarks[30]
    q = p[skin]
    nose = skin[
        (np.abs(q[:, 0]) < 0.26 * unit) & (q[:, 1] > low) & (q[:, 1] < tip[1] + 0.25 * unit)
        & (q[:, 2] > tip[2] - 0.5 * unit)
    ]  # fmt: skip
    hull = ConvexHull(p[nose]).equations
    depth = -(p[nose] @ hull[:, :3].T + hull[:, 3]).max(axis=1)
    inside = (np.abs(p[nose, 0]) < 0.17 * unit) & (p[nose, 1] < tip[1] + 0.06 * unit)
    out["nostril"][nose] = (depth > _NOSTRIL_MM) & inside

    out["scalp"][skin] = _scalp(q, landmarks, unit) * (1 - np.clip(2 * ears[skin], 0, 1))
    neck = np.unique(cage.quads[cage.neck])
    out["neck"][neck] = 1.0
    return out


def _scalp(q, landmarks, unit):
    """How much a place of the skin bears hair of the head, [N]; a soft edge of 8 mm.

    The hairline is a height over the angle about the head's axis: high in front, receding at the
    temples, in front of the ears, the nape.
    """
    eyes, ear_z = landmarks[36:48, 1].mean(), landmarks[[0, 16], 2].mean()
    angle = np.abs(np.arctan2(q[:, 0], q[:, 2] - ear_z + 0.10 * unit))
    line = np.interp(
        np.rad2deg(angle),
        [0, 25, 48, 62, 76, 88, 110, 140, 180],
        eyes + unit * np.array([0.88, 0.90, 0.80, 0.45, 0.20, -0.10, -0.35, -0.75, -0.85]),
    )
    return np.clip((q[:, 1] - line) / 8.0 + 0.5, 0, 1)
