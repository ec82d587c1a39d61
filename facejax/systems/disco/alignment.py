"""Photo to training picture: the crop whose face stands at the centre, as the renders have it.

Deng et al. 2020 (arXiv 2004.11660), program `preprocess_data.py`: five points cut a crop of 512
pixels; the regressor finds the face's translation in it; the crop is moved and scaled until that
translation is zero, for the camera of `facejax.systems.disco.render`. Steps and rounding are those
of Pillow and OpenCV 4 as the program uses them.
"""

import math

import numpy as np

from facejax.data.alignment import AlignedPhoto, align_photo
from facejax.geometry.camera_frames import DEEP3D_DISTANCE_DM, DEEP3D_FOCAL_PX, DEEP3D_SIZE_PX
from facejax.systems.disco.render import FULL_SIZE, ZOOM

CROP_SIZE = 512
_BORDER = 10  # black, of the scaled crop
_ONE = 1 << 11  # weight 1 of OpenCV's resizing


def cut_crop(image: np.ndarray, landmarks: np.ndarray) -> AlignedPhoto:
    """The crop of 512 pixels, and how it was cut; arguments as of `align_photo`."""
    return align_photo(image, landmarks, CROP_SIZE)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """Square uint8 picture, bilinear without antialiasing, in OpenCV's fixed-point numbers."""
    low, high, weight = _taps(len(image), size)
    rest = _ONE - weight
    pixels = image.astype(np.int64)
    rows = pixels[:, low] * rest[None, :, None] + pixels[:, high] * weight[None, :, None]
    rows >>= 4
    upper, lower = rows[low] * rest[:, None, None], rows[high] * weight[:, None, None]
    return (((upper >> 16) + (lower >> 16) + 2) >> 2).astype(np.uint8)


def _taps(in_size: int, out_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both neighbours of each target pixel, and the weight of the second one, of 2048."""
    source = (np.arange(out_size) + 0.5) * (in_size / out_size) - 0.5
    low = np.floor(source).astype(int)
    share = np.where((low < 0) | (low >= in_size - 1), 0.0, source - low)
    low = np.clip(low, 0, in_size - 1)
    weight = np.rint(share * _ONE).astype(np.int64)
    return low, np.minimum(low + 1, in_size - 1), weight


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def _moved(image: np.ndarray, right: float, down: float) -> np.ndarray:
    """The picture shifted by so many pixels, bilinear, black outside."""
    for axis, shift in ((0, down), (1, right)):
        whole = math.floor(shift)
        share = shift - whole
        source = np.arange(image.shape[axis]) - whole
        image = (1 - share) * _taken(image, source, axis) + share * _taken(image, source - 1, axis)
    return _rounded(image)


def _taken(image, index, axis):
    """Rows or columns by number, zero where there is none."""
    inside = (index >= 0) & (index < image.shape[axis])
    found = np.take(image, np.where(inside, index, 0), axis=axis).astype(np.float64)
    return found * inside.reshape([-1 if k == axis else 1 for k in range(image.ndim)])


def regressor_input(crop: np.ndarray) -> np.ndarray:
    """What the regressor looks at, [224, 224, 3] uint8 RGB, of a crop [512, 512, 3] uint8 RGB.

    The published regressor takes it with reversed channels (`facejax.recon.rnet`, 'slim').
    """
    return _resized(crop, DEEP3D_SIZE_PX)


def training_picture(crop: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The picture that the generator learns from.

    Args:
      crop: [512, 512, 3] uint8 RGB.
      translation: [3] dm, of the regressor's coefficients of this crop.

    Returns:
      [256, 256, 3] uint8 RGB.

    Raises:
      ValueError: a translation that is no face's: behind the camera, or so near or far that the
        picture would be empty or huge.
    """
    x, y, z = (float(v) for v in translation)
    depth = DEEP3D_DISTANCE_DM - z
    scale = ZOOM * DEEP3D_SIZE_PX / CROP_SIZE * depth / DEEP3D_DISTANCE_DM
    if not (np.isfinite([x, y, z]).all() and 0.1 < scale < 4):
        raise ValueError(
            f"found the translation ({x:.3g}, {y:.3g}, {z:.3g}) dm, wanted that of a face in its "
            "crop, some tenths at most: the landmarks or the regressor's weights are wrong"
        )
    focal = DEEP3D_FOCAL_PX * CROP_SIZE / DEEP3D_SIZE_PX
    moved = _moved(crop, -focal * x / depth, focal * y / depth)
    side = int(CROP_SIZE * scale)
    framed = np.pad(_resized(moved, side), [(_BORDER, _BORDER)] * 2 + [(0, 0)])
    start = round(side / 2) - FULL_SIZE // 2 + _BORDER
    rows = np.arange(start, start + FULL_SIZE)
    return _taken(_taken(framed, rows, 0), rows, 1).astype(np.uint8)
