"""The original's verbs, conversion between formats, and damaged records."""

import pickle
import sys

import numpy as np
import pytest

from data_prep import dataset_tool
from facejax.data.folders import open_dataset
from facejax.data.packed import PackedSource
from facejax.io.images import read_image, write_image
from facejax.io.tfrecord import scan_records
from facejax.io.tfrecord_images import write_multiresolution

STEMS = tuple("abcde")


def run(*args):
    return dataset_tool.main([str(a) for a in args])


@pytest.fixture
def raw(tmp_path, rng):
    """Five faces of 8 px as the original tool takes them."""
    for kind in ("tex", "shp", "nor"):
        (tmp_path / kind).mkdir()
    for stem in STEMS:
        write_image(tmp_path / f"tex/{stem}.png", rng.uniform(size=(8, 8, 3)))
        for kind in ("shp", "nor"):
            maps = rng.uniform(-1, 1, (3, 8, 8)).astype(np.float32)
            (tmp_path / f"{kind}/{stem}.pkl").write_bytes(pickle.dumps(maps))
    rows = "".join(f"{s},{k},{-k}\n" for k, s in enumerate(STEMS))
    (tmp_path / "labels.csv").write_text("id,happy,sad\n" + rows)
    return tmp_path


def read(raw, stem):
    return {
        "texture": read_image(raw / f"tex/{stem}.png") * np.float32(2) - np.float32(1),
        "shape": pickle.loads((raw / f"shp/{stem}.pkl").read_bytes()).transpose(1, 2, 0),
        "normals": pickle.loads((raw / f"nor/{stem}.pkl").read_bytes()).transpose(1, 2, 0),
    }


def test_maps_to_records_to_packed_and_out_again_bit_for_bit(raw, capsys):
    folders = [raw / kind for kind in ("tex", "shp", "nor")]
    labels = raw / "labels.csv"
    out = raw / "records"
    assert run("create_from_pkl_img_norm", out, *folders, "--shuffle", 1, "--labels", labels) == 0
    assert "5 examples with 2 label(s)" in capsys.readouterr().out
    assert sorted(p.name for p in out.glob("records-*")) == [
        "records-r02.tfrecords", "records-r03.tfrecords", "records-rxx.labels"
    ]  # fmt: skip
    assert run("convert", out, raw / "packed") == 0
    assert run("convert", raw / "packed", raw / "again", "--format=tfrecords") == 0
    assert run("extract", raw / "packed", raw / "files", "--raw") == 0
    order = np.arange(5)
    np.random.RandomState(123).shuffle(order)
    for i, k in enumerate(order):
        for kind, value in read(raw, STEMS[k]).items():
            found = np.load(raw / f"files/{kind}/{i:08d}.npy")
            np.testing.assert_array_equal(found, value)
    a, b, c = (open_dataset(raw / n) for n in ("records", "packed", "again"))
    assert isinstance(b, PackedSource)
    np.testing.assert_array_equal(b.labels, np.stack([order, -order], -1))
    for other in (b, c):
        np.testing.assert_array_equal(other.labels, a.labels)
        for r in (4, 8):
            x, y = (s.batch(np.arange(5), resolution=r)["maps"] for s in (a, other))
            np.testing.assert_allclose(x, y, atol=0 if r == 8 else 1e-6)


@pytest.mark.parametrize(
    "verb,kinds", [("create_from_pkl_img", ("tex", "shp")), ("create_from_pkl", ("shp",))]
)
def test_fewer_modalities(raw, verb, kinds):
    assert run(verb, raw / "set", *(raw / k for k in kinds), "--shuffle", 0) == 0
    source = open_dataset(raw / "set")
    names = [{"tex": "texture", "shp": "shape"}[k] for k in kinds]
    assert list(source.codec.slices()) == names and source.labels.shape == (5, 0)
    expected = np.concatenate([read(raw, "c")[n] for n in names], axis=-1)
    np.testing.assert_array_equal(source.batch(np.array([2]))["maps"][0], expected)


def test_images_stay_bytes(raw):
    assert run("create_from_images", raw / "set", raw / "tex", "--shuffle=0") == 0
    assert run("convert", raw / "set", raw / "packed") == 0
    a, b = open_dataset(raw / "set"), open_dataset(raw / "packed")
    assert a.meta["dtype"] == b.meta["dtype"] == "uint8"
    pixels = np.load(raw / "packed/r03.npy")
    np.testing.assert_array_equal(pixels[1], np.rint(read_image(raw / "tex/b.png") * 255))
    np.testing.assert_allclose(
        a.batch(np.arange(5))["maps"], b.batch(np.arange(5))["maps"], atol=1e-6
    )
    assert run("extract", raw / "packed", raw / "files") == 0
    again = read_image(raw / "files/texture/00000001.png")
    np.testing.assert_array_equal(again, read_image(raw / "tex/b.png"))


def test_hdf5(raw, rng, capsys, monkeypatch):
    h5py = pytest.importorskip("h5py")
    images = rng.integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    with h5py.File(raw / "old.h5", "w") as file:
        file["data2x2"], file["data4x4"] = images[..., :2, :2], images[..., :4, :4]
        file["data8x8"] = images
    np.save(raw / "old-labels.npy", np.arange(3))
    assert run("create_from_hdf5", raw / "set", raw / "old.h5", "--shuffle", 0) == 0
    source = open_dataset(raw / "set")
    np.testing.assert_array_equal(source.labels[:, 0], [0, 1, 2])
    maps = source.batch(np.arange(3))["maps"]
    assert maps.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(np.rint((maps[..., 2] + 1) * 127.5), images[:, 0])
    (raw / "text.h5").write_text("no")
    assert run("create_from_hdf5", raw / "x", raw / "text.h5") == 2
    assert "not a readable HDF5" in capsys.readouterr().err


def test_hdf5_without_its_package(raw, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert run("create_from_hdf5", raw / "set", raw / "old.h5") == 2
    assert "pip install h5py" in capsys.readouterr().err


def test_bad_inputs_of_the_verbs(raw, capsys):
    folders = [raw / kind for kind in ("tex", "shp", "nor")]
    (raw / "nor/b.pkl").rename(raw / "nor/x.pkl")
    assert run("create_from_pkl_img_norm", raw / "set", *folders) == 2
    assert "paired by stem" in capsys.readouterr().err
    (raw / "nor/x.pkl").rename(raw / "nor/b.pkl")
    (raw / "shp/b.pkl").write_bytes(pickle.dumps(np.zeros((3, 4, 4), np.float32)))
    assert run("create_from_pkl_img_norm", raw / "set", *folders) == 2
    assert "b.pkl: 4 px, but" in capsys.readouterr().err
    assert not list(raw.glob("set/*"))


def test_pictures_of_other_sizes_are_named_before_anything_is_written(raw, rng, capsys):
    write_image(raw / "tex/c.png", rng.uniform(size=(4, 4, 3)))
    (raw / "tex/d.png").write_bytes(b"<html>")
    (raw / "tex/._a.png").write_bytes(b"\0\5\x16\7")
    labels = f"--labels={raw / 'labels.csv'}"
    assert run("create_from_images", raw / "set", raw / "tex", labels) == 2
    message = capsys.readouterr().err
    assert (
        "2 of 5 examples are unusable" in message
        and "d.png" in message
        and "c, d" in (message.replace("d, c", "c, d"))
    )
    assert not (raw / "set").exists()
    assert run("create_from_images", raw / "set", raw / "tex", labels, "--skip_bad") == 0
    source = open_dataset(raw / "set")
    assert len(source) == 3 and sorted(source.labels[:, 0]) == [0, 1, 4]
    (raw / "tex/d.png").unlink()
    assert run("create_from_images", raw / "x", raw / "tex") == 2
    message = capsys.readouterr().err
    assert f"{raw / 'tex/c.png'}: 4x4 px, but" in message and "a.png and 2 more have 8x8" in message


def test_class_folders_make_a_set_with_names(raw, capsys):
    for kind in ("tex", "shp", "nor"):
        (raw / kind / "happy").mkdir()
        (raw / kind / "sad").mkdir()
        for path in [p for p in (raw / kind).iterdir() if p.is_file()]:
            path.rename(raw / kind / ("happy" if path.stem < "c" else "sad") / path.name)
    folders = [f"--texture={raw / 'tex'}", f"--shape={raw / 'shp'}", f"--normals={raw / 'nor'}"]
    labels = f"--labels={raw / 'labels.csv'}"
    assert run("create_from_maps", raw / "packed", *folders, labels) == 0
    names = [f"{'happy' if s < 'c' else 'sad'}/{s}" for s in STEMS]
    source = open_dataset(raw / "packed")
    assert source.names == names and source.labels[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert run("extract", raw / "packed", raw / "files") == 0
    assert (raw / "files/texture/happy/a.png").is_file()
    again = [f"--{k}={raw / 'files' / k}" for k in ("texture", "shape", "normals")]
    labels = f"--labels={raw / 'files/labels.csv'}"
    assert run("create_from_maps", raw / "again", *again, "--shape_units=mm", labels) == 0
    assert open_dataset(raw / "again").names == names


def test_two_kinds_of_set_in_one_folder(raw, capsys):
    assert run("create_from_images", raw / "set", raw / "tex") == 0
    assert run("convert", raw / "set", raw / "packed") == 0
    for path in (raw / "packed").iterdir():
        path.rename(raw / "set" / path.name)
    assert run("info", raw / "set") == 2
    message = capsys.readouterr().err
    assert "holds two sets, a packed one" in message and "set-r02.tfrecords" in message


def damage(path, span):
    data = bytearray(path.read_bytes())
    data[span[0] + 40] ^= 1
    path.write_bytes(data)


def test_damaged_records_are_named_or_left_out(tmp_path, rng, capsys):
    maps = rng.uniform(-1, 1, (6, 8, 8, 9)).astype(np.float32)
    labels = np.arange(6, dtype=np.float32)[:, None]
    write_multiresolution(tmp_path / "set", maps, labels)
    top, low = tmp_path / "set/set-r03.tfrecords", tmp_path / "set/set-r02.tfrecords"
    spans = scan_records(top)
    damage(top, spans[1])
    damage(low, scan_records(low)[3])
    assert run("convert", tmp_path / "set", tmp_path / "packed") == 2
    message = capsys.readouterr().err
    assert f"set-r03.tfrecords: damaged record at byte {spans[1][0] - 12}" in message
    top.write_bytes(top.read_bytes()[: spans[5][0] + 100])  # and the last one is cut
    assert run("info", tmp_path / "set") == 2
    assert f"truncated record at byte {spans[5][0] - 12}" in capsys.readouterr().err
    assert run("convert", tmp_path / "set", tmp_path / "packed", "--skip_corrupt") == 0
    out = capsys.readouterr().out
    assert "left out 3 damaged record(s) of 6" in out and f"byte {spans[1][0] - 12}" in out
    packed = open_dataset(tmp_path / "packed")
    np.testing.assert_array_equal(packed.batch(np.arange(3))["maps"], maps[[0, 2, 4]])
    np.testing.assert_array_equal(packed.labels[:, 0], [0, 2, 4])
