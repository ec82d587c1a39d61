"""From numbers to a finished set: draws, renders and writes at the same time, and resumes."""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from facejax.data.photographs import Look, choose_look
from facejax.host.files import atomic_path, read_json
from facejax.host.locks import LockError, folder_lock
from facejax.morphable import MorphableModel
from facejax.pipelines.dataset.containers import Clock, Container, FolderContainer, Schema
from facejax.pipelines.dataset.draw import Drawer
from facejax.pipelines.dataset.meshes import FORMATS, MeshWriter
from facejax.pipelines.dataset.options import Options
from facejax.pipelines.dataset.outputs import OUTPUTS
from facejax.pipelines.dataset.packed import PackedContainer
from facejax.pipelines.dataset.records import RecordContainer
from facejax.pipelines.dataset.render import FaceRenderer
from facejax.pipelines.dataset.report import Statistics, write_sheets
from facejax.pipelines.dataset.tables import TableWriter, column_names, row, write_coco
from facejax.systems.manifold.denoise import Denoisers

_LEAST_TEXTURE = 256  # texels of painted skin; twice that for larger pictures
_LAST = "statistics.png"
_REPORT = "report"  # the lock of who writes the tables
_log = logging.getLogger(__name__)
CONTAINERS = ("folder", "packed", "tfds")


class FaceMaker:
    """Makes faces by number; what `write_dataset` writes, as arrays.

    Args:
      model: the face model.
      options: what to draw.
      run: a trained Face Manifold, for 'manifold' sampling.
      devices: that share a batch; all local ones by default.
      look: what people look like; None for the one that the options name.

    Attributes:
      draw: number -> drawn values, see `Drawer`.
      render: drawn faces -> arrays on devices, see `FaceRenderer`.
    """

    def __init__(
        self,
        model: MorphableModel,
        options: Options,
        run: Denoisers | None = None,
        devices: Sequence[jax.Device] | None = None,
        look: Look | None = None,
    ):
        self.model, self.options, self.run = model, options, run
        if look is None:
            texture = _LEAST_TEXTURE if options.size <= _LEAST_TEXTURE else 2 * _LEAST_TEXTURE
            look = choose_look(options.look, model, texture_size=texture)
        self.draw = Drawer(model, options, run, look)
        self.render = FaceRenderer(model, options, run, devices, look)

    def __call__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
        """Faces, each a dict of all `OUTPUTS`."""
        size = -(-len(indices) // self.render.num_devices) * self.render.num_devices
        drawn = [self.draw(i) for i in indices]
        arrays = jax.device_get(self.render(drawn + drawn[-1:] * (size - len(drawn))))
        return [_face(arrays, k) for k in range(len(indices))]

    def settings(self) -> dict[str, Any]:
        """JSON-able: all that a face depends on."""
        digest = ""
        if self.run is not None and self.options.wide:
            h = hashlib.blake2b(digest_size=8)
            for leaf in jax.tree.leaves((self.run.params, self.run.scales)):
                h.update(np.asarray(leaf).tobytes())
            digest = h.hexdigest()
        backgrounds = self.draw.backgrounds
        return self.options.settings() | {
            "background": "images" if backgrounds.names else backgrounds.kind,  # wherever they are
            "model": self.model.topology.name,
            "model_digest": self.model.topology.digest,
            "run_digest": digest,
            "background_digest": backgrounds.digest,
        }


def _face(arrays: Mapping[str, np.ndarray], row_number: int) -> dict[str, np.ndarray]:
    """Row of a batch, in the order of OUTPUTS."""
    return {k: arrays[k][row_number] for k in OUTPUTS if k in arrays}


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `write_dataset` did.

    Attributes:
      written, found, missing: faces made now; there before, of this process's share; not there
        yet, of the whole set.
      left_out: {background image: why} of those that were not used.
      seconds: wall time of making faces ('total'), in it of compiling ('compile') and of waiting
        for devices ('start', 'wait'); of the tables ('report'). Summed over threads: 'draw',
        'encode', 'disk'.
    """

    written: int
    found: int
    missing: int
    left_out: dict[str, str]
    seconds: dict[str, float]


def write_dataset(
    maker: FaceMaker,
    out: str | pathlib.Path,
    num: int,
    *,
    container: str = "folder",
    batch_size: int = 16,
    num_shards: int = 1,
    shard: int = 0,
    coco: bool = False,
    compress: bool = True,
    meshes: str = "",
    threads: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Makes what is missing of the faces 0 .. num - 1 of a set.

    The identity of a set is its dataset.json: the settings, the face model, and the list of
    background images that could be read when it was begun. Faces that are there are never made
    again, nor refused because of what became of a background.

    In any case: dataset.json (settings, what is stored). When all faces are there: labels.csv (and
    labels.parquet where pyarrow is installed), contact_sheet.png, outputs.png, statistics.png and,
    if asked for, coco_keypoints.json.

    Args:
      maker: makes the faces.
      out: folder; made if missing.
      num: of faces, in all processes together.
      container: 'folder', 'packed' or 'tfds', see `FolderContainer`, `PackedContainer`,
        `RecordContainer`.
      batch_size: faces rendered at a time over all devices; rounded up to a multiple of them.
      num_shards, shard: how many processes share the set, and which this one is.
      coco: also writes coco_keypoints.json; needs 'folder'.
      compress: of the maps in 'folder'.
      meshes: 'glb', 'obj' or 'ply': also meshes/, of 'folder'; '' for none.
      threads: that draw and encode; by default one per processor.
      skip_bad: do without background images that cannot be read. In a set that is begun they are
        left out of its list; in one that goes on, faces that would get one draw another.

    Raises:
      ValueError: a wrong argument, the folder holds another set, an image of the background cannot
        be read.
      LockError: another process makes the set, or the same share of it.
      MachineError: there is no room.
    """
    _check(num, container, batch_size, num_shards, shard, coco, meshes)
    out = pathlib.Path(out)
    threads = threads or os.cpu_count() or 1
    parts = [f"shard-{k}-of-{num_shards}" for k in range(num_shards)] if num_shards > 1 else [""]
    with folder_lock(out, "making faces", parts[shard], beside=[*parts, _REPORT]):
        return _write_share(
            maker, out, num, container, batch_size, num_shards, shard, coco, compress, meshes,
            threads, skip_bad,
        )  # fmt: skip


def _write_share(
    maker, out, num, container, batch_size, num_shards, shard, coco, compress, meshes, threads,
    skip_bad,
) -> Summary:  # fmt: skip
    """`write_dataset` by the process that holds the lock of its share."""
    batch_size = -(-batch_size // maker.render.num_devices) * maker.render.num_devices
    layout = {"container": container, "meshes": meshes}
    schema = _open_set(maker, out, num, layout, batch_size, skip_bad, threads)
    clock = Clock()
    if container == "folder":
        mesh = MeshWriter(maker.model, out, meshes) if meshes else None
        sink: Container = FolderContainer(out, num, clock, compress, mesh)
    elif container == "packed":
        sink = PackedContainer(out, num, schema, clock)
    else:
        sink = RecordContainer(out, num, schema, clock)
    share = sink.share(num_shards, shard)
    todo = share[~sink.there()[share]]
    backgrounds = maker.draw.backgrounds
    if len(todo):
        if backgrounds.names and not backgrounds.checked:
            backgrounds.check_resumed(skip_bad, threads)
        if isinstance(sink, PackedContainer):
            sink.check_space()
        (out / _LAST).unlink(missing_ok=True)  # tells of a set that is about to change
    with clock("total"), contextlib.closing(sink):
        _make(maker, sink, todo, batch_size, threads, clock)
    missing = int(num - sink.there().sum())
    if not missing:
        try:
            with folder_lock(out, "writing tables", _REPORT), clock("report"):
                _finish(maker, sink, out, num, coco)
        except LockError as error:  # the process of another shard was faster
            _log.info("the tables are left to another process: %s", error)
    left_out = backgrounds.left_out
    return Summary(len(todo), len(share) - len(todo), missing, left_out, clock.seconds)


def _finish(maker, sink, out, num, coco) -> None:
    """What is written when all faces are there; what is there already is left."""
    if not (out / _LAST).is_file():
        sink.finish()
        _report(maker, sink, out, num)
    if coco:
        faces = ((i, f"images/{i:06d}.png", sink.labels(i)) for i in range(num))
        write_coco(out / "coco_keypoints.json", faces, maker.options.size)


def _check(num, container, batch_size, num_shards, shard, coco, meshes) -> None:
    if container not in CONTAINERS:
        raise ValueError(f"container is {container!r}, wanted one of {CONTAINERS}")
    for name, value in (("num", num), ("batch_size", batch_size), ("num_shards", num_shards)):
        if value < 1:
            raise ValueError(f"{name} is {value}, wanted at least 1")
    if not 0 <= shard < num_shards:
        raise ValueError(f"shard is {shard}, wanted 0 to {num_shards - 1} (num_shards - 1)")
    if meshes not in ("", *FORMATS):
        raise ValueError(f"meshes is {meshes!r}, wanted one of {FORMATS}")
    for name, value in (("coco", coco), ("meshes", meshes)):
        if value and container != "folder":
            raise ValueError(f"{name} needs container 'folder', not {container!r}")


def _open_set(
    maker: FaceMaker, out: pathlib.Path, num: int, layout: dict[str, str], batch: int,
    skip_bad: bool, threads: int,
) -> Schema:  # fmt: skip
    """The schema of a face; writes dataset.json, or checks that it describes the same set."""
    path, backgrounds = out / "dataset.json", maker.draw.backgrounds
    found = _read_set(path) if path.is_file() else None
    if found is None:
        if out.exists() and (
            not out.is_dir() or any(not p.name.startswith(".") for p in out.iterdir())
        ):
            raise ValueError(f"{out} is there and is no set of faces: give another --out")
        backgrounds.begin(skip_bad, threads)
    elif backgrounds.names and found["background_images"]:
        backgrounds.resume(
            found["background_images"],
            found.get("background_sizes"),
            found["settings"].get("background_digest", ""),
        )
    settings = maker.settings() | layout
    if layout["container"] != "folder":
        settings["num"] = num  # the size of its files
    if found is not None:
        there = found["settings"]
        changed = sorted(k for k in settings | there if settings.get(k) != there.get(k))
        if changed:
            raise ValueError(
                f"{out} holds faces with other settings: "
                + ", ".join(f"{k} {there.get(k)!r}, now {settings.get(k)!r}" for k in changed)
                + ". Give another --out, or the same settings to go on"
            )
        if found["num"] == num:
            return found["outputs"]
    schema = found["outputs"] if found else _schema(maker, batch)
    topology = maker.model.topology
    content = {
        "num": num,
        "settings": settings,
        "outputs": schema,
        "regions": list(maker.render.regions),
        "background_images": backgrounds.names,
        "background_sizes": backgrounds.sizes,
        "exp_names": list(topology.exp_names),
        "source": topology.source,
        "licence": topology.licence,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return schema


def _read_set(path: pathlib.Path) -> dict[str, Any]:
    """The content of a dataset.json."""
    found = read_json(path)
    wanted = {"settings": dict, "num": int, "outputs": dict, "background_images": list}
    if not isinstance(found, dict) or any(
        not isinstance(found.get(key), kind) for key, kind in wanted.items()
    ):
        raise ValueError(
            f"{path} does not describe a set of faces (wanted {', '.join(wanted)}): give another "
            "--out"
        )
    return found


def _schema(maker, batch) -> dict[str, dict[str, Any]]:
    shapes = maker.render.shapes([maker.draw(0)] * batch)
    return {
        k: {
            "shape": list(shapes[k].shape[1:]),
            "dtype": str(shapes[k].dtype),
            "meaning": OUTPUTS[k],
        }
        for k in OUTPUTS
        if k in shapes
    }


def _make(maker, sink, todo, batch_size, threads, clock) -> None:
    """Three things at a time: faces are drawn, rendered, and encoded and written."""

    def draw(index):
        with clock("draw"):
            return maker.draw(index)

    def batches():
        return (todo[i : i + batch_size].tolist() for i in range(0, len(todo), batch_size))

    queue = batches()
    drawing: collections.deque[list[Future]] = collections.deque()
    writing: collections.deque[Future] = collections.deque()
    with ThreadPoolExecutor(threads, "faces") as pool, _Progress(len(todo)) as progress:

        def draw_ahead(count):
            for indices in itertools.islice(queue, count):
                drawing.append([pool.submit(draw, i) for i in indices])

        def collect(indices, rendered):
            with clock("wait"):
                arrays = jax.device_get(rendered)
            for k, index in enumerate(indices):
                writing.append(pool.submit(sink.write, index, _face(arrays, k)))

        def wait(limit):
            while len(writing) > limit:
                writing.popleft().result()
                progress.update()

        try:
            draw_ahead(2)
            before = None
            for indices in batches():
                drawn = [future.result() for future in drawing.popleft()]
                draw_ahead(1)
                drawn += drawn[-1:] * (batch_size - len(drawn))
                if before is None:
                    _log.info("compiling the renderer: up to a minute")
                with clock("start" if before else "compile"):
                    rendered = maker.render(drawn)  # goes on by itself
                progress.start()
                if before:  # is written in the meantime
                    collect(*before)
                wait(2 * batch_size)
                before = indices, rendered
            if before:
                collect(*before)
            wait(0)
        except BaseException:
            for future in (*writing, *itertools.chain(*drawing)):
                future.cancel()
            raise


class _Progress:
    """A line with faces per second and the time left, which does not count compiling."""

    def __init__(self, total: int):
        self._total, self._bar = total, None

    def __enter__(self) -> "_Progress":
        return self

    def start(self) -> None:
        if self._bar is None:
            from tqdm import tqdm

            often = 0.5 if sys.stderr.isatty() else 15.0
            self._bar = tqdm(total=self._total, unit="face", mininterval=often, maxinterval=often)

    def update(self) -> None:
        self._bar.update()

    def __exit__(self, *error) -> None:
        if self._bar is not None:
            self._bar.close()


def _report(maker, sink, out, num) -> None:
    """The table, the pictures and, last, the statistics: what is there when all else is."""
    statistics = Statistics(maker.options, bool(maker.model.topology.exp_names))
    columns = column_names(sink.labels(0), maker.model.topology.exp_names)
    with TableWriter(out, columns) as table:
        for i in range(num):
            labels = sink.labels(i)
            table.add(row(i, labels))
            statistics.add(labels)
    write_sheets(out, num, lambda i: sink.pictures(i) | sink.labels(i))
    statistics.write(out / _LAST)
