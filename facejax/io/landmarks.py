"""Landmark files: text, raw float64 (.bin), numpy (.npy) and iBUG's .pts."""

import os
import pathlib

import numpy as np

from facejax.io.files import atomic_path

SUFFIXES = (".txt", ".pts", ".bin", ".npy")


def read_landmarks(path: str | os.PathLike, count: int | None = None) -> np.ndarray:
    """Points of a file.

    Args:
      path: .txt (one `x y` per line; tabs, commas and comments after # are fine), .pts (the same
        between braces), .bin (raw little-endian float64) or .npy.
      count: how many points there must be; None for any.

    Returns:
      [N, 2] float64, as stored: which way y runs is the matter of the data set.

    Raises:
      ValueError: unreadable, not pairs of finite numbers, or another count.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted landmarks ({', '.join(SUFFIXES)})")
    try:
        points = np.asarray(_READERS.get(path.suffix.lower(), _read_text)(path), np.float64)
        points = points.reshape(-1, 2)
    except (ValueError, TypeError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read as landmarks ({error}); wanted one 'x y' per line"
        ) from error
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"{path}: found {len(points)} points or values that are not finite")
    if count is not None and len(points) != count:
        raise ValueError(
            f"{path}: found {len(points)} points, wanted {count} ('x y' per line)"
            + (_FIVE if count == 5 else "")
        )
    return points


_FIVE = ": left-in-image eye, right-in-image eye, nose tip, left and right mouth corner"


def _read_text(path):
    rows = []
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip().replace(",", " ")
        if line and not line.startswith(("version", "n_points", "{", "}")):
            rows.append([float(word) for word in line.split()])
    if len({len(row) for row in rows}) > 1:
        raise ValueError("lines of different length")
    if rows and len(rows[0]) != 2:
        raise ValueError(f"{len(rows[0])} numbers in a line")
    return rows


_READERS = {
    ".bin": lambda path: np.fromfile(path, "<f8"),
    ".npy": lambda path: np.load(path, allow_pickle=False),
}


def write_landmarks(path: str | os.PathLike, points: np.ndarray) -> None:
    """Writes points whole or not at all, creating the folder; `read_landmarks` reads them back.

    Args:
      path: .txt, .bin or .npy.
      points: [N, 2].

    Raises:
      ValueError: another suffix.
    """
    path = pathlib.Path(path)
    points = np.asarray(points, np.float64).reshape(-1, 2)
    if path.suffix not in (".txt", ".bin", ".npy"):
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; use .txt, .bin or .npy")
    with atomic_path(path) as temporary:
        if path.suffix == ".txt":
            np.savetxt(temporary, points, fmt="%.9g")
        elif path.suffix == ".bin":
            points.astype("<f8").tofile(temporary)
        else:
            with open(temporary, "wb") as file:
                np.save(file, points)
