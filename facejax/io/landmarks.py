"""Landmark files: text, raw float64 (.bin), numpy (.npy), iBUG's .pts and 300W-LP's .mat."""

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from facejax.host.arrays import describe_array, read_npy
from facejax.host.files import atomic_path, files_by_stem, name_key, read_text
from facejax.host.matlab import read_mat

SUFFIXES = (".txt", ".pts", ".bin", ".npy", ".mat")
_MAT_KEYS = ("pt3d_68", "pts_3d", "pt2d", "pts_2d")  # the fixed jaw first
_SAME_PX = 0.5  # two files of one picture that are closer say the same


def read_landmarks(
    path: str | os.PathLike, count: int | Sequence[int] | None = None, dims: int = 2
) -> np.ndarray:
    """Points of a file.

    Args:
      path: .txt (one `x y` per line; tabs, commas, semicolons, a header and comments after # are
        fine, as is any Unicode with its byte order mark), .pts (the same between braces), .bin (raw
        little-endian float64), .npy, or .mat (300W-LP, AFLW2000-3D: its 68 points, those of the 3D
        face where it holds several). Text and arrays may hold all x in the first row and all y in
        the second.
      count: how many points there must be, or the choice of them; None for any.
      dims: coordinates of a point, 2 or 3.

    Returns:
      [N, dims] float64, as stored: which way y runs is the matter of the data set.

    Raises:
      ValueError: unreadable, not `dims` finite numbers per point, an array that could be read in
        two ways, or another count.
      OSError: the disk refuses.
    """
    path = pathlib.Path(path)
    line = "'x y'" if dims == 2 else "'x y z'"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted landmarks ({', '.join(SUFFIXES)})")
    try:
        points = _READERS.get(path.suffix.lower(), _read_text)(path, dims)
    except ValueError as error:
        text = str(error).removeprefix(str(path)).removeprefix(":").strip()
        raise ValueError(
            f"{path}: cannot be read as landmarks ({text}); wanted one {line} per line"
        ) from error
    if not len(points) or not np.isfinite(points).all():
        found = "values that are not finite" if len(points) else "no points"
        raise ValueError(f"{path}: found {found}, wanted one {line} per line")
    counts = (count,) if isinstance(count, int) else count
    if counts and len(points) not in counts:
        raise ValueError(
            f"{path}: found {len(points)} points, wanted {' or '.join(map(str, counts))} "
            f"({line} per line)" + (_FIVE if count == 5 else "")
        )
    return points


_FIVE = ": left-in-image eye, right-in-image eye, nose tip, left and right mouth corner"


def _read_text(path, dims):
    rows, announced = [], None
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.split("#")[0].strip()
        if line.lower().startswith("n_points"):
            announced = line.partition(":")[2].strip()
        if not line or line.lower().startswith(("version", "n_points", "{", "}")):
            continue
        if ";" in line:  # then a comma is that of a decimal number
            line = line.replace(",", ".")
        words = line.replace(";", " ").replace(",", " ").split()
        if not rows and not any(_is_number(word) for word in words):
            continue  # a header
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"line {number}: lines of different length, {len(rows[-1])} numbers after "
                f"{len(rows[0])}"
            )
    if announced and announced != str(len(rows)):
        raise ValueError(f"it announces {announced} points and holds {len(rows)}: it is cut")
    if not rows or len(rows[0]) == dims:
        return np.array(rows, np.float64).reshape(-1, dims)
    if len(rows) == dims and len(rows[0]) not in (2, 3):
        return np.array(rows).T
    raise ValueError(f"{len(rows[0])} numbers in a line")


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_bin(path, dims):
    size = path.stat().st_size
    if size % (8 * dims):
        raise ValueError(f"{size} bytes are not {dims} float64 for each point")
    return np.fromfile(path, "<f8").reshape(-1, dims).astype(np.float64)


def _read_npy(path, dims):
    array = read_npy(path)
    found = describe_array(array)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{found}: no numbers")
    while array.ndim > 2 and len(array) == 1:  # the one face of a detector's list
        array = array[0]
    if array.ndim != 2:
        raise ValueError(f"{found}: save it as [points, {dims}]")
    if array.shape == (dims, dims):
        raise ValueError(f"{found}: rows could be points or coordinates; write a text file")
    if array.shape[1] != dims and array.shape[0] == dims:
        array = array.T
    if array.shape[1] != dims:
        if dims == 2 and 3 in array.shape:
            raise ValueError(f"points with three coordinates, {found}; keep x and y")
        raise ValueError(f"{found}: wanted [points, {dims}]")
    return np.asarray(array, np.float64)


def _read_mat(path, dims):
    variables = read_mat(path)
    for key in _MAT_KEYS:
        points = np.asarray(variables.get(key, np.zeros(0)))
        points = points.T if points.ndim == 2 and points.shape[0] in (2, 3) else points
        if points.ndim == 2 and points.shape[0] == 68 and dims <= points.shape[1] <= 3:
            if points.dtype.kind not in "fiu":
                raise ValueError(f"{key} is {describe_array(points)}: no numbers")
            return np.asarray(points[:, :dims], np.float64)
    raise ValueError(f"no 68 points among the variables {sorted(variables)}")


_READERS = {".bin": _read_bin, ".npy": _read_npy, ".mat": _read_mat}


class LandmarkIndex:
    """Landmark files of pictures, looked up by name; every folder is listed once."""

    def __init__(self):
        self._folders: dict[pathlib.Path, dict[str, list[pathlib.Path]]] = {}

    def files(self, folder: str | os.PathLike, stem: str) -> list[pathlib.Path]:
        """The files of a picture, in the order of SUFFIXES; suffixes may be in any case."""
        folder = pathlib.Path(folder)
        if folder not in self._folders:
            self._folders[folder] = files_by_stem(folder, SUFFIXES)
        return self._folders[folder].get(name_key(stem), [])

    def read(
        self, folder: str | os.PathLike, stem: str
    ) -> Iterator[tuple[pathlib.Path, np.ndarray]]:
        """The points of a picture, five or 68 of each file, in the order of SUFFIXES.

        A data set's annotation (.mat) is read when the others have been taken.

        Raises:
          ValueError: see `read_landmarks`; two files of equally many points disagree.
        """
        found: dict[int, tuple[pathlib.Path, np.ndarray]] = {}
        files = self.files(folder, stem)
        plain = [path for path in files if path.suffix.lower() != ".mat"]
        for path in plain:
            points = read_landmarks(path, (5, 68))
            first, others = found.setdefault(len(points), (path, points))
            if np.abs(points - others).max() > _SAME_PX:
                raise ValueError(
                    f"{first} and {path} hold different points for one picture; move one away"
                )
        yield from found.values()
        yield from ((path, read_landmarks(path, (5, 68))) for path in files if path not in plain)


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
