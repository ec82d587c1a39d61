"""Noisy and clean pairs as files, in the layout of the original's generators."""

import contextlib
import pathlib

import numpy as np

from facejax.host import machine
from facejax.host.arrays import RowWriter, read_npy
from facejax.host.files import atomic_path
from facejax.host.locks import folder_lock
from facejax.systems.manifold.data import Rows


def write_pairs(
    folder: str | pathlib.Path, target: str, rows: Rows, sigma, repeats: int, seed: int
) -> pathlib.Path:
    """Writes dataset_<target>/{train,test}/{noisy,labels}.npy, (faces * repeats, n) float64.

    The rows of one face follow each other; the noise of a face depends only on (seed, part, its
    number). Files are written row by row: memory does not grow with `repeats`.

    Args:
      folder: made if missing.
      target: 'shape' or 'expression'.
      rows: the clean faces.
      sigma: standard deviation of the noise on a chosen component, one for all or [n].
      repeats: corruptions per face.
      seed: of the noise, >= 0.

    Returns:
      The folder of the target.

    Raises:
      ValueError: repeats or sigma is not positive.
      LockError: another process writes into the folder.
      MachineError: there is no room.
    """
    if repeats < 1 or not np.all(np.asarray(sigma) > 0):
        raise ValueError(f"repeats and sigma must be positive, found {repeats} and {sigma}")
    base = pathlib.Path(folder) / f"dataset_{target}"
    with folder_lock(folder, "writing pairs"):
        parts = (("train", rows.train), ("test", rows.test))
        machine.check_space(base, sum(2 * 8 * clean.size * repeats for _, clean in parts))
        for part, (name, clean) in enumerate(parts):
            shape = (len(clean) * repeats, clean.shape[1])
            with contextlib.ExitStack() as stack:
                noisy, labels = (
                    stack.enter_context(RowWriter(path, np.float64, shape))
                    for path in [
                        stack.enter_context(atomic_path(base / name / f"{kind}.npy"))
                        for kind in ("noisy", "labels")
                    ]
                )
                for face, vector in enumerate(clean):
                    rng = np.random.default_rng([seed, part, face])
                    noise = sparse_noise(rng, repeats, len(vector), sigma)
                    labels.append(np.broadcast_to(vector, noise.shape))
                    noisy.append(vector + noise)
    return base


def write_samples(folder: str | pathlib.Path, target: str, painter, num: int = 5) -> None:
    """Pictures of the first pairs of `write_pairs`: dataset_samples/{i}_{label,noisy}.jpg.

    Args:
      folder: that `write_pairs` was given.
      target: 'shape' or 'expression'.
      painter: `gallery.Painter` of the coefficients' face model.
      num: pairs, of different faces where there are as many.
    """
    from facejax.io.images import write_image

    base = pathlib.Path(folder) / f"dataset_{target}"
    arrays = {
        kind: read_npy(base / "train" / f"{name}.npy", mmap=True)
        for kind, name in (("label", "labels"), ("noisy", "noisy"))
    }
    rows = np.linspace(0, len(arrays["label"]) - 1, num).astype(int)
    for kind, array in arrays.items():
        for i, picture in enumerate(painter.faces({target: array[rows]}), 1):
            write_image(base / "dataset_samples" / f"{i}_{kind}.jpg", picture)


def sparse_noise(rng: np.random.Generator, num: int, n: int, sigma) -> np.ndarray:
    """[num, n]: N(0, sigma^2) on k random components, k uniform in 1 .. n; zero elsewhere.

    Args:
      rng: numpy generator.
      num: rows.
      n: components.
      sigma: one for all components, or [n].
    """
    count = rng.integers(1, n + 1, size=(num, 1))
    rank = rng.random((num, n)).argsort(axis=1).argsort(axis=1)
    return np.where(rank < count, sigma * rng.standard_normal((num, n)), 0.0)
