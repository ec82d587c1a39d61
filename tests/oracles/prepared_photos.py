"""A small data set as the published VariTex program prepares it."""

import numpy as np

from facejax.io.images import write_image


def write_prepared(folder, rng, number=3, size=24, with_uv=True, num=(7, 4)) -> dict:
    """Writes arrays and photos (in folder/images); returns the arrays."""
    yy, xx = np.mgrid[:size, :size]
    uv = np.stack([xx, yy], -1) * (1.8 / size) - 0.9
    face = (xx - size / 2) ** 2 + (yy - size / 2) ** 2 < (0.3 * size) ** 2
    labels = np.where(face, 1, 0) + 13 * (~face & (yy < size / 3) & (np.abs(xx - size / 2) < 5))
    arrays = {
        "R": np.tile(np.eye(3), (number, 1, 1)),
        "t": np.tile([0.0, 0.0, -57.0], (number, 1)),
        "s": np.full((number, 1), 0.1),
        "sp": 10 * rng.normal(size=(number, num[0])),
        "ep": rng.normal(size=(number, num[1])),
    }
    arrays = {k: v.astype(np.float32) for k, v in arrays.items()}
    arrays["segmentation"] = np.tile(labels.astype(np.uint8), (number, 1, 1))
    if with_uv:
        one = np.where(face[..., None], uv, -1.0).astype(np.float16)
        arrays["uv"] = np.tile(one, (number, 1, 1, 1))
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", value)
    names = np.array([f"{k:05d}" for k in range(number)], object)
    np.save(folder / "filename.npy", names, allow_pickle=True)
    np.savez(folder / "dataset_splits.npz", train=np.arange(number - 1), val=[number - 1])
    (folder / "images").mkdir(exist_ok=True)
    for name in names:
        write_image(folder / "images" / f"{name}.png", rng.random((2 * size, 2 * size, 3)))
    return arrays
