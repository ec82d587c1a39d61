"""HDF5 files without the library; those of the library itself where h5py is installed."""

import numpy as np
import pytest

from facejax.host.hdf5 import hdf5_names, is_hdf5, read_hdf5
from tests.oracles.hdf5_files import write_hdf5


def numbers(rng):
    return {
        "a/matrix": rng.normal(size=(7, 5)).astype(np.float32),
        "a/double": rng.normal(size=3),
        "a/deep/ids": rng.integers(-9, 9, (4, 3, 2)).astype(np.int32),
        "bytes": rng.integers(0, 255, 11).astype(np.uint8),
        "one": np.int64(-5),
    }


def test_numbers_and_texts_by_their_paths(tmp_path, rng):
    arrays, path = numbers(rng), tmp_path / "x.h5"
    write_hdf5(path, arrays | {"a/text": "größe"}, {"a/matrix": (3, 2), "a/deep/ids": (4, 2, 1)})
    assert is_hdf5(path) and hdf5_names(path) == {*arrays, "a/text"}
    found = read_hdf5(path)
    assert str(found.pop("a/text")) == "größe" and set(found) == set(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    assert set(read_hdf5(path, ["one", "absent"])) == {"one"}


def test_damage_is_one_error(tmp_path, rng):
    path = tmp_path / "x.h5"
    write_hdf5(path, numbers(rng), {"a/matrix": (3, 2)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="x.h5: not a readable HDF5 file: .*cut or damaged"):
        read_hdf5(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="does not begin like an HDF5 file"):
        read_hdf5(path)
    # a shape that would need more memory than the file can mean
    at = whole.index(np.array([7, 5], "<u8").tobytes())
    path.write_bytes(whole[:at] + np.array([2**40, 5], "<u8").tobytes() + whole[at + 16 :])
    with pytest.raises(ValueError, match="a/matrix: .*would become"):
        read_hdf5(path, ["a/matrix"])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_files_of_the_library(tmp_path, rng, libver):
    h5py = pytest.importorskip("h5py")
    arrays = numbers(rng) | {"half": rng.normal(size=4).astype(np.float16)}
    kinds = [{}, dict(chunks=True, compression="gzip", shuffle=True, fletcher32=True)]
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        for name, value in arrays.items():
            use = kinds[np.ndim(value) > 0 and libver == "earliest"]
            file.create_dataset(name, data=value, **use)
        file["text"] = "words"
        file["fixed"] = np.array([b"ab", b"c"])
    found = read_hdf5(tmp_path / "x.h5")
    assert str(found["text"]) == "words" and found["fixed"].tolist() == ["ab", "c"]
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)


def test_what_is_not_read_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        for k in range(20):
            file[f"n{k}"] = k
    with pytest.raises(ValueError, match="fractal heap.*h5repack"):
        read_hdf5(tmp_path / "x.h5")
