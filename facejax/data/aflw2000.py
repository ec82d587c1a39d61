"""Photos annotated in the format of AFLW2000-3D: NAME.jpg with NAME.mat (Zhu et al. 2016)."""

import dataclasses
import logging
import os
import pathlib

import numpy as np

from facejax.data.alignment import check_landmarks5, landmarks5_from_68, order_complaint
from facejax.io.landmarks import SUFFIXES as LANDMARK_SUFFIXES
from facejax.io.landmarks import read_landmarks
from facejax.morphable.bfm import read_mat

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
    """All annotated photos of a folder and its sub-folders, sorted by path; nothing is skipped.

    Args:
      folder: holds NAME.mat with `pt3d_68` and `Pose_Para` beside every NAME.jpg.

    Raises:
      ValueError: no such files, a .mat of another kind or shape, or one without its photo.
    """
    folder = pathlib.Path(folder)
    files = sorted(folder.rglob("*.mat")) if folder.is_dir() else []
    if not files:
        raise ValueError(
            f"{folder}: found no .mat files, wanted a folder in the format of AFLW2000-3D: "
            "NAME.jpg with NAME.mat"
        )
    photos = []
    for file in files:
        landmarks, angles_rad = _truth(file)
        images = [p for s in _SUFFIXES if (p := file.with_suffix(s)).is_file()]
        if not images:
            raise ValueError(
                f"{file}: found no photo {file.stem}{{{','.join(_SUFFIXES)}}} beside it"
            )
        photos.append(AnnotatedPhoto(images[0], landmarks, angles_rad))
    return photos


def _truth(file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [68, 2] and angles [3] of a .mat."""
    found = read_mat(file)
    lacking = [k for k in ("pt3d_68", "Pose_Para") if k not in found]
    if lacking:
        raise ValueError(
            f"{file}: lacks {lacking}, wanted a .mat of AFLW2000-3D (300W-LP holds no pt3d_68)"
        )
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
        complaint = order_complaint(landmarks5_from_68(photo.landmarks))
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
    files = (p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
    return sorted(p for p in files if not p.with_suffix(".mat").is_file())


def read_detections(photos: list[AnnotatedPhoto], folder: str | os.PathLike) -> list[np.ndarray]:
    """The points of another program for each photo, for the alignment.

    Args:
      photos: from `read_aflw2000`.
      folder: holds NAME.txt (or .pts, .bin, .npy, .mat) with five or 68 points, y down.

    Returns:
      [5, 2] or [68, 2] photo pixels each.

    Raises:
      ValueError: photos without a file, another number of points, or points that look wrong in
        most photos (see `check_landmarks5`); in fewer they are logged.
    """
    folder = pathlib.Path(folder)
    names = [p.image.stem for p in photos]
    twice = sorted({n for n in names if names.count(n) > 1}) if len({*names}) < len(names) else []
    if twice:
        raise ValueError(
            f"{folder}: several photos are called {twice[0]}; their points are unclear"
        )
    files = [
        next((f for s in LANDMARK_SUFFIXES if (f := folder / f"{name}{s}").is_file()), None)
        for name in names
    ]
    missing = [name for name, file in zip(names, files, strict=True) if file is None]
    if missing:
        raise ValueError(
            f"{folder}: found no points of {len(missing)} of {len(photos)} photos, first "
            f"{missing[0]}{{{','.join(LANDMARK_SUFFIXES)}}}; wanted one file each"
        )
    found = [read_landmarks(file) for file in files]
    for file, points in zip(files, found, strict=True):
        if len(points) not in (5, 68):
            raise ValueError(f"{file}: found {len(points)} points, wanted 5 or 68")
    _check_detections(files, found)
    return found


def _check_detections(files: list[pathlib.Path], found: list[np.ndarray]) -> None:
    """Refuses points that look wrong in most photos; a few are said, as detectors fail at times."""
    odd = {}
    for file, points in zip(files, found, strict=True):
        five = points if len(points) == 5 else landmarks5_from_68(points)
        complaints = check_landmarks5(five)
        if complaints:
            odd[file] = "; ".join(complaints)
    if not odd:
        return
    first = next(iter(odd))
    text = f"{first}: {odd[first]} (so it is with {len(odd)} of {len(files)} photos)"
    if len(odd) > len(files) / 2:
        raise ValueError(f"{text}. Wanted pixels x y, y down, image left first")
    _log.warning("%s. They are aligned by what their files say", text)
