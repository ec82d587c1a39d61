"""Photos, UV maps and label maps as network inputs, with the published program's augmentation.

Everything here is numpy on the host, one example at a time. The published loader works at a load
resolution (512), augments there and resizes to that of the network. It means to resize UV maps and
masks to the nearest pixel but does so bilinearly, and takes UV maps through 8 bits while it
augments: `Preprocess` does what was meant unless asked otherwise.
"""

import dataclasses
import math

import numpy as np

from facejax.systems.varitex import images

REGIONS = tuple(range(1, 16))  # CelebAMask-HQ: the head with hair and hat, without neck and cloth
BACKGROUNDS = ("min", "gray", "black", "keep")
LETTERS = "dtsf"  # rotate, translate, scale, flip
MAX_ANGLE_DEG, MAX_SHIFT, MAX_SCALE = 15.0, 0.2, 1.2  # of the published augmentation
RESIZES = ("nearest", "bilinear")


@dataclasses.dataclass(frozen=True)
class Affine:
    """A similarity with mirroring: mirror, turn and enlarge about the middle, then move.

    Attributes:
      angle_deg: clockwise as one looks at the picture.
      shift_px: along x and y (down), pixels of the load resolution.
      scale: enlargement.
      flip: mirror first.
    """

    angle_deg: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    flip: bool = False


def draw_affine(rng: np.random.Generator, size: int, letters: str = LETTERS) -> Affine:
    """A random map as the published loader draws it.

    Args:
      rng: the generator; as many numbers are drawn whatever the letters.
      size: side of the images that it is for.
      letters: which parts vary: d (rotate), t (translate), s (scale), f (flip).
    """
    angle, x, y, scale, flip = rng.uniform(-1, 1, 5)
    reach = MAX_SHIFT * size
    return Affine(
        MAX_ANGLE_DEG * angle * ("d" in letters),
        (float(round(reach * x)), float(round(reach * y))) if "t" in letters else (0.0, 0.0),
        1.0 + (MAX_SCALE - 1.0) * (scale + 1) / 2 * ("s" in letters),
        bool(flip < 0) and "f" in letters,
    )


def check_letters(letters: str) -> str:
    """The letters of an augmentation; 'all' is all of them, '' none.

    Raises:
      ValueError: another letter.
    """
    letters = LETTERS if letters == "all" else letters
    if set(letters) - set(LETTERS):
        raise ValueError(
            f"transforms is {letters!r}, wanted 'all' or letters of {LETTERS!r}: d rotates, t "
            "translates, s scales, f flips"
        )
    return letters


def warp_nearest(image: np.ndarray, affine: Affine, fill: float = 0.0) -> np.ndarray:
    """An image under a map, each pixel from one of the input.

    Args:
      image: [S, S, C].
      affine: the map.
      fill: of pixels that come from outside.

    Returns:
      [S, S, C] of the same type.
    """
    size = len(image)
    image = image[:, ::-1] if affine.flip else image
    center, angle = size / 2, math.radians(affine.angle_deg)
    cos, sin = math.cos(angle) / affine.scale, math.sin(angle) / affine.scale
    x, y = (0.5 - center - shift for shift in affine.shift_px)
    i = np.arange(size)
    # 16 bits behind the point, as Pillow computes it: whole pixels decide ties
    column = (_fixed(cos) * i + _fixed(sin) * i[:, None] + _fixed(cos * x + sin * y + center)) >> 16
    row = (_fixed(-sin) * i + _fixed(cos) * i[:, None] + _fixed(cos * y - sin * x + center)) >> 16
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    found = image[np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)]
    return np.where(inside[..., None], found, np.asarray(fill, image.dtype))


def _fixed(value: float) -> np.int64:
    return np.int64(math.floor(value * 65536.0 + 0.5))


def resize(image: np.ndarray, size: int, method: str) -> np.ndarray:
    """[H, W, C] to [size, size, C] with half-pixel centres and without antialiasing.

    Args:
      image: of any type; bilinear results of bytes are rounded.
      size: side of the result.
      method: 'nearest' (the pixel at floor(i H / size), as OpenCV takes it) or 'bilinear'.
    """
    if image.shape[:2] == (size, size):
        return image
    if method == "nearest":
        rows, columns = (np.arange(size) * n // size for n in image.shape[:2])
        return image[rows[:, None], columns]
    out = image.astype(np.float32)
    for axis in (0, 1):
        count = image.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        low = np.minimum(np.floor(place).astype(np.int64), max(count - 2, 0))
        weight = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, count - 1)
        out = out.take(low, axis) * (1 - weight) + out.take(high, axis) * weight
    return np.rint(out).astype(np.uint8) if image.dtype == np.uint8 else out


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How network inputs are made.

    Attributes:
      size: side of network images.
      load_size: side at which photos, UV maps and label maps meet and are augmented.
      regions: labels that are foreground.
      background: what is outside of head and face. 'min': the least number of the network image, as
        published; 'gray': 0, the mean colour; 'black'; 'keep': the photo.
      uv_resize, mask_resize: 'nearest' or 'bilinear' (as published; blends the face's border with
        -1, which counts as face).
      uv_quantize: take UV maps through 8 bits while augmenting, as published.
    """

    size: int = 256
    load_size: int = 512
    regions: tuple[int, ...] = REGIONS
    background: str = "min"
    uv_resize: str = "nearest"
    mask_resize: str = "nearest"
    uv_quantize: bool = False

    def __post_init__(self):
        for name, known in (
            ("background", BACKGROUNDS), ("uv_resize", RESIZES), ("mask_resize", RESIZES)
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(
                    f"data.{name} is {getattr(self, name)!r}, wanted one of {', '.join(known)}"
                )

    def load(self, image: np.ndarray) -> np.ndarray:
        """A photo [H, W, 3] uint8 at the load resolution."""
        return resize(image, self.load_size, "bilinear")

    def view(
        self,
        image: np.ndarray,
        uv: np.ndarray,
        segmentation: np.ndarray,
        affine: Affine | None = None,
    ) -> dict[str, np.ndarray]:
        """One view of an example: augmented, resized, with its background replaced.

        Args:
          image: [L, L, 3] uint8 at the load resolution.
          uv: [L, L, 2] in [-1, 1], background exactly -1.
          segmentation: [L, L] labels.
          affine: how to augment; None leaves everything in place.

        Returns:
          'image' [S, S, 3] network image, 'uv_rendered' [S, S, 2], 'segmentation_mask' [S, S, 1],
          float32, and 'mask_uv', 'mask_full' [S, S, 1] bool.

        Raises:
          ValueError: sizes disagree, or the UV map leaves [-1, 1].
        """
        from scipy import ndimage

        uv = np.asarray(uv, np.float32)
        sides = image.shape[:2], uv.shape[:2], segmentation.shape[:2]
        if len(set(sides)) > 1:
            raise ValueError(f"photo, UV map and segmentation are {sides}, wanted one size")
        if not (np.abs(uv) <= 1.0).all():
            raise ValueError(
                f"the UV map holds {np.nanmin(uv)} .. {np.nanmax(uv)}, wanted values in [-1, 1]"
            )
        seg = np.isin(segmentation, self.regions).astype(np.float32)[..., None]
        if affine is not None:
            image, seg = warp_nearest(image, affine), warp_nearest(seg, affine)
            uv = self._warp_uv(uv, affine)
        image = resize(image, self.size, "bilinear")
        uv = resize(uv, self.size, self.uv_resize)
        seg = resize(seg, self.size, self.mask_resize)
        mask_uv = np.all(uv != -1.0, axis=-1, keepdims=True)
        full = ndimage.binary_fill_holes((mask_uv | (seg != 0))[..., 0])[..., None]
        picture = (image.astype(np.float32) / np.float32(255) - images.MEAN) / images.STD
        return {
            "image": self.over_background(picture, full),
            "uv_rendered": uv,
            "segmentation_mask": seg,
            "mask_uv": mask_uv,
            "mask_full": full,
        }

    def _warp_uv(self, uv: np.ndarray, affine: Affine) -> np.ndarray:
        if not self.uv_quantize:
            return warp_nearest(uv, affine, -1.0)
        levels = ((uv + 1.0) * np.float32(127.5)).astype(np.uint8)
        return warp_nearest(levels, affine).astype(np.float32) / np.float32(127.5) - 1.0

    def over_background(self, picture: np.ndarray, full: np.ndarray) -> np.ndarray:
        """A network image [S, S, 3] with all outside of a mask [S, S, 1] replaced."""
        if self.background == "keep":
            return picture
        color = {
            "min": picture.min(), "gray": np.float32(0), "black": -images.MEAN / images.STD,
        }[self.background]  # fmt: skip
        return np.where(full, picture, color).astype(np.float32)
