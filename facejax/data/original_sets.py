"""Inputs of TBGAN's own data set builder: folders of files to the images of a TFRecord set.

Differs from the original (arXiv 1909.02215, dataset_tool.py): files are paired by stem and not by
position, sizes are checked, and labels are an argument.
"""

import collections
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from facejax.data.labels import read_label_rows
from facejax.data.map_files import ARRAY_SUFFIXES, find_files, read_array
from facejax.host.files import reading, some_names
from facejax.io.images import IMAGE_SUFFIXES, read_image, to_uint8

_log = logging.getLogger(__name__)
SHUFFLE_SEED = 123


def order_of(count: int, shuffle: bool) -> np.ndarray:
    """The order of examples in the records, [count] int64: the original's, if shuffled."""
    order = np.arange(count)
    if shuffle:
        np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return order


def pair(folders: Mapping[str, str | pathlib.Path]) -> dict[str, dict[str, pathlib.Path]]:
    """{stem: {kind: path}} of folders of 'texture' images, 'shape' and 'normals' arrays."""
    suffixes = {k: IMAGE_SUFFIXES if k == "texture" else ARRAY_SUFFIXES for k in folders}
    return find_files(folders, suffixes)


def read_channels(paths: Mapping[str, pathlib.Path]) -> np.ndarray:
    """The channels of one example, [H, W, 3 K] float32 in about [-1, 1].

    Args:
      paths: {kind: file}; textures are images, brought to [-1, 1]; the others are arrays, taken as
        they are.

    Raises:
      ValueError: a file is unreadable, not square, no power of two, or of another size.
    """
    parts, first = [], None
    for kind, path in paths.items():
        if kind == "texture":
            part = read_image(path, mode="RGB") * np.float32(2) - np.float32(1)
        else:
            part = read_array(path)
        first = first or (path, part.shape)
        check_size(path, part.shape, *first)
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def check_examples(
    files: Mapping[str, pathlib.Path],
    read: Callable[[str], np.ndarray],
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[tuple[int, ...], dict[str, str]]:
    """Reads every example once, before anything is written.

    Args:
      files: {stem: file that is named where its size is odd}.
      read: the [H, W, C] array of a stem.
      progress: wraps the stems, e.g. `tqdm.tqdm`.

    Returns:
      (shape of most examples; {stem: what is wrong with it, with its file}).
    """
    shapes: dict[str, tuple[int, ...]] = {}
    problems: dict[str, str] = {}
    for stem in progress(files):
        try:
            shape = read(stem).shape
            check_size(files[stem], shape, files[stem], shape)
            shapes[stem] = shape
        except ValueError as error:
            problems[stem] = str(error)
    (common, count), *_ = collections.Counter(shapes.values()).most_common(1) or [((), 0)]
    for stem, shape in shapes.items():
        if shape != common:
            example = files[next(s for s in shapes if shapes[s] == common)]
            problems[stem] = (
                f"{files[stem]}: {shape[1]}x{shape[0]} px, but {example} and {count - 1} more have "
                f"{common[1]}x{common[0]}"
            )
    return common, problems


def refuse_bad(problems: Mapping[str, str], count: int, skip_bad: bool) -> None:
    """Says what is wrong with the inputs of a set; an error unless they may be left out.

    Args:
      problems: {name: what is wrong, with the file}.
      count: of all inputs.
      skip_bad: whether they may be left out.

    Raises:
      ValueError: there are problems and they may not, or none is left.
    """
    if problems and skip_bad and len(problems) < count:
        for text in problems.values():
            _log.warning("left out: %s", text)
    elif problems:
        first = next(iter(problems.values()))
        more = f" (unusable: {some_names(problems)})" if len(problems) > 1 else ""
        raise ValueError(
            f"{len(problems)} of {count} examples are unusable: {first}{more}; mend them or pass "
            "--skip_bad to leave them out"
        )


def check_size(path: pathlib.Path, shape: tuple, first: pathlib.Path, wanted: tuple) -> None:
    """Refuses a picture that is not square, no power of two, or not of the size of the first.

    Args:
      path: of the picture.
      shape: (height, width, ...) of it.
      first: the file whose size all have.
      wanted: (height, width, ...) of that.

    Raises:
      ValueError: names the file, or both.
    """
    height, width = shape[:2]
    if height != width or height < 4 or height & (height - 1):
        raise ValueError(f"{path}: {width}x{height} px is not square, or no power of two >= 4")
    if shape[:2] != wanted[:2]:
        raise ValueError(f"{path}: {height} px, but {first} has {wanted[0]}")


def read_pixels(path: pathlib.Path) -> np.ndarray:
    """[H, W, 3] uint8 of an image file; grey becomes RGB."""
    return to_uint8(read_image(path, mode="RGB"))


class Hdf5Images:
    """The images of a legacy HDF5 file: the data set 'data*' with the largest last axis.

    Args:
      path: holds uint8 [N, C, H, W] data sets. `<path without suffix>-labels.npy` beside it, if
        there is one, holds the labels.

    Raises:
      ValueError: h5py is not installed, or the file holds no such data set.
    """

    def __init__(self, path: str | pathlib.Path):
        try:
            import h5py
        except ImportError as error:
            raise ValueError(
                "reading HDF5 needs the package h5py, which is not installed: pip install h5py"
            ) from error
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise ValueError(f"{path}: no such file; wanted HDF5")
        with reading(self.path, "a readable HDF5 file"):
            file = h5py.File(self.path, "r")
        shapes = {k: getattr(v, "shape", ()) for k, v in file.items()}
        names = [k for k, shape in shapes.items() if k.startswith("data") and len(shape) == 4]
        if not names:
            found = list(file)
            file.close()
            raise ValueError(f"{path}: wanted a data set data* [N, C, H, W], found {found}")
        self._file = file
        self._data = file[max(names, key=lambda k: file[k].shape[3])]
        _, channels, height, width = self._data.shape
        square = height == width >= 4 and not height & (height - 1)
        if self._data.dtype != np.uint8 or channels not in (1, 3) or not square:
            found = f"{self._data.dtype}{list(self._data.shape)}"
            file.close()
            raise ValueError(
                f"{path}: wanted uint8 [N, 1 or 3, H, W], square, a power of two; found {found}"
            )

    def __len__(self) -> int:
        return len(self._data)

    def images(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Yields [H, W, 3] uint8 in the given order; grey becomes RGB."""
        for index in order:
            with reading(self.path, f"a readable HDF5 file (image {index})"):
                image = self._data[int(index)].transpose(1, 2, 0)
            yield np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image

    def labels(self) -> np.ndarray | None:
        """[N, L] float32 in the order of the file, or None."""
        path = self.path.with_name(f"{self.path.stem}-labels.npy")
        if not path.is_file():
            return None
        return read_label_rows(path, len(self))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
