"""`facejax doctor PATH ...`: files of every format that is read, and what they are taken for."""

import importlib
import json
import os
import pathlib
import pickle

import numpy as np
import pytest

from facejax import readers
from facejax.commands import doctor
from facejax.data.packed import write_packed
from facejax.data.uvmaps import UVCodec
from facejax.io.checkpoints import Checkpoints
from facejax.io.images import write_image
from facejax.io.landmarks import write_landmarks
from facejax.io.pandas_pickles import write_frame
from facejax.io.tfrecord_images import write_multiresolution
from facejax.morphable import load_morphable, save_npz
from facejax.morphable.ict import RAW_KEYS
from facejax.train.config import load_config
from facejax.train.prerequisites import cached_run, cached_runs
from facejax.train.run_folder import write_config
from facejax.train.runs import make_system
from tests.morphable.ict.toy import write_folder
from tests.oracles import tensorflow_files as tf
from tests.oracles import torch_files as torch
from tests.oracles.hdf5_files import write_bfm17, write_hdf5
from tests.oracles.mat_files import write_bfm, write_bfm09_folder, write_parameters
from tests.oracles.published_data import write_face_and_photo
from tests.pretrained.test_importer import CASES
from tests.pretrained.test_importer import random_variables as variables_of
from tests.systems.tbgan.test_importer import write_pickle

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Trap:
    """Touches a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch sprung",)


def only(path):
    """(reader, what it is) of a path that is one thing."""
    (found,) = readers.recognise(path)
    whole = found.reader in ("map",)  # a use of all files of the folder
    assert (
        found.use == ""
        if not found.reader
        else (str(path) in found.use or "NAME" in found.use or whole)
    )
    return found.reader, found.what


def test_the_table_names_what_there_is():
    for key, reader in readers.READERS.items():
        module, _, name = reader.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), key
        assert reader.group in ("face models", "data", "weights", "runs")
        assert "{" not in reader.use.format(path="PATH")


def test_flags_of_the_table_exist():
    """Configuration keys and scripts that commands in the table name."""
    from facejax.train.run_folder import as_plain, flatten

    keys = {k for name in ("tbgan", "deep3d", "manifold", "varitex") for k in flatten(
        as_plain(load_config(f"{ROOT}/configs/{name}.py")))}  # fmt: skip
    for reader in readers.READERS.values():
        words = reader.use.replace(",", " ").replace(";", " ").split()
        for word in words:
            if word.startswith("--config."):
                assert word.removeprefix("--config.").partition("=")[0] in keys, word
            if word.startswith("data_prep/"):
                assert (ROOT / word).is_file()


def test_face_models(tmp_path, rng):
    write_bfm(tmp_path / "a.mat", rng)
    assert only(tmp_path / "a.mat")[0] == "bfm"
    sources = tmp_path / "sources"
    sources.mkdir()
    write_bfm09_folder(sources, rng)
    key, words = only(sources)
    assert key == "bfm09" and "basel" in words and "expressions" in words
    assert {only(file)[0] for file in sources.rglob("*") if file.suffix in (".mat", ".bin")} == {
        "bfm09"
    }
    sizes = dict(rows=32, cols=32, n_id=2, n_alb=2, draws=8, texture_size=8)
    save_npz(tmp_path / "b.npz", load_morphable("procedural", **sizes))
    assert only(tmp_path / "b.npz")[0] == "saved"
    np.savez(tmp_path / "c.npz", **{key: np.zeros(1) for key in RAW_KEYS})
    assert only(tmp_path / "c.npz")[0] == "ict"
    (tmp_path / "kit").mkdir()
    write_folder(tmp_path / "kit")
    assert only(tmp_path / "kit")[0] == "ict"


def test_a_published_face_and_prepared_photos(tmp_path, rng):
    model, crops = write_face_and_photo(tmp_path)
    assert only(model)[0] == "bfm_front"
    write_bfm17(tmp_path / "model2017.h5", rng)
    assert only(tmp_path / "model2017.h5") == ("bfm17", "a Basel model of 2017 or 2019")
    assert only(crops) == ("crops", "1 photos prepared for training")


def test_data(tmp_path, rng):
    maps = rng.uniform(-1, 1, (3, 8, 8, 9)).astype(np.float32)
    codec = UVCodec(encoding="absolute", masks={k: np.ones((k, k), bool) for k in (4, 8)})
    write_packed(
        tmp_path / "packed", [{"maps": maps, "labels": np.eye(3)}], codec=codec,
        label_names=["a", "b", "c"], num_examples=3, resolution=8,
    )  # fmt: skip
    assert only(tmp_path / "packed") == (
        "packed", "a packed set of UV maps: 3 examples up to 8 pixels"
    )  # fmt: skip
    write_multiresolution(tmp_path / "records", maps)
    assert only(tmp_path / "records")[0] == "tfrecords"
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.jpg"):
        write_image(tmp_path / "photos" / name, np.zeros((8, 8, 3)))
        assert only(tmp_path / "photos" / name)[0] == "photos"
    assert only(tmp_path / "photos") == ("photos", "2 photos")
    write_landmarks(tmp_path / "a.txt", rng.uniform(size=(68, 2)))
    assert only(tmp_path / "a.txt") == ("landmarks", "68 landmarks of a photo")
    for kind, wanted in (("300w", ["parameters"]), ("aflw2000", ["parameters", "aflw2000"])):
        (tmp_path / kind).mkdir()
        write_parameters(tmp_path / kind / "a.mat", rng, kind=kind)
        assert [f.reader for f in readers.recognise(tmp_path / kind)] == wanted
        assert only(tmp_path / kind / "a.mat")[0] == "parameters"
    (tmp_path / "arrays/dataset_shape").mkdir(parents=True)
    assert only(tmp_path / "arrays") == ("arrays", "coefficient arrays: shape")
    write_frame(tmp_path / "a.pkl", {"sp": rng.standard_normal((3, 5))})
    assert only(tmp_path / "a.pkl")[0] == "frame"
    (tmp_path / "faces/1.0.0").mkdir(parents=True)
    (tmp_path / "faces/1.0.0/dataset_info.json").write_text('{"name": "faces"}')
    assert only(tmp_path / "faces") == ("tfds", "the TensorFlow data set 'faces'")


@pytest.mark.parametrize("case", CASES)
def test_published_weights_and_those_imported_from_them(tmp_path, case):
    from facejax.pretrained.importer import import_part
    from facejax.pretrained.published import to_published

    part, net, inputs, form, write = CASES[case]
    path = tmp_path / "file"
    write(path, to_published(variables_of(net, *inputs), form))
    assert only(path)[0] == part
    import_part(path, part, tmp_path / "ours.npz")
    assert only(tmp_path / "ours.npz") == ("imported", f"the network {part!r} of file")


def test_more_weights(tmp_path, monkeypatch):
    write_pickle(tmp_path / "network.pkl", monkeypatch)
    assert only(tmp_path / "network.pkl")[0] == "tbgan"
    name = "Mixed_7c.branch1x1.conv.weight"
    torch.write_zip(tmp_path / "inception.pth", {name: torch.Tensor(np.zeros(2, np.float32))})
    np.savez(tmp_path / "inception.npz", **{name: np.zeros(2)})
    tf.write_graph(tmp_path / "inception.pb", {"mixed_10/conv/conv2d_params": np.zeros(2)})
    torch.write_legacy(
        tmp_path / "old.pth", {"fc.prelu.weight": torch.Tensor(np.zeros(2, np.float32))}
    )
    for suffix in ("pth", "npz", "pb"):
        assert only(tmp_path / f"inception.{suffix}")[0] == "inception"
    assert only(tmp_path / "old.pth") == ("", "not recognised")
    names = ("conv1.weight", "layer1.0.conv1.weight")
    tensors = {name: torch.Tensor(np.zeros(2, np.float32)) for name in names}
    torch.write_legacy(tmp_path / "old.pth", tensors)
    assert only(tmp_path / "old.pth")[0] == "imagenet"


def test_runs(tmp_path, monkeypatch, capsys):
    config = load_config(f"{ROOT}/configs/manifold.py:smoke")
    write_config(tmp_path / "run", config)
    assert only(tmp_path / "run") == ("run", "a run of manifold, no checkpoint yet")
    params, aux = make_system(config).init(0)
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        checkpoints.save(3, {"params": params, "aux": aux}, {"images": 48})
    assert only(tmp_path / "run")[1] == "a run of manifold, checkpoints 3; not finished"
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        checkpoints.save(6, {"params": params, "aux": aux}, {"images": 96})
    assert only(tmp_path / "run")[1] == "a run of manifold, checkpoints 3, 6; finished"
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "cache"))
    assert cached_runs() == []
    write_config(cached_run(config), config)
    assert cached_runs() == [cached_run(config)]
    assert doctor.main(["--no-self_test"]) == 0
    printed = capsys.readouterr().out
    assert str(cached_run(config)) in printed
    assert all(reader.what in printed for reader in readers.READERS.values())


def test_nothing_is_unpickled_and_the_rest_is_not_recognised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trap = tmp_path / "trap.pkl"
    trap.write_bytes(pickle.dumps({"static_kwargs": Trap(), "variables": 1}))
    assert only(trap)[0] == "tbgan"  # the importer refuses it
    np.save("trap.npy", np.array([Trap()], object), allow_pickle=True)
    torch.write_zip(tmp_path / "trap.pth", {}, extra=None)
    np.savez("object.npz", a=np.array([Trap()], object))
    (tmp_path / "cut.pkl").write_bytes(trap.read_bytes()[:20])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "noise.mat").write_bytes(b"noise")
    (tmp_path / "noise.pb").write_bytes(b"\xff\xff\xff")
    (tmp_path / "a.index").write_bytes(b"noise")
    others = [p for p in sorted(tmp_path.iterdir()) if p != trap]
    assert len(others) == 9
    for path in [*others, tmp_path / "absent"]:
        key, words = only(path)
        assert key == "" and words.startswith(("not recognised", "no such file")), path
    assert not (tmp_path / "sprung").exists()
    assert doctor.main([str(trap), "absent"]) == 1
    printed = capsys.readouterr().out
    assert "absent: no such file or folder" in printed and "--system=tbgan" in printed
    assert doctor.main([str(trap), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["reader"] == "tbgan"


def test_folders_are_recognised_as_the_readers_take_them(tmp_path, rng):
    for name in ("AFW/a", "AFW/b"):
        (tmp_path / "lp" / name).parent.mkdir(parents=True, exist_ok=True)
        write_parameters(tmp_path / "lp" / f"{name}.mat", rng)
    (tmp_path / "lp" / "Code").mkdir()
    write_bfm(tmp_path / "lp" / "Code" / "0_first.mat", rng)  # sorted before the annotations
    (tmp_path / "lp" / "AFW" / "._a.mat").write_bytes(b"\0\5\x16\7")
    assert only(tmp_path / "lp") == (
        "parameters",
        "2 .mat files with coefficients of photos; 1 .mat files of other kinds are passed over",
    )
    (tmp_path / "lp" / "AFW" / "b.mat").write_bytes(b"<html>")
    key, words = only(tmp_path / "lp")
    assert key == "" and "b.mat" in words and "web page" in words
    for name in ("happy/a.PNG", "sad/b.tif", "sad/._b.tif"):
        write_image(tmp_path / "classes" / name, np.zeros((8, 8, 3)))
    assert only(tmp_path / "classes") == ("photos", "2 photos of 2 sub-folders")
    for name in ("one", "two"):
        write_multiresolution(tmp_path / name, np.zeros((2, 4, 4, 3), np.float32))
    (tmp_path / "two" / "two-r02.tfrecords").rename(tmp_path / "one" / "two-r02.tfrecords")
    key, words = only(tmp_path / "one")
    assert key == "" and "one-rLL and two-rLL" in words


@pytest.mark.parametrize("name", ["a.mat", "a.npz", "a.npy", "a.png", "a.pkl", "a.pth", "a.txt"])
def test_pointers_and_web_pages_are_said(tmp_path, name):
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "web page"), (b"", "empty"), (bytes(99), "zeros"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        key, found = only(tmp_path / name)
        assert key == "" and words in found


def test_face_models_of_other_kinds_are_named(tmp_path):
    flame = {
        "v_template": np.zeros((2, 3)),
        "shapedirs": np.zeros((2, 3, 4)),
        "f": np.zeros((1, 3)),
    }
    (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps(flame, protocol=2))
    np.savez(tmp_path / "flame.npz", **flame)
    statismo = {"model/mean": np.zeros(6), "model/pcaBasis": np.zeros((6, 2))}
    write_hdf5(tmp_path / "statismo.h5", statismo)
    for name, words in (
        ("generic_model.pkl", "FLAME"), ("flame.npz", "FLAME"),
        ("statismo.h5", "statistical model in HDF5"),
    ):  # fmt: skip
        key, found = only(tmp_path / name)
        assert key == "" and words in found
        with pytest.raises(ValueError, match=f"{name}: found .*{words}.*'procedural'") as error:
            load_morphable(str(tmp_path / name))
        assert "procedural" in str(error.value)
    with pytest.raises(
        ValueError, match="no checkout of ICT-FaceKit; name one of its files: flame"
    ):
        load_morphable(str(tmp_path))


def test_labels_and_maps(tmp_path, rng):
    (tmp_path / "l.CSV").write_bytes("ID;x;y\na;1;2\nb;0;0,5\n".encode("utf-16"))
    assert only(tmp_path / "l.CSV") == ("labels", "labels of 2 faces, 2 columns")
    np.savez(tmp_path / "l.npz", ids=["a"], labels=[[1]])
    assert only(tmp_path / "l.npz") == ("labels", "labels of 1 faces")
    (tmp_path / "bad.csv").write_text("id,x\na,one\n")
    key, words = only(tmp_path / "bad.csv")
    assert key == "" and "line 2" in words
    maps = rng.normal(size=(3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "m.npy", maps)
    np.savez(tmp_path / "m.npz", maps)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(maps))
    for suffix in ("npy", "npz", "pkl"):
        assert only(tmp_path / f"m.{suffix}") == ("map", "a map of three channels, 8x8")
    np.save(tmp_path / "p.npy", rng.uniform(size=(1, 68, 2)))
    assert only(tmp_path / "p.npy") == ("landmarks", "68 landmarks of a photo")
