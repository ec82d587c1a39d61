"""Photos to textured 3D faces: what launch/reconstruct.py does, as functions.

A photo needs five landmarks (or 68) beside it: NAME.txt, .pts, .bin or .npy, y down. The crop is
that of `facejax.data.alignment`; coefficients come from a trained network, from fitting, or from
fitting that starts at the network's.
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.alignment import (
    AlignedPhoto,
    align_photo,
    check_landmarks5,
    landmarks5_from_68,
)
from facejax.data.photo_folders import IMAGE_SUFFIXES, find_images, read_pixels
from facejax.io.checkpoints import Checkpoints
from facejax.io.landmarks import SUFFIXES, read_landmarks
from facejax.morphable import MorphableModel, load_morphable
from facejax.pipelines import fit
from facejax.pipelines.photo_texture import make_texture
from facejax.pipelines.reconstruction_files import Reconstruction, write_reconstruction
from facejax.render import face_decoder as fd
from facejax.train.run_folder import read_system_config

_log = logging.getLogger(__name__)
METHODS = ("network", "fit")
_PLACES = ("", "detections")


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo that is ready to be reconstructed.

    Attributes:
      path: of the file.
      pixels: [H, W, 3] uint8 RGB.
      aligned: crop of 224, transform, landmarks [5 or 68, 2] with y UP.
    """

    path: pathlib.Path
    pixels: np.ndarray
    aligned: AlignedPhoto


def find_inputs(path: str | os.PathLike) -> list[pathlib.Path]:
    """The image files that a path means: itself, or those of the folder, by name.

    Raises:
      ValueError: no such file, no image, or a folder without images.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return find_images(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder; wanted a photo, or a folder of photos")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{path}: found no image, wanted one of {', '.join(IMAGE_SUFFIXES)}")
    return [path]


def read_photo(
    path: str | os.PathLike, landmarks: str | os.PathLike | None = None, check: bool = True
) -> Photo:
    """Reads and aligns a photo.

    Args:
      path: the image.
      landmarks: their file, or the folder of NAME.txt and so on; None looks beside the image and
        in detections/.
      check: refuse points that look wrong (order, side, dlib's five).

    Raises:
      ValueError: unreadable image, no landmarks, or odd ones.
    """
    path = pathlib.Path(path)
    pixels = read_pixels(path)
    points_path = _landmark_file(path, landmarks)
    points = read_landmarks(points_path)
    if len(points) not in (5, 68):
        raise ValueError(f"{points_path}: found {len(points)} points, wanted 5 or 68")
    five = points if len(points) == 5 else landmarks5_from_68(points)
    complaints = check_landmarks5(five, pixels.shape[:2]) if check else []
    if complaints:
        raise ValueError(
            f"{points_path}: {'; '.join(complaints)}. Wanted pixels x y, y down: eye on the "
            "image's left, eye on its right, nose tip, mouth corner on the left, on the right"
        )
    return Photo(path, pixels, align_photo(pixels, points))


def _landmark_file(image, given):
    if given and pathlib.Path(given).is_file():
        return pathlib.Path(given)
    folders = [pathlib.Path(given)] if given else [image.parent / p for p in _PLACES]
    for folder in folders:
        for suffix in SUFFIXES:
            if (path := folder / f"{image.stem}{suffix}").is_file():
                return path
    raise ValueError(
        f"{image}: found no landmarks {image.stem}{{{','.join(SUFFIXES)}}} in "
        f"{' or '.join(str(f) for f in folders)}; wanted five points 'x y' (eyes, nose tip, mouth "
        "corners; image left first) or 68. Give --landmarks=FILE_OR_FOLDER"
    )


# --- Networks ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Regressor:
    """A trained network and the face model that it belongs to.

    Attributes:
      model: the face model.
      size: side of its crops.
      predict: [B, size, size, 3] in [0, 1] -> {'coeffs' [B, n], 'refined' DecodedFace or absent}.
    """

    model: MorphableModel
    size: int
    predict: Callable[[jax.Array], dict[str, Any]]


def load_regressor(weights: str | os.PathLike, model: str | os.PathLike | None = None) -> Regressor:
    """A network from a run folder or from a file of imported weights.

    Args:
      weights: a run of configs/deep3d.py, or an .npz of launch/import_weights.py
        --system=deep3d --part=rnet.
      model: name or path of the face model; None takes the run's. Imported weights need it.

    Raises:
      ValueError: neither, no checkpoint yet, or a face model with other coefficients.
    """
    path = pathlib.Path(weights)
    if path.is_dir():
        return _run_regressor(path, model)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such run folder or weights file; train one with `python launch/main.py "
            f"--config=configs/deep3d.py --workdir={path}`, or use --method=fit, which needs none"
        )
    return _file_regressor(path, model)


def _run_regressor(path, model):
    from facejax.systems.deep3d.system import Deep3DSystem

    system = Deep3DSystem(read_system_config(path, "deep3d"))
    if model is not None:
        _require_same(load_morphable(model), system.model, path)
    found = Checkpoints(path / "checkpoints").restore_latest(only=("params", "ema", "aux"))
    if found is None:
        raise ValueError(f"{path} has no checkpoint yet: train first, or wait for the first one")
    tree, _ = found
    params = {**tree["aux"], **tree["params"], **tree["ema"]}
    predict = functools.partial(jax.jit(system.predict), params)
    return Regressor(system.model, system.camera.size, predict)


def _require_same(given, trained, path):
    sizes = [(m.num_id, m.num_exp, m.num_alb) for m in (given, trained)]
    if given.topology.digest != trained.topology.digest:
        raise ValueError(
            f"{path}: its network was trained for the face model {trained.topology.name!r} with "
            f"{sizes[1]} identity, expression and albedo coefficients, found --model "
            f"{given.topology.name!r} with {sizes[0]}; leave --model away, or use --method=fit"
        )


def _file_regressor(path, model):
    from facejax.systems.deep3d.importer import load_weights

    net, variables, _ = load_weights(path, "rnet")
    if model is None:
        raise ValueError(
            f"{path}: imported weights need the face model they belong to; give "
            "--model=BFM_model_front.mat (see data_prep/import_bfm.py)"
        )
    loaded = load_morphable(model)
    sizes = dict(net.sizes)
    found = tuple(sizes[k] for k in ("id", "exp", "tex"))
    wanted = (loaded.num_id, loaded.num_exp, loaded.num_alb)
    if found != wanted:
        raise ValueError(
            f"{path}: found {found} identity, expression and texture coefficients, wanted {wanted} "
            f"of the face model {loaded.topology.name!r}; give the --model they belong to"
        )

    @jax.jit
    def predict(variables, image):
        if net.variant == "slim":  # BGR in [0, 255]
            image = 255.0 * image[..., ::-1]
        return {"coeffs": net.apply(variables, image)[0]}

    return Regressor(loaded, 224, functools.partial(predict, variables))


# --- Reconstruction ------------------------------------------------------------------------------


class Reconstructor:
    """Photos to faces, with one face model and one method.

    Args:
      model: a face model; None takes the regressor's.
      regressor: a trained network; None fits from scratch.
      refine: fit on from the network's coefficients.
      options: of the fit.
      batch_size: photos that the network sees at a time.
    """

    def __init__(
        self,
        model: MorphableModel | None = None,
        regressor: Regressor | None = None,
        refine: bool = False,
        options: fit.FitOptions | None = None,
        batch_size: int = 8,
    ):
        if model is None and regressor is None:
            raise ValueError("found neither a face model nor a network, wanted one of them")
        self.model = regressor.model if regressor else model
        self.regressor, self.refine = regressor, refine
        self.options = options or fit.FitOptions()
        self.batch_size = max(1, int(batch_size)) if regressor else 1
        self._decode = jax.jit(fd.decode)

    def __call__(self, photos: Sequence[Photo]) -> Iterator[Reconstruction]:
        """The faces of at most `batch_size` photos."""
        predicted = self._predict(photos) if self.regressor else [(None, None)] * len(photos)
        for photo, (start, refined) in zip(photos, predicted, strict=True):
            yield self._one(photo, start, refined)

    def _predict(self, photos):
        from PIL import Image

        side = self.regressor.size
        crops = np.zeros((self.batch_size, side, side, 3), np.float32)  # one size, one program
        for k, photo in enumerate(photos):
            crop = Image.fromarray(photo.aligned.crop)
            crop = crop if side == 224 else crop.resize((side, side), Image.Resampling.BICUBIC)
            crops[k] = np.asarray(crop, np.float32) / 255
        out = self.regressor.predict(jnp.asarray(crops))
        coeffs = fd.split(out["coeffs"], self.model)
        refined = out.get("refined")
        for k in range(len(photos)):
            one = jax.tree.map(lambda a, k=k: a[k], (coeffs, refined))
            yield one[0], one[1]

    def _one(self, photo, start, refined):
        curves = {}
        coeffs = start
        if start is None or self.refine:
            found = fit.fit_photo(
                self.model, photo.aligned.crop, photo.aligned.landmarks, self.options, start
            )
            coeffs, curves = found.coeffs, found.curves
        face = self._decode(self.model, coeffs)
        still = coeffs.replace(exp=jnp.zeros_like(coeffs.exp))
        neutral = np.asarray(self._decode(self.model, still).shape)
        if refined is not None:
            # what the graph network added to the linear face stays on it
            linear = self._decode(self.model, start)
            shape = face.shape + refined.shape - linear.shape
            albedo = face.albedo + refined.albedo - linear.albedo
            neutral = neutral + np.asarray(shape - face.shape)
            face = jax.jit(fd.assemble)(self.model, shape, albedo, coeffs)
        return Reconstruction(
            photo=photo.pixels,
            aligned=photo.aligned,
            coeffs=coeffs,
            face=face,
            neutral_shape=neutral,
            curves={k: np.asarray(v) for k, v in curves.items()},
        )


@dataclasses.dataclass
class Summary:
    """What became of the photos.

    Attributes:
      written: the .glb files.
      failed: photo -> what went wrong.
    """

    written: list[pathlib.Path]
    failed: dict[pathlib.Path, str]


def reconstruct_photos(
    reconstructor: Reconstructor,
    inputs: Sequence[pathlib.Path],
    out: str | os.PathLike,
    *,
    landmarks: str | os.PathLike | None = None,
    check_points: bool = True,
    texture_size: int = 1024,
    neutral: bool = False,
    obj: bool = False,
) -> Summary:
    """Reconstructs photos and writes their files; a bad photo never stops the others.

    Args:
      reconstructor: the method.
      inputs: image files.
      out: folder; made if missing. Files are listed in `reconstruction_files`.
      landmarks: file (for one photo) or folder; see `read_photo`.
      check_points: see `read_photo`.
      texture_size: side of the texture.
      neutral: meshes in canonical pose, without expression.
      obj: also .obj files.

    Raises:
      ValueError: a landmark file for several photos, an odd texture size, or `out` is the folder
        of the photos.
    """
    from tqdm import tqdm

    if len(inputs) > 1 and landmarks and not pathlib.Path(landmarks).is_dir():
        raise ValueError(
            f"--landmarks={landmarks}: wanted a folder of NAME.txt files for {len(inputs)} photos"
        )
    if not 16 <= texture_size <= 8192:
        raise ValueError(f"found the texture size {texture_size}, wanted 16 to 8192")
    if pathlib.Path(out).resolve() in {p.parent.resolve() for p in inputs}:
        raise ValueError(
            f"{out} is the folder of the photos, and results could replace them; give another --out"
        )
    stems = [p.stem for p in inputs]
    names = {p: p.stem if stems.count(p.stem) == 1 else p.name.replace(".", "_") for p in inputs}
    summary = Summary([], {})
    model, step = reconstructor.model, reconstructor.batch_size
    with tqdm(total=len(inputs), desc="photos", disable=None) as progress:
        for first in range(0, len(inputs), step):
            photos = []
            for path in inputs[first : first + step]:
                try:
                    photos.append(read_photo(path, landmarks, check_points))
                except (ValueError, OSError) as error:
                    _log.warning("left out: %s", error)
                    summary.failed[path] = str(error)
                    progress.update()
            results = reconstructor(photos) if photos else ()
            for photo, result in zip(photos, results, strict=True):
                texture = make_texture(
                    model,
                    result.face,
                    result.coeffs.tex,
                    photo.pixels,
                    photo.aligned.transform.box,
                    texture_size,
                )
                summary.written.append(
                    write_reconstruction(
                        out, names[photo.path], model, result, texture, neutral=neutral, obj=obj
                    )
                )
                progress.update()
    return summary
