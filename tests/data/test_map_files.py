import os
import pickle

import numpy as np
import pytest

from facejax.data.map_files import find_files, read_array, read_labels, read_maps
from facejax.io.images import write_image


@pytest.fixture
def folders(tmp_path):
    for kind in ("texture", "shape"):
        (tmp_path / kind).mkdir()
    for stem in ("b", "a"):
        write_image(tmp_path / "texture" / f"{stem}.png", np.full((4, 4, 3), 0.2))
        np.save(tmp_path / "shape" / f"{stem}.npy", np.ones((3, 4, 4), np.float32))
    return {kind: tmp_path / kind for kind in ("texture", "shape")}


SUFFIXES = {"texture": (".png",), "shape": (".npy", ".npz", ".pkl")}


def test_pairs_by_stem(folders):
    (folders["shape"] / "notes.txt").write_text("not a map")
    files = find_files(folders, SUFFIXES)
    assert list(files) == ["a", "b"]
    maps = read_maps(files["a"])
    assert maps["texture"].shape == maps["shape"].shape == (4, 4, 3)
    np.testing.assert_allclose(maps["texture"], 0.2, atol=1e-6)


def test_odd_files_are_listed(folders, tmp_path):
    (folders["texture"] / "b.png").rename(folders["texture"] / "c.png")
    with pytest.raises(ValueError, match="b not in .*texture; c not in .*shape"):
        find_files(folders, SUFFIXES)
    np.savez(folders["shape"] / "a.npz", np.zeros(3))
    with pytest.raises(ValueError, match="share a stem"):
        find_files(folders, SUFFIXES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no shape files"):
        find_files(folders | {"shape": tmp_path / "empty"}, SUFFIXES)
    with pytest.raises(ValueError, match="not a folder"):
        find_files(folders | {"shape": tmp_path / "absent"}, SUFFIXES)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pkl"])
@pytest.mark.parametrize("channels_first", [False, True])
def test_arrays_of_either_layout(rng, tmp_path, suffix, channels_first):
    array = rng.normal(size=(4, 8, 3))
    stored = array.transpose(2, 0, 1) if channels_first else array
    path = tmp_path / f"x{suffix}"
    with path.open("wb") as file:
        {".npy": np.save, ".npz": np.savez}.get(suffix, lambda f, a: pickle.dump(a, f))(
            file, stored
        )
    found = read_array(path)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, array, atol=1e-6)


@pytest.mark.parametrize(
    "array,message",
    [
        (np.zeros((4, 4)), r"found float64\[4, 4\]"),
        (np.zeros((4, 4, 2)), r"found \[4, 4, 2\]"),
        (np.zeros((3, 4, 3)), "either"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.array([["a"]]), "wanted numbers"),
    ],
)
def test_bad_arrays(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=f"x.npy.*{message}"):
        read_array(tmp_path / "x.npy")


def test_bad_array_files(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="x.npy"):
        read_array(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(ValueError, match="wanted one array"):
        read_array(tmp_path / "x.npz")

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"x.pkl.*system"):
        read_array(tmp_path / "x.pkl")
    assert not (tmp_path / "mark").exists()


def test_sizes_must_agree(folders):
    np.save(folders["shape"] / "a.npy", np.ones((3, 8, 8)))
    with pytest.raises(ValueError, match="different sizes"):
        read_maps(find_files(folders, SUFFIXES)["a"])


def test_labels_of_three_formats(tmp_path):
    (tmp_path / "l.csv").write_text("id,happy,sad\nb,0,1\na,0.25,0.75\nunused,1,0\n")
    np.savez(tmp_path / "l.npz", ids=["b", "a"], labels=[[0, 1], [0.25, 0.75]])
    np.save(tmp_path / "l.npy", [[0.25, 0.75], [0, 1]])
    for suffix, names in ((".csv", ("happy", "sad")), (".npz", None), (".npy", None)):
        labels, found = read_labels(tmp_path / f"l{suffix}", ["a", "b"])
        np.testing.assert_array_equal(labels, np.float32([[0.25, 0.75], [0, 1]]))
        assert found == (names or ("label0", "label1"))


@pytest.mark.parametrize(
    "text,message",
    [
        ("name,happy\na,1\n", "header"),
        ("", "header"),
        ("id,happy\na,one\n", "row 2"),
        ("id,happy\na,1,2\n", "row 2: 3 cells"),
        ("id,happy\nb,1\n", "no label for a"),
    ],
)
def test_bad_label_tables(tmp_path, text, message):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "l.csv", ["a"])


def test_other_bad_labels(tmp_path):
    np.save(tmp_path / "l.npy", np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"\(3, 2\), wanted \(1, L\)"):
        read_labels(tmp_path / "l.npy", ["a"])
    np.savez(tmp_path / "l.npz", names=["a"])
    with pytest.raises(ValueError, match="ids"):
        read_labels(tmp_path / "l.npz", ["a"])
    with pytest.raises(ValueError, match="no such file"):
        read_labels(tmp_path / "absent.csv", ["a"])
    (tmp_path / "l.txt").write_text("a 1")
    with pytest.raises(ValueError, match=".csv, .npz or .npy"):
        read_labels(tmp_path / "l.txt", ["a"])
