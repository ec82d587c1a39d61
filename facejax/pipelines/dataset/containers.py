"""What faces are written into: a folder of ordinary files, packed arrays, ArrayRecord (TFDS).

All of them can be interrupted at any time, written by several processes at once (each its own
faces), and read face by face. Face i ends up with the same arrays in each.
"""

import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from facejax.host.arrays import read_npz
from facejax.host.files import atomic_path, reading
from facejax.pipelines.dataset.outputs import npz_bytes, png_bytes, split_face

Schema = Mapping[str, Mapping[str, Any]]  # name: {'shape': [...], 'dtype': '...', ...}


class Clock:
    """Seconds spent in named parts, summed over threads."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + took


class Container(Protocol):
    """Where the faces 0 .. num - 1 of a set go."""

    def share(self, num_shards: int, shard: int) -> np.ndarray:
        """The faces that one of `num_shards` processes makes, in order; int64."""
        ...

    def there(self) -> np.ndarray:
        """[num] bool, which faces are there."""
        ...

    def write(self, index: int, face: Mapping[str, np.ndarray]) -> None:
        """Stores a face, whole or not at all; called from several threads."""
        ...

    def close(self) -> None:
        """Ends writing: what was written is there for other processes and machines."""
        ...

    def finish(self) -> None:
        """Called when none is missing; may be called again."""
        ...

    def labels(self, index: int) -> dict[str, np.ndarray]:
        """The small arrays of a face, after `finish`."""
        ...

    def pictures(self, index: int) -> dict[str, np.ndarray]:
        """Its images and maps, after `finish`."""
        ...


class FolderContainer:
    """images/, masks/, regions/ (PNG), maps/ and labels/ (npz), one file per face in each.

    Args:
      out: the folder.
      num: N.
      clock: told how long encoding and writing take.
      compress: deflate the maps: less than half the space, 4 ms per face of 256 pixels.
      mesh: (number, face) -> None, writes a further file.
    """

    _PLACES = {"image": "images", "mask": "masks", "regions": "regions"}

    def __init__(
        self,
        out: pathlib.Path,
        num: int,
        clock: Clock,
        compress: bool = True,
        mesh: Callable[[int, Mapping[str, np.ndarray]], None] | None = None,
    ):
        self.out, self.num, self.clock = out, num, clock
        self.compress, self._mesh = compress, mesh

    def path(self, place: str, index: int) -> pathlib.Path:
        """Of one of the files of a face; 'place' is a folder."""
        suffix = "npz" if place in ("maps", "labels") else "png"
        return self.out / place / f"{index:06d}.{suffix}"

    def share(self, num_shards: int, shard: int) -> np.ndarray:
        """See `Container`; shard, shard + num_shards, ..."""
        return np.arange(shard, self.num, num_shards)

    def there(self) -> np.ndarray:
        """See `Container`."""
        found = np.zeros(self.num, bool)
        folder = self.out / "labels"
        for entry in os.scandir(folder) if folder.is_dir() else ():
            number = entry.name.removesuffix(".npz")
            if number.isdecimal() and int(number) < self.num:
                found[int(number)] = True
        return found

    def write(self, index: int, face: Mapping[str, np.ndarray]) -> None:
        """See `Container`; the labels come last, they say that the face is there."""
        images, maps, labels = split_face(face)
        if self._mesh is not None:
            with self.clock("meshes"):
                self._mesh(index, face)
        with self.clock("encode"):
            files = {self._PLACES[k]: png_bytes(v) for k, v in images.items()}
            files["maps"] = npz_bytes(maps, self.compress)
            files["labels"] = npz_bytes(labels, compress=False)
        with self.clock("disk"):
            for place, content in files.items():
                with atomic_path(self.path(place, index)) as temporary:
                    temporary.write_bytes(content)

    def close(self) -> None:
        """See `Container`; every file is closed when it is written."""

    def finish(self) -> None:
        """Removes what killed processes left of files that they were writing."""
        for place in (*self._PLACES.values(), "maps", "meshes", "labels"):
            for path in (self.out / place).glob(".*"):
                path.unlink(missing_ok=True)

    def labels(self, index: int) -> dict[str, np.ndarray]:
        """See `Container`."""
        return read_npz(self.path("labels", index))

    def pictures(self, index: int) -> dict[str, np.ndarray]:
        """See `Container`."""
        from PIL import Image

        out = {}
        for name, place in self._PLACES.items():
            path = self.path(place, index)
            with reading(path, "a readable image"), Image.open(path) as file:
                out[name] = np.asarray(file)
        return out | read_npz(self.path("maps", index))
