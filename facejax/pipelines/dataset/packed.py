"""Faces packed into one array per output, and a reader for training from them.

Layout of a folder:

    meta.json      magic, version, count, arrays: {name: file, shape, dtype, bytes, sha256}
    <name>.npy     [N, ...] of every output
    written.npy    [N] uint8, 1 where a face is there
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping

import numpy as np

from facejax.data.source import Source, check_indices
from facejax.host import machine
from facejax.host.arrays import describe_array, npy_header, read_npy
from facejax.host.files import atomic_path, is_file, read_json, reading
from facejax.pipelines.dataset.containers import Clock, Schema
from facejax.pipelines.dataset.outputs import split_face

MAGIC = "facejax-faces"
VERSION = 1


class PackedContainer:
    """Writes rows in place, so that memory does not grow and processes share the files.

    Args:
      out: the folder.
      num: N.
      schema: of one face.
      clock: told how long writing takes.
    """

    def __init__(self, out: pathlib.Path, num: int, schema: Schema, clock: Clock):
        self.out, self.num, self.clock = out, num, clock
        self._specs = {k: (tuple(s["shape"]), np.dtype(s["dtype"])) for k, s in schema.items()}
        self._specs["written"] = ((), np.dtype(np.uint8))
        self._open: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._reader: PackedFaces | None = None

    def _file(self, name: str) -> tuple[int, int]:
        """(descriptor, bytes before the first row); makes the file at its full size."""
        with self._lock:
            if name not in self._open:
                shape, dtype = self._specs[name]
                header = npy_header(dtype, (self.num, *shape))
                self.out.mkdir(parents=True, exist_ok=True)
                path = self.out / f"{name}.npy"
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                with _named(path):
                    # every process that makes it writes the same bytes, so none has to be first
                    _pwrite(file, header, 0)
                    os.ftruncate(file, len(header) + self._bytes(name))
                self._open[name] = file, len(header)
            return self._open[name]

    def _bytes(self, name: str) -> int:
        shape, dtype = self._specs[name]
        return self.num * dtype.itemsize * math.prod(shape)

    def check_space(self) -> None:
        """Refuses a set that will not fit on the disk; what is written already counts.

        Raises:
          MachineError: there is no room.
        """
        needed = 0
        for name in self._specs:
            path = self.out / f"{name}.npy"
            there = path.stat() if path.is_file() else None
            # files have holes where faces are missing; blocks are of 512 bytes, where there are any
            written = 512 * getattr(there, "st_blocks", 0) if there else 0
            needed += max(0, self._bytes(name) - written)
        machine.check_space(self.out, needed)

    def _put(self, name: str, index: int, array: np.ndarray) -> None:
        shape, dtype = self._specs[name]
        array = np.asarray(array)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{self.out / name}.npy holds {dtype}{list(shape)} per face, found "
                f"{array.dtype}{list(array.shape)}: give another --out"
            )
        content = array.tobytes()
        file, start = self._file(name)
        with _named(self.out / f"{name}.npy"):
            _pwrite(file, content, start + index * len(content))

    def share(self, num_shards: int, shard: int) -> np.ndarray:
        """See `Container`; shard, shard + num_shards, ..."""
        return np.arange(shard, self.num, num_shards)

    def there(self) -> np.ndarray:
        """See `Container`."""
        try:
            written = read_npy(self.out / "written.npy")
        except FileNotFoundError:
            return np.zeros(self.num, bool)
        except ValueError:  # another shard is just making it
            return np.zeros(self.num, bool)
        return written == 1

    def write(self, index: int, face: Mapping[str, np.ndarray]) -> None:
        """See `Container`."""
        with self.clock("disk"):
            for part in split_face(face):
                for name, array in part.items():
                    self._put(name, index, array)
            self._put("written", index, np.uint8(1))

    def close(self) -> None:
        """See `Container`."""
        with self._lock:
            for file, _ in self._open.values():
                os.close(file)
            self._open = {}

    def finish(self) -> None:
        """Writes meta.json."""
        if (self.out / "meta.json").is_file():
            return
        arrays = {}
        for name, (shape, dtype) in self._specs.items():
            path = self.out / f"{name}.npy"
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            arrays[name] = {
                "file": path.name,
                "shape": [self.num, *shape],
                "dtype": str(dtype),
                "bytes": path.stat().st_size,
                "sha256": digest,
            }
        content = {"magic": MAGIC, "version": VERSION, "count": self.num, "arrays": arrays}
        with atomic_path(self.out / "meta.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def labels(self, index: int) -> dict[str, np.ndarray]:
        """See `Container`."""
        return split_face(self._row(index))[2]

    def pictures(self, index: int) -> dict[str, np.ndarray]:
        """See `Container`."""
        images, maps, _ = split_face(self._row(index))
        return {k: np.array(v) for k, v in (images | maps).items()}

    def _row(self, index: int) -> dict[str, np.ndarray]:
        self._reader = self._reader or PackedFaces(self.out)
        return self._reader.row(index)


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Puts a file's name into errors of its descriptor."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _pwrite(file: int, content: bytes, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


class PackedFaces(Source):
    """Reads packed faces: a `facejax.data.Source` whose batches have every output.

    Attributes:
      meta: the content of meta.json.
    """

    def __init__(self, folder: str | pathlib.Path, verify: bool = False):
        """Opens a set.

        Args:
          folder: made by `facejax make_dataset --container=packed`.
          verify: read every file once and compare its SHA-256.

        Raises:
          ValueError: what is missing, cut or damaged.
        """
        folder = pathlib.Path(folder)
        path = folder / "meta.json"
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: {folder} is no finished packed set of faces; make one with "
                "facejax make_dataset --container=packed, the same command again finishes it"
            )
        meta = read_json(path)
        known = isinstance(meta, dict) and isinstance(meta.get("arrays"), dict)
        if not known or meta.get("magic") != MAGIC or meta.get("version") != VERSION:
            raise ValueError(
                f"{path} does not describe a packed set of faces: wanted magic {MAGIC!r}, version "
                f"{VERSION}, and arrays"
            )
        self.meta = meta
        with reading(path, "the description of a packed set of faces"):
            count, specs = int(meta["count"]), meta["arrays"]
            files = {
                name: (str(spec["file"]), int(spec["bytes"]), str(spec["sha256"]))
                for name, spec in specs.items()
            }
        self._arrays = {}
        for name, (file_name, wanted, digest) in files.items():
            file = folder / file_name
            if not is_file(file):
                raise ValueError(f"{file} is missing, which {path.name} names")
            size = file.stat().st_size
            if size != wanted:
                raise ValueError(f"{file} is damaged: {size} bytes, wanted {wanted}")
            if verify:
                with file.open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() != digest:
                        raise ValueError(f"{file} is damaged: its SHA-256 differs from meta.json's")
            array = read_npy(file, mmap=True)
            if array.shape[:1] != (count,):
                raise ValueError(f"{file}: found {describe_array(array)}, wanted {count} faces")
            self._arrays[name] = array

    def __len__(self) -> int:
        return int(self.meta["count"])

    def row(self, index: int) -> dict[str, np.ndarray]:
        """All outputs of one face, read when they are touched."""
        return {k: a[index] for k, a in self._arrays.items()}

    def draw(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Faces by number.

        Args:
          indices: [B] int64.

        Returns:
          {output: [B, ...]}.
        """
        indices = check_indices(indices, len(self))
        return {k: a[indices] for k, a in self._arrays.items() if k != "written"}
