"""NME of any reconstruction method on photos in the format of AFLW2000-3D (Zhu et al. 2016)."""

import logging
import os
import pathlib
from typing import Any

import numpy as np

from facejax.data.aflw2000 import check_photos, check_truth, read_aflw2000, read_detections
from facejax.data.alignment import five_of
from facejax.data.photo_folders import read_aligned
from facejax.metrics.plausibility import check_in_picture, copies_remark
from facejax.pipelines.reconstruct import Photo, Reconstructor
from facejax.pipelines.reconstruction_files import photo_landmarks
from facejax.systems.deep3d.metrics import faces_per_bin, landmark_figures

_log = logging.getLogger(__name__)


def aflw_nme(
    reconstructor: Reconstructor, folder: str | os.PathLike, points: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Distances of the model's 68 landmarks to the true ones, in pixels of the photos.

    Args:
      reconstructor: the method; a fit is given five points, never the true 68.
      folder: NAME.jpg beside NAME.mat with pt3d_68 and Pose_Para.
      points: folder of NAME.txt with the points to align by, y down; None takes five of the true
        ones, which flatters every method: published figures used detectors.

    Returns:
      Number of faces, what they were aligned by, faces per bin of |yaw|, NME in percent of the
      size of the true box: per bin, 'overall' (mean of the bins) and 'mean'.

    Raises:
      ValueError: see `facejax.data.aflw2000`; an image cannot be read or aligned, or does not show
        most of its landmarks.
    """
    from tqdm import tqdm

    truth = read_aflw2000(folder)
    marks = np.stack([p.landmarks for p in truth])
    check_truth(truth)
    for remark in copies_remark(marks, "annotations"):
        _log.warning("%s: %s", folder, remark)
    given = read_detections(truth, points) if points else [p.landmarks for p in truth]
    check_photos(truth, given)
    found, step = [], reconstructor.batch_size
    with tqdm(total=len(truth), desc="photos", disable=None) as progress:
        for first in range(0, len(truth), step):
            some = slice(first, first + step)
            pairs = zip(truth[some], given[some], strict=True)
            photos = [_photo(annotated.image, marks) for annotated, marks in pairs]
            for annotated, photo in zip(truth[some], photos, strict=True):
                check_in_picture(annotated.landmarks, photo.pixels.shape[:2], str(photo.path))
            for estimate in reconstructor.estimate(photos):
                found.append(photo_landmarks(reconstructor.reconstruct(estimate)))
                progress.update()
    yaw_rad = np.array([p.yaw_rad for p in truth])
    return {
        "num_faces": len(truth),
        "aligned_by": f"the points of {points}" if points else "five of the true landmarks",
        "faces": faces_per_bin(yaw_rad),
        "nme_percent": landmark_figures(np.stack(found), marks, yaw_rad),
    }


def _photo(path: pathlib.Path, points: np.ndarray) -> Photo:
    return Photo(path, *read_aligned(path, five_of(points)))
