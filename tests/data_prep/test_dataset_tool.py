import concurrent.futures
import json
import os
import pathlib
import pickle
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from data_prep import dataset_tool
from facejax.data.folders import open_dataset
from facejax.data.packed import PackedSource
from facejax.host.locks import new_folder
from facejax.io.images import read_image, write_image
from tests.data.toy import toy_model
from tests.disks import leftovers, short_files, small_disk

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEMS = ("anna", "ben", "carl")


def run(*args):
    return dataset_tool.main([str(a) for a in args])


@pytest.fixture
def raw(tmp_path, rng):
    """Three faces of 8 px: PNG, pickled [3, H, W] and npy [H, W, 3], and labels."""
    for kind in ("texture", "shape", "normals"):
        (tmp_path / "raw" / kind).mkdir(parents=True)
    for stem in STEMS:
        write_image(tmp_path / f"raw/texture/{stem}.png", rng.uniform(size=(8, 8, 3)))
        shape = rng.uniform(-1, 1, (3, 8, 8)).astype(np.float32)
        (tmp_path / f"raw/shape/{stem}.pkl").write_bytes(pickle.dumps(shape))
        normals = rng.normal(size=(8, 8, 3)).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        np.save(tmp_path / f"raw/normals/{stem}.npy", normals)
    (tmp_path / "labels.csv").write_text("id,happy,sad\ncarl,0,1\nanna,1,0\nben,0.5,0.5\n")
    return tmp_path / "raw"


def maps_args(raw, out):
    folders = [f"--{kind}={raw / kind}" for kind in ("texture", "shape", "normals")]
    return ["create_from_maps", out, *folders]


def test_create_from_maps(raw, tmp_path):
    labels = tmp_path / "labels.csv"
    assert run(*maps_args(raw, tmp_path / "set"), "--labels", labels) == 0
    source = PackedSource(tmp_path / "set", verify=True)
    assert source.names == list(STEMS) and source.label_names == ("happy", "sad")
    np.testing.assert_array_equal(source.labels, [[1, 0], [0.5, 0.5], [0, 1]])
    maps = source.batch(np.arange(3))["maps"]
    texture = read_image(raw / "texture/ben.png") * 2 - 1
    shape = pickle.loads((raw / "shape/ben.pkl").read_bytes()).transpose(1, 2, 0)
    normals = np.load(raw / "normals/ben.npy")
    expected = np.concatenate([texture, shape, normals], axis=-1)
    np.testing.assert_allclose(maps[1], expected, atol=1e-5)


WRITERS = {
    "packed": [],
    "tfrecords": ["--format=tfrecords"],
    "tfds": ["--format=tfds"],
}


@pytest.mark.parametrize("kind", [*WRITERS, "extract", "create_from_images"])
def test_a_full_disk_is_one_line_and_the_same_command_finishes(raw, tmp_path, kind, capsys):
    if kind == "extract":
        assert run(*maps_args(raw, tmp_path / "in")) == 0
        command = ["extract", tmp_path / "in", tmp_path / "out" / "new_set"]
    elif kind == "create_from_images":
        command = [kind, tmp_path / "out" / "new_set", raw / "texture"]
    else:
        command = [*maps_args(raw, tmp_path / "out" / "new_set"), *WRITERS[kind]]
    capsys.readouterr()
    with short_files(500):
        assert run(*command) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("checking")]
    assert [line for line in err if line.startswith("error: ")] == err[-1:], err
    assert str(tmp_path / "out" / "new_set") in err[-1] and "Traceback" not in err[-1]
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
    assert run(*command) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new_set"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_disk_that_is_full_at_random_moments(raw, tmp_path, kind, capsys):
    """FACEJAX_SLOW=1: twenty moments instead of one."""

    def content(folder):
        return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    assert run(*maps_args(raw, tmp_path / "whole" / "new_set"), *WRITERS[kind]) == 0
    wanted = content(tmp_path / "whole")
    used = sum(-(-len(x) // 4096) * 4096 for x in wanted.values())
    rng = random.Random(kind)
    for k in range(20 if os.environ.get("FACEJAX_SLOW") else 1):
        with small_disk(tmp_path / f"disk{k}", int(rng.uniform(0.02, 0.95) * used)) as disk:
            command = [*maps_args(raw, disk.path / "new_set"), *WRITERS[kind]]
            capsys.readouterr()
            assert run(*command) == 1
            err = capsys.readouterr().err
            assert err.count("error: ") == 1 and str(disk.path) in err and "Trace" not in err, err
            assert list(disk.path.iterdir()) == []
            disk.resize(64 << 20)
            assert run(*command) == 0
            assert content(disk.path) == wanted and leftovers(disk.path) == []


@pytest.mark.parametrize("kind", [*WRITERS, "extract", "create_from_images"])
def test_a_set_that_another_process_writes_is_refused(raw, tmp_path, kind, capsys):
    if kind == "extract":
        assert run(*maps_args(raw, tmp_path / "in")) == 0
        command = ["extract", tmp_path / "in", tmp_path / "new_set"]
    elif kind == "create_from_images":
        command = [kind, tmp_path / "new_set", raw / "texture"]
    else:
        command = [*maps_args(raw, tmp_path / "new_set"), *WRITERS[kind]]
    with new_folder(tmp_path / "new_set", "writing a data set"):
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            assert thread.submit(run, *command).result() == 1
    assert "new_set is in use by this process" in capsys.readouterr().err


def test_shapes_in_millimetres_and_a_background(raw, tmp_path):
    for stem in STEMS:
        shape = pickle.loads((raw / f"shape/{stem}.pkl").read_bytes()) * 70 + 20
        normals = np.load(raw / f"normals/{stem}.npy")
        shape[:, :2], normals[:2] = 0, 0  # the first rows lie outside the UV layout
        (raw / f"shape/{stem}.pkl").write_bytes(pickle.dumps(shape))
        np.save(raw / f"normals/{stem}.npy", normals)
    assert run(*maps_args(raw, tmp_path / "set"), "--shape_units=mm") == 0
    source = PackedSource(tmp_path / "set")
    maps = source.batch(np.arange(3))["maps"]
    assert (maps[:, :2] == 0).all() and not source.mask(8)[:2].any() and source.mask(8)[2:].all()
    assert np.abs(maps[..., 3:6]).max() == pytest.approx(0.95, abs=1e-4)
    decoded = source.codec.decode(maps)["shape"][2]
    expected = pickle.loads((raw / "shape/carl.pkl").read_bytes()).transpose(1, 2, 0)
    np.testing.assert_allclose(decoded, expected, atol=1e-3)


@pytest.mark.parametrize("arrays", ["npy", "pkl"])
def test_extract_inverts_create(raw, tmp_path, capsys, arrays):
    labels = tmp_path / "labels.csv"
    create = maps_args(raw, tmp_path / "a")
    run(*create, "--labels", labels, "--center_mm", "1", "2", "3", "--extent_mm=50")
    assert run("extract", tmp_path / "a", tmp_path / "out", f"--arrays={arrays}") == 0
    assert {p.suffix for p in (tmp_path / "out/shape").iterdir()} == {f".{arrays}"}
    again = maps_args(tmp_path / "out", tmp_path / "b")
    assert run(*again, "--labels", tmp_path / "out/labels.csv", "--shape_units=mm") == 0
    a, b = PackedSource(tmp_path / "a"), PackedSource(tmp_path / "b")
    assert a.names == b.names and a.label_names == b.label_names
    np.testing.assert_array_equal(a.labels, b.labels)
    x, y = (s.codec.decode(s.batch(np.arange(3))["maps"]) for s in (a, b))
    for kind, tolerance in (("texture", 1e-6), ("shape", 1e-3), ("normals", 1e-5)):
        np.testing.assert_allclose(x[kind], y[kind], atol=tolerance)


def test_limit_and_dry_run(raw, tmp_path, capsys):
    assert run(*maps_args(raw, tmp_path / "set"), "--limit=2", "--dry_run") == 0
    assert "2 faces of 8 px" in capsys.readouterr().out
    assert not (tmp_path / "set").exists()
    assert run(*maps_args(raw, tmp_path / "set"), "--limit=2") == 0
    assert PackedSource(tmp_path / "set").names == ["anna", "ben"]
    for command in (
        ["extract", tmp_path / "set", tmp_path / "x", "--dry_run"],
        ["display", tmp_path / "set", "--out", tmp_path / "x", "--dry_run"],
        ["create_from_model", tmp_path / "x", "--num=8", "--dry_run"],
    ):
        assert run(*command) == 0
        assert not (tmp_path / "x").exists()


def test_tfrecords_and_compare(raw, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    run(*maps_args(raw, tmp_path / "a"), "--labels", labels)
    run(*maps_args(raw, tmp_path / "b"), "--labels", labels, "--format=tfrecords")
    capsys.readouterr()
    assert run("compare", tmp_path / "a", tmp_path / "b") == 0
    out = capsys.readouterr().out
    assert "identical images: 3 of 3" in out and "identical labels: 3 of 3" in out
    texture = read_image(raw / "texture/ben.png")
    write_image(raw / "texture/ben.png", 1 - texture)
    labels.write_text(labels.read_text().replace("anna,1,0", "anna,0,1"))
    run(*maps_args(raw, tmp_path / "c"), "--labels", labels, "--limit=2")
    capsys.readouterr()
    assert run("compare", tmp_path / "a", tmp_path / "c") == 1
    out = capsys.readouterr().out
    assert "identical images: 1 of 2" in out and "different images: 1\n" in out
    assert "different labels: 0\n" in out and "different lengths: 3 and 2" in out
    assert run("compare", tmp_path / "a", tmp_path / "c", "--ignore_labels", "--limit=1") == 1
    assert "labels" not in capsys.readouterr().out


def test_display_and_info(raw, tmp_path, capsys):
    run(*maps_args(raw, tmp_path / "set"), "--labels", tmp_path / "labels.csv")
    capsys.readouterr()
    sheet = tmp_path / "sheet.png"
    assert run("display", tmp_path / "set", "--out", sheet, "--num=2") == 0
    assert "0 anna 1.00 0.00" in capsys.readouterr().out
    image = read_image(sheet)
    assert image.shape[0] >= 2 * 128 and image.shape[1] >= 3 * 128
    assert run("info", tmp_path / "set") == 0
    meta = json.loads(capsys.readouterr().out)
    assert meta["count"] == 3 and meta["channels"] == 9 and meta["codec"]["encoding"] == "absolute"


def test_create_from_model(tmp_path, monkeypatch):
    monkeypatch.setattr("facejax.morphable.load_morphable", lambda name: toy_model())
    args = ["--model=toy", "--num=5", "--resolution=8", "--seed=3"]
    assert run("create_from_model", tmp_path / "set", *args) == 0
    source = open_dataset(tmp_path / "set")
    assert len(source) == 5 and source.label_names[0] == "neutral"
    assert source.codec.encoding == "offset" and source.codec.model == "toy"
    assert run("create_from_model", tmp_path / "u8", *args, "--dtype=uint8") == 0
    small = open_dataset(tmp_path / "u8").batch(np.arange(5))["maps"]
    np.testing.assert_allclose(small, source.batch(np.arange(5))["maps"], atol=4.01 / 255)
    assert run("extract", tmp_path / "set", tmp_path / "out", "--arrays=pkl") == 0
    again = maps_args(tmp_path / "out", tmp_path / "mine")
    assert run(*again, "--shape_units=mm", "--model=toy") == 0
    found = open_dataset(tmp_path / "mine").codec
    assert found.encoding == "absolute" and found.model == "toy"
    assert found.model_digest == source.codec.model_digest
    assert found.uv_digest == source.codec.uv_digest
    again[1] = tmp_path / "offsets"
    assert run(*again, "--shape_units=mm", "--encoding=offset") == 2
    assert run(*again, "--shape_units=mm", "--encoding=offset", "--model=toy") == 0
    found = open_dataset(tmp_path / "offsets")
    maps = found.batch(np.arange(5))["maps"]
    difference = np.abs(maps - source.batch(np.arange(5))["maps"])
    assert difference.max() < 0.02  # textures went through 8 bits, and scales are large


def error_of(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines


def test_bad_input_is_one_line_and_exit_code_2(raw, tmp_path, capsys):
    out = tmp_path / "set"
    for args, message in (
        (["info", tmp_path / "absent"], "not a folder"),
        (["display", raw], "neither meta.json nor"),
        (["create_from_model", out, "--model=nobody", "--num=2"], "nobody"),
        (["create_from_model", out, "--resolution=24"], "power of two"),
        (["create_from_model", out, "--num=0"], "--num"),
        ([*maps_args(raw, out), "--limit=0"], "--limit"),
        ([*maps_args(raw, out), "--labels", tmp_path / "no.csv"], "no such file"),
        ([*maps_args(raw, raw)], "not empty"),
    ):
        assert run(*args) == 2
        lines = error_of(capsys)
        assert len(lines) == 1 and message in lines[0]
    assert not out.exists()


def test_files_that_do_not_pair(raw, tmp_path, capsys):
    (raw / "normals/ben.npy").rename(raw / "normals/bob.npy")
    assert run(*maps_args(raw, tmp_path / "set")) == 2
    (line,) = error_of(capsys)
    assert "ben not in" in line and "bob not in" in line


def test_unusable_files_are_all_reported(raw, tmp_path, capsys):
    (raw / "texture/anna.png").write_bytes(b"not an image")
    np.save(raw / "normals/ben.npy", np.zeros((4, 4, 3)))
    assert run(*maps_args(raw, tmp_path / "set")) == 2
    *bad, last = error_of(capsys)
    assert len(bad) == 2 and "anna.png" in bad[0] and "ben" in bad[1] and "2 of 3" in last
    assert run(*maps_args(raw, tmp_path / "set"), "--skip_bad") == 0
    assert PackedSource(tmp_path / "set").names == ["carl"]


def test_names_cannot_leave_the_folder(raw, tmp_path, capsys):
    run(*maps_args(raw, tmp_path / "set"))
    names = tmp_path / "set/names.json"
    size = names.stat().st_size
    names.write_text('["../x","b","c"]'.ljust(size))
    capsys.readouterr()
    assert run("extract", tmp_path / "set", tmp_path / "out") == 2
    assert "file names" in error_of(capsys)[0]


def test_help_is_quick():
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "data_prep/dataset_tool.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    elapsed = time.perf_counter() - start
    assert done.returncode == 0 and "create_from_maps" in done.stdout
    assert elapsed < 5  # a fraction of a second on an idle machine; importing jax takes seconds
    check = "import sys, data_prep.dataset_tool; print([m for m in sys.modules if m == 'jax'])"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
