"""UV maps and images as TensorFlow Datasets in array_record files, without TensorFlow.

Sets are written shard by shard, in several processes where that is asked for.
"""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from facejax.data.labels import read_labels
from facejax.data.original_sets import check_examples, read_pixels, refuse_bad
from facejax.data.source import Source, check_indices
from facejax.data.uvmaps import UVCodec, pyramid
from facejax.host import process
from facejax.host.files import (
    atomic_path,
    is_visible,
    list_files,
    name_key,
    os_error,
    read_json,
    reading,
    some_names,
)
from facejax.host.locks import new_folder
from facejax.host.machine import expand_user
from facejax.host.shell import command_line
from facejax.io.images import find_images, image_names

VERSION = "1.0.0"
DEFAULT_FOLDER = "~/tensorflow_datasets"
_SHARD_BYTES = 256 << 20  # aimed at where no number of shards is given

# What an example holds: name -> kind, shape. Workers make the features from it.
_Spec = dict[str, tuple[str, tuple[int, ...]]]
# Examples start .. stop - 1 of a set; runs in another process, so it must be picklable.
Reader = Callable[[int, int], Iterable[Mapping[str, Any]]]


def _features(spec: _Spec):
    import tensorflow_datasets as tfds

    def feature(kind: str, shape: tuple[int, ...]):
        if kind == "text":
            return tfds.features.Text()
        if kind == "image":
            return tfds.features.Image(shape=shape)
        return tfds.features.Tensor(shape=shape, dtype=np.float32)

    return tfds.features.FeaturesDict({k: feature(*v) for k, v in spec.items()})


def write_array_records(path: pathlib.Path, records: Iterable[bytes]) -> int:
    """Writes an ArrayRecord file.

    Args:
      path: the file.
      records: in order.

    Returns:
      Their bytes.

    Raises:
      OSError: it cannot be written; names the file.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    size = 0
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        try:
            writer.write(record)
        except RuntimeError as error:
            raise os_error(error, path) from error
        size += len(record)
    try:
        writer.close()
    except RuntimeError as error:
        raise os_error(error, path) from error
    return size


def _write_shard(path: pathlib.Path, spec: _Spec, examples: Iterable[Mapping[str, Any]]) -> int:
    """Writes one file; returns the bytes of its examples."""
    features = _features(spec)
    return write_array_records(
        path,
        (features.serialize_example(features.encode_example(dict(e))) for e in examples),
    )


def _read_and_write(path: pathlib.Path, spec: _Spec, read: Reader, start: int, stop: int) -> int:
    return _write_shard(path, spec, read(start, stop))


def _build(
    folder: str | os.PathLike,
    spec: _Spec,
    num_examples: int,
    read: Reader,
    codec: UVCodec,
    label_names: Sequence[str],
    num_shards: int,
    jobs: int,
) -> pathlib.Path:
    """Writes DATA_DIR/NAME/1.0.0, whole or not at all; example i is example i of `read`."""
    import tensorflow_datasets as tfds

    folder = _check_free(folder)
    if not (folder.name.isidentifier() and folder.name == folder.name.lower()):
        raise ValueError(f"{folder.name!r} is no name of a data set: wanted snake_case")
    if num_examples < 1 or num_shards < 0 or jobs < 1:
        raise ValueError(
            f"wanted at least one example and one job, found {num_examples} example(s), "
            f"{num_shards} shard(s), {jobs} job(s)"
        )
    if not num_shards:
        texels = sum(int(np.prod(shape)) for _, shape in spec.values())
        num_shards = max(jobs, -(-4 * texels * num_examples // _SHARD_BYTES))
    num_shards = min(num_shards, num_examples)
    bounds = [k * num_examples // num_shards for k in range(num_shards + 1)]
    lengths = np.diff(bounds).tolist()
    with new_folder(folder, "writing a data set") as partial:
        out = partial / VERSION
        out.mkdir()
        names = [f"{folder.name}-train.array_record-{k:05d}-of-{num_shards:05d}" for k in
                 range(num_shards)]  # fmt: skip
        tasks = [
            (out / name, spec, read, start, stop)
            for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True)
        ]
        if jobs == 1:
            sizes = [_read_and_write(*task) for task in tasks]
        else:
            # spawn: a fork of a process with threads (jax has some) may hang
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(
                jobs, context, initializer=process.end_quietly
            ) as pool:
                try:
                    sizes = list(pool.map(_read_and_write, *zip(*tasks, strict=True)))
                except BaseException:  # else the pool waits for what the others are writing
                    for child in multiprocessing.active_children():
                        child.terminate()
                    raise
        template = tfds.core.ShardedFileTemplate(
            data_dir=out, dataset_name=folder.name, split="train", filetype_suffix="array_record"
        )
        split = tfds.core.SplitInfo(
            name="train", shard_lengths=lengths, num_bytes=sum(sizes), filename_template=template
        )
        tfds.folder_dataset.write_metadata(
            data_dir=out, features=_features(spec), split_infos=[split], version=VERSION,
            filename_template=template, check_data=False,
        )  # fmt: skip
        codec.save(out)
        with atomic_path(out / "labels.json") as path:
            path.write_text(json.dumps(list(label_names)) + "\n", encoding="utf-8")
    return folder / VERSION


def _check_free(folder: str | os.PathLike) -> pathlib.Path:
    folder = expand_user(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another folder or remove it")
    return folder


def _maps_spec(resolution: int, codec: UVCodec, num_labels: int) -> _Spec:
    return {
        "maps": ("tensor", (resolution, resolution, codec.channels)),
        "labels": ("tensor", (num_labels,)),
        "name": ("text", ()),
    }


def _examples(batch: Mapping[str, Any], start: int, spec: _Spec) -> Iterator[dict[str, Any]]:
    """The examples of a batch whose first has number `start`."""
    maps = np.asarray(batch["maps"], np.float32)
    rows = np.asarray(batch["labels"], np.float32)
    names = batch.get("names") or [f"{start + i:08d}" for i in range(len(maps))]
    shape, labels = spec["maps"][1], spec["labels"][1]
    if maps.shape[1:] != shape or rows.shape != (len(maps), *labels):
        raise ValueError(
            f"maps {maps.shape} and labels {rows.shape}, wanted [B, {shape}] and [B, {labels}]"
        )
    for example in zip(maps, rows, names, strict=True):
        yield dict(zip(("maps", "labels", "name"), example, strict=True))


def write_tfds(
    folder: str | os.PathLike,
    batches: Iterable[Mapping[str, Any]] | Callable[[int, int], Iterable[Mapping[str, Any]]],
    *,
    num_examples: int,
    resolution: int,
    codec: UVCodec,
    label_names: Sequence[str] = (),
    num_shards: int = 0,
    jobs: int = 1,
) -> pathlib.Path:
    """Writes a data set that `tfds.builder_from_directory` and `tfds.data_source` read.

    Features: 'maps' float32 [R, R, C] in network channels, 'labels' float32 [L], 'name' text. The
    order is kept.

    Args:
      folder: DATA_DIR/NAME; the set goes to DATA_DIR/NAME/1.0.0, with its codec beside. It appears
        whole or not at all.
      batches: as in `facejax.data.packed.write_packed`; or a picklable function (start, stop) ->
        batches of the examples start .. stop - 1, which several processes call.
      num_examples: the examples that all batches hold together.
      resolution: R, a power of two.
      codec: what the channels mean.
      label_names: L names.
      num_shards: files; 0 for as many as there are jobs, or more where files would be large.
      jobs: processes; more than one needs a function.

    Returns:
      The folder of the version.

    Raises:
      ValueError: the folder exists, its name is no snake_case, or the batches do not fit.
    """
    spec = _maps_spec(resolution, codec, len(label_names))
    if callable(batches):
        read = _BatchReader(batches, spec)
    elif jobs > 1:
        raise ValueError(f"{jobs} jobs cannot share one stream of batches: give a function")
    else:
        read = _Stream(batches, spec, num_examples)
    return _build(folder, spec, num_examples, read, codec, label_names, num_shards, jobs)


class _BatchReader:
    """Examples of a picklable function that makes batches."""

    def __init__(self, batches: Callable[[int, int], Iterable[Mapping[str, Any]]], spec: _Spec):
        self.batches, self.spec = batches, spec

    def __call__(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        at = start
        for batch in self.batches(start, stop):
            yield from _examples(batch, at, self.spec)
            at += len(batch["maps"])
        if at != stop:
            raise ValueError(f"{stop - start} examples were asked for but {at - start} were given")


class _Stream:
    """Examples of one stream of batches, asked for in order."""

    def __init__(self, batches: Iterable[Mapping[str, Any]], spec: _Spec, num_examples: int):
        self.num_examples, self.given = num_examples, 0

        def examples():
            for batch in batches:
                yield from _examples(batch, self.given, spec)

        self.examples = examples()

    def __call__(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        for example in self.examples:
            self.given += 1
            yield example
            if self.given == stop:
                break
        more = stop == self.num_examples and next(self.examples, None) is not None
        if self.given != stop or more:
            raise ValueError(
                f"{self.num_examples} examples were announced but {self.given} "
                f"{'and more ' if more else ''}were given"
            )


class _ImageReader:
    """Image files as they are where TFDS can hold them, else as PNG of the same pixels."""

    def __init__(
        self, files: Sequence[pathlib.Path], names: Sequence[str], labels: np.ndarray, size: int
    ):
        self.files, self.names, self.labels, self.size = list(files), list(names), labels, size

    def __call__(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        parts = (x[start:stop] for x in (self.files, self.names, self.labels))
        for path, name, row in zip(*parts, strict=True):
            pixels = read_pixels(path)
            if pixels.shape != (self.size, self.size, 3):
                raise ValueError(
                    f"{path}: {pixels.shape[0]}x{pixels.shape[1]} pixels, wanted "
                    f"{self.size}x{self.size} as in {self.files[0]}"
                )
            yield {"image": _encoded(path, pixels), "labels": row, "name": name}


def _encoded(path: pathlib.Path, pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    with Image.open(path) as image:
        plain = image.mode == "RGB" and not image.getexif() and "transparency" not in image.info
        if image.format in ("PNG", "JPEG") and plain and "16" not in str(image.tile):
            return path.read_bytes()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_tfds_images(
    folder: str | os.PathLike,
    images: str | os.PathLike,
    labels: str | os.PathLike | None = None,
    *,
    num_shards: int = 0,
    jobs: int = 1,
    skip_bad: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> pathlib.Path:
    """Writes a set of photographs or textures: 'image' uint8 [R, R, 3], 'labels', 'name'.

    All images are read once before anything is written.

    Args:
      folder: as in `write_tfds`.
      images: folder of square images of one size, a power of two; sorted by name. See
        `facejax.io.images.find_images` for sub-folders.
      labels: .csv, .npz or .npy, as `facejax.data.labels.read_labels` takes them.
      num_shards, jobs: as in `write_tfds`.
      skip_bad: leave images out that cannot be used, with lines in the log.
      progress: wraps the names of the images while they are checked, e.g. `tqdm.tqdm`.

    Returns:
      The folder of the version.

    Raises:
      ValueError: no images, an unreadable one, other sizes, or as in `write_tfds`.
    """
    _check_free(folder)
    found = find_images(images)
    stems = [name_key(name) for name in image_names(found, images)]
    files = dict(zip(stems, found, strict=True))
    if len(files) != len(stems):
        twice = sorted({s for s in stems if stems.count(s) > 1})
        raise ValueError(f"{images}: two images share a stem: {some_names(twice)}; rename them")
    rows, names = np.zeros((len(files), 0), np.float32), ()
    if labels:
        rows, names = read_labels(labels, stems)
    shape, problems = check_examples(files, lambda stem: read_pixels(files[stem]), progress)
    refuse_bad(problems, len(files), skip_bad)
    rows = rows[[s not in problems for s in stems]]
    stems = [s for s in stems if s not in problems]
    size = shape[0]
    spec: _Spec = {
        "image": ("image", (size, size, 3)),
        "labels": ("tensor", (len(names),)),
        "name": ("text", ()),
    }
    codec = UVCodec(modalities=(("texture", 3),), encoding="absolute")
    reader = _ImageReader([files[s] for s in stems], stems, rows, size)
    return _build(folder, spec, len(stems), reader, codec, names, num_shards, jobs)


class TfdsSource(Source):
    """A `Source` over such a data set; lower resolutions are made when they are asked for.

    Attributes:
      meta: channels, resolution, count, label names.
      codec: the UV encoding.
      label_names: L names.
      resolutions: 4 up to the stored one.
    """

    in_threads = True

    def __init__(self, name: str, data_dir: str | os.PathLike = ""):
        """Opens a set.

        Args:
          name: of the set, or NAME:VERSION where a folder holds several.
          data_dir: where sets lie; ~/tensorflow_datasets by default.

        Raises:
          ValueError: there is no such set, several versions of it, or not one that this module
            wrote.
        """
        import tensorflow_datasets as tfds

        name, _, version = name.partition(":")
        root = expand_user(data_dir or DEFAULT_FOLDER) / name
        found = root.glob(f"{version or '*'}/dataset_info.json")
        versions = sorted(p.parent for p in found if is_visible(p.parent))
        if not versions:
            convert = ("data_prep/dataset_tool.py", "convert", "DIR", root, "--format=tfds")
            raise ValueError(
                f"{root} holds no TFDS data set: make one with `{command_line(*convert)}`, or give "
                "its data_dir as --config.data.path"
            )
        if len(versions) > 1:
            raise ValueError(
                f"{root} holds the versions {' and '.join(v.name for v in versions)}: choose one, "
                f"--config.data.source=tfds:{name}:{versions[-1].name}"
            )
        self.folder = versions[0]
        self.codec = UVCodec.load(self.folder)
        self.label_names = tuple(read_json(self.folder / "labels.json"))
        for name in ("dataset_info.json", "features.json"):
            if not isinstance(read_json(self.folder / name), dict):
                raise ValueError(f"{self.folder / name}: damaged: no JSON object")
        with self._reading():
            builder = tfds.builder_from_directory(str(self.folder))
            self._data = builder.as_data_source(split="train")
            features = builder.info.features
            self._key = "image" if "image" in features else "maps"
            shape = tuple(features[self._key].shape) if self._key in features else ()
        if len(shape) != 3 or not len(self._data) or "labels" not in features:
            raise ValueError(
                f"{self.folder / 'features.json'}: found {len(self._data)} examples with "
                f"{sorted(features)}, wanted some with 'maps' or 'image' [R, R, C] and 'labels'"
            )
        self._shape, resolution = shape, shape[0]
        self.resolutions = tuple(1 << k for k in range(2, resolution.bit_length()))
        self.meta: dict[str, Any] = {
            "format": "tfds",
            "count": len(self._data),
            "resolution": resolution,
            "channels": self.codec.channels,
            "dtype": "uint8" if self._key == "image" else "float32",
            "label_names": list(self.label_names),
        }

    def _reading(self):
        """Around tfds, whose errors do not say in which file."""
        files = some_names(p.name for p in list_files(self.folder) if "array_record" in p.name)
        return reading(self.folder, f"a readable TFDS data set ({files}, ...)")

    def __len__(self) -> int:
        return len(self._data)

    def draw(self, indices: np.ndarray, resolution: int | None = None) -> dict[str, np.ndarray]:
        """'maps' [B, r, r, C] and 'labels' [B, L] of examples by number; r the highest by default.

        Raises:
          ValueError: an index or a resolution that the set does not hold.
        """
        resolution = self.resolutions[-1] if resolution is None else resolution
        if resolution not in self.resolutions:
            raise ValueError(f"{self.folder} holds {self.resolutions} px, found {resolution} px")
        indices = check_indices(indices, len(self))
        with self._reading():
            examples = self._data.__getitems__(indices.tolist())
            if any(np.shape(e[self._key]) != self._shape for e in examples):
                raise ValueError(f"an example that is not {list(self._shape)}: cut or damaged")
        maps = np.stack([e[self._key] for e in examples])
        if maps.dtype == np.uint8:
            maps = maps.astype(np.float32) / np.float32(127.5) - np.float32(1)
        maps = pyramid(maps, self.codec.mask(maps.shape[-2]), smallest=resolution)[0][resolution]
        return {
            "maps": np.asarray(maps, np.float32),
            "labels": np.stack([e["labels"] for e in examples]).astype(np.float32),
        }
