"""Every reader of the package, with a function that makes a small whole file for it."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tests.oracles import hdf5_files as hdf5
from tests.oracles import mat_files
from tests.oracles import tensorflow_files as tf
from tests.oracles import torch_files as torch
from tests.oracles.prepared_photos import write_prepared


def digest(value: Any) -> str:
    """Of everything that a reader returned."""
    h = hashlib.sha256()

    def add(node):
        if isinstance(node, dict):
            for key in sorted(node, key=str):
                h.update(str(key).encode())
                add(node[key])
        elif isinstance(node, list | tuple | set | frozenset):
            h.update(str(len(node)).encode())
            for item in node:
                add(item)
        elif isinstance(node, np.ndarray | np.generic) or hasattr(node, "__array__"):
            array = np.ascontiguousarray(node)
            h.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        elif dataclasses.is_dataclass(node):
            add({f.name: getattr(node, f.name) for f in dataclasses.fields(node)})
        elif type(node).__module__.startswith("facejax"):
            add({k: v for k, v in vars(node).items() if not callable(v)})
        else:
            h.update(repr(node).encode())

    add(value)
    return h.hexdigest()


@dataclasses.dataclass(frozen=True)
class Case:
    """A reader of files.

    Attributes:
      key: of the readers table of facejax, or a further name.
      make: writes a whole file or folder into an empty folder and returns what `read` takes.
      read: reads it.
      count: how many damaged files; less where reading is slow.
      pattern: of the files that are damaged, where `make` returns a folder or a prefix.
      checked: the format has checksums over its data: what is read is right or refused.
      partners: other names by which an error may tell where it lies.
    """

    key: str
    make: Callable[[pathlib.Path], pathlib.Path]
    read: Callable[[pathlib.Path], Any]
    count: int = 75
    pattern: str = "*"
    checked: bool = False
    partners: tuple[str, ...] = ()

    def files(self, path: pathlib.Path) -> list[pathlib.Path]:
        """The files to damage, in order."""
        if path.is_file():
            return [path]
        root = path if path.is_dir() else path.parent
        found = sorted(p for p in root.rglob(self.pattern) if p.is_file())
        assert found, self.key
        return found

    digest = staticmethod(digest)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- Face models ----------------------------------------------------------------------------------


def _make_ict_folder(folder):
    from tests.morphable.ict.toy import write_folder

    write_folder(folder)
    return folder


def _read_ict(path):
    from facejax.morphable.ict import read_raw
    from tests.morphable.ict.toy import TOY_REGIONS

    return read_raw(path, TOY_REGIONS)


def _make_ict_npz(folder):
    (folder / "kit").mkdir()
    raw = _read_ict(_make_ict_folder(folder / "kit"))
    np.savez(folder / "ict.npz", **raw)
    return folder / "ict.npz"


def _build_ict(path):
    from facejax.morphable.ict import build_ict

    return build_ict(path, n_id=2, n_alb=1, draws=2, texture_size=8)


def _make_bfm(folder):
    mat_files.write_bfm(folder / "BFM.mat", _rng())
    return folder / "BFM.mat"


def _make_front(folder):
    from facejax.morphable.bfm09 import front_from_model, write_bfm_front
    from facejax.morphable.load import load_morphable

    bfm = load_morphable(_make_bfm(folder), on_host=True)
    ones = np.ones(bfm.num_vertices, np.float32)
    write_bfm_front(folder / "front.mat", front_from_model(bfm, ones, ones))
    return folder / "front.mat"


def _make_bfm17(folder):
    arrays = hdf5.write_bfm17(folder / "model.h5", _rng())
    (folder / "face12.json").write_text(json.dumps(hdf5.layout_of(arrays)))
    return folder / "model.h5"


def _read_bfm17(path):
    from facejax.morphable.bfm17 import load_bfm17

    return load_bfm17(path, reference=np.zeros((68, 3)))


def _make_sources(folder):
    mat_files.write_bfm09_folder(folder, _rng())
    return folder


def _read_sources(path):
    from facejax.morphable.bfm09_sources import front_from_sources

    return front_from_sources(path)


def _make_saved(folder):
    from facejax.morphable import save_npz
    from tests.data.toy import toy_model

    save_npz(folder / "model.npz", toy_model())
    return folder / "model.npz"


def _load_morphable(path):
    from facejax.morphable import load_morphable

    return load_morphable(path, on_host=True)


def _make_hierarchy(folder):
    from facejax.geometry.hierarchy import build_hierarchy
    from tests.geometry.test_hierarchy import bumpy_grid
    from tests.morphable.test_hierarchy import write_original

    vertices, triangles = bumpy_grid(6)
    write_original(folder, build_hierarchy(vertices, triangles, 3, 2))
    return folder


def _read_hierarchy(path):
    from facejax.morphable.hierarchy import read_original_hierarchy

    return read_original_hierarchy(path)


# --- Data -----------------------------------------------------------------------------------------


def _codec(resolution=8):
    from facejax.data.uvmaps import UVCodec

    masks = {size: np.ones((size, size), bool) for size in (4, 8) if size <= resolution}
    return UVCodec(encoding="absolute", masks=masks)


def _make_packed(folder):
    from facejax.data.packed import write_packed

    maps = _rng().uniform(-1, 1, (3, 8, 8, 9)).astype(np.float32)
    write_packed(
        folder / "set", [{"maps": maps, "labels": np.eye(3), "names": ["a", "b", "c"]}],
        codec=_codec(), label_names=["a", "b", "c"], num_examples=3, resolution=8,
    )  # fmt: skip
    return folder / "set"


def _read_set(path):
    from facejax.data.folders import open_dataset

    source = open_dataset(path)
    return source.batch(np.arange(len(source)))


def _make_records(folder):
    from facejax.io.tfrecord_images import write_multiresolution

    maps = _rng().uniform(-1, 1, (3, 8, 8, 9)).astype(np.float32)
    write_multiresolution(folder / "set", maps, np.eye(3))
    _codec().save(folder / "set")
    return folder / "set"


def _make_tfds(folder):
    from facejax.data.tfds import write_tfds

    maps = _rng().uniform(-1, 1, (3, 8, 8, 9)).astype(np.float32)
    write_tfds(
        folder / "faces", [{"maps": maps, "labels": np.eye(3)}], codec=_codec(),
        label_names=["a", "b", "c"], num_examples=3, resolution=8,
    )  # fmt: skip
    return folder / "faces"


def _read_tfds(path):
    from facejax.data.tfds import TfdsSource

    source = TfdsSource(path.name, path.parent)
    return source.batch(np.arange(len(source)))


def _picture(path, size=(64, 64)):
    from facejax.io.images import write_image

    write_image(path, _rng().uniform(size=(*size, 3)))


def _make_crops(folder):
    from facejax.data.alignment import AlignedPhoto
    from facejax.data.photo_folders import write_crop

    for name in ("a", "b"):
        pixels = (255 * _rng().uniform(size=(224, 224, 3))).astype(np.uint8) // 64 * 64
        points = _rng().uniform(60, 160, (68, 2))
        photo = AlignedPhoto(pixels, None, points)
        write_crop(folder / "set", name, photo, np.full((224, 224), 255, np.uint8))
    return folder / "set"


def _read_crops(path):
    from facejax.data.photo_folders import PhotoFolder

    source = PhotoFolder(path, size=32)
    return len(source), source.batch(np.arange(len(source)))


def _make_lists(folder):
    _picture(folder / "a.png")
    _picture(folder / "a_mask.png")
    np.savetxt(folder / "a.txt", _rng().uniform(8, 56, (68, 2)))
    for name, line in (("images", "a.png"), ("landmarks", "a.txt"), ("masks", "a_mask.png")):
        (folder / f"{name}.txt").write_text(f"{line}\n")
    return folder


def _read_lists(path):
    from facejax.data.photo_folders import find_photos

    return [str(p.image) for p in find_photos(path)]


def _make_photos(folder):
    for suffix in ("png", "jpg", "webp", "bmp", "tif"):
        _picture(folder / f"{suffix}.{suffix}")
    return folder


def _read_photos(path):
    from facejax.io.images import find_images, read_header, read_image

    return [(read_header(p), read_image(p, "RGB"), read_image(p)) for p in find_images(path)]


def _landmarks(suffix):
    def make(folder):
        from scipy.io import savemat

        points, path = _rng().uniform(0, 64, (68, 2)), folder / f"photo{suffix}"
        if suffix == ".mat":
            savemat(path, {"pt2d": points.T})
        elif suffix == ".npy":
            np.save(path, points)
        elif suffix == ".bin":
            points.astype("<f8").tofile(path)
        else:
            lines = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points) + "\n"
            lines = f"version: 1\nn_points: 68\n{{\n{lines}}}\n" if suffix == ".pts" else lines
            path.write_text(lines)
        return path

    return make


def _read_landmarks(path):
    from facejax.io.landmarks import read_landmarks

    return read_landmarks(path, 68)


def _make_aflw(folder):
    for name in ("a", "b"):
        mat_files.write_parameters(folder / f"{name}.mat", _rng(), kind="aflw2000")
        _picture(folder / f"{name}.jpg", (450, 450))
    return folder


def _read_aflw(path):
    from facejax.data.aflw2000 import read_aflw2000

    return [(p.image.name, p.landmarks) for p in read_aflw2000(path)]


def _make_parameters(folder):
    for name in ("a", "b"):
        mat_files.write_parameters(folder / f"{name}.mat", _rng())
    return folder


def _read_parameters(path):
    from facejax.io.mat import read_coefficients

    return read_coefficients(path)


def _make_arrays(folder):
    for part in ("train/labels", "train/noisy", "test/labels"):
        path = folder / "dataset_shape" / f"{part}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, _rng().normal(size=(6, 5)).astype(np.float32))
    return folder


def _read_arrays(path):
    from facejax.systems.manifold.data import load_rows
    from facejax.train.config import load_config

    config = load_config("manifold:smoke")
    config.data.update(source="arrays", path=str(path))
    return load_rows(config, "shape")


def _make_frame(folder):
    from facejax.io.pandas_pickles import write_frame

    rng = _rng()
    write_frame(
        folder / "faces.pkl", {k: rng.normal(size=(3, n)) for k, n in (("sp", 5), ("ep", 2))}
    )
    return folder / "faces.pkl"


def _read_frame(path):
    from facejax.io.pandas_pickles import read_frame

    return read_frame(path)


def _make_table(folder):
    np.savez(folder / "faces.npz", sp=_rng().normal(size=(3, 5)), ep=_rng().normal(size=(3, 2)))
    return folder / "faces.npz"


def _read_table(path):
    from facejax.systems.manifold.denoise import read_table

    return read_table(path)


def _make_labels_csv(folder):
    (folder / "labels.csv").write_text("id,smile,open\na,0.5,1\nb,0.25,0\nc,1,1\n")
    return folder / "labels.csv"


def _make_labels_npz(folder):
    np.savez(folder / "labels.npz", ids=np.array(["a", "b", "c"]), labels=np.eye(3))
    return folder / "labels.npz"


def _make_labels_npy(folder):
    np.save(folder / "labels.npy", np.eye(3))
    return folder / "labels.npy"


def _read_labels(path):
    from facejax.data.labels import read_labels

    return read_labels(path, ["a", "b", "c"])


def _maps(suffix):
    def make(folder):
        import pickle

        values = _rng().normal(size=(4, 4, 3)).astype(np.float32)
        path = folder / f"face{suffix}"
        if suffix == ".npy":
            np.save(path, values)
        elif suffix == ".npz":
            np.savez(path, values)
        else:
            path.write_bytes(pickle.dumps(values.transpose(2, 0, 1), protocol=4))
        return path

    return make


def _read_map(path):
    from facejax.data.map_files import read_array

    return read_array(path)


def _make_generated(folder):
    np.savez_compressed(folder / "fit.npz", network=_rng().normal(size=(2, 4, 4, 9)))
    return folder / "fit.npz"


def _read_generated(path):
    from facejax.systems.tbgan.inversion import _read_maps

    return _read_maps(path)


def _face(index):
    """The outputs of one face of `facejax make_dataset`."""
    rng = np.random.default_rng(index)
    images = {"image": (8, 8, 3), "mask": (8, 8), "regions": (8, 8)}
    face = {k: rng.integers(0, 9, shape).astype(np.uint8) for k, shape in images.items()}
    return face | {k: rng.normal(size=n).astype(np.float32) for k, n in (("depth_mm", (8, 8)),
                                                                         ("id", 5))}  # fmt: skip


def _make_faces(folder):
    from facejax.pipelines.dataset.containers import Clock, FolderContainer

    sink = FolderContainer(folder, 2, Clock())
    for index in range(2):
        sink.write(index, _face(index))
    return folder


def _read_faces(path):
    from facejax.pipelines.dataset.containers import Clock, FolderContainer

    sink = FolderContainer(path, 2, Clock())
    return [sink.labels(index) | sink.pictures(index) for index in range(2)]


def _make_packed_faces(folder):
    from facejax.pipelines.dataset.containers import Clock
    from facejax.pipelines.dataset.packed import PackedContainer

    schema = {k: {"shape": v.shape, "dtype": str(v.dtype)} for k, v in _face(0).items()}
    sink = PackedContainer(folder, 2, schema, Clock())
    for index in range(2):
        sink.write(index, _face(index))
    sink.close()
    sink.finish()
    return folder


def _read_packed_faces(path):
    from facejax.pipelines.dataset import PackedFaces

    source = PackedFaces(path, verify=True)
    return source.batch(np.arange(len(source)))


# --- Meshes ---------------------------------------------------------------------------------------


def _mesh(name):
    def make(folder):
        from facejax.io.meshes import save_mesh
        from tests.io.shapes import cylinder, with_maps

        return save_mesh(folder / name, with_maps(cylinder(4, 3), _rng(), (8, 8)))

    return make


def _make_obj_folder(folder):
    _mesh("face.obj")(folder)
    return folder


def _make_ply_text(folder):
    path = folder / "face.ply"
    path.write_text(
        "ply\nformat ascii 1.0\ncomment TextureFile face.png\nelement vertex 4\n"
        "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        "property uchar green\nproperty uchar blue\nelement face 2\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
        "0 0 0 255 0 0\n1 0 0 0 255 0\n1 1 0 0 0 255\n0 1 0 9 9 9\n"
        "3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0 0 1 1 0 1\n"
    )
    _picture(folder / "face.png", (4, 4))
    return path


def _make_gltf(folder):
    import trimesh

    _mesh("a.glb")(folder)
    scene = trimesh.load_scene(folder / "a.glb", process=False)
    (folder / "set").mkdir()
    for name, content in trimesh.exchange.gltf.export_gltf(scene).items():
        (folder / "set" / name).write_bytes(content)
    return folder / "set"


def _load_mesh(path):
    from facejax.io.meshes import load_mesh

    return load_mesh(path)


def _read_surface(path):
    from facejax.io.surfaces import read_surface

    return read_surface(path).welded()


# --- Weights --------------------------------------------------------------------------------------


def _make_tbgan(folder):
    import pytest

    from tests.systems.tbgan.test_importer import write_pickle

    with pytest.MonkeyPatch.context() as patch:
        write_pickle(folder / "network-snapshot-000140.pkl", patch)
    return folder / "network-snapshot-000140.pkl"


def _make_disco(folder):
    """The same of the StyleGAN kind: with components and an average of styles."""
    import pytest

    from tests.systems.tbgan.test_importer import write_pickle

    def complete(networks):
        for network in networks:
            variables = [("Dense0/weight", np.ones((4, 3), np.float32))]
            inner = type(network)(
                version=4, name="G_mapping", static_kwargs={}, variables=variables
            )
            network.components = {"mapping": inner}
            network.variables.append(("dlatent_avg", np.zeros(4, np.float32)))

    with pytest.MonkeyPatch.context() as patch:
        write_pickle(folder / "network-snapshot-025000.pkl", patch, change=complete)
    return folder / "network-snapshot-025000.pkl"


def _read_network_pickle(path):
    from facejax.io.network_pickles import load_network_pickle

    return load_network_pickle(path)


def _make_varitex(folder):
    from facejax.pretrained.published import to_published
    from facejax.systems.varitex.networks import Generator
    from facejax.systems.varitex.published import generator_format, wanted_variables

    net = Generator(32, 32, 2, 4, 1, 1, 2, 2)
    draw = _rng()
    variables = jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), wanted_variables(net)
    )
    arrays = to_published(variables, generator_format(net))
    torch.write_zip(
        folder / "x.ckpt", {"state_dict": {k: torch.Tensor(v) for k, v in arrays.items()}}
    )
    return folder / "x.ckpt"


def _read_varitex(path):
    from facejax.systems.varitex.importer import load_checkpoint

    return load_checkpoint(path)


def _make_latents(folder):
    np.save(folder / "latents.npy", _rng().normal(size=(5, 2, 8)).astype(np.float32))
    return folder / "latents.npy"


def _read_latents(path):
    from facejax.systems.varitex.importer import read_latents

    return read_latents(path, 8)


def _make_prepared(folder):
    write_prepared(folder / "set", _rng())
    return folder / "set"


def _read_prepared(path):
    from facejax.systems.varitex.data import PreparedPhotos, read_prepared
    from facejax.systems.varitex.preprocess import Preprocess

    prepared = read_prepared(path)
    source = PreparedPhotos(prepared, path / "images", Preprocess(16, 24), transforms="")
    return {"splits": prepared.splits, "names": prepared.names, **source.draw(np.arange(2))}


def _weights(case):
    def make(folder):
        from facejax.pretrained.published import to_published
        from tests.pretrained.test_importer import CASES as PUBLISHED
        from tests.pretrained.test_importer import random_variables

        _, net, inputs, form, write = PUBLISHED[case]
        write(folder / "published", to_published(random_variables(net, *inputs), form))
        return folder / "published"

    return make


def _import(part):
    def read(path):
        import tempfile

        from facejax.pretrained.importer import import_part, load_weights

        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder, "ours.npz")
            import_part(path, part, out)
            return load_weights(out, part)[1]

    return read


def _make_imported(folder):
    from facejax.pretrained.importer import import_part

    import_part(_weights("arcface")(folder), "arcface", folder / "ours.npz")
    return folder / "ours.npz"


def _load_weights(path):
    from facejax.pretrained.importer import load_weights

    return load_weights(path)[1]


def _tensors():
    rng = _rng()
    return {
        "conv1.weight": rng.normal(size=(2, 3, 3, 3)).astype(np.float32),
        "layer1.0.conv1.weight": rng.normal(size=(4,)).astype(np.float32),
        "steps": np.int64([7]),
    }


def _torch(write):
    def make(folder):
        write(folder / "net.pth", {k: torch.Tensor(v) for k, v in _tensors().items()})
        return folder / "net.pth"

    return make


def _read_torch(path):
    from facejax.io.torch_files import load_state_dict

    return load_state_dict(path)


def _make_bundle(folder):
    tf.write_checkpoint(folder / "model.ckpt-7", _tensors(), shards=2, text=("graph",))
    return folder / "model.ckpt-7"


def _read_bundle(path):
    from facejax.io.tensorflow_files import load_checkpoint

    return load_checkpoint(path)


def _make_graph(folder):
    tf.write_graph(folder / "net.pb", _tensors())
    return folder / "net.pb"


def _read_graph(path):
    from facejax.io.tensorflow_files import load_frozen_graph

    return load_frozen_graph(path)


def _make_inception(folder):
    from facejax.metrics.inception import abstract_params
    from tests.metrics.test_inception import TO_TORCH

    state = {}

    def walk(tree, prefix):
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
                continue
            entry = {"kernel": "weight"}.get(key, key) if prefix == "fc." else TO_TORCH[key]
            shape = value.shape
            if key == "kernel":
                shape = shape[::-1] if prefix == "fc." else (shape[3], shape[2], *shape[:2])
            state[prefix + entry] = np.zeros(shape, np.float32)

    walk(abstract_params(1000), "")
    np.savez_compressed(folder / "inception.npz", **state)
    return folder / "inception.npz"


def _read_inception(path):
    from facejax.metrics.inception import InceptionFeatures

    params = InceptionFeatures(path).params
    return params["fc"]["bias"].shape


# --- Runs -----------------------------------------------------------------------------------------


def _make_run(folder):
    from facejax.io.checkpoints import Checkpoints
    from facejax.train.config import load_config
    from facejax.train.run_folder import write_config
    from facejax.train.runs import make_system

    config = load_config("manifold:smoke")
    write_config(folder / "run", config)
    params, aux = make_system(config).init(0)
    with Checkpoints(folder / "run" / "checkpoints") as checkpoints:
        checkpoints.save(3, {"params": params, "aux": aux}, {"images": 48})
    return folder / "run"


def _read_run(path):
    from facejax.train.runs import load_run

    return load_run(path).params


def _read_run_config(path):
    from facejax.train.runs import read_run_config

    return sorted(read_run_config(path))


def _make_config(folder):
    from facejax.train.config import load_config
    from facejax.train.run_folder import write_config

    write_config(folder, load_config("manifold:smoke"))
    return folder


def _recognise(path):
    """`facejax doctor PATH` reports what it cannot read; it never fails."""
    from facejax.readers import recognise

    found = recognise(path)
    assert found and all("\n" not in f.what for f in found)
    json.dumps([dataclasses.asdict(f) for f in found])
    return ""


def _make_everything(folder):
    """One file of most kinds."""
    makers = (
        _make_bfm, _make_saved, _make_labels_csv, _make_frame, _make_tbgan, _make_imported,
        _make_graph, _torch(torch.write_zip), _torch(torch.write_legacy), _mesh("face.glb"),
        _landmarks(".pts"), _landmarks(".mat"), _landmarks(".npy"),
    )  # fmt: skip
    for number, make in enumerate(makers):
        (folder / str(number)).mkdir()
        make(folder / str(number))
    return folder


def _recognise_all(path):
    for file in sorted(path.rglob("*")):
        if file.is_file():
            _recognise(file)
    return ""


CASES = {
    case.key: case
    for case in (
        Case("ict", _make_ict_npz, _build_ict, count=40, checked=True),
        Case("ict folder", _make_ict_folder, _read_ict, count=60),
        Case("bfm", _make_bfm, _load_morphable),
        Case("bfm_front", _make_front, _load_morphable),
        Case("bfm17", _make_bfm17, _read_bfm17, partners=("face12.json",)),
        Case("bfm09", _make_sources, _read_sources, count=90),
        Case("saved", _make_saved, _load_morphable),
        Case("hierarchy", _make_hierarchy, _read_hierarchy),
        Case("packed", _make_packed, _read_set, count=120, partners=(".npy", "names.json")),
        Case("tfrecords", _make_records, _read_set, count=120),
        Case("faces", _make_faces, _read_faces),
        Case(
            "faces packed", _make_packed_faces, _read_packed_faces, count=90, partners=(".npy",)
        ),
        Case("tfds", _make_tfds, _read_tfds, count=60, partners=("array_record", "features.json")),
        Case("crops", _make_crops, _read_crops, count=60),
        Case("lists", _make_lists, _read_lists, pattern="*s.txt"),
        Case("photos", _make_photos, _read_photos, count=90),
        Case("landmarks", _landmarks(".txt"), _read_landmarks),
        Case("landmarks .pts", _landmarks(".pts"), _read_landmarks),
        Case("landmarks .bin", _landmarks(".bin"), _read_landmarks, count=45),
        Case("landmarks .npy", _landmarks(".npy"), _read_landmarks),
        Case("landmarks .mat", _landmarks(".mat"), _read_landmarks),
        Case("aflw2000", _make_aflw, _read_aflw, count=60),
        Case("parameters", _make_parameters, _read_parameters),
        Case("arrays", _make_arrays, _read_arrays),
        Case("frame", _make_frame, _read_frame),
        Case("table", _make_table, _read_table),
        Case("labels .csv", _make_labels_csv, _read_labels),
        Case("labels .npz", _make_labels_npz, _read_labels, checked=True),
        Case("labels .npy", _make_labels_npy, _read_labels, count=45),
        Case("map .npy", _maps(".npy"), _read_map),
        Case("map .npz", _maps(".npz"), _read_map),
        Case("map .pkl", _maps(".pkl"), _read_map),
        Case("generated maps", _make_generated, _read_generated),
        Case("mesh .glb", _mesh("face.glb"), _load_mesh, count=120),
        Case(
            "mesh .gltf", _make_gltf, lambda path: _load_mesh(path / "model.gltf"),
            partners=("model.gltf",),
        ),
        Case("mesh .obj", _mesh("face.obj"), _load_mesh, count=90),
        Case("mesh .mtl", _make_obj_folder, lambda path: _load_mesh(path / "face.obj"), count=60),
        Case("mesh .ply", _mesh("face.ply"), _load_mesh, count=90),
        Case("mesh .ply text", _make_ply_text, _load_mesh),
        Case("surface", _mesh("face.glb"), _read_surface, count=45),
        Case("tbgan", _make_tbgan, _read_network_pickle, count=45),
        Case("disco", _make_disco, _read_network_pickle, count=45),
        Case("varitex", _make_varitex, _read_varitex, count=24),
        Case("latents", _make_latents, _read_latents),
        Case("prepared", _make_prepared, _read_prepared, count=90, pattern="*.np*"),
        Case("rnet", _weights("rnet-graph"), _import("rnet"), count=21),
        Case("facenet", _weights("facenet"), _import("facenet"), count=21),
        Case("arcface", _weights("arcface"), _import("arcface"), count=21),
        Case("vgg19", _weights("vgg19"), _import("vgg19"), count=21),
        Case("imagenet", _weights("imagenet"), _import("imagenet"), count=21),
        Case("gcn", _weights("gcn"), _import("gcn"), count=21),
        Case("imported", _make_imported, _load_weights, count=45),
        Case("torch zip", _torch(torch.write_zip), _read_torch, count=90),
        Case("torch legacy", _torch(torch.write_legacy), _read_torch, count=90),
        Case("tensorflow checkpoint", _make_bundle, _read_bundle, count=90, pattern="model*"),
        Case("tensorflow graph", _make_graph, _read_graph, count=90),
        Case("inception", _make_inception, _read_inception, count=12),
        Case("run", _make_run, _read_run, count=24, partners=("checkpoints",)),
        Case("config", _make_config, _read_run_config, count=60),
        Case("recognise", _make_everything, _recognise_all, count=60),
    )
}  # fmt: skip
