"""How good reconstructions are: rendered faces, whose truth is known, photos, AFLW2000-3D.

Every figure of rendered faces is given 'before' training (the mean face, frontal) and after it, for
R-Net's linear model ('rnet') and for the graph network's mesh ('graph').
"""

import logging
import pathlib
from typing import Any

import jax
import numpy as np

from facejax.data.aflw2000 import (
    check_photos,
    check_truth,
    photos_without_truth,
    read_aflw2000,
    read_detections,
)
from facejax.data.photo_folders import read_aligned
from facejax.host.files import atomic_path
from facejax.io.images import write_image
from facejax.metrics import plausibility
from facejax.metrics import reconstruction as measures
from facejax.nn.batching import in_batches
from facejax.recon.decoder import MM_PER_DM, decode, front_weights, parts_in_files, split

_log = logging.getLogger(__name__)
_BATCH = 32
_COUNT = "count_"
_NOSE_TIP = 30  # of the 68
_ICP_POINTS = 500  # of a scan, for its alignment


class Predictor:
    """`Deep3DSystem.predict` in batches of one compiled size, as numpy arrays.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
    """

    def __init__(self, system, params):
        self._system, self._params = system, params
        self._run = jax.jit(self._figures)

    def _figures(self, params, image):
        out = self._system.predict(params, image)
        found = {"coeffs": out.coeffs}
        for name, face in (("rnet", out.face), ("graph", out.refined)):
            if face is not None:
                found[f"{name}_landmarks"] = face.landmarks_px
                found[f"{name}_shape"] = face.shape
        return found

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """'coeffs' [N, n] and '<mesh>_landmarks' [N, 68, 2] (y up), '<mesh>_shape' [N, V, 3] dm."""
        return in_batches(lambda part: self._run(self._params, part), images, _BATCH)


def _plain(value: float) -> float | None:
    """None for what could not be measured: JSON knows no NaN."""
    return None if np.isnan(value) else float(value)


def landmark_figures(predicted: np.ndarray, truth: np.ndarray, yaw_rad: np.ndarray) -> dict:
    """NME in percent: mean, per bin of |yaw|, and the mean of the bins that have faces.

    Args:
      predicted, truth: [N, 68, 2] pixels.
      yaw_rad: [N], of the truth.
    """
    found = measures.nme_by_yaw(100 * measures.nme(predicted, truth), yaw_rad)
    return {k: _plain(v) for k, v in found.items() if not k.startswith(_COUNT)}


def faces_per_bin(yaw_rad: np.ndarray) -> dict[str, int]:
    """How many faces each bin of |yaw| has.

    Args:
      yaw_rad: [N].
    """
    found = measures.nme_by_yaw(np.zeros(len(yaw_rad)), yaw_rad)
    return {k.removeprefix(_COUNT): v for k, v in found.items() if k.startswith(_COUNT)}


def scan_figures(
    model, meshes: dict[str, np.ndarray], truth: np.ndarray, region: np.ndarray
) -> dict[str, dict[str, dict[str, float]]]:
    """Distances of true surfaces to reconstructed ones without known correspondence, mm.

    The true vertices play the scan. 'scan_to_mesh_mm': the NoW benchmark's protocol, distances of
    all faces together. 'point_to_plane_mm': MICC's, means of the faces' means.

    Args:
      model: the face model.
      meshes: name -> [N, V, 3] mm, reconstructions.
      truth: [N, V, 3] mm.
      region: [V] above 0.5 for the vertices that are scanned.
    """
    triangles = np.asarray(model.topology.mesh.triangles)
    ids = np.asarray(model.topology.landmarks68)
    seven, tip = ids[measures.NOW_LANDMARKS], ids[_NOSE_TIP]
    out = {"scan_to_mesh_mm": {}, "point_to_plane_mm": {}}
    for name, mesh in meshes.items():
        near, planes = [], []
        for found, true in zip(mesh.astype(np.float64), truth.astype(np.float64), strict=True):
            distances, plane = measures.scan_distances(
                true[region > 0.5], true[seven], true[tip], found, triangles, found[seven],
                max_points=_ICP_POINTS,
            )  # fmt: skip
            near.append(distances)
            planes.append(plane)
        each = np.concatenate(near)
        out["scan_to_mesh_mm"][name] = {
            "median": float(np.median(each)), "mean": float(each.mean()), "std": float(each.std())
        }  # fmt: skip
        out["point_to_plane_mm"][name] = {
            "mean": float(np.mean(planes)), "median": float(np.median(planes))
        }  # fmt: skip
    return out


def synthetic_figures(system, params, num: int, num_scans: int = 0) -> dict[str, Any]:
    """Everything that rendered faces tell.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      num: faces.
      num_scans: faces whose surfaces are also compared without known correspondence, which takes
        seconds each.
    """
    model, source = system.model, system.held_out(num)
    batches = [source.batch(np.arange(i, min(i + _BATCH, num))) for i in range(0, num, _BATCH)]
    images, landmarks, coeffs = (
        np.concatenate([np.asarray(b[k]) for b in batches])
        for k in ("image", "landmarks", "coeffs")
    )
    found = Predictor(system, params)(images)
    decoded = jax.jit(lambda c: decode(model, split(c, model), system.camera))
    truth = np.concatenate(
        [np.asarray(decoded(coeffs[i : i + _BATCH]).shape) for i in range(0, num, _BATCH)]
    )
    mean = decoded(np.zeros_like(coeffs[:_BATCH]))
    found["before_landmarks"] = np.repeat(np.asarray(mean.landmarks_px)[:1], num, axis=0)
    found["before_shape"] = np.repeat(np.asarray(mean.shape)[:1], num, axis=0)
    angles = np.asarray(split(coeffs, model).angles)
    region = front_weights(model.topology)
    out: dict[str, Any] = {"num_faces": num, "faces": faces_per_bin(angles[:, 1])}
    out |= {"nme_percent": {}, "vertex_mm": {}}
    meshes = [m for m in ("before", "rnet", "graph") if f"{m}_shape" in found]
    for mesh in meshes:
        out["nme_percent"][mesh] = landmark_figures(
            found[f"{mesh}_landmarks"], landmarks, angles[:, 1]
        )
        errors = MM_PER_DM * measures.vertex_error(found[f"{mesh}_shape"], truth, region)
        out["vertex_mm"][mesh] = {"mean": float(errors.mean()), "median": float(np.median(errors))}
    if num_scans:
        some = {m: MM_PER_DM * found[f"{m}_shape"][:num_scans] for m in meshes}
        out |= scan_figures(model, some, MM_PER_DM * truth[:num_scans], np.asarray(region))
    predicted = split(found["coeffs"], model)
    out["median_pose_error_deg"] = {
        name: {k: float(np.median(v)) for k, v in measures.pose_error_deg(value, angles).items()}
        for name, value in (("before", np.zeros_like(angles)), ("rnet", predicted.angles))
    }
    out["correlation"] = {"rnet": {}}
    true = parts_in_files(split(coeffs, model))
    for name, part in parts_in_files(predicted).items():
        each = measures.coefficient_correlation(np.asarray(part), np.asarray(true[name]))
        out["correlation"]["rnet"][name] = _plain(np.nanmean(each)) if len(each) else None
    return out


def aflw_figures(
    system,
    params,
    folder: str | pathlib.Path,
    points: str = "",
    details: pathlib.Path | None = None,
) -> dict[str, Any]:
    """NME on a folder in the format of AFLW2000-3D (Zhu et al. 2016), in pixels of the photos.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      folder: NAME.jpg beside NAME.mat with pt3d_68 and Pose_Para.
      points: folder of NAME.txt with the five points (or 68) that photos are aligned by, y down;
        '' takes the true landmarks, which flatters every method: published figures used detectors.
      details: an .npz to write: names, yaw_deg, truth, and of each mesh landmarks and nme_percent.

    Raises:
      ValueError: see `facejax.data.aflw2000`; an image cannot be read or aligned.
    """
    photos = read_aflw2000(folder)
    truth = np.stack([p.landmarks for p in photos])
    check_truth(photos)
    for remark in plausibility.copies_remark(truth, "annotations"):
        _log.warning("%s: %s", folder, remark)
    given = read_detections(photos, points) if points else [p.landmarks for p in photos]
    check_photos(photos, given)
    predict = Predictor(system, params)
    found: dict[str, list] = {}
    for start in range(0, len(photos), _BATCH):
        some = slice(start, start + _BATCH)
        aligned = [
            read_aligned(photo.image, marks, system.camera.size)[1]
            for photo, marks in zip(photos[some], given[some], strict=True)
        ]
        for photo, a in zip(photos[some], aligned, strict=True):
            size = (a.transform.height, a.transform.width)
            plausibility.check_in_picture(photo.landmarks, size, str(photo.image))
        out = predict(np.stack([a.crop.astype(np.float32) / 255 for a in aligned]))
        for mesh in (m for m in ("rnet", "graph") if f"{m}_landmarks" in out):
            pairs = zip(aligned, out[f"{mesh}_landmarks"], strict=True)
            found.setdefault(mesh, []).extend(a.transform.to_photo(marks) for a, marks in pairs)
    yaw_rad = np.array([p.yaw_rad for p in photos])
    predicted = {mesh: np.stack(each) for mesh, each in found.items()}
    if details:
        arrays = {"names": [p.image.stem for p in photos], "yaw_deg": np.degrees(yaw_rad)}
        for mesh, marks in predicted.items():
            arrays |= {mesh: marks, f"{mesh}_nme_percent": 100 * measures.nme(marks, truth)}
        with atomic_path(details) as path:
            np.savez_compressed(path, truth=truth, **arrays)
    counts = faces_per_bin(yaw_rad)
    for name in (k for k, number in counts.items() if not number):
        _log.warning("%s: no face of %s degrees; 'overall' is without them", folder, name)
    without = photos_without_truth(folder)
    if without:
        _log.warning("%s: %d photos without .mat, first %s", folder, len(without), without[0].name)
    return {
        "num_faces": len(photos),
        "photos_without_mat": len(without),
        "aligned_by": f"the points of {points}" if points else "the true 68 landmarks",
        "faces": counts,
        "nme_percent": {m: landmark_figures(p, truth, yaw_rad) for m, p in predicted.items()},
    }


def photo_figures(system, params) -> dict[str, Any]:
    """Losses of the photos of `data.val_path`, and NME of landmarks in percent of their boxes.

    Args:
      system: a `Deep3DSystem` with such a folder.
      params: what a checkpoint holds.
    """
    source, predict = system.val_source, Predictor(system, params)
    errors: dict[str, list] = {}
    for start in range(0, len(source), _BATCH):
        batch = source.batch(np.arange(start, min(start + _BATCH, len(source))))
        out = predict(batch["image"])
        for mesh in (m for m in ("rnet", "graph") if f"{m}_landmarks" in out):
            each = 100 * measures.nme(out[f"{mesh}_landmarks"], batch["landmarks"])
            errors.setdefault(mesh, []).extend(each)
    figures = {
        mesh: {"mean": float(np.mean(e)), "median": float(np.median(e)), "worst": float(max(e))}
        for mesh, e in errors.items()
    }
    terms = {f"loss/{k}": v for k, v in system.validation(params).items() if "nme" not in k}
    return {"num_faces": len(source), "nme_percent": figures} | terms


def evaluate(system, params, workdir: pathlib.Path) -> dict[str, Any]:
    """All figures of a run; JSON-able. A strip of overlays is written to the run folder.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      workdir: of the run.
    """
    c = system.config.evaluate
    out: dict[str, Any] = dict.fromkeys(("synthetic", "photos", "aflw2000_3d"))
    if system.val_source:  # first what reads files: what is wrong with them shows at once
        out["photos"] = photo_figures(system, params)
    if c.aflw_path:
        out["aflw2000_3d"] = aflw_figures(
            system, params, c.aflw_path, c.get("aflw_points", ""), workdir / "aflw2000_3d.npz"
        )
    if c.num_faces:
        out["synthetic"] = synthetic_figures(system, params, c.num_faces, c.get("num_scans", 0))
    write_image(workdir / "evaluation_faces.png", system.gallery.strip(params))
    return {name: figures for name, figures in out.items() if figures}
