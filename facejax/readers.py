"""Which files facejax reads, what uses them, and what a given file or folder is.

`READERS` is the one table of them. `recognise` looks at the content of a file, and loads no pickle:
it only lists the texts in one. Importing this module imports nothing heavy.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable

from facejax.host.files import describe_content, is_visible, list_files, read_json, reading
from facejax.host.shell import command_line

_IMPORT = "facejax import_weights --system=deep3d --part={} --input={{path}} --out=FILE.npz"
_MODEL = "--config.data.model_path={path}, or facejax reconstruct --model={path}"
_TBGAN = "facejax train --config=tbgan --config.data.source={} --config.data.path={{path}}"
_HEAD_BYTES = 16
_FEW_TEXTS = 32


@dataclasses.dataclass(frozen=True)
class Reader:
    """Something that facejax reads.

    Attributes:
      group: 'face models', 'data', 'weights' or 'runs'.
      what: in words.
      function: that reads it, 'module:name'.
      use: the command or the key of a configuration that takes it; '{path}' is where it lies.
    """

    group: str
    what: str
    function: str
    use: str


def _part(what: str, part: str) -> Reader:
    return Reader("weights", what, "facejax.pretrained.importer:import_part", _IMPORT.format(part))


READERS = {
    "makehuman": Reader(
        "face models", "the built-in head of real anatomy; needs no file",
        "facejax.morphable.makehuman:build_makehuman", "--config.data.model=makehuman",
    ),
    "procedural": Reader(
        "face models", "the built-in head; needs no file",
        "facejax.morphable.procedural:build_procedural", "--config.data.model=procedural",
    ),
    "ict": Reader(
        "face models", "ICT-FaceKit: a checkout, or an .npz converted from it",
        "facejax.morphable.ict:build_ict", _MODEL,
    ),
    "bfm": Reader("face models", "face3d's BFM.mat", "facejax.morphable.bfm:load_bfm", _MODEL),
    "bfm_front": Reader(
        "face models", "Deep3D's BFM_model_front.mat",
        "facejax.morphable.bfm09:load_bfm_front", _MODEL,
    ),
    "bfm17": Reader(
        "face models", "a Basel model of 2017 or 2019 (.h5), with face12.json beside it",
        "facejax.morphable.bfm17:load_bfm17", _MODEL,
    ),
    "bfm09": Reader(
        "face models", "Basel 01_MorphableModel.mat, Exp_Pca.bin and their indices",
        "facejax.morphable.bfm09_sources:find_sources",
        "python data_prep/import_bfm.py {path} --out=FILE.npz (the folder of all of them)",
    ),
    "saved": Reader(
        "face models", "an .npz of save_npz", "facejax.morphable.storage:load_npz", _MODEL
    ),
    "packed": Reader(
        "data", "a packed set of UV maps", "facejax.data.packed:PackedSource",
        _TBGAN.format("packed"),
    ),
    "tfrecords": Reader(
        "data", "multi-resolution TFRecords of UV maps", "facejax.data.folders:TFRecordSource",
        _TBGAN.format("tfrecords"),
    ),
    "tfds": Reader(
        "data", "a TensorFlow data set of UV maps or images", "facejax.data.tfds:TfdsSource",
        "facejax train --config=tbgan --config.data.source=tfds:NAME --config.data.path=DATA_DIR",
    ),
    "crops": Reader(
        "data", "photos prepared for training, with landmarks",
        "facejax.data.photo_folders:find_photos",
        "facejax train --config=deep3d --config.data.source=folder --config.data.path={path}",
    ),
    "labels": Reader(
        "data", "labels of faces: a table with ids, or an .npz of ids and labels",
        "facejax.data.labels:read_labels",
        "python data_prep/dataset_tool.py create_from_maps OUT --labels={path} ...",
    ),
    "map": Reader(
        "data", "a shape or normal map of a face", "facejax.data.map_files:read_array",
        "python data_prep/dataset_tool.py create_from_maps OUT --shape=FOLDER ...",
    ),
    "photos": Reader(
        "data", "photos", "facejax.io.images:find_images",
        "facejax reconstruct --input={path} --out=FOLDER, or data_prep/preprocess_images.py",
    ),
    "landmarks": Reader(
        "data", "landmarks of a photo", "facejax.io.landmarks:read_landmarks",
        "facejax reconstruct --landmarks={path}",
    ),
    "aflw2000": Reader(
        "data", "AFLW2000-3D: photos with .mat files", "facejax.data.aflw2000:read_aflw2000",
        "facejax evaluate --workdir=RUN --config=deep3d --config.evaluate.aflw_path={path}",
    ),
    "parameters": Reader(
        "data", "300W-LP or 300W-3D: a .mat with coefficients for each photo",
        "facejax.io.mat:read_coefficients",
        "facejax train --config=manifold:paper --config.data.path={path}",
    ),
    "arrays": Reader(
        "data", "coefficient arrays: dataset_shape/train/labels.npy, ...",
        "facejax.systems.manifold.data:load_rows",
        "facejax train --config=manifold --config.data.source=arrays --config.data.path={path}",
    ),
    "prepared": Reader(
        "data", "photos prepared for VariTex: R.npy, t.npy, sp.npy, segmentation.npy, ...",
        "facejax.systems.varitex.data:read_prepared",
        "facejax train --config=varitex:paper --config.data.path={path} "
        "--config.data.image_folder=FOLDER",
    ),
    "latents": Reader(
        "data", "VariTex's latents.npy: means and deviations of codes",
        "facejax.systems.varitex.importer:read_latents",
        "facejax.systems.varitex.importer.read_latents({path!r}, latent)",
    ),
    "mesh": Reader(
        "data", "a mesh: .obj, .ply, .glb or .gltf", "facejax.io.meshes:load_mesh",
        "facejax compare_shapes {path} FACE.obj --landmarks=FILE --face_landmarks=FILE",
    ),
    "frame": Reader(
        "data", "a pandas pickle with coefficients", "facejax.io.pandas_pickles:read_frame",
        "facejax denoise --workdir=RUN --input={path}",
    ),
    "tbgan": Reader(
        "weights", "TBGAN's network pickle", "facejax.io.network_pickles:load_network_pickle",
        "facejax import_weights --system=tbgan --input={path} --out=FOLDER",
    ),
    "disco": Reader(
        "weights", "DiscoFaceGAN's network pickle",
        "facejax.io.network_pickles:load_network_pickle",
        "facejax import_weights --system=disco --input={path} --out=FOLDER",
    ),
    "varitex": Reader(
        "weights", "VariTex's Lightning checkpoint, with its opt.json",
        "facejax.systems.varitex.importer:load_checkpoint",
        "facejax import_weights --system=varitex --input={path} --out=FOLDER",
    ),
    "rnet": _part("R-Net: .pth, TensorFlow checkpoint or frozen graph", "rnet"),
    "facenet": _part("FaceNet: TensorFlow checkpoint or frozen graph", "facenet"),
    "arcface": _part("ArcFace (iresnet): .pth", "arcface"),
    "vgg19": _part("VGG19 trained on ImageNet: .pth of torchvision", "vgg19"),
    "imagenet": _part("a ResNet trained on ImageNet: .pth or TensorFlow checkpoint", "imagenet"),
    "gcn": _part("a graph network of GCN_ResNet or 3D-Face-GCNs", "gcn"),
    "inception": Reader(
        "weights", "Inception-v3: .pb of 2015-12-05, .pth or .npz",
        "facejax.metrics.inception:InceptionFeatures",
        "facejax analyze evaluate_all --workdir=RUN --metrics=frechet,kernel --inception={path}",
    ),
    "imported": Reader(
        "weights", "an .npz of facejax import_weights", "facejax.pretrained.importer:load_weights",
        "rnet: facejax reconstruct --weights={path}; rnet, imagenet: --config.model.init={path}; "
        "facenet, arcface: --config.recognition.weights={path}; vgg19: --config.vgg.weights={path}",
    ),
    "run": Reader(
        "runs", "a run folder of facejax train", "facejax.train.runs:load_run",
        "facejax evaluate --workdir={path}; `facejax systems` lists more verbs",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file or folder is.

    Attributes:
      path: as it was given.
      reader: a key of READERS; '' where nothing reads it.
      what: in words.
      use: what to type, or ''.
    """

    path: str
    reader: str
    what: str
    use: str


def recognise(path: str | os.PathLike) -> list[Found]:
    """What a file or folder is, by its content; several where a file holds several networks.

    Args:
      path: of anything.

    Returns:
      At least one; its reader is '' where the file is missing, damaged or of no known kind.
    """
    path = pathlib.Path(path)
    if not path.exists() and not pathlib.Path(f"{path}.index").is_file():
        return [Found(str(path), "", "no such file or folder", "")]
    try:
        looked = _folder(path) if path.is_dir() else _file(path)
    except (ValueError, OSError) as error:
        return [Found(str(path), "", f"not recognised: {' '.join(str(error).split())}", "")]
    if not looked:
        return [Found(str(path), "", f"not recognised{_foreign(path)}", "")]
    quoted = command_line(path)
    return [
        Found(str(path), key, words or READERS[key].what, READERS[key].use.format(path=quoted))
        for key, words in looked
    ]


def _foreign(path: pathlib.Path) -> str:
    from facejax.morphable.foreign import describe_foreign, describe_models_in

    if not path.exists():  # the prefix of a checkpoint
        return ""
    words = (describe_models_in if path.is_dir() else describe_foreign)(path)
    return words and f": {words}"


Looked = list[tuple[str, str]]  # key of READERS, what it is in words or ''


# --- Folders --------------------------------------------------------------------------------------


def _folder(path: pathlib.Path) -> Looked:
    looks: tuple[Callable[[pathlib.Path], Looked], ...] = (
        _run, _model, _tfds, _data_set, _arrays, _prepared, _bundle, _crops, _mats, _images,
    )  # fmt: skip
    return next((found for look in looks if (found := look(path))), [])


def _run(path: pathlib.Path) -> Looked:
    from facejax.io.checkpoints import Checkpoints
    from facejax.train.run_folder import read_config
    from facejax.train.runs import read_run_config

    if "system" not in (read_config(path) or {}):
        return []
    config = read_run_config(path)
    steps = Checkpoints(path / "checkpoints").steps()
    words = f"a run of {config.system}, "
    if not steps:
        return [("run", f"{words}no checkpoint yet")]
    return [("run", f"{words}checkpoints {_range(steps)}; {_progress(path, config)}")]


def _range(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) if len(steps) < 5 else f"{steps[0]} ... {steps[-1]}"


def _progress(path: pathlib.Path, config) -> str:
    """Whether a run with checkpoints is finished."""
    from facejax.host.machine import devices
    from facejax.train.prerequisites import is_finished

    try:
        devices()  # the arrays of a checkpoint are read onto them
        return "finished" if is_finished(path, config) else "not finished"
    except (ValueError, OSError) as error:  # its training data are elsewhere, say
        return f"cannot say whether it is finished: {' '.join(str(error).split())}"


def _model(path: pathlib.Path) -> Looked:
    from facejax.morphable import load

    kind, found = load.recognise(path)
    return [(kind, found)] if kind else []


def _tfds(path: pathlib.Path) -> Looked:
    below = [p for p in sorted(path.glob("*/dataset_info.json")) if is_visible(p.parent)]
    infos = [*path.glob("dataset_info.json"), *below]
    if not infos:
        return []
    try:
        name = read_json(infos[0])["name"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{infos[0]} is damaged: {error!r}") from error
    several = f", the versions {' and '.join(p.parent.name for p in infos)}" if infos[1:] else ""
    return [("tfds", f"the TensorFlow data set {name!r}{several}")]


def _data_set(path: pathlib.Path) -> Looked:
    from facejax.data.folders import open_dataset
    from facejax.data.packed import PackedSource

    if not ((path / "meta.json").is_file() or list_files(path, (".tfrecords",))):
        return []
    source = open_dataset(path)
    key = "packed" if isinstance(source, PackedSource) else "tfrecords"
    size = f"{len(source)} examples up to {source.resolutions[-1]} pixels"
    return [(key, f"{READERS[key].what}: {size}")]


def _arrays(path: pathlib.Path) -> Looked:
    found = [t for t in ("shape", "expression") if (path / f"dataset_{t}").is_dir()]
    return [("arrays", f"coefficient arrays: {', '.join(found)}")] if found else []


def _prepared(path: pathlib.Path) -> Looked:
    from facejax.systems.varitex.data import COEFFICIENTS, read_prepared

    if not all((path / f"{name}.npy").is_file() for name in (*COEFFICIENTS, "segmentation")):
        return []
    found = read_prepared(path)
    uv = "with UV maps" if "uv" in found.arrays else "without UV maps"
    return [("prepared", f"{len(found.names)} photos prepared for VariTex, {uv}")]


def _bundle(path: pathlib.Path) -> Looked:
    return [found for index in list_files(path, (".index",)) for found in _checkpoint(index)]


def _crops(path: pathlib.Path) -> Looked:
    from facejax.data.photo_folders import LISTS, find_photos

    folders = ("lm", "lm_bin", "landmarks")
    if not (any((path / f).is_dir() for f in folders) or (path / LISTS[0]).is_file()):
        return []
    return [("crops", f"{len(find_photos(path))} photos prepared for training")]


def _mats(path: pathlib.Path) -> Looked:
    """Folders of .mat files: photos' parameters, or what the Basel model is made from."""
    from facejax.io.mat import MARKS, find_parameters
    from facejax.morphable.bfm09_sources import find_sources

    mats = list_files(path, (".mat",), recursive=True)
    if not mats and not list_files(path, (".bin",)):
        return []
    why = None
    try:
        held = [MARKS & set(variables) for _, variables in find_parameters(path)]
    except ValueError as error:
        held, why = [], error
    if held:
        some = sum({"Shape_Para", "Exp_Para"} <= h for h in held)
        truth = sum({"Pose_Para", "pt3d_68"} <= h for h in held)
        others = len(mats) - len(held)
        more = f"; {others} .mat files of other kinds are passed over" if others else ""
        found = [("parameters", f"{some} .mat files with coefficients of photos{more}")]
        form = f"{truth} .mat files in the format of AFLW2000-3D{more}"
        return found[: bool(some)] + [("aflw2000", form)][: bool(truth)]
    roles, _ = find_sources(path)
    if not roles and mats:
        raise why or ValueError(f"{path}: {len(mats)} .mat files of no known kind")
    return [("bfm09", f"sources of the Basel model: {', '.join(sorted(roles))}")] if roles else []


def _images(path: pathlib.Path) -> Looked:
    from facejax.io.images import IMAGE_SUFFIXES

    own = list_files(path, IMAGE_SUFFIXES)
    found = own or list_files(path, IMAGE_SUFFIXES, recursive=True)
    where = "" if own else f" of {len({p.parent for p in found})} sub-folders"
    return [("photos", f"{len(found)} photos{where}")] if found else []


# --- Files ----------------------------------------------------------------------------------------


def _file(path: pathlib.Path) -> Looked:
    if not path.exists() or path.suffix == ".index":  # the prefix of a checkpoint, or its index
        return _checkpoint(path if path.suffix == ".index" else pathlib.Path(f"{path}.index"))
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if words := describe_content(path):
        raise ValueError(words)
    if zipfile.is_zipfile(path):
        return _zip(path)
    if head[:1] == b"\x80":
        return _pickle(path)
    from facejax.host.hdf5 import SIGNATURE

    if head.startswith(SIGNATURE) and path.suffix.lower() != ".mat":
        return _hdf5(path)
    if path.suffix.lower() == ".mat":
        return _mat(path)
    if path.suffix.lower() == ".tfrecords":
        raise ValueError("a single file of TFRecords; wanted the folder with all of them")
    if path.suffix.lower() == ".pb" or (head[:1] == b"\n" and not path.suffix):
        return _graph(path)
    if path.suffix.lower() == ".bin":
        return _binary(path)
    if _is_image(head):
        return [("photos", "a picture")]
    if path.suffix.lower() in (".obj", ".ply", ".glb", ".gltf"):
        return _mesh(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _labels(path)
    return _landmarks(path)


def _mesh(path: pathlib.Path) -> Looked:
    from facejax.io.meshes import load_mesh

    topology = load_mesh(path).topology
    return [("mesh", f"a mesh of {topology.num_vertices} vertices, {len(topology.triangles)} "
             "triangles")]  # fmt: skip


def _is_image(head: bytes) -> bool:
    starts = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
    return head.startswith(starts)


def _networks(names) -> Looked:
    from facejax.pretrained.importer import parts_of

    names = list(names)
    if any("Mixed_7c." in n for n in names) or any("mixed_10/" in n for n in names):
        return [("inception", "Inception-v3")]
    if any(n.endswith("generator.fc_mu.weight") for n in names):
        return [("varitex", f"VariTex's checkpoint, {len(names)} names")]
    return [(part, f"{READERS[part].what.split(':')[0]}, {len(names)} names")
            for part in parts_of(names)]  # fmt: skip


def _checkpoint(index: pathlib.Path) -> Looked:
    from facejax.io.tensorflow_files import checkpoint_names

    return _networks(checkpoint_names(index.with_suffix("")))


def _graph(path: pathlib.Path) -> Looked:
    from facejax.io.tensorflow_files import graph_names

    return _networks(graph_names(path))


def _zip(path: pathlib.Path) -> Looked:
    """A PyTorch file or an .npz."""
    from facejax.io.pickles import texts_of

    with reading(path, "a readable archive"), zipfile.ZipFile(path) as archive:
        pickles = [i for i in archive.infolist() if i.filename.endswith("data.pkl")]
        if pickles and pickles[0].compress_type == zipfile.ZIP_STORED:  # PyTorch never compresses
            with archive.open(pickles[0]) as file:
                return _networks(texts_of(file))
    return _npz(path)


def _npz(path: pathlib.Path) -> Looked:
    from facejax.host.arrays import npz_names, read_npz
    from facejax.morphable import load
    from facejax.pretrained.importer import FORMAT

    kind, found = load.recognise(path)
    if kind:
        return [(kind, found)]
    names = npz_names(path)
    if {"ids", "labels"} <= names:
        return _labels(path)
    if len(names) == 1:
        with contextlib.suppress(ValueError):
            return _map(path)
    if "meta" in names:
        meta = json.loads(str(read_npz(path, ("meta",))["meta"]))
        if isinstance(meta, dict) and meta.get("format") == FORMAT:
            return [("imported", f"the network {meta.get('part')!r} of {meta.get('origin')}")]
    return _networks(names)


def _pickle(path: pathlib.Path) -> Looked:
    """By the texts in it: nothing is loaded."""
    from facejax.io.pickles import texts_of

    texts = set()
    with path.open("rb") as file:
        for _ in range(5):  # PyTorch's old format is five pickles in a row
            texts |= texts_of(file)
    if {"static_kwargs", "variables", "dlatent_avg"} <= texts:
        return [("disco", "networks of DiscoFaceGAN or StyleGAN, pickled")]
    if {"static_kwargs", "variables"} <= texts:
        return [("tbgan", "networks of TBGAN or Progressive GAN, pickled")]
    if any(text.startswith("pandas.") for text in texts):
        return [("frame", "a table of pandas, pickled")]
    found = _networks(texts)
    if not found and len(texts) < _FEW_TEXTS:  # an array, say
        with contextlib.suppress(ValueError):
            return _map(path)
    return found


def _mat(path: pathlib.Path) -> Looked:
    from facejax.morphable import load
    from facejax.morphable.bfm09_sources import ROLES, describe_file

    kind, found = load.recognise(path)
    if kind:
        return [(kind, found)]
    words = describe_file(path)
    if words in {text.split(",")[0] for text in ROLES.values()}:
        return [("bfm09", words)]
    if words.startswith("the parameters of one picture"):
        return [("parameters", words)]
    raise ValueError(words)


def _hdf5(path: pathlib.Path) -> Looked:
    from facejax.morphable import load

    kind, found = load.recognise(path)
    if not kind:
        raise ValueError(found)
    return [(kind, found)]


def _binary(path: pathlib.Path) -> Looked:
    from facejax.morphable.bfm09_sources import ROLES, describe_file

    if describe_file(path) == ROLES["expressions"].split(",")[0]:
        return [("bfm09", "Exp_Pca.bin")]
    return _landmarks(path)


def _labels(path: pathlib.Path) -> Looked:
    from facejax.data.labels import read_table

    ids, _, names = read_table(path)
    columns = f", {len(names)} columns" if names else ""
    return [("labels", f"labels of {len(ids)} faces{columns}")]


def _map(path: pathlib.Path) -> Looked:
    from facejax.data.map_files import read_array

    height, width, _ = read_array(path).shape
    return [("map", f"a map of three channels, {width}x{height}")]


def _landmarks(path: pathlib.Path) -> Looked:
    from facejax.io.landmarks import SUFFIXES, read_landmarks

    if path.suffix.lower() not in SUFFIXES:
        return []
    from facejax.host.arrays import read_npy

    shape = read_npy(path, mmap=True).shape if path.suffix.lower() == ".npy" else ()
    if len(shape) == 3 and shape[1] == 2 and shape[2] > 4:
        return [("latents", f"{shape[0]} codes of length {shape[2]}")]
    if len(shape) == 3:
        with contextlib.suppress(ValueError):  # then it may be the points of one face, [1, 68, 2]
            return _map(path)
    return [("landmarks", f"{len(read_landmarks(path))} landmarks of a photo")]
