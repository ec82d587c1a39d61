import numpy as np
import pytest
from scipy.io import savemat

from facejax.io.images import write_image
from facejax.io.mat import read_coefficients, read_parameters
from tests.oracles.mat_files import write_bfm, write_parameters


def test_one_picture(tmp_path, rng):
    fields = write_parameters(tmp_path / "a.mat", rng, kind="aflw2000")
    found = read_parameters(tmp_path / "a.mat")
    np.testing.assert_array_equal(found["Shape_Para"], fields["Shape_Para"][:, 0])
    np.testing.assert_array_equal(found["Pose_Para"], fields["Pose_Para"][0])
    np.testing.assert_array_equal(found["pt2d"], fields["pt2d"].T)
    np.testing.assert_array_equal(found["pt3d_68"], fields["pt3d_68"].T)
    assert found["roi"].tolist() == [-3, 5, 447, 455]
    assert found["pt2d"].shape == (21, 2) and found["pt2d"].min() == -1  # -1: not visible
    write_parameters(tmp_path / "b.mat", rng)
    found = read_parameters(tmp_path / "b.mat")
    assert found["pt2d"].shape == (68, 2) and "pt3d_68" not in found


def test_folder_is_read_in_order_of_names(tmp_path, rng):
    (tmp_path / "sub").mkdir()
    (tmp_path / "landmarks").mkdir()
    second = write_parameters(tmp_path / "sub" / "a.mat", rng)
    first = write_parameters(tmp_path / "b.mat", rng)
    write_bfm(tmp_path / "landmarks" / "x.mat", rng)
    shape, expression = read_coefficients(tmp_path)
    assert shape.shape == (2, 199) and expression.shape == (2, 29) and shape.dtype == np.float32
    for row, fields in enumerate((first, second)):
        np.testing.assert_allclose(shape[row], fields["Shape_Para"][:, 0], rtol=1e-6)
        np.testing.assert_allclose(expression[row], fields["Exp_Para"][:, 0], rtol=1e-6)


def test_wrong_files_are_named(tmp_path, rng):
    with pytest.raises(ValueError, match="no .mat files"):
        read_coefficients(tmp_path)
    write_parameters(tmp_path / "a.mat", rng)
    write_parameters(tmp_path / "b.mat", rng, n_exp=10)
    with pytest.raises(ValueError, match="10 expression"):
        read_coefficients(tmp_path)
    savemat(tmp_path / "b.mat", {"Pose_Para": np.zeros((1, 7))})
    with pytest.raises(ValueError, match="b.mat: lacks .*Shape_Para"):
        read_coefficients(tmp_path)
    savemat(tmp_path / "b.mat", {"Shape_Para": np.full(3, np.nan), "Exp_Para": np.zeros(29)})
    with pytest.raises(ValueError, match="b.mat: Shape_Para holds other things than finite"):
        read_coefficients(tmp_path)
    (tmp_path / "a.mat").unlink()
    write_bfm(tmp_path / "b.mat", rng)
    with pytest.raises(ValueError, match="1 .mat files of other kinds.*b.mat is a face3d-style"):
        read_coefficients(tmp_path)


HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


@pytest.fixture
def tree(tmp_path, rng):
    """An annotated tree as it is downloaded and unpacked on a Mac."""
    for name in ("AFW/a", "AFW/b", "IBUG/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_parameters(tmp_path / f"{name}.mat", rng)
        write_image(tmp_path / f"{name}.jpg", np.zeros((4, 4, 3)))
    (tmp_path / "IBUG/c.mat").rename(tmp_path / "IBUG/c.MAT")
    code = tmp_path / "Code" / "ModelGeneration"
    code.mkdir(parents=True)
    savemat(code / "Model_Exp.mat", {"w_exp": np.zeros((9, 3)), "mu_exp": np.zeros((9, 1))})
    savemat(code / "large.mat", {"w": np.zeros(200_000)})
    (code / "hdf5.mat").write_bytes(HDF5)
    (code / "octave.mat").write_text("# Created by Octave 5.2.0\n# name: w\n")
    (code / "pointer.mat").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "AFW/._a.mat").write_bytes(b"\0\5\x16\7")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX/a.mat").write_bytes(b"\0")
    return tmp_path


def test_other_files_of_a_tree_are_passed_over_in_one_line(tree, caplog):
    shape, expression = read_coefficients(tree)
    assert shape.shape == (3, 199) and expression.shape == (3, 29)
    (line,) = [r.getMessage() for r in caplog.records if "passed over" in r.getMessage()]
    assert "passed over 5 .mat files" in line and "Model_Exp.mat" in line and "._a" not in line


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"<html>", HDF5 +
                                     b"Shape_Para"])  # fmt: skip
def test_a_damaged_annotation_is_named(tree, content):
    (tree / "AFW/b.mat").write_bytes(content)
    with pytest.raises(ValueError, match="AFW/b.mat: "):
        read_coefficients(tree)
    (tree / "AFW/b.jpg").unlink()  # beside others of its kind
    with pytest.raises(ValueError, match="AFW/b.mat: "):
        read_coefficients(tree)


@pytest.mark.parametrize(
    "content,words",
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"# Created by Octave 5.2.0\n# name: x\n", "save -v7"),
        (HDF5, "7.3 .HDF5."),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(86) + b"\0\2IM" + HDF5, "7.3 .HDF5."),
        (bytes(200), "zeros"),
        (b"plain text", "cannot|not a readable"),
    ],
)
def test_what_is_no_matlab_file_says_what_it_is(tmp_path, content, words):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.mat: .*({words})"):
        read_parameters(tmp_path / "a.mat")
