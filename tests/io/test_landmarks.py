import numpy as np
import pytest
from scipy.io import savemat

from facejax.io.landmarks import LandmarkIndex, read_landmarks, write_landmarks


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


def test_any_encoding_separator_and_header(tmp_path):
    points = [[1.5, 2], [3, 4], [5, 6]]
    for text in ("x,y\n1.5,2\n3,4\n5,6\n", "1,5;2\n3;4\n5;6\n", "1.5, 2\n3, 4 # eye\n5, 6\n",
                 "1.5 2\r3 4\r5 6\r", "1.5\t2\r\n3\t4\r\n5\t6"):  # fmt: skip
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            (tmp_path / "a.TXT").write_bytes(text.encode(encoding))
            np.testing.assert_array_equal(read_landmarks(tmp_path / "a.TXT"), points, encoding)
    (tmp_path / "rows.txt").write_text("1 3 5 7 9\n2 4 6 8 10\n")  # all x, then all y
    found = read_landmarks(tmp_path / "rows.txt", 5)
    np.testing.assert_array_equal(found, np.arange(1, 11).reshape(5, 2))
    (tmp_path / "deep.txt").write_text("\ufeffx, y, z\n" + "1, 2, 3\n" * 7, encoding="utf-8")
    assert read_landmarks(tmp_path / "deep.txt", (7, 68), dims=3).shape == (7, 3)
    with pytest.raises(ValueError, match="found 7 points, wanted 5 or 68"):
        read_landmarks(tmp_path / "deep.txt", (5, 68), dims=3)


def test_arrays_with_coordinates_in_rows(tmp_path, rng):
    points = rng.uniform(0, 200, (68, 3))
    for array, dims in ((points[:, :2], 2), (points, 3), (points[:5, :2], 2), (points[:7], 3)):
        for stored in (array, array.T, array[None], np.asfortranarray(array.T, np.float32)):
            np.save(tmp_path / "a.npy", stored)
            found = read_landmarks(tmp_path / "a.npy", len(array), dims)
            np.testing.assert_allclose(found, array, rtol=1e-6)
    for bad, word in (
        (points[:2, :2], "rows could be points or coordinates"), (points[:, :2].ravel(), "136"),
        (points.T, "three coordinates"), (points[:60].reshape(-1, 20, 3), "save it as"),
        (points[:, :2] > 3, "no numbers"), (points[:, 0] + 1j, "no numbers"),
        (points[:, :1], "wanted .points, 2."), (np.array(["a"]), "no numbers"),
    ):  # fmt: skip
        np.save(tmp_path / "b.npy", bad)
        with pytest.raises(ValueError, match=f"b.npy: .*{word}"):
            read_landmarks(tmp_path / "b.npy")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="o.npy: .*Python objects"):
        read_landmarks(tmp_path / "o.npy")


def test_cut_files_are_refused(tmp_path):
    (tmp_path / "a.pts").write_text("version: 1\nN_POINTS: 3\n{\n1 2\n3 4\n")
    with pytest.raises(ValueError, match="announces 3 points and holds 2"):
        read_landmarks(tmp_path / "a.pts")
    (tmp_path / "a.bin").write_bytes(bytes(68 * 16 - 4))
    with pytest.raises(ValueError, match="a.bin: .*1084 bytes are not 2 float64"):
        read_landmarks(tmp_path / "a.bin")
    (tmp_path / "p.npy").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="p.npy: .*git lfs pull"):
        read_landmarks(tmp_path / "p.npy")


def test_the_index_takes_any_case_and_refuses_files_that_disagree(tmp_path, rng):
    points = rng.uniform(0, 200, (68, 2))
    write_landmarks(tmp_path / "x.txt", points)
    (tmp_path / "x.txt").rename(tmp_path / "x.Txt")
    (tmp_path / "._x.txt").write_bytes(b"\0\5\x16\7")
    write_landmarks(tmp_path / "x.bin", points)
    write_landmarks(tmp_path / "x.npy", points[:5])  # other points: no contradiction
    write_landmarks(tmp_path / "Zoe\u0308.txt", points)  # as macOS writes it
    index = LandmarkIndex()
    assert [len(p) for _, p in index.read(tmp_path, "x")] == [68, 5]
    assert index.files(tmp_path, "Zo\u00eb") and not index.files(tmp_path / "absent", "x")
    write_landmarks(tmp_path / "x.bin", points + 2)
    with pytest.raises(ValueError, match="x.Txt and .*x.bin hold different points"):
        list(LandmarkIndex().read(tmp_path, "x"))


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
