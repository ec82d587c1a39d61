"""Landmark files: text, raw float64 (.bin), numpy (.npy), iBUG's .pts and 300W-LP's .mat."""

import os
import pathlib

import numpy as np

from facejax.host.files import atomic_path

SUFFIXES = (".txt", ".pts", ".bin", ".npy", ".mat")
_MAT_KEYS = ("pt3d_68", "pts_3d", "pt2d", "pts_2d")  # the fixed jaw first


def read_landmarks(path: str | os.PathLike, count: int | None = None) -> np.ndarray:
    """Points of a file.

    Args:
      path: .txt (one `x y` per line; tabs, commas and comments after # are fine), .pts (the same
        between braces), .bin (raw little-endian float64), .npy, or .mat (300W-LP, AFLW2000-3D:
        its 68 points, those of the 3D face where it holds several).
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
        if points.ndim > 1 and points.shape[-1] == 3:
            raise ValueError(f"points with three coordinates, {points.shape}; keep x and y")
        points = points.reshape(-1, 2)
    except (ValueError, TypeError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read as landmarks ({error}); wanted one 'x y' per line"
        ) from error
    if not len(points) or not np.isfinite(points).all():
        found = "values that are not finite" if len(points) else "no points"
        raise ValueError(f"{path}: found {found}, wanted one 'x y' per line, in pixels")
    if count is not None and len(points) != count:
        raise ValueError(
            f"{path}: found {len(points)} points, wanted {count} ('x y' per line)"
            + (_FIVE if count == 5 else "")
        )
    return points


_FIVE = ": left-in-image eye, right-in-image eye, nose tip, left and right mouth corner"


def _read_text(path):
    rows = []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        line = line.split("#")[0].strip().replace(",", " ")
        if line and not line.startswith(("version", "n_points", "{", "}")):
            rows.append([float(word) for word in line.split()])
    if len({len(row) for row in rows}) > 1:
        raise ValueError("lines of different length")
    if rows and len(rows[0]) != 2:
        raise ValueError(f"{len(rows[0])} numbers in a line")
    return rows


def _read_mat(path):
    from facejax.morphable.bfm import read_mat

    variables = read_mat(path)
    for key in _MAT_KEYS:
        points = np.asarray(variables.get(key, np.zeros(0)))
        points = points.T if points.ndim == 2 and points.shape[0] in (2, 3) else points
        if points.ndim == 2 and points.shape[0] == 68 and points.shape[1] in (2, 3):
            return points[:, :2]
    raise ValueError(f"no 68 points among the variables {sorted(variables)}")


_READERS = {
    ".bin": lambda path: np.fromfile(path, "<f8"),
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".mat": _read_mat,
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
