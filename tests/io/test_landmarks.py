import numpy as np
import pytest
from scipy.io import savemat

from facejax.io.landmarks import read_landmarks, write_landmarks


@pytest.mark.parametrize("suffix", [".txt", ".bin", ".npy"])
def test_round_trip(tmp_path, rng, suffix):
    points = rng.uniform(-10, 500, (68, 2))
    write_landmarks(tmp_path / "sub" / f"a{suffix}", points)
    again = read_landmarks(tmp_path / "sub" / f"a{suffix}", 68)
    np.testing.assert_allclose(again, points, rtol=1e-8)


def test_texts_of_other_programs(tmp_path):
    (tmp_path / "tabs.txt").write_text("1.5\t2\n3,4\n\n# end\n5 6 # nose\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "tabs.txt"), [[1.5, 2], [3, 4], [5, 6]])
    (tmp_path / "bom.txt").write_text("\ufeff1 2\n", encoding="utf-8")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "bom.txt"), [[1, 2]])
    (tmp_path / "a.pts").write_text("version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.pts", 2), [[1, 2], [3, 4]])


def test_annotations_of_300w_lp_and_aflw2000(tmp_path, rng):
    visible, fixed = rng.uniform(0, 450, (2, 68)), rng.uniform(0, 450, (3, 68))
    savemat(tmp_path / "a.mat", dict(pt2d=visible, Pose_Para=np.zeros((1, 7))))
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.mat", 68), visible.T)
    savemat(tmp_path / "b.mat", dict(pt2d=visible[:, :21], pt3d_68=fixed))
    np.testing.assert_allclose(read_landmarks(tmp_path / "b.mat", 68), fixed[:2].T)
    savemat(tmp_path / "c.mat", dict(pt2d=visible[:, :21]))
    with pytest.raises(ValueError, match="no 68 points.*pt2d"):
        read_landmarks(tmp_path / "c.mat")


def test_bad_files(tmp_path):
    for text, word in (("a b\n", "x y"), ("1 2\n3\n", "different length"), ("1 2 3\n", "3 numbers"),
                       ("", "no points"), ("1 nan\n", "not finite")):  # fmt: skip
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(ValueError, match=word):
            read_landmarks(tmp_path / "bad.txt")
    (tmp_path / "four.txt").write_text("1 2\n" * 4)
    with pytest.raises(ValueError, match="found 4 points, wanted 5.*nose tip"):
        read_landmarks(tmp_path / "four.txt", 5)
    with pytest.raises(ValueError, match="no such file"):
        read_landmarks(tmp_path / "absent.txt")
    np.save(tmp_path / "deep.npy", np.zeros((68, 3)))
    with pytest.raises(ValueError, match="three coordinates"):
        read_landmarks(tmp_path / "deep.npy")
    np.random.default_rng(0).uniform(size=13).tofile(tmp_path / "odd.bin")
    with pytest.raises(ValueError, match="cannot be read"):
        read_landmarks(tmp_path / "odd.bin")
    with pytest.raises(ValueError, match="suffix"):
        write_landmarks(tmp_path / "a.csv", np.zeros((5, 2)))
