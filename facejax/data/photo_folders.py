"""Folders of photos prepared for training, in the layouts of both Deep3D programs.

| layout | files | made by |
|---|---|---|
| crops | NAME.png (224 px), {lm,lm_bin,mask}/NAME.{txt,bin,png} | Deep3DFaceReconstruction |
|  | transform/NAME.json, the way back to the photo | (nobody else) |
| photos | NAME.jpg (whole photo), landmarks/NAME.txt, mask/NAME.* | Deep3DFaceRecon_pytorch |
| lists | images.txt, landmarks.txt, masks.txt: one path per line | the latter's datalist/MODE |

In all of them the 68 landmarks are pixels of the image they belong to, with y UP from its bottom.
`data_prep/preprocess_images.py` writes them.
"""

import concurrent.futures
import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from facejax.data.alignment import (
    CROP_SIZE,
    TURNS,
    AlignedPhoto,
    Transform,
    align_photo,
    points_as_shown,
)
from facejax.data.source import Source, check_indices
from facejax.host.files import (
    atomic_path,
    files_by_stem,
    is_file,
    list_files,
    name_key,
    read_json,
    read_list,
    some_names,
)
from facejax.image.skin import skin_mask
from facejax.io.images import IMAGE_SUFFIXES, read_header, read_image, write_image
from facejax.io.landmarks import SUFFIXES as LANDMARK_SUFFIXES
from facejax.io.landmarks import LandmarkIndex, read_landmarks, write_landmarks

_log = logging.getLogger(__name__)
LISTS = ("images.txt", "landmarks.txt", "masks.txt")
_LANDMARK_FOLDERS = {"lm_bin": True, "lm": True, "landmarks": False}  # name -> crops?


@dataclasses.dataclass(frozen=True)
class PhotoFiles:
    """The files of one face.

    Attributes:
      image: the photo or the crop.
      landmarks: 68 points, y up.
      mask: skin mask of the size of the image, or None: then it is the image's alpha channel, as
        3D-Face-GCNs has it, and computed for an image without transparent pixels.
      aligned: whether the image is a crop already.
    """

    image: pathlib.Path
    landmarks: pathlib.Path
    mask: pathlib.Path | None
    aligned: bool


def find_photos(path: str | os.PathLike) -> list[PhotoFiles]:
    """The prepared faces of a folder; its layout is recognised.

    Args:
      path: a folder of one of the module's layouts, or one with such sub-folders. Images without
        landmarks are left out.

    Raises:
      ValueError: no such folder, another layout, not one complete face, files of a list that do not
        exist, or landmarks that do not say whose they are.
    """
    path = pathlib.Path(path)
    if all((path / name).is_file() for name in LISTS):
        return _from_lists(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; wanted one with prepared photos")
    images = list_files(path, IMAGE_SUFFIXES)
    if not images and (folders := _prepared_below(path)):
        _log.warning("%s: taking the photos of %d sub-folders", path, len(folders))
        return [photo for folder in folders for photo in find_photos(folder)]
    stems = [name_key(image.stem) for image in images]
    index = LandmarkIndex()
    masks = {stem: files[0] for stem, files in files_by_stem(path / "mask", IMAGE_SUFFIXES).items()}
    for name, aligned in _LANDMARK_FOLDERS.items():
        found = [
            PhotoFiles(image, _landmarks(index, path / name, stem), masks.get(stem), aligned)
            for image, stem in zip(images, stems, strict=True)
            if index.files(path / name, stem)
        ]
        if found:
            _refuse_twins(found)
            if len(found) < len(images):
                left = [i.name for i, s in zip(images, stems, strict=True)
                        if not index.files(path / name, s)]  # fmt: skip
                _log.warning(
                    "%s: %d images without landmarks are left out: %s",
                    path, len(left), some_names(left),
                )  # fmt: skip
            return found
    raise ValueError(
        f"{path}: found {len(images)} images but no landmarks of them in the folders "
        f"{', '.join(_LANDMARK_FOLDERS)}; make them with data_prep/preprocess_images.py, from 68 "
        "points per photo (five are not enough to train on)"
    )


def _prepared_below(path: pathlib.Path) -> list[pathlib.Path]:
    """Sub-folders of the layouts 'crops' and 'photos', one for each class, say."""
    files = list_files(path, LANDMARK_SUFFIXES, recursive=True)
    return sorted({f.parent.parent for f in files if f.parent.name in _LANDMARK_FOLDERS} - {path})


def _landmarks(index: LandmarkIndex, folder: pathlib.Path, stem: str) -> pathlib.Path:
    files = index.files(folder, stem)
    return files[0] if len(files) == 1 else next(index.read(folder, stem))[0]


def _refuse_twins(photos: list[PhotoFiles]) -> None:
    """Two images of one stem would share landmarks that belong to one of them."""
    seen: dict[pathlib.Path, pathlib.Path] = {}
    for photo in photos:
        other = seen.setdefault(photo.landmarks, photo.image)
        if other != photo.image:
            raise ValueError(
                f"{other} and {photo.image} share the landmarks {photo.landmarks}: whose they are "
                "is unclear; rename or remove one"
            )


def _from_lists(path: pathlib.Path) -> list[PhotoFiles]:
    rows = [read_list(path / name) for name in LISTS]
    if len({len(r) for r in rows}) != 1 or not rows[0]:
        counts = ", ".join(f"{n}: {len(r)}" for n, r in zip(LISTS, rows, strict=True))
        raise ValueError(f"{path}: found lists of {counts} lines, wanted equally many, and some")
    # paths are relative to where the lists were made: the working folder, that of the lists, or one
    # above it
    here = path.resolve()
    first = rows[0][0]
    bases = [pathlib.Path(), here, *here.parents]
    base = next((b for b in bases if is_file(_listed(b, first))), None)
    if base is None:
        raise ValueError(
            f"{path / LISTS[0]}: found {first!r}, which is no file seen from here, from the folder "
            "of the lists or from one above it; run from the folder in which the lists were made"
        )
    columns = [[_listed(base, line) for line in row] for row in rows]
    for name, files in zip(LISTS, columns, strict=True):
        missing = [file for file in files if not is_file(file)]
        if missing:
            raise ValueError(
                f"{path / name}: {len(missing)} of {len(files)} files do not exist: "
                f"{some_names(missing)}"
            )
    odd = [
        image.name
        for image, *others in zip(*columns, strict=True)
        if not all(file.stem.endswith(image.stem) for file in others)
    ]
    if odd:
        _log.warning(
            "%s: %d lines name files of different names; check that the lists have one order: %s",
            path, len(odd), some_names(odd),
        )  # fmt: skip
    return [PhotoFiles(*files, False) for files in zip(*columns, strict=True)]


def _listed(base: pathlib.Path, line: str) -> pathlib.Path:
    """A path of a list, which may have been written on Windows."""
    path = base / line
    if "\\" in line and not is_file(path):
        path = base / pathlib.PureWindowsPath(line).as_posix()
    return path


def read_pixels(path: str | os.PathLike, mode: str = "RGB") -> np.ndarray:
    """An image file as uint8, [H, W, 3], or [H, W] for mode 'L'.

    Raises:
      ValueError: no such file, or no image.
    """
    pixels = np.rint(read_image(path, mode) * 255).astype(np.uint8)
    return pixels[..., 0] if mode == "L" else pixels


def flip_y(points: np.ndarray, height: int) -> np.ndarray:
    """Points between y down and y up: height - 1 - y."""
    return np.stack([points[..., 0], height - 1 - points[..., 1]], axis=-1)


def turned_points(
    path: str | os.PathLike, points: np.ndarray, stored: np.ndarray | None = None
) -> np.ndarray:
    """Landmarks of a photo as it is shown, wherever its orientation tag was left aside.

    Args:
      path: the image.
      points: [5, 2] or [68, 2] pixels, y down.
      stored: see `alignment.points_as_shown`; None where it is the same.

    Raises:
      ValueError: the image cannot be read.
    """
    size, tag = read_header(path)
    found, turned = points_as_shown(points, points if stored is None else stored, size, tag)
    if turned:
        _log.warning(
            "%s: its landmarks were measured on the stored pixels; turned as the photo is", path
        )
    return found


def read_aligned(
    path: str | os.PathLike, landmarks: np.ndarray, size: int = CROP_SIZE
) -> tuple[np.ndarray, AlignedPhoto]:
    """A photo's pixels [H, W, 3] uint8, and its crop.

    Args:
      path: the image.
      landmarks: as for `align_photo`.
      size: side of the crop.

    Raises:
      ValueError: it cannot be read or aligned; the message names the file.
    """
    pixels = read_pixels(path)
    try:
        return pixels, align_photo(pixels, landmarks, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_photo(files: PhotoFiles) -> tuple[AlignedPhoto, np.ndarray]:
    """A prepared face as the networks want it.

    Returns:
      (crop with its 68 landmarks, y up; skin mask [224, 224] uint8).

    Raises:
      ValueError: a file is missing, unreadable or of the wrong size.
    """
    pixels = read_pixels(files.image, "RGBA")
    image, alpha = np.ascontiguousarray(pixels[..., :3]), pixels[..., 3]
    landmarks = read_landmarks(files.landmarks, 68)
    height, width = image.shape[:2]
    if files.mask is not None:
        mask = read_pixels(files.mask)[..., 0]
    else:
        mask = None if alpha.min() == 255 else alpha
    if not files.aligned:
        landmarks, mask = _as_shown(files.image, landmarks, mask, (height, width))
    if mask is not None and mask.shape != image.shape[:2]:
        raise ValueError(
            f"{files.mask}: found a mask of {mask.shape[1]}x{mask.shape[0]}, wanted "
            f"{width}x{height} as {files.image}"
        )
    if files.aligned:
        if (height, width) != (CROP_SIZE, CROP_SIZE):
            raise ValueError(
                f"{files.image}: found a crop of {width}x{height}, wanted {CROP_SIZE}x{CROP_SIZE}"
            )
        photo = AlignedPhoto(image, read_transform(files.image), landmarks)
    else:
        try:
            photo = align_photo(image, landmarks)
        except ValueError as error:
            raise ValueError(f"{files.landmarks}: {error}") from error
        mask = None if mask is None else photo.transform.cut(mask)
    return photo, skin_mask(photo.crop) if mask is None else mask


def _as_shown(path, landmarks, mask, size):
    """Landmarks, y up in their file, with y down, and the mask, as the photo is shown."""
    tag = read_header(path)[1]
    shown = flip_y(landmarks, size[0])
    if tag not in TURNS:
        return shown, mask
    stored = flip_y(landmarks, size[0] if tag == 3 else size[1])
    found = turned_points(path, shown, stored)
    if found is not shown and mask is not None:
        mask = np.ascontiguousarray(np.rot90(mask, TURNS[tag]))
    return found, mask


def check_files(photos: Sequence[PhotoFiles]) -> None:
    """Looks at the landmarks of every face and at the headers of its pictures, not at the pixels.

    Raises:
      ValueError: some cannot be used; says how many, which, and why the first.
    """
    from tqdm import tqdm

    def problem(photo: PhotoFiles) -> str:
        try:
            read_landmarks(photo.landmarks, 68)
            for path in (photo.image, photo.mask):
                if path is not None:
                    read_header(path)
        except ValueError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = pool.map(problem, photos)
        found = list(tqdm(found, desc="checking", total=len(photos), disable=None, delay=2))
    bad = [photo.image.name for photo, words in zip(photos, found, strict=True) if words]
    if bad:
        raise ValueError(
            f"{len(bad)} of {len(photos)} faces cannot be used ({some_names(bad)}): "
            f"{next(filter(None, found))}; mend them, or take their landmarks away: faces without "
            "are left out"
        )


class PhotoFolder(Source):
    """Training examples from prepared photos; a `facejax.data.source.Source`.

    Attributes:
      meta: JSON-able description.
      files: the faces, in order.
    """

    in_threads = True  # Pillow frees the GIL

    def __init__(self, path: str | os.PathLike, size: int = CROP_SIZE):
        """Looks the files up and checks them; pixels are read when asked for.

        Args:
          path: see `find_photos`.
          size: side of the images; others than 224 are resized (bicubic), landmarks with them.

        Raises:
          ValueError: as `find_photos` and `check_files`.
        """
        self.files = find_photos(path)
        check_files(self.files)
        self._size = int(size)
        self.meta = {"source": "photos", "path": str(path), "size": self._size}

    def __len__(self) -> int:
        return len(self.files)

    def draw(self, indices: np.ndarray) -> dict:
        """Examples by number.

        Args:
          indices: [B] int64.

        Returns:
          'image' [B, S, S, 3] in [0, 1], 'landmarks' [B, 68, 2] pixels with y UP, 'mask' [B, S, S]
          in [0, 1]; float32.
        """
        files = [self.files[i] for i in check_indices(indices, len(self))]
        faces = [load_photo(file) for file in files]
        ratio = self._size / CROP_SIZE
        landmarks = np.stack([photo.landmarks for photo, _ in faces]) * ratio
        return {
            "image": np.stack([self._resized(photo.crop) for photo, _ in faces]),
            "landmarks": landmarks.astype(np.float32),
            "mask": np.stack([self._resized(mask) for _, mask in faces]),
        }

    def _resized(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        if self._size != CROP_SIZE:
            size = (self._size, self._size)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        return pixels.astype(np.float32) / np.float32(255)


def read_transform(crop: str | os.PathLike) -> Transform | None:
    """How a crop of the layout 'crops' was cut from its photo; None where no file says.

    Args:
      crop: NAME.png; the transform is in transform/NAME.json beside it.

    Raises:
      ValueError: the file is damaged.
    """
    crop = pathlib.Path(crop)
    path = crop.parent / "transform" / f"{crop.stem}.json"
    if not path.is_file():
        return None
    try:
        return Transform(**read_json(path))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no transform of a crop ({error}); prepare it again") from error


def write_crop(folder: str | os.PathLike, name: str, photo: AlignedPhoto, mask: np.ndarray) -> None:
    """Adds a face to a folder of crops; without 68 landmarks, image and mask only.

    Args:
      folder: of the layout 'crops'.
      name: without suffix.
      photo: a crop of 224 px.
      mask: [224, 224] uint8.
    """
    folder = pathlib.Path(folder)
    write_image(folder / f"{name}.png", photo.crop)
    if photo.transform is not None:
        with atomic_path(folder / "transform" / f"{name}.json") as path:
            text = json.dumps(dataclasses.asdict(photo.transform))
            path.write_text(text + "\n", encoding="utf-8")
    write_image(folder / "mask" / f"{name}.png", np.repeat(mask[..., None], 3, axis=-1))
    if len(photo.landmarks) == 68:
        write_landmarks(folder / "lm" / f"{name}.txt", photo.landmarks)
        write_landmarks(folder / "lm_bin" / f"{name}.bin", photo.landmarks)


def write_labels(
    folder: str | os.PathLike, name: str, landmarks: np.ndarray | None, mask: np.ndarray
) -> None:
    """Adds the files beside a whole photo.

    Args:
      folder: of the layout 'photos'; holds the photo.
      name: of the photo, without suffix.
      landmarks: [68, 2] photo pixels, y UP, or None.
      mask: [H, W] uint8 of the whole photo.
    """
    folder = pathlib.Path(folder)
    write_image(folder / "mask" / f"{name}.png", np.repeat(mask[..., None], 3, axis=-1))
    if landmarks is not None:
        write_landmarks(folder / "landmarks" / f"{name}.txt", landmarks)


def write_lists(folder: str | os.PathLike, photos: list[PhotoFiles]) -> None:
    """Writes images.txt, landmarks.txt and masks.txt of faces whose three files exist.

    Args:
      folder: for example datalist/train.
      photos: paths are written as they are.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(p.image, p.landmarks, p.mask) for p in photos if p.mask]
    rows = [row for row in rows if all(file.is_file() for file in row)]
    for k, name in enumerate(LISTS):
        text = "".join(f"{row[k].as_posix()}\n" for row in rows)
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8")
