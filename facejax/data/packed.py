"""Packed sets of UV maps on disk: one memory-mapped array per resolution.

Layout of a folder (LL = log2 of the resolution):

    meta.json     magic, version, count, channels, dtype, value_range, label names, codec, files
    rLL.npy       [N, 2^LL, 2^LL, C] float32, float16 or uint8; LL = 2 .. log2 of the resolution
    labels.npy    [N, L] float32
    names.json    N names
    codec.npz     mean maps and masks of the UV encoding
"""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from facejax.data.source import Source, check_indices
from facejax.data.uvmaps import UVCodec, log2_resolution, pyramid
from facejax.host import machine
from facejax.host.arrays import RowWriter, read_npy, read_npz
from facejax.host.files import atomic_path, read_json, reading
from facejax.host.locks import new_folder
from facejax.nn.batching import padded_batches

MAGIC = "facejax-packed"
VERSION = 1
DTYPES = ("float32", "float16", "uint8")


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _quantize(maps: np.ndarray, dtype: str, value_range: tuple[float, float]) -> np.ndarray:
    """Float maps as they are stored; uint8 covers `value_range` with 256 steps."""
    if dtype != "uint8":
        return maps.astype(dtype)
    low, high = value_range
    return np.clip(np.rint((maps - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _check_batch(batch: Mapping[str, Any], resolution: int, channels: int, labels: int) -> None:
    maps, rows = batch["maps"], batch["labels"]
    wanted = (len(maps), resolution, resolution, channels)
    if maps.shape != wanted:
        raise ValueError(
            f"maps of shape {maps.shape}, wanted {wanted}: {channels} channels as in the "
            f"modalities of the codec, square, {resolution} px"
        )
    if rows.shape != (len(maps), labels):
        raise ValueError(f"labels of shape {rows.shape}, wanted {(len(maps), labels)}")
    if not np.isfinite(maps).all() or not np.isfinite(rows).all():
        raise ValueError("maps and labels must be finite, found NaN or infinity")


def write_packed(
    folder: str | pathlib.Path,
    batches: Iterable[Mapping[str, Any]],
    *,
    num_examples: int,
    resolution: int,
    codec: UVCodec,
    label_names: Sequence[str] = (),
    dtype: str = "float32",
    value_range: tuple[float, float] = (-1.0, 1.0),
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Writes a packed set; the folder appears whole or not at all.

    Lower resolutions are repeated 2x2 means, in float32, over the texels inside the codec's mask.

    Args:
      folder: where to write; must not exist, or be empty.
      batches: dicts with 'maps' [B, R, R, C] float (network channels), 'labels' [B, L] and
        optionally 'names' (B strings); B may vary.
      num_examples: the examples that all batches hold together.
      resolution: R, a power of two >= 4.
      codec: what the channels mean.
      label_names: L names.
      dtype: 'float32', 'float16' or 'uint8'.
      value_range: what 0 and 255 stand for in uint8.
      meta: further JSON-able entries of meta.json.

    Raises:
      ValueError: if the batches do not fit, or uint8 would clip a value.
      LockError: another process is writing the set.
      MachineError: there is no room for it.
    """
    if log2_resolution(resolution) < 2:
        raise ValueError(f"resolution must be at least 4, found {resolution}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {DTYPES}, found {dtype!r}")
    if num_examples < 1:
        raise ValueError("a packed set needs at least one example, found none")
    with new_folder(folder, "writing a data set") as partial:
        machine.check_space(folder, packed_bytes(num_examples, resolution, codec.channels, dtype))
        _write_arrays(
            partial, batches, num_examples, resolution, codec, len(label_names), dtype, value_range
        )
        with atomic_path(partial / "codec.npz") as path:
            np.savez_compressed(path, **codec.arrays())
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in sorted(partial.iterdir())
        }
        content = dict(meta or {}) | {
            "magic": MAGIC,
            "version": VERSION,
            "count": num_examples,
            "resolution": resolution,
            "channels": codec.channels,
            "dtype": dtype,
            "value_range": list(value_range),
            "label_names": list(label_names),
            "codec": codec.to_dict(),
            "files": files,
        }
        with atomic_path(partial / "meta.json") as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def packed_bytes(num_examples: int, resolution: int, channels: int, dtype: str) -> int:
    """How much room the arrays of a packed set take.

    Args:
      num_examples, resolution, channels, dtype: of the set.
    """
    texels = sum(4**log2 for log2 in range(2, log2_resolution(resolution) + 1))
    return num_examples * texels * channels * np.dtype(dtype).itemsize


def _write_arrays(
    temp: pathlib.Path,
    batches: Iterable[Mapping[str, Any]],
    num_examples: int,
    resolution: int,
    codec: UVCodec,
    num_labels: int,
    dtype: str,
    value_range: tuple[float, float],
) -> None:
    with contextlib.ExitStack() as stack:
        arrays = {}
        for log2 in range(2, log2_resolution(resolution) + 1):
            shape = (num_examples, 1 << log2, 1 << log2, codec.channels)
            writer = RowWriter(temp / f"r{log2:02d}.npy", dtype, shape)
            arrays[1 << log2] = stack.enter_context(writer)
        labels, names = _write_rows(
            arrays, batches, num_examples, resolution, codec, num_labels, dtype, value_range
        )
    with atomic_path(temp / "labels.npy") as path:
        np.save(path, labels)
    with atomic_path(temp / "names.json") as path:
        path.write_text(json.dumps(names) + "\n", encoding="utf-8")


def _write_rows(
    arrays, batches, num_examples, resolution, codec, num_labels, dtype, value_range
) -> tuple[np.ndarray, list[str]]:
    """Appends batches to the arrays of all resolutions; returns labels and names."""
    labels = np.zeros((num_examples, num_labels), np.float32)
    names: list[str] = []
    half_step = (value_range[1] - value_range[0]) / 510
    for batch in batches:
        batch = {"maps": np.asarray(batch["maps"], np.float32)} | {
            "labels": np.asarray(batch["labels"], np.float32),
            "names": batch.get("names"),
        }
        maps, start = batch["maps"], len(names)
        _check_batch(batch, resolution, codec.channels, num_labels)
        stop = start + len(maps)
        if stop > num_examples:
            raise ValueError(f"more than the {num_examples} examples announced were given")
        low, high = maps.min(initial=np.inf), maps.max(initial=-np.inf)
        if dtype == "uint8" and not (
            value_range[0] - half_step <= low and high <= value_range[1] + half_step
        ):
            raise ValueError(
                f"uint8 holds {value_range[0]} .. {value_range[1]} but examples from {start} on "
                f"span {low:.3g} .. {high:.3g}: widen value_range or store float16"
            )
        for level, values in pyramid(maps, codec.mask(resolution))[0].items():
            arrays[level].append(_quantize(values, dtype, value_range))
        labels[start:stop] = batch["labels"]
        given = batch["names"]
        names += [f"{i:08d}" for i in range(start, stop)] if given is None else map(str, given)
        if len(names) != stop:
            raise ValueError(f"{len(names) - start} names for {len(maps)} maps")
    if len(names) != num_examples:
        raise ValueError(f"{num_examples} examples were announced but {len(names)} were given")
    return labels, names


def _read_meta(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "meta.json"
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: {folder} is not a packed set (make one with "
            "data_prep/dataset_tool.py)"
        )
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("magic") != MAGIC:
        raise ValueError(f"{path} does not describe a packed set: wanted magic {MAGIC!r}")
    if meta.get("version") != VERSION:
        raise ValueError(f"{path}: version {meta.get('version')}, this program reads {VERSION}")
    wanted = {"count", "resolution", "channels", "dtype", "value_range", "label_names", "codec"}
    missing = sorted((wanted | {"files"}) - set(meta))
    if missing:
        raise ValueError(f"{path} lacks {missing}")
    with reading(path, "the description of a packed set"):
        low, high = map(float, meta["value_range"])
        sizes = [int(meta[key]) for key in ("count", "resolution", "channels")]
        sizes += [int(meta["files"][name]["bytes"]) for name in meta["files"]]
        log2_resolution(meta["resolution"])
        if not low < high or min(sizes) < 0:
            raise ValueError(f"value_range {[low, high]} or sizes {sizes} cannot be")
    return meta


class PackedSource(Source):
    """Reads a packed set; every file is checked for its size when the set is opened.

    Attributes:
      meta: the content of meta.json.
      codec: the UV encoding.
      labels: [N, L] float32.
      label_names: L names.
      names: N names.
      resolutions: what is stored, ascending.
    """

    def __init__(self, folder: str | pathlib.Path, verify: bool = False):
        """Opens a set.

        Args:
          folder: a folder that `write_packed` made.
          verify: read every file once and compare its SHA-256.

        Raises:
          ValueError: what is missing, truncated or damaged, with bytes found and wanted.
        """
        self.folder = pathlib.Path(folder)
        self.meta = _read_meta(self.folder)
        self._check_files(verify)
        arrays = read_npz(self.folder / "codec.npz")
        with reading(self.folder / "meta.json", "the description of a packed set"):
            self.codec = UVCodec.from_dict(self.meta["codec"], arrays)
        if self.codec.channels != self.meta["channels"]:
            raise ValueError(
                f"{self.folder / 'meta.json'}: {self.meta['channels']} channels, but the "
                f"modalities {list(self.codec.slices())} have {self.codec.channels}"
            )
        self.labels = read_npy(self.folder / "labels.npy")
        self.label_names = tuple(self.meta["label_names"])
        self.names = read_json(self.folder / "names.json")
        wanted = (len(self), len(self.label_names))
        if self.labels.shape != wanted or len(self.names) != len(self):
            raise ValueError(
                f"{self.folder}: found labels {self.labels.shape} and {len(self.names)} names, "
                f"wanted {wanted} and {len(self)}"
            )
        self._arrays = {}
        for log2 in range(2, log2_resolution(self.meta["resolution"]) + 1):
            path = self.folder / f"r{log2:02d}.npy"
            if path.name not in self.meta["files"]:
                raise ValueError(f"{self.folder / 'meta.json'} does not list {path.name}")
            array = read_npy(path, mmap=True)
            wanted = (self.meta["count"], 1 << log2, 1 << log2, self.meta["channels"])
            if array.shape != wanted or array.dtype != self.meta["dtype"]:
                raise ValueError(
                    f"{path}: found {array.dtype}{list(array.shape)}, wanted "
                    f"{self.meta['dtype']}{list(wanted)}"
                )
            self._arrays[1 << log2] = array
        self.resolutions = tuple(self._arrays)

    def _check_files(self, verify: bool) -> None:
        for name, wanted in self.meta["files"].items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else None
            if found is None:
                raise ValueError(f"{path} is missing, wanted {wanted['bytes']} bytes")
            if found != wanted["bytes"]:
                raise ValueError(
                    f"{path} is damaged: found {found} bytes, wanted {wanted['bytes']}; "
                    "copy or write the set again"
                )
            if verify and _sha256(path) != wanted["sha256"]:
                raise ValueError(f"{path} is damaged: its SHA-256 is not the one in meta.json")

    def __len__(self) -> int:
        return int(self.meta["count"])

    def mask(self, resolution: int) -> np.ndarray:
        """[r, r] bool, true inside the UV layout."""
        return self.codec.mask(resolution)

    in_threads = True

    def draw(self, indices: np.ndarray, resolution: int | None = None) -> dict[str, np.ndarray]:
        """Examples by number.

        Args:
          indices: [B] int64.
          resolution: one of `resolutions`, or None for the highest.

        Returns:
          'maps' [B, r, r, C] float32 network channels, 'labels' [B, L] float32.
        """
        resolution = self.resolutions[-1] if resolution is None else resolution
        if resolution not in self._arrays:
            raise ValueError(
                f"{self.folder} holds {self.resolutions} px, found a request for {resolution} px"
            )
        indices = check_indices(indices, len(self))
        maps = self._arrays[resolution][indices]
        if maps.dtype == np.uint8:
            low, high = self.meta["value_range"]
            maps = maps * np.float32((high - low) / 255) + np.float32(low)
        return {"maps": maps.astype(np.float32, copy=False), "labels": self.labels[indices]}


def source_batches(
    source: Source, num_examples: int, batch_size: int = 16, progress: Any = iter
) -> Iterator[dict[str, np.ndarray]]:
    """The first examples of a source at its highest resolution, as `write_packed` takes them.

    Args:
      source: what to read.
      num_examples: how many.
      batch_size: how many at a time.
      progress: wraps the sequence of batch numbers, e.g. `tqdm.tqdm`.

    Yields:
      'maps' [B, R, R, C] and 'labels' [B, L].
    """
    steps = progress(range(-(-num_examples // batch_size)))
    batches = padded_batches(np.arange(num_examples), batch_size)
    for _, (indices, count) in zip(steps, batches, strict=True):
        batch = source.batch(indices)
        yield {key: np.asarray(batch[key])[:count] for key in ("maps", "labels")}


def pack_source(folder: str | pathlib.Path, source: Any, num_examples: int, **options: Any) -> None:
    """Writes the first examples of a source that has a codec, e.g. `MorphableUVSource`.

    Args:
      folder: as in `write_packed`.
      source: has `batch`, `codec`, `label_names` and `meta['resolution']`.
      num_examples: how many.
      **options: dtype and value_range of `write_packed`, batch_size and progress of
        `source_batches`.
    """
    reading = {key: options.pop(key) for key in ("batch_size", "progress") if key in options}
    write_packed(
        folder,
        source_batches(source, num_examples, **reading),
        num_examples=num_examples,
        resolution=source.meta["resolution"],
        codec=source.codec,
        label_names=source.label_names,
        meta={"source": source.meta},
        **options,
    )
