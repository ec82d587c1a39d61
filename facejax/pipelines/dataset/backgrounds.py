"""What is behind a face: a drawn scene, one colour, a gradient, or a crop of a user's image."""

import hashlib
import logging
import pathlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from facejax.host import machine
from facejax.host.files import list_files, some_names
from facejax.io.images import IMAGE_SUFFIXES, read_image, to_uint8

_log = logging.getLogger(__name__)
KINDS = ("scene", "plain", "gradient")
_UNKNOWN = -1  # bytes of an image
_LEAST_SHARE = 0.5  # of the shorter side: how far a crop zooms into an image


class Backgrounds:
    """Draws backgrounds.

    Which image a face gets depends on their number and order. So a set keeps the list that it was
    begun with, and `resume` takes it up, whatever has become of the folder.

    Args:
      kind: 'scene' (the renderer's, `facejax.data.photographs.scene`), 'plain', 'gradient', or a
        folder, searched with its subfolders.
      size: pixels on a side.

    Attributes:
      names, sizes: of the images, their paths inside the folder and bytes; none for other kinds.
      digest: of both; '' without images.
      left_out: {name: why} of images that are not used.
      checked: whether all images were read.

    Raises:
      ValueError: there is no such folder, or no image in it.
    """

    def __init__(self, kind: str, size: int):
        self.size, self.kind = size, kind
        self._folder = pathlib.Path(kind)
        self._take({} if kind in KINDS else self._found())

    def _found(self) -> dict[str, int]:
        """{name: bytes} of the images that are in the folder now."""
        if not self._folder.is_dir():
            raise ValueError(
                f"background {self.kind!r}: no such folder; wanted 'scene', 'plain', 'gradient' or "
                "a folder of images"
            )
        files = list_files(self._folder, IMAGE_SUFFIXES, recursive=True)
        if not files:
            wanted = ", ".join(IMAGE_SUFFIXES)
            raise ValueError(f"background {self.kind!r}: no image in this folder; wanted {wanted}")
        return {p.relative_to(self._folder).as_posix(): p.stat().st_size for p in files}

    def _take(self, sizes: Mapping[str, int]) -> None:
        """Makes a list of images the one that faces are drawn from."""
        self.names, self.sizes = list(sizes), list(sizes.values())
        self.left_out: dict[str, str] = {}
        self.checked = False
        self._skipped: frozenset[int] = frozenset()
        text = "\n".join(f"{n} {size}" for n, size in sizes.items())
        self.digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest() if sizes else ""

    def begin(self, skip_bad: bool, threads: int = 1) -> None:
        """Reads every image once, before the first face of a set is made.

        Args:
          skip_bad: leave those out that cannot be read.
          threads: that read.

        Raises:
          ValueError: some cannot be read and may not be left out, or none can be.
        """
        if self.kind in KINDS:
            return
        self._take(self._found())
        problems = self._check(threads)
        if problems and (not skip_bad or len(problems) == len(self.names)):
            raise ValueError(
                f"{self._described(problems)}. Mend or remove them"
                + ("" if skip_bad else ", or pass --skip_bad to leave them out")
            )
        sizes = dict(zip(self.names, self.sizes, strict=True))
        self._take({name: size for name, size in sizes.items() if name not in problems})
        self.left_out, self.checked = problems, True

    def resume(self, names: Sequence[str], sizes: Sequence[int] | None, digest: str) -> None:
        """Takes up the list that a set was begun with.

        Args:
          names, digest: as they were.
          sizes: as they were; None where they were not kept, by older versions.
        """
        now = self._found()
        new = len(now.keys() - set(names))
        if new:
            _log.info("%d image(s) of %s are newer than the set, and not used", new, self.kind)
        known = [now.get(n, _UNKNOWN) for n in names] if sizes is None else sizes
        self._take(dict(zip(names, known, strict=True)))
        if _UNKNOWN in known:
            self.digest = digest  # cannot be made any more

    def check_resumed(self, skip_bad: bool, threads: int = 1) -> None:
        """Reads every image of a set that has faces left to make.

        Args:
          skip_bad: faces to come do without those that are gone, changed or cannot be read.
          threads: that read.

        Raises:
          ValueError: there are some and faces may not do without, or none is left.
        """
        problems = self._check(threads)
        if problems and (not skip_bad or len(problems) == len(self.names)):
            raise ValueError(
                f"{self._described(problems)}. Faces that are done are kept. Put the images back"
                + ("" if skip_bad else ", or pass --skip_bad: faces to come use the others")
            )
        self.left_out, self.checked = problems, True
        self._skipped = frozenset(i for i, n in enumerate(self.names) if n in problems)

    def _check(self, threads: int) -> dict[str, str]:
        """{name: why} of the images that cannot be used."""
        from tqdm import tqdm

        def problem(number: int) -> str:
            path = self._folder / self.names[number]
            try:
                if not path.is_file():
                    return f"{path} is not there any more"
                if self.sizes[number] not in (_UNKNOWN, path.stat().st_size):
                    return f"{path} has changed since the set was begun"
                read_image(path, "RGB")
            except (ValueError, OSError) as error:
                if machine.stops_all(error, path):
                    raise
                return " ".join(str(error).split())
            return ""

        numbers = range(len(self.names))
        with ThreadPoolExecutor(threads, "backgrounds") as pool:
            try:
                found = pool.map(problem, numbers)
                bar = tqdm(found, desc="checking backgrounds", total=len(numbers), disable=None)
                return {self.names[n]: w for n, w in zip(numbers, bar, strict=True) if w}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _described(self, problems: Mapping[str, str]) -> str:
        return (
            f"{len(problems)} of {len(self.names)} background images cannot be used "
            f"({some_names(problems)}): {next(iter(problems.values()))}"
        )

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray | None, int]:
        """([size, size, 3] uint8, or None for a scene; number of the image or -1).

        Raises:
          ValueError: an image cannot be read.
        """
        n = self.size
        if self.kind == "scene":
            return None, -1
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
        number = int(rng.integers(len(self.names)))
        while number in self._skipped:
            number = int(rng.integers(len(self.names)))
        image = read_image(self._folder / self.names[number], "RGB")
        return self._crop(to_uint8(image), rng), number

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
