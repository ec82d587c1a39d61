"""Inputs of TBGAN's own data set builder: folders of files to the images of a TFRecord set.

Differs from the original (arXiv 1909.02215, dataset_tool.py): files are paired by stem and not by
position, sizes are checked, and labels are an argument.
"""

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from facejax.data.map_files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, find_files, read_array
from facejax.io.images import read_image, to_uint8

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
        size = part.shape[0]
        if part.shape[1] != size or size < 4 or size & (size - 1):
            raise ValueError(f"{path}: {part.shape[:2]} is not square, or no power of two >= 4")
        first = first or (size, path)
        if size != first[0]:
            raise ValueError(f"{path}: {size} px, but {first[1]} has {first[0]}")
        parts.append(part)
    return np.concatenate(parts, axis=-1)


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
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{path}: not a readable HDF5 file ({error})") from error
        names = [k for k, v in file.items() if k.startswith("data") and len(v.shape) == 4]
        if not names:
            found = list(file)
            file.close()
            raise ValueError(f"{path}: wanted a data set data* [N, C, H, W], found {found}")
        self._file = file
        self._data = file[max(names, key=lambda k: file[k].shape[3])]
        if self._data.dtype != np.uint8 or self._data.shape[1] not in (1, 3):
            found = f"{self._data.dtype}{list(self._data.shape)}"
            file.close()
            raise ValueError(f"{path}: wanted uint8 [N, 1 or 3, H, W], found {found}")

    def __len__(self) -> int:
        return len(self._data)

    def images(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Yields [H, W, 3] uint8 in the given order; grey becomes RGB."""
        for index in order:
            image = self._data[int(index)].transpose(1, 2, 0)
            yield np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image

    def labels(self) -> np.ndarray | None:
        """[N, L] float32 in the order of the file, or None."""
        path = self.path.with_name(f"{self.path.stem}-labels.npy")
        if not path.is_file():
            return None
        labels = np.load(path, allow_pickle=False)
        if len(labels) != len(self):
            raise ValueError(f"{path}: {len(labels)} labels for {len(self)} images")
        return labels.reshape(len(labels), -1).astype(np.float32)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
