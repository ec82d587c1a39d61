"""How good reconstructions are: on rendered faces, whose truth is known, and on AFLW2000-3D.

Every figure of rendered faces is given 'before' training (the mean face, frontal) and after it, for
R-Net's linear model ('rnet') and for the graph network's mesh ('graph').
"""

import pathlib
from typing import Any

import jax
import numpy as np

from facejax.data.alignment import align_photo
from facejax.data.photo_folders import find_images, read_pixels
from facejax.image.resample import resize
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


def landmark_figures(predicted: np.ndarray, truth: np.ndarray, yaw_rad: np.ndarray) -> dict:
    """NME in percent: mean, per bin of |yaw|, and the mean of the bins.

    Args:
      predicted, truth: [N, 68, 2] pixels.
      yaw_rad: [N], of the truth.
    """
    nme = 100 * measures.nme(predicted, truth)
    bins = measures.yaw_bins(nme, np.rad2deg(yaw_rad))
    return {"mean": float(nme.mean())} | bins


def shape_errors(system, shape: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean distance of corresponding vertices of the face in mm after rigid alignment, [N].

    Args:
      system: for its face model.
      shape, truth: [N, V, 3] dm.
    """
    face = front_weights(system.model.topology) > 0.5
    a, b = MM_PER_DM * shape[:, face], MM_PER_DM * truth[:, face]
    return measures.vertex_error(a, b)


def _angles_deg(coeffs: np.ndarray, system) -> np.ndarray:
    return np.rad2deg(np.asarray(split(coeffs, system.model).angles))


def synthetic_figures(system, params, num: int) -> dict[str, Any]:
    """Everything that rendered faces tell.

    Args:
      system: a `Deep3DSystem`.
      params: what a checkpoint holds.
      num: faces.
    """
    source = system.held_out(num)
    batches = [source.batch(np.arange(i, min(i + _BATCH, num))) for i in range(0, num, _BATCH)]
    images, landmarks, coeffs = (
        np.concatenate([np.asarray(b[k]) for b in batches])
        for k in ("image", "landmarks", "coeffs")
    )
    found = Predictor(system, params)(images)
    truth_of = jax.jit(lambda c: decode(system.model, split(c, system.model)).shape)
    truth = np.concatenate(
        [np.asarray(truth_of(coeffs[i : i + _BATCH])) for i in range(0, num, _BATCH)]
    )
    mean = jax.jit(lambda c: decode(system.model, split(c, system.model), system.camera))(
        np.zeros_like(coeffs[:1])
    )
    found["before_landmarks"] = np.repeat(np.asarray(mean.landmarks_px), num, axis=0)
    found["before_shape"] = np.repeat(np.asarray(mean.shape), num, axis=0)
    meshes = [m for m in ("before", "rnet", "graph") if f"{m}_shape" in found]
    angles = _angles_deg(coeffs, system)
    yaw_rad = np.deg2rad(angles[:, 1])
    out: dict[str, Any] = {"num_faces": num, "nme_percent": {}, "vertex_mm": {}}
    for mesh in meshes:
        figures = landmark_figures(found[f"{mesh}_landmarks"], landmarks, yaw_rad)
        out["nme_percent"][mesh] = figures
        errors = shape_errors(system, found[f"{mesh}_shape"], truth)
        out["vertex_mm"][mesh] = {
            "mean": float(errors.mean()), "median": float(np.median(errors)),
        }  # fmt: skip
    out["pose_error_deg"] = {}
    for name, vector in (("before", np.zeros_like(coeffs)), ("rnet", found["coeffs"])):
        error = np.abs(_angles_deg(vector, system) - angles)
        axes = dict(zip(("pitch", "yaw", "roll"), np.median(error, axis=0).tolist(), strict=True))
        out["pose_error_deg"][name] = {f"median_{k}": v for k, v in axes.items()}
        out["pose_error_deg"][name]["mean_yaw"] = float(error[:, 1].mean())
    parts = (split(found["coeffs"], system.model), split(coeffs, system.model))
    out["correlation"] = {
        name: measures.coefficient_correlation(*(np.asarray(getattr(p, name)) for p in parts))
        for name in ("id", "exp", "tex", "angles", "gamma", "trans")
    }
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
      ValueError: no picture with such a file.
    """
    from facejax.io.mat import read_parameters

    side = system.camera.size
    crops, transforms, truths, yaws = [], [], [], []
    for path in find_images(folder):
        mat = path.with_suffix(".mat")
        if not mat.is_file():
            continue
        values = read_parameters(mat)
        photo = align_photo(read_pixels(path), values["pt3d_68"][:, :2])
        crops.append(photo.crop.astype(np.float32) / 255)
        transforms.append(photo.transform)
        truths.append(values["pt3d_68"][:, :2])
        yaws.append(values["Pose_Para"][1])
    if not crops:
        raise ValueError(
            f"{folder}: no picture has a .mat file with pt3d_68 and Pose_Para beside it"
        )
    images = np.stack(crops)
    scale = images.shape[1] / side
    if scale != 1:
        images = np.asarray(resize(images, (side, side), "bilinear"))
    found = Predictor(system, params)(images)
    out: dict[str, Any] = {"num_faces": len(crops), "nme_percent": {}}
    for mesh in ("rnet", "graph"):
        if f"{mesh}_landmarks" in found:
            points = scale * found[f"{mesh}_landmarks"]
            photo = np.stack([t.to_photo(p) for t, p in zip(transforms, points, strict=True)])
            out["nme_percent"][mesh] = landmark_figures(photo, np.stack(truths), np.array(yaws))
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
