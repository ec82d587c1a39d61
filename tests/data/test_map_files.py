import os
import pickle

import numpy as np
import pytest

from facejax.data.map_files import find_files, read_array, read_maps
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
        (np.zeros((4, 4)), r"found float64 \[4, 4\]"),
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


def test_files_of_a_mac_and_of_class_folders(folders, tmp_path, caplog):
    for kind, name in (("texture", "._a.png"), ("shape", "._a.npy"), ("shape", ".b.npy")):
        (folders[kind] / name).write_bytes(b"\0\5\x16\7")
    (folders["texture"] / "a.png").rename(folders["texture"] / "a.PNG")
    assert list(find_files(folders, SUFFIXES)) == ["a", "b"]
    classes = {}
    for kind, folder in folders.items():
        classes[kind] = tmp_path / f"classes_{kind}"
        for stem in ("a", "b"):
            (classes[kind] / stem).mkdir(parents=True)
            (source,) = (p for p in folder.iterdir() if p.stem == stem and p.name[0] != ".")
            source.rename(classes[kind] / stem / f"x{source.suffix}")
    assert list(find_files(classes, SUFFIXES)) == ["a/x", "b/x"]
    assert "taking 2 files of 2 sub-folders" in caplog.text


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pkl"])
@pytest.mark.parametrize(
    "content,words",
    [(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"<html>", "web page"),
     (b"", "empty")],
)  # fmt: skip
def test_what_is_no_array_says_what_it_is(tmp_path, suffix, content, words):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"x{suffix}: .*{words}"):
        read_array(tmp_path / f"x{suffix}")
