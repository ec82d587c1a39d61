"""Against scipy, which wrote the files."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from facejax.host.matlab import mat_names, read_mat

VALUES = {
    "doubles": np.arange(6.0).reshape(2, 3), "row": np.float32([1, 2, 3]), "one": 7,
    "bytes": np.uint8([[1, 255]]), "signed": np.int64([[-(1 << 40)]]), "cube": np.ones((2, 3, 4)),
    "complex": np.array([[1 + 2j, 3]]), "truth": np.array([[True, False]]), "text": "Größe",
    "texts": np.array(["ab", "c "]), "none": np.zeros((0, 5)),
    "a_name_as_long_as_they_come": np.int16([[3, -4]]),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_plain_variables(tmp_path, options):
    values = VALUES
    if options.get("format") == "4":  # knows two axes and few types
        kept = ("doubles", "row", "one", "bytes", "complex", "texts", "none")
        values = {k: VALUES[k] for k in kept}
    savemat(tmp_path / "a.mat", values, **options)
    wanted = {k: v for k, v in loadmat(tmp_path / "a.mat").items() if k[0] != "_"}
    found = read_mat(tmp_path / "a.mat")
    assert list(found) == list(wanted) and mat_names(tmp_path / "a.mat") == set(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        if name not in ("truth", "text", "texts", "one"):
            assert found[name].dtype == values[name].dtype, name
    assert list(read_mat(tmp_path / "a.mat", ("row", "absent"))) == ["row"]


def test_structs_cells_and_what_is_not_read(tmp_path):
    inner = {"shapeMU": np.arange(3.0)[:, None], "name": "x", "deep": {"tri": np.eye(2)}}
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.eye(3), "text"
    savemat(tmp_path / "a.mat", {"model": inner, "cells": cells, "thin": csc_matrix(np.eye(4))})
    found, wanted = read_mat(tmp_path / "a.mat"), loadmat(tmp_path / "a.mat")
    assert found["model"].dtype.names == wanted["model"].dtype.names
    record = found["model"].reshape(-1)[0]
    np.testing.assert_array_equal(record["shapeMU"], inner["shapeMU"])
    np.testing.assert_array_equal(record["deep"][0, 0]["tri"], np.eye(2))
    assert record["name"].tolist() == ["x"]
    np.testing.assert_array_equal(found["cells"][0, 0], np.eye(3))
    assert found["cells"].shape == (1, 2) and found["cells"][0, 1].tolist() == ["text"]
    assert found["thin"].dtype == object and not found["thin"].size


def test_big_endian(tmp_path):
    """A double of one row, written by hand."""
    flags = struct.pack(">4I", 6, 8, 6, 0)
    shape = struct.pack(">2I2i", 5, 8, 1, 2)
    name = struct.pack(">2H4s", 1, 1, b"x")  # a small element has its size first
    values = struct.pack(">2I2d", 9, 16, 1.5, -2.0)
    body = flags + shape + name + values
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    (tmp_path / "a.mat").write_bytes(head + struct.pack(">2I", 14, len(body)) + body)
    np.testing.assert_array_equal(read_mat(tmp_path / "a.mat")["x"], [[1.5, -2.0]])


def test_what_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(ValueError, match="no such file"):
        read_mat(path)
    for content, words in (
        (b"", "empty"), (b"<!DOCTYPE html>", "web page"), (bytes(999), "zeros"),
        (b"# Created by Octave 8\n", "save -v7"), (b"x" * 999, "does not begin as one"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "7.3"),
        (struct.pack("<5i", 0, 1 << 30, 1 << 20, 0, 4) + b"tri\0", "tri is announced as 107374"),
    ):  # fmt: skip
        path.write_bytes(content)
        for read in (read_mat, mat_names):
            with pytest.raises(ValueError, match=f"a.mat: .*{words}"):
                read(path)


@pytest.mark.parametrize("packed", [False, True])
def test_cut_and_lying_files(tmp_path, packed, monkeypatch):
    monkeypatch.setattr("facejax.host.arrays._INFLATED_BYTES", 1 << 20)
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(99.0), "model": {"f": np.eye(5)}}, do_compression=packed)
    whole = path.read_bytes()
    for end in range(129, len(whole), 13):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="a.mat: .*(cut|damaged)"):
            read_mat(path)
    flags, name = struct.pack("<4I", 6, 8, 6, 0), struct.pack("<2H4s", 1, 1, b"x")
    huge = flags + struct.pack("<2I2i", 5, 8, 1 << 30, 1 << 30) + name + bytes(16)
    for size, words in ((2 << 20, "zip bomb"), (len(huge), "damaged: type 0|0 numbers of")):
        packed_variable = zlib.compress(struct.pack("<2I", 14, size) + huge.ljust(size, b"\0"))
        head = struct.pack("<2I", 15, len(packed_variable))
        path.write_bytes(whole[:128] + head + packed_variable)
        with pytest.raises(ValueError, match=f"a.mat: .*({words})"):
            read_mat(path)
