"""What is behind a face: one colour, a gradient, or a crop of one of the user's images."""

import hashlib
import pathlib

import numpy as np

from facejax.host.files import list_files
from facejax.io.images import IMAGE_SUFFIXES, read_image, to_uint8

KINDS = ("plain", "gradient")
_LEAST_SHARE = 0.5  # of the shorter side: how far a crop zooms into an image


class Backgrounds:
    """Draws backgrounds.

    Args:
      kind: 'plain', 'gradient', or a folder, searched with its subfolders.
      size: pixels on a side.

    Attributes:
      files, names: the images, and their paths inside the folder; none for the other kinds.
      digest: of the names and sizes of the images; '' without images.

    Raises:
      ValueError: there is no such folder, or no image in it.
    """

    def __init__(self, kind: str, size: int):
        self.size, self.kind, self.digest = size, kind, ""
        self.files: tuple[pathlib.Path, ...] = ()
        self.names: list[str] = []
        if kind in KINDS:
            return
        folder = pathlib.Path(kind)
        if not folder.is_dir():
            raise ValueError(
                f"background {kind!r}: no such folder; wanted 'plain', 'gradient' or a folder of "
                "images"
            )
        self.files = tuple(list_files(folder, IMAGE_SUFFIXES, recursive=True))
        if not self.files:
            raise ValueError(
                f"background {kind!r}: no image in this folder; wanted {', '.join(IMAGE_SUFFIXES)}"
            )
        self.names = [p.relative_to(folder).as_posix() for p in self.files]
        sizes = [f"{n} {p.stat().st_size}" for n, p in zip(self.names, self.files, strict=True)]
        self.digest = hashlib.blake2b("\n".join(sizes).encode(), digest_size=8).hexdigest()

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """([size, size, 3] uint8, number of the image or -1).

        Raises:
          ValueError: an image cannot be read.
        """
        n = self.size
        if self.kind == "plain":
            color = rng.uniform(0.05, 0.95, 3)
            return np.broadcast_to(to_uint8(color), (n, n, 3)).copy(), -1
        if self.kind == "gradient":
            first, second = rng.uniform(0.05, 0.95, (2, 3))
            angle = rng.uniform(0, 2 * np.pi)
            across = (np.arange(n) + 0.5) / n - 0.5
            share = across[None] * np.cos(angle) + across[:, None] * np.sin(angle)
            share = (share / np.abs(share).max() + 1) / 2
            return to_uint8(first + share[..., None] * (second - first)), -1
        number = int(rng.integers(len(self.files)))
        return self._crop(to_uint8(read_image(self.files[number], "RGB")), rng), number

    def _crop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        from PIL import Image

        height, width = image.shape[:2]
        side = min(height, width) * rng.uniform(_LEAST_SHARE, 1.0)
        left, top = rng.uniform(0, 1, 2) * (width - side, height - side)
        resized = Image.fromarray(image).resize(
            (self.size, self.size), Image.Resampling.BILINEAR,
            box=(left, top, left + side, top + side),
        )  # fmt: skip
        pixels = np.asarray(resized)
        return pixels[:, ::-1].copy() if rng.integers(2) else pixels
