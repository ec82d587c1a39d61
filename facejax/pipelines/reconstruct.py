"""Photos to textured 3D faces: what `facejax reconstruct` does, as functions.

A photo needs five landmarks (or 68) beside it: NAME.txt, .pts, .bin or .npy, y down. The crop is
that of `facejax.data.alignment`; coefficients come from a trained network, from fitting, or from
fitting that starts at the network's.
"""

import collections
import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.alignment import (
    AlignedPhoto,
    Transform,
    align_photo,
    check_landmarks5,
    five_of,
)
from facejax.data.photo_folders import read_pixels, turned_points
from facejax.host import machine
from facejax.host.locks import folder_lock
from facejax.io.images import IMAGE_SUFFIXES, find_images
from facejax.io.landmarks import SUFFIXES, LandmarkIndex, read_landmarks
from facejax.morphable import Coefficients, MorphableModel
from facejax.pipelines import fit
from facejax.pipelines.reconstruction_files import (
    DEFAULT_FILES,
    FileOptions,
    Reconstruction,
    write_reconstruction,
)
from facejax.pipelines.regressors import Regressor
from facejax.recon import decoder

_log = logging.getLogger(__name__)
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
    """The image files that a path means: itself, or those of the folder (`find_images`), by name.

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
    path: str | os.PathLike,
    landmarks: str | os.PathLike | None = None,
    check: bool = True,
    index: LandmarkIndex | None = None,
) -> Photo:
    """Reads and aligns a photo.

    Landmarks that were measured without the photo's orientation tag are turned with it.

    Args:
      path: the image.
      landmarks: their file, or the folder of NAME.txt and so on; None looks beside the image and
        in detections/.
      check: refuse points that look wrong (order, side, dlib's five).
      index: of landmark files, for many photos of one folder.

    Raises:
      ValueError: unreadable image, no landmarks, or odd ones.
    """
    path = pathlib.Path(path)
    pixels = read_pixels(path)
    points_path, points = _landmarks_of(path, landmarks, index or LandmarkIndex())
    points = turned_points(path, points) if check else points
    complaints = check_landmarks5(five_of(points), pixels.shape[:2]) if check else []
    if complaints:
        raise ValueError(
            f"{points_path}: {'; '.join(complaints)}. Wanted pixels x y, y down: eye on the "
            "image's left, eye on its right, nose tip, mouth corner on the left, on the right"
        )
    try:
        return Photo(path, pixels, align_photo(pixels, points))
    except ValueError as error:
        raise ValueError(f"{points_path}: {error}") from error


def _landmarks_of(image, given, index):
    """(file, points) of a photo."""
    if given and pathlib.Path(given).is_file():
        return pathlib.Path(given), read_landmarks(given, (5, 68))
    if given and not pathlib.Path(given).is_dir():
        raise ValueError(f"--landmarks={given}: no such file or folder")
    folders = [pathlib.Path(given)] if given else [image.parent / p for p in _PLACES]
    for folder in folders:
        if index.files(folder, image.stem):
            return next(index.read(folder, image.stem))
    raise ValueError(
        f"{image}: found no landmarks {image.stem}{{{','.join(SUFFIXES)}}} in "
        f"{' or '.join(str(f) for f in folders)}; wanted five points 'x y' (eyes, nose tip, mouth "
        "corners; image left first) or 68. Give --landmarks=FILE_OR_FOLDER"
    )


@dataclasses.dataclass
class Estimate:
    """What is known of a photo's face before it is decoded.

    Attributes:
      photo: the photo.
      coeffs: without batch dims.
      added: (shape [V, 3] dm, albedo [V, 3]) that a graph network adds to the linear face, or None.
      curves: of the fit, or empty.
    """

    photo: Photo
    coeffs: Coefficients
    added: tuple[jax.Array, jax.Array] | None = None
    curves: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


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
        self._decode = jax.jit(decoder.decode)

    def estimate(self, photos: Sequence[Photo]) -> Iterator[Estimate]:
        """The coefficients of at most `batch_size` photos."""
        predicted = self._predict(photos) if self.regressor else [(None, None)] * len(photos)
        for photo, (coeffs, refined) in zip(photos, predicted, strict=True):
            added = None
            if refined is not None:
                linear = self._decode(self.model, coeffs)
                added = (refined.shape - linear.shape, refined.albedo - linear.albedo)
            found = Estimate(photo, coeffs, added)
            yield self._fit(found) if coeffs is None or self.refine else found

    def _predict(self, photos):
        from PIL import Image

        side = self.regressor.size
        crops = np.zeros((self.batch_size, side, side, 3), np.float32)  # one size, one program
        for k, photo in enumerate(photos):
            crop = Image.fromarray(photo.aligned.crop)
            crop = crop if side == 224 else crop.resize((side, side), Image.Resampling.BICUBIC)
            crops[k] = np.asarray(crop, np.float32) / 255
        out = self.regressor.predict(jnp.asarray(crops))
        coeffs = decoder.split(out.coeffs, self.model)
        for k in range(len(photos)):
            one = jax.tree.map(lambda a, k=k: a[k], (coeffs, out.refined))
            yield one[0], one[1]

    def _fit(self, found, hold_identity=False):
        aligned = found.photo.aligned
        fitted = fit.fit_photo(
            self.model,
            aligned.crop,
            aligned.landmarks,
            self.options,
            found.coeffs,
            hold_identity,
            aligned.transform and inside_photo(aligned.transform),
        )
        curves = {k: np.asarray(v) for k, v in fitted.curves.items()}
        return dataclasses.replace(found, coeffs=fitted.coeffs, curves=curves)

    def share_identity(self, estimates: Sequence[Estimate]) -> list[Estimate]:
        """One identity for photos of one person: the mean, weighted by the landmarks in view.

        Where coefficients were fitted, all others are fitted on with that identity.
        """
        weights = [self._landmarks_in_view(e.coeffs) for e in estimates]
        ids = jnp.stack([e.coeffs.id for e in estimates])
        shared = jnp.average(ids, axis=0, weights=jnp.asarray(weights))
        out = [dataclasses.replace(e, coeffs=e.coeffs.replace(id=shared)) for e in estimates]
        if self.regressor is None or self.refine:
            out = [self._fit(e, hold_identity=True) for e in out]
        return out

    def _landmarks_in_view(self, coeffs):
        face = self._decode(self.model, coeffs)
        ids = self.model.topology.landmarks68
        return max(1.0, float((np.asarray(face.normals_posed)[ids, 2] > 0).sum()))

    def reconstruct(self, found: Estimate) -> Reconstruction:
        """The face of an estimate."""
        coeffs = found.coeffs
        face = self._decode(self.model, coeffs)
        still = coeffs.replace(exp=jnp.zeros_like(coeffs.exp))
        neutral = self._decode(self.model, still).shape
        if found.added is not None:
            shape, albedo = found.added
            neutral = neutral + shape
            shape, albedo = face.shape + shape, face.albedo + albedo
            face = jax.jit(decoder.assemble)(self.model, shape, albedo, coeffs)
        return Reconstruction(
            photo=found.photo.pixels,
            aligned=found.photo.aligned,
            coeffs=coeffs,
            face=face,
            neutral_shape=np.asarray(neutral),
            curves=found.curves,
        )


def inside_photo(transform: Transform) -> np.ndarray:
    """1 where a crop shows the photo, 0 beyond its border; [224, 224] float64."""
    left, top, right, bottom = transform.box
    middle = (np.arange(transform.size) + 0.5) / transform.size
    x, y = left + middle * (right - left), top + middle * (bottom - top)
    x, y = (x > 0) & (x < transform.width), (y > 0) & (y < transform.height)
    return np.float64(y[:, None] & x)


def output_names(photos: Sequence[pathlib.Path]) -> list[str]:
    """A name for the files of each photo: its stem where that is the only one, whatever the case.

    Photos of one stem keep their suffix (a_jpg), and those of several folders the folder (b_a).
    """

    def repeated(names):
        counts = collections.Counter(name.casefold() for name in names)
        return [counts[name.casefold()] > 1 for name in names]

    names = [p.stem for p in photos]
    for rename in (
        lambda p: p.name.replace(".", "_"),
        lambda p: f"{p.parent.name}_{p.name.replace('.', '_')}",
        lambda p: "_".join([*p.parts[1:-1], p.name]).replace(".", "_"),
    ):
        twice = repeated(names)
        names = [rename(p) if t else n for p, n, t in zip(photos, names, twice, strict=True)]
    return names


@dataclasses.dataclass
class Summary:
    """What became of the photos.

    Attributes:
      written: photo -> its files.
      failed: photo -> what went wrong.
    """

    written: dict[pathlib.Path, list[pathlib.Path]] = dataclasses.field(default_factory=dict)
    failed: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)


def reconstruct_photos(
    reconstructor: Reconstructor,
    inputs: Sequence[pathlib.Path],
    out: str | os.PathLike,
    *,
    landmarks: str | os.PathLike | None = None,
    check_points: bool = True,
    same_person: bool = False,
    files: FileOptions = DEFAULT_FILES,
) -> Summary:
    """Reconstructs photos and writes their files; a bad photo never stops the others.

    Args:
      reconstructor: the method.
      inputs: image files.
      out: folder; made if missing. Files are listed in `reconstruction_files`.
      landmarks: file (for one photo) or folder; see `read_photo`.
      check_points: see `read_photo`.
      same_person: all photos show one person, who gets one identity.
      files: which files, and how.

    Raises:
      ValueError: a landmark file for several photos, or `out` is the folder of the photos.
      LockError: another process reconstructs photos into `out`.
    """
    from tqdm import tqdm

    if len(inputs) > 1 and landmarks and not pathlib.Path(landmarks).is_dir():
        raise ValueError(
            f"--landmarks={landmarks}: wanted a folder of NAME.txt files for {len(inputs)} photos"
        )
    if pathlib.Path(out).resolve() in {p.parent.resolve() for p in inputs}:
        raise ValueError(
            f"{out} is the folder of the photos, and results could replace them; give another --out"
        )
    names = dict(zip(inputs, output_names(inputs), strict=True))
    summary, index = Summary(), LandmarkIndex()

    def leave_out(path: pathlib.Path, error: Exception) -> None:
        _log.warning("left out: %s", error)
        summary.failed[path] = str(error)

    def estimates() -> Iterator[Estimate]:
        step = reconstructor.batch_size
        for first in range(0, len(inputs), step):
            photos = []
            for path in inputs[first : first + step]:
                try:
                    photos.append(read_photo(path, landmarks, check_points, index))
                except (ValueError, OSError) as error:
                    if machine.stops_all(error, path):
                        raise
                    leave_out(path, error)
                    progress.update()
            if photos:
                yield from reconstructor.estimate(photos)

    # Processes that are given a photo each may share a folder: their files do not meet.
    lock = folder_lock(out, "reconstructing") if len(inputs) > 1 else contextlib.nullcontext()
    with lock, tqdm(total=len(inputs), desc="photos", disable=None) as progress:
        found = estimates()
        if same_person and (known := list(found)):
            found = iter(reconstructor.share_identity(known))
        for estimate in found:
            path = estimate.photo.path
            result = reconstructor.reconstruct(estimate)
            try:
                summary.written[path] = write_reconstruction(
                    out, names[path], reconstructor.model, result, files
                )
            except ValueError as error:  # of values that are not finite
                leave_out(path, error)
            progress.update()
    return summary
