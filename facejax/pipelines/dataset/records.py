"""Faces as a TensorFlow Datasets set in array_record files, written without TensorFlow."""

import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from facejax.data.tfds import write_array_records
from facejax.host.files import atomic_path, read_json
from facejax.host.machine import MachineError
from facejax.pipelines.dataset.containers import Clock, Schema
from facejax.pipelines.dataset.outputs import IMAGES, MAPS, png_bytes, split_face

VERSION = "1.0.0"
FACES_PER_FILE = 256


class RecordContainer:
    """DATA_DIR/NAME/1.0.0: a file holds faces with consecutive numbers and appears when it is full.

    An interrupted run makes the faces of unfinished files again. Several processes share the work
    by files. `tfds.data_source(NAME, data_dir=DATA_DIR)` reads the set, in order.

    Args:
      out: DATA_DIR/NAME.
      num: N.
      schema: of one face.
      clock: told how long encoding and writing take.
      per_file: faces in a file; FACES_PER_FILE by default.

    Raises:
      ValueError: the name is no snake_case.
      MachineError: a package is missing.
    """

    def __init__(
        self,
        out: pathlib.Path,
        num: int,
        schema: Schema,
        clock: Clock,
        per_file: int | None = None,
    ):
        name = out.name
        if not (name.isidentifier() and name == name.lower()):
            raise ValueError(
                f"{name!r} is no name of a TFDS data set: wanted --out=DATA_DIR/NAME with NAME in "
                "snake_case"
            )
        try:
            import tensorflow_datasets as tfds
            from array_record.python import array_record_module  # noqa: F401
        except ImportError as error:
            raise MachineError(
                "--container=tfds needs tensorflow-datasets and array-record, and one of them "
                f"cannot be imported ({error}): pip install tensorflow-datasets array-record, or "
                "use --container=packed"
            ) from error
        self._tfds = tfds
        self.name, self.num, self.clock = name, num, clock
        self.per_file = per_file or FACES_PER_FILE
        self.folder = out / VERSION
        self._features = tfds.features.FeaturesDict(
            {k: self._feature(k, v) for k, v in schema.items()}
        )
        self._blocks: dict[int, dict[int, bytes]] = {}
        self._lock = threading.Lock()
        self._sources: dict[bool, Any] = {}

    def _feature(self, name, spec):
        features, shape, dtype = self._tfds.features, tuple(spec["shape"]), np.dtype(spec["dtype"])
        if name in IMAGES:
            return features.Image(shape=(*shape[:2], 3 if len(shape) == 3 else 1), dtype=np.uint8,
                                  encoding_format="png")  # fmt: skip
        encoding = "bytes" if name in MAPS else "none"
        return features.Tensor(shape=shape, dtype=dtype.type, encoding=encoding)

    def _file(self, block: int) -> pathlib.Path:
        blocks = -(-self.num // self.per_file)
        return self.folder / f"{self.name}-train.array_record-{block:05d}-of-{blocks:05d}"

    def _faces(self, block: int) -> range:
        return range(block * self.per_file, min(self.num, (block + 1) * self.per_file))

    def share(self, num_shards: int, shard: int) -> np.ndarray:
        """See `Container`; the faces of the files shard, shard + num_shards, ..."""
        faces = np.arange(self.num)
        return faces[faces // self.per_file % num_shards == shard]

    def there(self) -> np.ndarray:
        """See `Container`."""
        blocks = range(-(-self.num // self.per_file))
        found = np.array([self._file(b).is_file() for b in blocks])
        return np.repeat(found, self.per_file)[: self.num]

    def write(self, index: int, face: Mapping[str, np.ndarray]) -> None:
        """See `Container`."""
        with self.clock("encode"):
            images, maps, labels = split_face(face)
            example = {k: png_bytes(v) for k, v in images.items()} | maps | labels
            record = self._features.serialize_example(example)
        block = index // self.per_file
        with self._lock:
            records = self._blocks.setdefault(block, {})
            records[index] = record
            if len(records) < len(self._faces(block)):
                return
            del self._blocks[block]
        with self.clock("disk"), atomic_path(self._file(block)) as temporary:
            write_array_records(temporary, (records[i] for i in sorted(records)))

    def close(self) -> None:
        """See `Container`; every file is closed when it is written."""

    def finish(self) -> None:
        """Writes dataset_info.json and features.json."""
        if self._is_finished():
            return
        tfds = self._tfds
        blocks = -(-self.num // self.per_file)
        split = tfds.core.SplitInfo(
            name="train",
            shard_lengths=[len(self._faces(b)) for b in range(blocks)],
            num_bytes=sum(self._file(b).stat().st_size for b in range(blocks)),
        )
        try:
            tfds.folder_dataset.write_metadata(
                data_dir=str(self.folder),
                features=self._features,
                split_infos=[split],
                version=VERSION,
                check_data=False,
            )
        except BaseException as error:
            for path in self._metadata():
                path.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno is not None and error.filename is None:
                error.filename = str(self.folder)
            raise

    def _metadata(self) -> list[pathlib.Path]:
        return [self.folder / name for name in ("features.json", "dataset_info.json")]

    def _is_finished(self) -> bool:
        """Whether the metadata are there, and whole: TFDS writes them bit by bit."""
        try:
            return all(read_json(path) for path in self._metadata())
        except (FileNotFoundError, ValueError):
            return False

    def _example(self, index: int, labels_only: bool) -> dict[str, np.ndarray]:
        if labels_only not in self._sources:
            builder = self._tfds.builder_from_directory(str(self.folder))
            large = [k for k in self._features if labels_only and k in (*IMAGES, *MAPS)]
            self._sources[labels_only] = builder.as_data_source(
                split="train", decoders={k: self._tfds.decode.SkipDecoding() for k in large}
            )
        return self._sources[labels_only][index]

    def labels(self, index: int) -> dict[str, np.ndarray]:
        """See `Container`."""
        found = self._example(index, labels_only=True)
        small = [k for k in found if k not in (*IMAGES, *MAPS)]
        return split_face({k: np.asarray(found[k], self._features[k].np_dtype) for k in small})[2]

    def pictures(self, index: int) -> dict[str, np.ndarray]:
        """See `Container`."""
        found = self._example(index, labels_only=False)
        out = {k: np.asarray(found[k]) for k in (*IMAGES, *MAPS) if k in found}
        return {k: v[..., 0] if k in IMAGES and v.shape[-1] == 1 else v for k, v in out.items()}
