"""Made-up files of the sizes that the published recipes are for."""

import pathlib

import numpy as np

from facejax.data.alignment import AlignedPhoto
from facejax.data.photo_folders import write_crop
from facejax.morphable.bfm09 import write_bfm_front

VERTICES, SIDE = 35_709, 189


def front(rng):
    """A dome of as many vertices as the front of the Basel face, with made-up bases."""
    y, x = np.meshgrid(np.linspace(1.1, -1.1, SIDE), np.linspace(-0.8, 0.8, SIDE), indexing="ij")
    z = 0.6 - 0.5 * x**2 - 0.3 * y**2 + 0.02 * np.sin(9 * x) * np.cos(7 * y)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    i = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, c), (a, c, b))])
    corner = np.argsort(np.linalg.norm(points[:, :2] - [0.8, -1.1], axis=1))
    gone = np.zeros(len(points), bool)
    gone[corner[: len(points) - VERTICES]] = True
    number = np.cumsum(~gone) - 1
    triangles = number[triangles[~gone[triangles].any(axis=1)]]
    points = points[~gone]
    wanted = rng.uniform([-0.6, -0.8], [0.6, 0.6], (68, 2))
    nearest = [np.argmin(np.sum((points[:, :2] - p) ** 2, axis=1)) for p in wanted]
    face = (np.abs(points[:, 0]) < 0.7).astype(np.float32)

    def basis(count, scale):
        waves = np.sin(points @ (3 * rng.normal(size=(3, count))))
        return scale * waves.T[..., None] * rng.normal(size=(count, 1, 3))

    return dict(
        meanshape=points, meantex=np.full_like(points, 150), idBase=basis(80, 0.01),
        exBase=basis(64, 0.01), texBase=basis(80, 3.0), tri=triangles,
        keypoints=np.array(nearest), front=face, skin=face,
    )  # fmt: skip


def write_face_and_photo(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a face model and a folder with one prepared photo; returns their paths."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    write_bfm_front(folder / "BFM_model_front.mat", front(rng))
    picture = rng.integers(0, 256, (7, 7, 3)).repeat(32, 0).repeat(32, 1).astype(np.uint8)
    photo = AlignedPhoto(picture, None, rng.uniform(60, 160, (68, 2)))
    write_crop(folder / "crops", "a", photo, np.full((224, 224), 255, np.uint8))
    return folder / "BFM_model_front.mat", folder / "crops"
