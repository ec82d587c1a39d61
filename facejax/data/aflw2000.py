"""Photos annotated in the format of AFLW2000-3D: NAME.jpg with NAME.mat (Zhu et al. 2016)."""

import dataclasses
import os
import pathlib

import numpy as np

from facejax.io.mat import read_parameters

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
      ValueError: no such files, a .mat of another kind, or a .mat without its photo.
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
        found = read_parameters(file)
        lacking = [k for k in ("pt3d_68", "Pose_Para") if k not in found]
        if lacking:
            raise ValueError(
                f"{file}: lacks {lacking}, wanted a .mat of AFLW2000-3D (300W-LP holds no pt3d_68)"
            )
        images = [p for s in _SUFFIXES if (p := file.with_suffix(s)).is_file()]
        if not images:
            raise ValueError(
                f"{file}: found no photo {file.stem}{{{','.join(_SUFFIXES)}}} beside it"
            )
        photos.append(
            AnnotatedPhoto(
                images[0],
                np.asarray(found["pt3d_68"][:, :2], np.float64),
                np.asarray(found["Pose_Para"][:3], np.float64),
            )
        )
    return photos
