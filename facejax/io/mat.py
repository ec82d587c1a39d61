"""Fitted face parameters of 300W-LP, 300W-3D and AFLW2000-3D: one .mat per picture.

| key | shape | meaning |
|---|---|---|
| Shape_Para, Exp_Para, Tex_Para | [199, 1], [29, 1], [199, 1] | raw Basel 2009 coefficients |
| Pose_Para | [1, 7] | pitch, yaw, roll (radians), tx, ty, tz (pixels), scale (pixels / um) |
| Illum_Para, Color_Para | [1, 10], [1, 7] | light and colour transform |
| pt2d, pt3d_68, roi | [2, 68 or 21], [3, 68], [1, 4] | landmarks in pixels; crop |
"""

import contextlib
import logging
import mmap
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from facejax.host.files import files_by_stem, list_files, name_key, some_names
from facejax.host.matlab import mat_names, read_mat
from facejax.io.images import IMAGE_SUFFIXES
from facejax.morphable.bfm import mat_kind

_log = logging.getLogger(__name__)
MARKS = {"Shape_Para", "Exp_Para", "Pose_Para", "pt3d_68"}  # a file with one of them is of the kind
_LARGE_BYTES = 1 << 20
_VECTORS = ("Shape_Para", "Exp_Para", "Tex_Para", "Pose_Para", "Illum_Para", "Color_Para", "roi")
_POINTS = ("pt2d", "pt3d_68")


def read_parameters(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The parameters of one picture.

    Args:
      path: a .mat file of 300W-LP, 300W-3D or AFLW2000-3D.

    Returns:
      What the file holds of: Shape_Para [n], Exp_Para [m], Tex_Para, Pose_Para [7], Illum_Para,
      Color_Para, roi as vectors; pt2d [P, 2] and pt3d_68 [68, 3] as points. Float64 unless the file
      says otherwise, values as stored.

    Raises:
      ValueError: the file is of another kind, which is named.
    """
    variables = read_mat(path)
    kind, found = mat_kind(variables)
    if kind != "parameters":
        raise ValueError(
            f"{path}: found {found}, wanted the parameters of one picture (300W-LP, 300W-3D, "
            "AFLW2000-3D: Shape_Para, Exp_Para, ...)"
        )
    out = {k: variables[k].reshape(-1) for k in _VECTORS if k in variables}
    out |= {k: np.ascontiguousarray(variables[k].T) for k in _POINTS if k in variables}
    return out


def find_parameters(
    folder: str | os.PathLike,
) -> Iterator[tuple[pathlib.Path, dict[str, np.ndarray]]]:
    """The files of a folder and its sub-folders that hold the parameters of one picture, by path.

    Annotated trees hold other .mat files too (Code/ModelGeneration/Model_Exp.mat): what has none of
    Shape_Para, Exp_Para, Pose_Para and pt3d_68 is passed over, with one line in the log at the end.
    Landmark files (folders named 'landmarks' or names that end in '_pts') are not looked at.

    Args:
      folder: an annotated tree.

    Yields:
      (file, its variables as stored).

    Raises:
      ValueError: there is none, or a file is damaged that must be one: it lies beside its picture
        or beside others.
    """
    from tqdm import tqdm

    folder = pathlib.Path(folder)
    every = list_files(folder, (".mat",), recursive=True)
    files = [f for f in every if not _holds_landmarks(f.relative_to(folder))]
    foreign, damaged, places = {}, {}, set()
    for file in tqdm(files, desc=f"reading {folder}", disable=None, delay=2):
        try:
            variables = _read_marked(file)
        except _Foreign as error:
            foreign[file] = str(error)
        except ValueError as error:
            damaged[file] = str(error)
        else:
            places.add(file.parent)
            yield file, variables
    for file in list(damaged):
        pictures = files_by_stem(file.parent, IMAGE_SUFFIXES)
        if places and file.parent not in places and name_key(file.stem) not in pictures:
            foreign[file] = damaged.pop(file)
    if damaged:
        words = f"{next(iter(damaged.values()))}; copy it again or remove it"
        more = f" ({len(damaged)} files cannot be read: {some_names(damaged)})"
        raise ValueError(words + (more if len(damaged) > 1 else ""))
    if not places:
        found = f"{len(foreign)} .mat files of other kinds" if foreign else "no .mat files"
        example = f" ({'; '.join(f'{k} is {v}' for k, v in list(foreign.items())[:1])})"
        raise ValueError(
            f"{folder}: found {found}{example if foreign else ''}, wanted those of 300W-3D, "
            "300W-LP or AFLW2000-3D, one per picture (Shape_Para, Exp_Para, Pose_Para, ...)"
        )
    if foreign:
        _log.warning(
            "%s: passed over %d .mat files that are no parameters of a picture: %s",
            folder, len(foreign), some_names(f.relative_to(folder) for f in sorted(foreign)),
        )  # fmt: skip


class _Foreign(Exception):
    """A file of another kind; says which."""


def _holds_landmarks(path: pathlib.Path) -> bool:
    folders = [part.lower() for part in path.parts[:-1]]
    return "landmarks" in folders or path.stem.lower().endswith("_pts")


def _read_marked(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The variables of a parameter file.

    Raises:
      _Foreign: a file of another kind.
      ValueError: a damaged file.
    """
    if path.stat().st_size > _LARGE_BYTES:  # a face model, say: its names will do
        names = MARKS
        with contextlib.suppress(ValueError):  # then it is read below, and refused
            names = mat_names(path)
        if not names & MARKS:
            raise _Foreign(mat_kind(dict.fromkeys(names, np.zeros(0)))[1])
    try:
        variables = read_mat(path)
    except ValueError as error:
        if _names_are_plain(path) and not any(_holds(path, mark) for mark in MARKS):
            raise _Foreign("a Matlab file of another format, without those names") from error
        raise
    if not MARKS & set(variables):
        raise _Foreign(mat_kind(variables)[1])
    return variables


def _names_are_plain(path: pathlib.Path) -> bool:
    """Whether an unreadable file is HDF5 or Octave's text, in which names can be searched."""
    with open(path, "rb") as file:
        head = file.read(32)
    return head.startswith((b"\x89HDF", b"MATLAB 7.3", b"# Created by Octave"))


def _holds(path: pathlib.Path, name: str) -> bool:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name.encode()) >= 0


def read_coefficients(folder: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Shape and expression coefficients of all parameter files under a folder, sorted by path.

    Args:
      folder: searched with its sub-folders; see `find_parameters` for what is passed over.

    Returns:
      [N, n] and [N, m] float32, raw coefficients.

    Raises:
      ValueError: there is no such file, one lacks coefficients or holds others than finite numbers,
        or lengths differ.
    """
    shape, expression, first = [], [], None
    for file, variables in find_parameters(folder):
        lacking = [k for k in ("Shape_Para", "Exp_Para") if k not in variables]
        if lacking:
            raise ValueError(
                f"{file}: lacks {lacking}, wanted the parameters of one picture (300W-LP, 300W-3D, "
                "AFLW2000-3D)"
            )
        first = first or file
        for rows, key in ((shape, "Shape_Para"), (expression, "Exp_Para")):
            values = variables[key]
            if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
                raise ValueError(f"{file}: {key} holds other things than finite numbers")
            rows.append(values.reshape(-1).astype(np.float32))
        if len(shape[-1]) != len(shape[0]) or len(expression[-1]) != len(expression[0]):
            raise ValueError(
                f"{file}: found {len(shape[-1])} shape and {len(expression[-1])} expression "
                f"coefficients, wanted {len(shape[0])} and {len(expression[0])} as in {first}"
            )
    return np.stack(shape), np.stack(expression)
