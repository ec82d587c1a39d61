import zipfile

import numpy as np
import pytest

from facejax.host.arrays import npz_names, read_npy, read_npz


def write_header(path, shape, data=b"", descr="<f4"):
    """A .npy whose header says what the data do not hold."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": descr, "fortran_order": False, "shape": shape}
        )
        file.write(data)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(tmp_path, rng, order):
    array = np.asarray(rng.normal(size=(3, 4, 5)), order=order)
    np.save(tmp_path / "a.npy", array)
    (tmp_path / "a.npy").rename(tmp_path / "a.labels")  # the suffix does not matter
    np.testing.assert_array_equal(read_npy(tmp_path / "a.labels"), array)
    mapped = read_npy(tmp_path / "a.labels", mmap=True)
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=array, name=np.array("text"), empty=np.zeros((0, 3)))
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == ["x", "name", "empty"] and str(found["name"]) == "text"
        np.testing.assert_array_equal(found["x"], array)
        assert list(read_npz(tmp_path / "a.npz", ("x", "absent"))) == ["x"]


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 10**6), (3, -1), (2,)])
def test_headers_that_claim_too_much_ask_for_no_memory(tmp_path, shape):
    write_header(tmp_path / "a.npy", shape, bytes(4))
    for mmap in (False, True):
        with pytest.raises(ValueError, match=r"a.npy: .*cut or damaged"):
            read_npy(tmp_path / "a.npy", mmap=mmap)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "x.npy")
    with pytest.raises(ValueError, match=r"a.npz: .*array 'x': .*cut or damaged"):
        read_npz(tmp_path / "a.npz")


def test_objects_are_never_loaded(tmp_path):
    objects = np.array([{}], object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", good=np.zeros(1), bad=objects)
    with pytest.raises(ValueError, match="a.npy: .*Python objects"):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="a.npz: .*'bad': holds Python objects"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content,words",
    [(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"", "empty"),
     (b"<!DOCTYPE html>", "web page"), (bytes(50), "zeros"), (b"\x1f\x8b\x08", "gzip"),
     (b"PK\x03\x04", "not a readable"), (b"\x93NUMPY\x01\0v\0{", "not a readable")],
)  # fmt: skip
def test_other_content_is_said(tmp_path, content, words):
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: .*{words}"):
            read(tmp_path / name)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / f"absent_{name}")


def test_a_zip_bomb_is_refused_and_what_packs_well_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("facejax.host.arrays._INFLATED_BYTES", 2 << 20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(128 << 10), y=np.arange(9))  # 1 MB
    assert not read_npz(tmp_path / "a.npz")["x"].any()
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "xyz":
            archive.write(write_zeros(tmp_path / "x.npy", 128 << 10), f"{name}.npy")
    with pytest.raises(ValueError, match="b.npz: .*would become 3146112: .*zip bomb"):
        read_npz(tmp_path / "b.npz")
    assert len(read_npz(tmp_path / "b.npz", ("y",))["y"]) == 128 << 10
    assert npz_names(tmp_path / "b.npz") == {"x", "y", "z"}


def write_zeros(path, count):
    np.save(path, np.zeros(count))
    return path


def test_a_flipped_bit_is_found(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(100.0))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[400] ^= 1
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(ValueError, match="a.npz: .*CRC"):
        read_npz(tmp_path / "a.npz")


def test_letters_that_do_not_exist(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array(["ab", "c"]))
    assert read_npz(tmp_path / "a.npz")["x"].tolist() == ["ab", "c"]
    bad = np.array([0x110000, 5], "<u4").view("<U1")
    np.save(tmp_path / "a.npy", bad)
    np.savez(tmp_path / "a.npz", x=bad)
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(ValueError, match=f"{name}: .*letters that do not exist"):
            read(tmp_path / name)
