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

import dataclasses
import json
import logging
import os
import pathlib

import numpy as np

from facejax.data.alignment import CROP_SIZE, AlignedPhoto, Transform, align_photo
from facejax.data.source import Source, check_indices
from facejax.host.files import atomic_path
from facejax.image.skin import skin_mask
from facejax.io.images import read_image, write_image
from facejax.io.landmarks import read_landmarks, write_landmarks

_log = logging.getLogger(__name__)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
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


def find_images(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The image files of a folder (not of its sub-folders), by name.

    Raises:
      ValueError: no such folder, or no images.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; wanted one with photos")
    files = (p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES)
    found = [p for p in files if p.is_file()]
    if not found:
        raise ValueError(f"{folder}: found no images, wanted {', '.join(IMAGE_SUFFIXES)} files")
    return found


def find_photos(path: str | os.PathLike) -> list[PhotoFiles]:
    """The prepared faces of a folder; its layout is recognised.

    Args:
      path: a folder of one of the module's layouts. Images without landmarks are left out.

    Raises:
      ValueError: no such folder, another layout, or not one complete face.
    """
    path = pathlib.Path(path)
    if all((path / name).is_file() for name in LISTS):
        return _from_lists(path)
    images = find_images(path)
    for name, aligned in _LANDMARK_FOLDERS.items():
        files = {p.stem: p for p in sorted((path / name).glob("*"))}
        masks = {p.stem: p for p in sorted((path / "mask").glob("*"))}
        found = [
            PhotoFiles(image, files[image.stem], masks.get(image.stem), aligned)
            for image in images
            if image.stem in files
        ]
        if found:
            if len(found) < len(images):
                rest = len(images) - len(found)
                _log.warning("%s: %d images without landmarks are left out", path, rest)
            return found
    raise ValueError(
        f"{path}: found {len(images)} images but no landmarks of them in the folders "
        f"{', '.join(_LANDMARK_FOLDERS)}; make them with data_prep/preprocess_images.py, from 68 "
        "points per photo (five are not enough to train on)"
    )


def _from_lists(path: pathlib.Path) -> list[PhotoFiles]:
    columns = [(path / name).read_text(encoding="utf-8").split("\n") for name in LISTS]
    rows = [[line.strip() for line in column if line.strip()] for column in columns]
    if len({len(r) for r in rows}) != 1 or not rows[0]:
        counts = ", ".join(f"{n}: {len(r)}" for n, r in zip(LISTS, rows, strict=True))
        raise ValueError(f"{path}: found lists of {counts} lines, wanted equally many, and some")
    # paths are relative to where the lists were made: the working folder, or one above the lists
    first = rows[0][0]
    bases = [pathlib.Path(), *path.resolve().parents]
    base = next((b for b in bases if (b / first).is_file()), None)
    if base is None:
        raise ValueError(
            f"{path / LISTS[0]}: found {first!r}, which is no file seen from here or from a folder "
            "above the lists; run from the folder in which the lists were made"
        )
    return [
        PhotoFiles(base / image, base / lm, base / mask, False)
        for image, lm, mask in zip(*rows, strict=True)
    ]


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
        photo = align_photo(image, flip_y(landmarks, height))
        mask = None if mask is None else photo.transform.cut(mask)
    return photo, skin_mask(photo.crop) if mask is None else mask


class PhotoFolder(Source):
    """Training examples from prepared photos; a `facejax.data.source.Source`.

    Attributes:
      meta: JSON-able description.
      files: the faces, in order.
    """

    in_threads = True  # Pillow frees the GIL

    def __init__(self, path: str | os.PathLike, size: int = CROP_SIZE):
        """Looks the files up; images are read when asked for.

        Args:
          path: see `find_photos`.
          size: side of the images; others than 224 are resized (bicubic), landmarks with them.

        Raises:
          ValueError: as `find_photos`.
        """
        self.files = find_photos(path)
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
        return Transform(**json.loads(path.read_text(encoding="utf-8")))
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
            path.write_text(
                json.dumps(dataclasses.asdict(photo.transform)) + "\n", encoding="utf-8"
            )
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
        (folder / name).write_text(
            "".join(f"{row[k].as_posix()}\n" for row in rows), encoding="utf-8"
        )
