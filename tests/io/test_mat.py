import numpy as np
import pytest
from scipy.io import savemat

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
    write_bfm(tmp_path / "b.mat", rng)
    with pytest.raises(ValueError, match="b.mat: found a face3d-style BFM.mat"):
        read_coefficients(tmp_path)
    savemat(tmp_path / "b.mat", {"pts_2d": np.zeros((68, 2)), "pts_3d": np.zeros((68, 2))})
    with pytest.raises(ValueError, match="b.mat: found landmarks of 300W-LP"):
        read_coefficients(tmp_path)
