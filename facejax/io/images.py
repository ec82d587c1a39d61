"""Image files (Pillow) and grids of images to look at. Arrays are [H, W, C], row 0 at the top."""

import contextlib
import functools
import io
import logging
import math
import pathlib
from collections.abc import Container, Sequence

import numpy as np

from facejax.host.files import atomic_path, list_files, reading, some_names

_log = logging.getLogger(__name__)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff")
_NOT_READ = (  # of telephones and cameras
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf",
)  # fmt: skip
_DEFLATE = 1032  # of zlib, at most
_AN_IMAGE = "a readable image"
_ORIENTATION = 0x0112  # the Exif tag


def find_images(folder: str | pathlib.Path, without: Container[str] = ()) -> list[pathlib.Path]:
    """The image files of a folder, by name; of its sub-folders if it holds none itself.

    A picture for each class in a folder of its own is common; folders of masks and landmarks beside
    pictures are, too, so sub-folders are looked at (with a line in the log) only where the folder
    itself has no picture.

    Args:
      folder: of pictures; hidden files are no pictures, suffixes may be in any case.
      without: names of sub-folders that hold other pictures, masks say.

    Raises:
      ValueError: no such folder, or no images.
      OSError: a folder cannot be read.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; wanted one with pictures")
    found = list_files(folder, IMAGE_SUFFIXES)
    others = list_files(folder, _NOT_READ)
    if others:
        names = some_names(path.name for path in others)
        _log.warning(
            "%s: leaving out %d pictures that are not read; convert them: %s",
            folder, len(others), names,
        )  # fmt: skip
    if not found:
        every = list_files(folder, IMAGE_SUFFIXES, recursive=True)
        found = [p for p in every if not any(n in without for n in p.relative_to(folder).parts)]
        if not found:
            raise ValueError(
                f"{folder}: found no images in it or its sub-folders, wanted "
                f"{', '.join(IMAGE_SUFFIXES)} files"
            )
        places = len({path.parent for path in found})
        _log.warning("%s: taking %d images of %d sub-folders", folder, len(found), places)
    return found


def image_names(files: Sequence[pathlib.Path], folder: str | pathlib.Path) -> list[str]:
    """A name of each picture of a folder: its path below the folder without suffix, with '/'."""
    return [path.relative_to(folder).with_suffix("").as_posix() for path in files]


def read_image(path: str | pathlib.Path, mode: str | None = None) -> np.ndarray:
    """Reads an image file.

    Of several frames the first is read. Where no alpha is wanted, transparent pixels are black, as
    what lies beyond a photo's border is: the colours hidden in them are no part of the picture.
    Grey values of 16 bits cover 0 .. 65535, unless none exceeds 4095 (or 255): then they are taken
    for 12 (or 8) bits, as cameras and scanners store them, with a line in the log.

    Args:
      path: any format that Pillow knows. The orientation tag of photos is applied.
      mode: 'L', 'RGB' or 'RGBA' to convert; None keeps grey, colour and alpha as they are.

    Returns:
      [H, W, C] float32 in [0, 1], C = 1, 3 or 4.

    Raises:
      ValueError: there is no such file, or it is not an image, or too large a one.
      OSError: the file cannot be read.
    """
    from PIL import ImageOps

    path = pathlib.Path(path)
    with _opened(path) as file, reading(path, _AN_IMAGE):
        deep_color = bool(file.tile) and "16" in str(file.tile[0][3])
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith(("I", "F")):  # Pillow would clip them to 8 bits
            return _in_mode(_read_deep(image, path), mode)
        has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa")
        has_alpha |= "transparency" in image.info
        if has_alpha and mode not in (None, "RGBA"):
            image = _on_black(image.convert("RGBA"), path)
        if mode is not None or image.mode not in ("L", "RGB", "RGBA"):
            image = image.convert(mode or ("RGBA" if has_alpha else "RGB"))
        pixels = np.asarray(image, np.uint8)
        if deep_color and 0 < pixels.max() < 16:  # Pillow keeps the upper 8 bits of 16
            raise ValueError("colours of 12 bits stored in 16, nearly black; save it as 8-bit PNG")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return pixels.astype(np.float32) / np.float32(255.0)


def read_texture(path: str | pathlib.Path, content: bytes | None = None) -> np.ndarray:
    """[H, W, 3] float32 in [0, 1]: the colours as stored, whatever its alpha and orientation say.

    Args:
      path: of an image file.
      content: its bytes, where they lie inside another file: then `path` is that file's.

    Raises:
      ValueError, OSError: see `read_image`.
    """
    path = pathlib.Path(path)
    with _opened(path, content) as image, reading(path, _AN_IMAGE):
        if image.mode.startswith(("I", "F")):
            return _in_mode(_read_deep(image, path), "RGB")
        pixels = np.asarray(image.convert("RGB"), np.uint8)
    return pixels.astype(np.float32) / np.float32(255.0)


def read_header(path: str | pathlib.Path) -> tuple[tuple[int, int], int]:
    """((height, width) as shown, orientation tag 1 .. 8) of an image file, without its pixels.

    Raises:
      ValueError, OSError: see `read_image`.
    """
    with _opened(pathlib.Path(path)) as file, reading(path, _AN_IMAGE):
        tag = file.getexif().get(_ORIENTATION, 1)
        width, height = file.size
    tag = tag if tag in range(1, 9) else 1
    return ((width, height) if tag > 4 else (height, width)), tag


@contextlib.contextmanager
def _opened(path: pathlib.Path, content: bytes | None = None):
    """The file, or a part of it, as Pillow opens it."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted an image")
    with reading(path, _AN_IMAGE):
        try:
            file = Image.open(path if content is None else io.BytesIO(content))
        except Image.DecompressionBombError as error:
            limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
            raise ValueError(
                f"more than {limit} million pixels ({error}); make it smaller first"
            ) from error
        except UnidentifiedImageError as error:
            raise ValueError(
                "of no kind that is read: damaged, or colour of 16 bits; save it as 8-bit PNG"
            ) from error
    with file:
        size = path.stat().st_size if content is None else len(content)
        width, height = file.size
        # a pixel has a bit or more, and nothing shrinks to less than a 1032nd in a PNG
        if file.format == "PNG" and width * height > 8 * (_DEFLATE * size + 2**20):
            raise ValueError(
                f"{path}: damaged: {size} bytes cannot hold the {width} x {height} pixels that it "
                f"announces; wanted {_AN_IMAGE}"
            )
        yield file


def _on_black(image, path: pathlib.Path):
    """An RGBA picture without its alpha."""
    from PIL import Image

    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    _say_once("%s: transparent pixels are taken for black", str(path))
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def _in_mode(gray: np.ndarray, mode: str | None) -> np.ndarray:
    """A grey picture with the channels of a Pillow mode."""
    if mode in (None, "L"):
        return gray
    color = np.repeat(gray, 3, axis=-1)
    return np.concatenate([color, np.ones_like(gray)], axis=-1) if mode == "RGBA" else color


def _read_deep(image, path: pathlib.Path) -> np.ndarray:
    """A grey image of 16 bits (or 12, or 8, in 16), scaled to [0, 1]."""
    if not image.mode.startswith("I;16") and image.mode != "I":
        raise ValueError(f"pixel mode {image.mode!r} is not supported; save it as 8-bit PNG")
    pixels = np.asarray(image)
    low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    if low < 0 or high > 65535:
        raise ValueError(f"grey values {low} .. {high}, wanted 0 .. 65535; save it as 8-bit PNG")
    bits = next((b for b in (8, 12) if 0 < high < 1 << b), 16)
    if bits < 16:
        _say_once("%s: no grey value exceeds %d; taken for %d bits", str(path), high, bits)
    return (pixels.astype(np.float32) / np.float32((1 << bits) - 1))[..., None]


@functools.lru_cache(maxsize=4096)
def _say_once(message: str, *values) -> None:
    """A line in the log about a file, though training reads it again and again."""
    _log.warning(message, *values)


def write_image(path: str | pathlib.Path, image) -> pathlib.Path:
    """Writes an image file; whole or not at all, creating its folder.

    Args:
      path: the suffix names the format: .png (lossless), .jpg, .webp, ...
      image: [H, W] or [H, W, C] with C = 1, 3 or 4; uint8, or float in [0, 1] (rounded, clipped).

    Returns:
      The path written.

    Raises:
      ValueError: the shape or the suffix is not that of an image.
    """
    from PIL import Image

    path = pathlib.Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path}: unknown image suffix {path.suffix!r}; use .png or .jpg")
    pixels = to_uint8(image)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)):
        raise ValueError(
            f"{path}: found an array of shape {np.shape(image)}; wanted [H, W], or [H, W, C] "
            "with C = 1, 3 or 4. Select one image and three of its channels"
        )
    if path.suffix.lower() in (".jpg", ".jpeg") and pixels.ndim == 3:
        pixels = pixels[..., :3]  # JPEG has no alpha
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=95)  # of JPEG and WebP; PNG has none
    return path


def to_uint8(image, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """8-bit pixels of float values: scaled, rounded to nearest, clipped.

    Args:
      image: any shape; uint8 is returned as it is.
      value_range: the values that become 0 and 255; (-1, 1) for network images.

    Returns:
      uint8, the shape of `image`.

    Raises:
      ValueError: the image is neither uint8 nor float, or is not finite.
    """
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"images are uint8 or float, found {image.dtype}; convert it first")
    if not np.isfinite(image).all():
        raise ValueError("the image has values that are not finite; nothing was converted")
    low, high = value_range
    scaled = (image.astype(np.float32) - low) * np.float32(255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def image_grid(images, columns: int | None = None, pad: int = 0, background: float = 0.0):
    """Images side by side, row by row; cells that are left over show the background.

    Args:
      images: [N, H, W, C] (or a list of [H, W, C]), N >= 1.
      columns: cells per row; None gives the squarest grid, ceil(sqrt(N)).
      pad: pixels between cells.
      background: value of padding and of empty cells.

    Returns:
      [rows H + (rows - 1) pad, columns W + (columns - 1) pad, C], dtype of the images.
    """
    shapes = {np.shape(image) for image in images}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise ValueError(f"a grid needs images of one shape [H, W, C], found {sorted(shapes)}")
    images = np.asarray(images)
    num, height, width, channels = images.shape
    columns = max(int(columns or math.ceil(math.sqrt(num))), 1)
    rows = (num - 1) // columns + 1
    cells = np.full((rows * columns, height + pad, width + pad, channels), background, images.dtype)
    cells[:num, :height, :width] = images
    cells = cells.reshape(rows, columns, height + pad, width + pad, channels)
    grid = cells.swapaxes(1, 2).reshape(rows * (height + pad), columns * (width + pad), channels)
    return grid[: grid.shape[0] - pad, : grid.shape[1] - pad]


def snapshot_grid_size(resolution: int, display: str = "1080p") -> tuple[int, int]:
    """(rows, columns) of a grid of square images that fills a display (progressive GANs' rule).

    Args:
      resolution: side of one image in pixels.
      display: '1080p' or '4k'.
    """
    limits = {"1080p": (1080, 1920, 2, 3), "4k": (2160, 3840, 4, 7)}
    if display not in limits:
        raise ValueError(f"unknown display {display!r}; use one of {sorted(limits)}")
    height, width, min_rows, min_columns = limits[display]
    rows = min(max(height // resolution, min_rows), 32)
    return rows, min(max(width // resolution, min_columns), 32)


def add_text_labels(
    grid,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    pad: int = 0,
    font_size: int = 12,
) -> np.ndarray:
    """A grid of images with a name left of every row and above every column.

    Args:
      grid: [H, W, 1 or 3], uint8 or float in [0, 1], as `image_grid` makes it.
      row_labels: one per row of the grid, or none.
      column_labels: one per column of the grid, or none.
      pad: the pad that the grid was made with.
      font_size: height of the text in pixels (Pillow's built-in font).

    Returns:
      [H + top, W + left, 3] float32 in [0, 1], black on a white margin.
    """
    from PIL import Image, ImageDraw, ImageFont

    pixels = to_uint8(grid)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    font = ImageFont.load_default(font_size)
    margin = font_size // 2
    left = max((math.ceil(font.getlength(t)) for t in row_labels), default=-margin) + margin
    top = font_size + margin if column_labels else 0
    canvas = np.full((pixels.shape[0] + top, pixels.shape[1] + left, 3), 255, np.uint8)
    canvas[top:, left:] = pixels
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for k, text in enumerate(row_labels):
        step = (pixels.shape[0] + pad) / len(row_labels)
        draw.text((left - margin / 2, top + k * step + (step - pad) / 2), text, 0, font, "rm")
    for k, text in enumerate(column_labels):
        step = (pixels.shape[1] + pad) / len(column_labels)
        draw.text((left + k * step + (step - pad) / 2, top / 2), text, 0, font, "mm")
    return np.asarray(image, np.float32) / np.float32(255.0)
