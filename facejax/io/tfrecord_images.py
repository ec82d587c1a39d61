"""Multi-resolution TFRecord sets of images, as progressive GANs store them.

A folder `<name>` holds `<name>-rLL.tfrecords` for LL = 2 .. log2(resolution), each record an
Example with `shape` int64[3] = (C, H, W) and `data`, the bytes of the array, and
`<name>-rxx.labels`, a .npy file [N, L]. The type of the numbers is not stored: it follows from the
number of bytes.
"""

import contextlib
import math
import os
import pathlib
import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from facejax.host.arrays import read_npy
from facejax.host.files import atomic_path, list_files
from facejax.io.tfrecord import (
    CorruptRecordError,
    parse_example,
    read_record,
    scan_records,
    write_example,
    write_record,
)

_TYPES = {1: np.dtype("u1"), 2: np.dtype("<f2"), 4: np.dtype("<f4"), 8: np.dtype("<f8")}


def encode_image(image: np.ndarray) -> bytes:
    """An [H, W, C] image as a serialised Example.

    Args:
      image: uint8 or floating.
    """
    chw = np.ascontiguousarray(image.transpose(2, 0, 1))
    chw = chw.astype(chw.dtype.newbyteorder("<"), copy=False)
    return write_example({"shape": np.array(chw.shape, np.int64), "data": [chw.tobytes()]})


def decode_image(payload: bytes, dtype: np.dtype | str | None = None) -> np.ndarray:
    """The [H, W, C] image of a serialised Example.

    Args:
      payload: the message.
      dtype: of the stored numbers; None to infer it from the number of bytes.
    """
    example = parse_example(payload)
    shape, data = example.get("shape"), example.get("data")
    if not isinstance(shape, np.ndarray) or len(shape) != 3 or not isinstance(data, list):
        raise ValueError(
            f"wanted an Example with shape int64[3] and data bytes, found {sorted(example)}"
        )
    if len(data) != 1 or (shape < 1).any() or not isinstance(data[0], memoryview):
        raise ValueError(f"found {len(data)} data entries for an image of shape {shape.tolist()}")
    count = math.prod(shape.tolist())
    size, rest = divmod(len(data[0]), count)
    if rest or size not in _TYPES:
        raise ValueError(f"{len(data[0])} bytes do not fit an image of shape {shape.tolist()}")
    dtype = _TYPES[size] if dtype is None else np.dtype(dtype)
    if dtype.itemsize != size:
        raise ValueError(f"found {size} bytes per number, wanted {dtype.itemsize} for {dtype}")
    return np.frombuffer(data[0], dtype).reshape(shape).transpose(1, 2, 0)


def _files_of_one_set(
    folder: pathlib.Path,
) -> tuple[list[pathlib.Path], pathlib.Path | None]:
    """The records of the one set in a folder, and its labels if it has some.

    Raises:
      ValueError: none, two sets, or labels of another name: which belong together is unclear.
    """
    sets: dict[str, list[pathlib.Path]] = {}
    for path in list_files(folder, (".tfrecords",)):
        if match := re.fullmatch(r"(.*)-r\d\d", path.stem):
            sets.setdefault(match[1], []).append(path)
    if not sets:
        raise ValueError(f"{folder} holds no *-rLL.tfrecords files")
    if len(sets) > 1:
        raise ValueError(
            f"{folder} holds {len(sets)} sets, {' and '.join(f'{k}-rLL' for k in sets)}: move each "
            "to a folder of its own, with its labels"
        )
    (name,) = sets
    labels = [p for p in list_files(folder, (".labels",)) if p.stem.endswith("-rxx")]
    odd = [p for p in labels if p.stem != f"{name}-rxx"]
    if odd:
        raise ValueError(
            f"{folder} holds the records {name}-rLL.tfrecords and the labels {odd[0].name}, of "
            f"another set: move them away, or rename them {name}-rxx.labels if they belong together"
        )
    return sets[name], labels[0] if labels else None


class MultiResolutionTFRecords:
    """A `Source` over such a folder; random access through an index of the records.

    Attributes:
      meta: channels, resolution, dtype, count, number of labels.
      labels: [N, L] float32; L = 0 where the set has none.
      resolutions: what is stored, ascending.
      skipped: [S] numbers of the damaged records that were left out.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        dtype: np.dtype | str | None = None,
        skip_corrupt: bool = False,
    ):
        """Opens a set and indexes it. A record's checksum is compared when it is first read.

        Args:
          folder: the folder.
          dtype: of the stored numbers; None to infer it from the number of bytes.
          skip_corrupt: read every record once, and leave out the examples that are damaged or
            missing at any resolution.

        Raises:
          ValueError: files that are missing, damaged or do not belong together.
        """
        self.folder = pathlib.Path(folder)
        files, self._labels_file = _files_of_one_set(self.folder)
        self._dtype = dtype
        self._files: dict[int, tuple[pathlib.Path, list[tuple[int, int]]]] = {}
        for path in files:
            spans = scan_records(path, skip_corrupt=skip_corrupt)
            self._files[1 << int(path.stem[-2:])] = (path, spans)
        self._checked: set[tuple[int, int]] = set()
        self.resolutions = tuple(sorted(self._files))
        counts = {path.name: len(spans) for path, spans in self._files.values()}
        self.skipped = np.zeros(0, np.int64)
        kept = self._skip_corrupt() if skip_corrupt else None
        if (kept is None and len(set(counts.values())) != 1) or not len(self):
            raise ValueError(f"{self.folder}: files of different or no length: {counts}")
        wanted = tuple(1 << k for k in range(2, self.resolutions[-1].bit_length()))
        if self.resolutions != wanted:
            raise ValueError(f"{self.folder} holds {self.resolutions} px, wanted {wanted}")
        first = self._read(self.resolutions[-1], 0)
        self.labels = self._read_labels(len(self), kept)
        self.meta: dict[str, Any] = {
            "format": "tfrecords",
            "count": len(self),
            "resolution": self.resolutions[-1],
            "channels": first.shape[-1],
            "dtype": first.dtype.name,
            "num_labels": self.labels.shape[1],
        }

    def _skip_corrupt(self) -> np.ndarray:
        """Leaves out what is damaged; the numbers of the examples that stay."""
        longest = max(len(spans) for _, spans in self._files.values())
        good = np.ones(longest, bool)
        for path, spans in self._files.values():
            good[len(spans) :] = False
            for index, span in enumerate(spans):
                try:
                    read_record(path, span)
                except CorruptRecordError as error:
                    warnings.warn(f"skipped: {error}", stacklevel=3)
                    good[index] = False
        kept = np.flatnonzero(good)
        for resolution, (path, spans) in self._files.items():
            self._files[resolution] = (path, [spans[i] for i in kept])
            self._checked |= {(resolution, i) for i in range(len(kept))}
        self.skipped = np.flatnonzero(~good)
        return kept

    def _read_labels(self, count: int, kept: np.ndarray | None) -> np.ndarray:
        if self._labels_file is None:
            return np.zeros((count, 0), np.float32)
        labels = read_npy(self._labels_file)
        labels = labels[:, None] if labels.ndim == 1 else labels
        if kept is not None and labels.ndim == 2 and len(labels) > kept[-1]:
            labels = labels[kept]
        if labels.ndim != 2 or len(labels) != count or labels.dtype.kind not in "fiub":
            found = f"labels {labels.shape} of type {labels.dtype}"
            raise ValueError(f"{self._labels_file}: {found} for {count} records")
        if not np.isfinite(labels).all():
            raise ValueError(f"{self._labels_file}: labels hold NaN or infinity")
        return labels.astype(np.float32)

    def _read(self, resolution: int, index: int) -> np.ndarray:
        path, spans = self._files[resolution]
        offset, _ = spans[index]
        payload = read_record(path, spans[index], (resolution, index) not in self._checked)
        self._checked.add((resolution, index))
        try:
            image = decode_image(payload, self._dtype)
        except ValueError as error:
            raise ValueError(f"{path}: record {index} at byte {offset - 12}: {error}") from error
        if image.shape[:2] != (resolution, resolution):
            raise ValueError(f"{path}: record {index} is {image.shape}, wanted {resolution} px")
        return image

    def __len__(self) -> int:
        return len(self._files[self.resolutions[-1]][1])

    def batch(self, indices: np.ndarray, resolution: int | None = None) -> dict[str, np.ndarray]:
        """Examples by number.

        Args:
          indices: [B] int64.
          resolution: one of `resolutions`, or None for the highest.

        Returns:
          'maps' [B, r, r, C] float32 (uint8 sets are brought to [-1, 1]), 'labels' [B, L].
        """
        resolution = self.resolutions[-1] if resolution is None else resolution
        if resolution not in self._files:
            raise ValueError(f"{self.folder} holds {self.resolutions} px, found {resolution} px")
        indices = np.asarray(indices)
        if indices.size and not (0 <= indices.min() and indices.max() < len(self)):
            raise ValueError(f"indices must lie in 0 .. {len(self) - 1}, found {indices}")
        images = [self._read(resolution, int(i)) for i in indices]
        shape = (0, resolution, resolution, self.meta["channels"])
        maps = np.stack(images) if images else np.zeros(shape, np.float32)
        if maps.dtype == np.uint8:
            maps = maps.astype(np.float32) / np.float32(127.5) - np.float32(1)
        return {"maps": maps.astype(np.float32, copy=False), "labels": self.labels[indices]}


def _halve(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3), dtype=np.float32)


def _stored(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.uint8:
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return image.astype(dtype)


def write_multiresolution(
    folder: str | os.PathLike,
    images: Iterable[np.ndarray],
    labels: np.ndarray | None = None,
    name: str = "",
) -> None:
    """Writes a set; lower resolutions are repeated 2x2 means in float32.

    uint8 levels are rounded when written, while the means go on from the unrounded numbers.

    Args:
      folder: must not hold such a set yet.
      images: [H, W, C] arrays of one shape, square, a power of two, uint8 or float32.
      labels: [N, L], or None.
      name: prefix of the files; by default that of the folder.

    Raises:
      ValueError: images or labels that do not fit; no file is left behind.
      OSError: the disk is full; no file is left behind.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = name or folder.resolve().name
    if list_files(folder, (".tfrecords",)):
        raise ValueError(f"{folder} holds a TFRecord set already: choose another folder")
    files: dict[int, Any] = {}
    shape, dtype, count = None, None, 0
    with contextlib.ExitStack() as stack:  # ends backwards: files are closed, then get their names

        def opened(path):
            return stack.enter_context(stack.enter_context(atomic_path(path)).open("wb"))

        for image in images:
            image = np.asarray(image)
            if shape is None:
                shape, dtype = image.shape, image.dtype
                _check_image(image)
                for log2 in range(2, shape[0].bit_length()):
                    files[1 << log2] = opened(folder / f"{name}-r{log2:02d}.tfrecords")
            if image.shape != shape or image.dtype != dtype:
                raise ValueError(
                    f"image {count} is {image.dtype}{list(image.shape)}, the first one "
                    f"{dtype}{list(shape)}"
                )
            level = image.astype(np.float32)
            for resolution in sorted(files, reverse=True):
                level = level if resolution == shape[0] else _halve(level)
                write_record(files[resolution], encode_image(_stored(level, dtype)))
            count += 1
        if not count:
            raise ValueError(f"{folder}: no images to write")
        if labels is not None and len(labels) != count:
            raise ValueError(f"{count} images but {len(labels)} labels")
        if labels is not None:
            np.save(opened(folder / f"{name}-rxx.labels"), np.asarray(labels, np.float32))


def _check_image(image: np.ndarray) -> None:
    shape = image.shape
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] < 4 or shape[0] & (shape[0] - 1):
        raise ValueError(f"images must be [H, W, C], square, a power of two >= 4, found {shape}")
    if image.dtype not in (np.uint8, np.float32):
        raise ValueError(f"images must be uint8 or float32, found {image.dtype}")
