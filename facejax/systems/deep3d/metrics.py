"""How good reconstructions are: on rendered faces, whose truth is known, and on AFLW2000-3D.

Every figure of rendered faces is given 'before' training (the mean face, frontal) and after it, for
R-Net's linear model ('rnet') and for the graph network's mesh ('graph').
"""

import pathlib
from typing import Any

import jax
import numpy as np

from facejax.data.aflw2000 import read_aflw2000
from facejax.data.alignment import align_photo
from facejax.data.photo_folders import read_pixels
from facejax.io.images import write_image
from facejax.metrics import reconstruction as measures
from facejax.render.face_decoder import MM_PER_DM, decode, front_weights, split

_BATCH = 32


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
        found = {"coeffs": out["coeffs"]}
        for name, key in (("rnet", "face"), ("graph", "refined")):
            if key in out:
                found[f"{name}_landmarks"] = out[key].landmarks_px
                found[f"{name}_shape"] = out[key].shape
        return found

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """'coeffs' [N, n] and '<mesh>_landmarks' [N, 68, 2] (y up), '<mesh>_shape' [N, V, 3] dm."""
        parts = []
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            fill = _BATCH - len(part)
            part = np.concatenate([part, np.repeat(part[-1:], fill, axis=0)])
            found = jax.device_get(self._run(self._params, part))
            parts.append({k: v[: _BATCH - fill] for k, v in found.items()})
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def _plain(value: float) -> float | None:
    """None for what could not be measured: JSON knows no NaN."""
    return None if np.isnan(value) else float(value)


def landmark_figures(predicted: np.ndarray, truth: np.ndarray, yaw_rad: np.ndarray) -> dict:
    """NME in percent: mean, per bin of |yaw|, and the mean of the bins.

    Args:
      predicted, truth: [N, 68, 2] pixels.
      yaw_rad: [N], of the truth.
    """
    found = measures.nme_by_yaw(100 * measures.nme(predicted, truth), yaw_rad)
    return {k: _plain(v) for k, v in found.items() if not k.startswith("count")}


def synthetic_figures(system, params, num: int) -> dict[str, Any]:
    """Everything that rendered faces tell.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      num: faces.
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
    out: dict[str, Any] = {"num_faces": num, "nme_percent": {}, "vertex_mm": {}}
    for mesh in (m for m in ("before", "rnet", "graph") if f"{m}_shape" in found):
        out["nme_percent"][mesh] = landmark_figures(
            found[f"{mesh}_landmarks"], landmarks, angles[:, 1]
        )
        errors = MM_PER_DM * measures.vertex_error(found[f"{mesh}_shape"], truth, region)
        out["vertex_mm"][mesh] = {"mean": float(errors.mean()), "median": float(np.median(errors))}
    predicted = split(found["coeffs"], model)
    out["median_pose_error_deg"] = {
        name: {k: float(np.median(v)) for k, v in measures.pose_error_deg(value, angles).items()}
        for name, value in (("before", np.zeros_like(angles)), ("rnet", predicted.angles))
    }
    out["correlation"] = {"rnet": {}}
    for name in ("id", "exp", "tex", "angles", "gamma", "trans"):
        pair = (np.asarray(getattr(c, name)) for c in (predicted, split(coeffs, model)))
        each = measures.coefficient_correlation(*pair)
        out["correlation"]["rnet"][name] = _plain(np.nanmean(each)) if len(each) else None
    return out


def aflw_figures(system, params, folder: str | pathlib.Path) -> dict[str, Any]:
    """NME on a folder in the format of AFLW2000-3D (Zhu et al. 2016), in pixels of the photos.

    The five points of the alignment come from the true 68 landmarks, which flatters every method;
    the published figures used a detector.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      folder: NAME.jpg beside NAME.mat with pt3d_68 and Pose_Para.

    Raises:
      ValueError: see `facejax.data.aflw2000`.
    """
    side = system.camera.size
    photos = read_aflw2000(folder)
    images, transforms = [], []
    for photo in photos:
        aligned = align_photo(read_pixels(photo.image), photo.landmarks, side)
        images.append(aligned.crop.astype(np.float32) / 255)
        transforms.append(aligned.transform)
    found = Predictor(system, params)(np.stack(images))
    truth = np.stack([p.landmarks for p in photos])
    yaw_rad = np.array([p.yaw_rad for p in photos])
    out: dict[str, Any] = {"num_faces": len(photos), "nme_percent": {}}
    for mesh in (m for m in ("rnet", "graph") if f"{m}_landmarks" in found):
        pairs = zip(transforms, found[f"{mesh}_landmarks"], strict=True)
        predicted = np.stack([t.to_photo(points) for t, points in pairs])
        out["nme_percent"][mesh] = landmark_figures(predicted, truth, yaw_rad)
    return out


def evaluate(system, params, workdir: pathlib.Path) -> dict[str, Any]:
    """All figures of a run; JSON-able. A strip of overlays is written to the run folder.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      workdir: of the run.
    """
    c = system.config.evaluate
    out: dict[str, Any] = {}
    if c.num_faces:
        out["synthetic"] = synthetic_figures(system, params, c.num_faces)
    if c.aflw_path:
        out["aflw2000_3d"] = aflw_figures(system, params, c.aflw_path)
    write_image(workdir / "evaluation_faces.png", system.gallery.strip(params))
    return out
