"""Photos annotated in the format of AFLW2000-3D: NAME.jpg with NAME.mat (Zhu et al. 2016)."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from facejax.data.alignment import check_landmarks5, five_of, order_complaint
from facejax.data.photo_folders import read_aligned, turned_points
from facejax.host.files import files_by_stem, list_files, name_key, reading, some_names
from facejax.io.landmarks import SUFFIXES as LANDMARK_SUFFIXES
from facejax.io.landmarks import LandmarkIndex
from facejax.io.mat import find_parameters

_log = logging.getLogger(__name__)
_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class AnnotatedPhoto:
    """One photo with its ground truth.

    Attributes:
      image: the file.
      landmarks: [68, 2] float64 photo pixels, x right and y DOWN, as stored (`pt3d_68`): those of
        the fitted 3D face, so the jaw is the fixed one, hidden or not.
      angles_rad: [3] pitch, yaw, roll as stored (`Pose_Para`).
    """

    image: pathlib.Path
    landmarks: np.ndarray
    angles_rad: np.ndarray

    @property
    def yaw_rad(self) -> float:
        """The angle that the bins of the NME protocol are made of."""
        return float(self.angles_rad[1])


def read_aflw2000(folder: str | os.PathLike) -> list[AnnotatedPhoto]:
    """All annotated photos of a folder and its sub-folders, sorted by path.

    Other .mat files of such a tree are passed over (`facejax.io.mat.find_parameters`); of the
    annotations none is.

    Args:
      folder: holds NAME.mat with `pt3d_68` and `Pose_Para` beside every NAME.jpg.

    Raises:
      ValueError: no such files, one without its photo or with two, one that is damaged or lacks
        something, or a photo that cannot be opened.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; wanted one in the format of AFLW2000-3D")
    photos = []
    images = _ImagesByStem()
    for file, variables in find_parameters(folder):
        landmarks, angles_rad = _truth(file, variables)
        found = images.of(file)
        if len(found) != 1:
            what = f"{' and '.join(map(str, found))}, wanted one photo" if found else "no photo"
            raise ValueError(f"{file}: found {what} {file.stem}{{{','.join(_SUFFIXES)}}} beside it")
        landmarks = turned_points(found[0], landmarks)
        photos.append(AnnotatedPhoto(found[0], landmarks, angles_rad))
    return photos


def check_photos(photos: Sequence[AnnotatedPhoto], points: Sequence[np.ndarray]) -> None:
    """Reads and aligns every photo once, before figures that need all of them are begun.

    Args:
      photos: from `read_aflw2000`.
      points: what each is aligned by, [5, 2] or [68, 2].

    Raises:
      ValueError: some cannot be used; says how many, which, and why the first.
    """
    from tqdm import tqdm

    problems = {}
    pairs = zip(photos, points, strict=True)
    for photo, marks in tqdm(pairs, desc="checking", total=len(photos), disable=None, delay=2):
        try:
            read_aligned(photo.image, five_of(marks))
        except ValueError as error:
            problems[photo.image] = str(error)
    if problems:
        raise ValueError(
            f"{len(problems)} of {len(photos)} photos cannot be used "
            f"({some_names(p.name for p in problems)}): {next(iter(problems.values()))}; a figure "
            "without them would be another one: mend them, or take each with its .mat away"
        )


class _ImagesByStem:
    """The photos beside a file; every folder is listed once."""

    def __init__(self):
        self._folders: dict[pathlib.Path, dict[str, list[pathlib.Path]]] = {}

    def of(self, file: pathlib.Path) -> list[pathlib.Path]:
        if file.parent not in self._folders:
            self._folders[file.parent] = files_by_stem(file.parent, _SUFFIXES)
        return self._folders[file.parent].get(name_key(file.stem), [])


def _truth(file: pathlib.Path, found: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [68, 2] and angles [3] of a .mat."""
    lacking = [k for k in ("pt3d_68", "Pose_Para") if k not in found]
    if lacking:
        raise ValueError(
            f"{file}: lacks {lacking}, wanted a .mat of AFLW2000-3D (300W-LP holds no pt3d_68)"
        )
    with reading(file, "the annotation of a photo (pt3d_68, Pose_Para)"):
        points = np.asarray(found["pt3d_68"], np.float64)
        pose = np.asarray(found["Pose_Para"], np.float64).reshape(-1)
    if points.shape not in ((2, 68), (3, 68)) or len(pose) < 3:
        raise ValueError(
            f"{file}: found pt3d_68 of shape {points.shape} and {len(pose)} numbers in Pose_Para, "
            "wanted (3, 68) or (2, 68), and at least pitch, yaw, roll"
        )
    if not (np.isfinite(points[:2]).all() and np.isfinite(pose[:3]).all()):
        raise ValueError(f"{file}: pt3d_68 or Pose_Para holds values that are not finite")
    return points[:2].T, pose[:3]


def check_truth(photos: list[AnnotatedPhoto]) -> None:
    """Refuses landmarks against which no error can be measured.

    Args:
      photos: from `read_aflw2000`.

    Raises:
      ValueError: landmarks of a photo that span no area, or most in another order or with y up.
    """
    odd = {}
    for photo in photos:
        if not np.ptp(photo.landmarks, axis=0).all():
            raise ValueError(f"{photo.image}: its 68 landmarks span no area")
        complaint = order_complaint(five_of(photo.landmarks))
        if complaint:
            odd[photo.image] = complaint
    if len(odd) > len(photos) / 2:
        first = next(iter(odd))
        raise ValueError(
            f"{first}: its true landmarks look wrong: {odd[first]} (so it is with {len(odd)} of "
            f"{len(photos)} photos)"
        )


def photos_without_truth(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The photos of a folder and its sub-folders that have no .mat beside them, sorted."""
    files = list_files(folder, (*_SUFFIXES, ".mat"), recursive=True)
    known = {(f.parent, name_key(f.stem)) for f in files if f.suffix.lower() == ".mat"}
    photos = (f for f in files if f.suffix.lower() != ".mat")
    return [f for f in photos if (f.parent, name_key(f.stem)) not in known]


def read_detections(photos: list[AnnotatedPhoto], folder: str | os.PathLike) -> list[np.ndarray]:
    """The points of another program for each photo, for the alignment.

    Args:
      photos: from `read_aflw2000`.
      folder: holds NAME.txt (or .pts, .bin, .npy, .mat) with five or 68 points, y down.

    Returns:
      [5, 2] or [68, 2] photo pixels each.

    Raises:
      ValueError: photos without a file, another number of points, files that disagree, or points
        in another order in most photos; what else looks wrong (`check_landmarks5`) is logged.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; wanted one with the points of each photo")
    names = [p.image.stem for p in photos]
    twice = sorted({n for n in names if names.count(n) > 1}) if len({*names}) < len(names) else []
    if twice:
        raise ValueError(
            f"{folder}: several photos are called {twice[0]}; their points are unclear"
        )
    index = LandmarkIndex()
    missing = [name for name in names if not index.files(folder, name)]
    if missing:
        raise ValueError(
            f"{folder}: found no points of {len(missing)} of {len(photos)} photos, first "
            f"{missing[0]}{{{','.join(LANDMARK_SUFFIXES)}}}; wanted one file each"
        )
    found = [next(index.read(folder, name)) for name in names]
    points = [turned_points(p.image, q) for p, (_, q) in zip(photos, found, strict=True)]
    _check_detections([file for file, _ in found], points)
    return points


def _check_detections(files: list[pathlib.Path], found: list[np.ndarray]) -> None:
    """Refuses points of which most are in another order; what else looks wrong is said.

    A few fit no face in any order, or one that is turned: detectors fail at times.
    """
    five = [five_of(points) for points in found]
    orders = {f: c for f, p in zip(files, five, strict=True) if (c := order_complaint(p))}
    if len(orders) > len(files) / 2:
        first = next(iter(orders))
        raise ValueError(
            f"{first}: {orders[first]} (so it is with {len(orders)} of {len(files)} photos). "
            "Wanted pixels x y, y down, image left first"
        )
    odd = {f: c for f, p in zip(files, five, strict=True) if (c := check_landmarks5(p))}
    if odd:
        first = next(iter(odd))
        _log.warning(
            "%s: %s (so it is with %d of %d photos). They are aligned by what their files say",
            first, "; ".join(odd[first]), len(odd), len(files),
        )  # fmt: skip
