import numpy as np
import pytest
from scipy.io import savemat

from facejax.data.aflw2000 import (
    check_photos,
    photos_without_truth,
    read_aflw2000,
    read_detections,
)
from facejax.io.images import write_image
from facejax.io.landmarks import write_landmarks
from tests.oracles.mat_files import write_parameters


def write_truth(path, rng):
    """A .mat of AFLW2000-3D; returns its fields."""
    fields = write_parameters(path, rng) | dict(pt3d_68=rng.uniform(0, 450, (3, 68)))
    savemat(path, fields)
    return fields


def test_photos_with_their_truth(tmp_path, rng):
    wanted = {}
    for name in ("sub/b", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        wanted[name[-1]] = write_truth(tmp_path / f"{name}.mat", rng)
        write_image(tmp_path / f"{name}.jpg", np.zeros((450, 450, 3)))
    photos = read_aflw2000(tmp_path)
    assert [p.image.stem for p in photos] == ["a", "b"]
    for photo in photos:
        fields = wanted[photo.image.stem]
        np.testing.assert_allclose(photo.landmarks, fields["pt3d_68"][:2].T)
        assert photo.yaw_rad == pytest.approx(fields["Pose_Para"][0, 1])


def test_incomplete_folders(tmp_path, rng):
    with pytest.raises(ValueError, match="no such folder"):
        read_aflw2000(tmp_path / "absent")
    with pytest.raises(ValueError, match="no .mat files"):
        read_aflw2000(tmp_path)
    fields = write_truth(tmp_path / "a.mat", rng)
    with pytest.raises(ValueError, match="no photo a"):
        read_aflw2000(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="a.jpg: .*empty"):
        read_aflw2000(tmp_path)
    write_image(tmp_path / "a.jpg", np.zeros((450, 450, 3)))
    write_image(tmp_path / "a.png", np.zeros((450, 450, 3)))
    with pytest.raises(ValueError, match="a.jpg and .*a.png, wanted one photo"):
        read_aflw2000(tmp_path)
    (tmp_path / "a.png").unlink()
    savemat(tmp_path / "a.mat", {k: v for k, v in fields.items() if k != "pt3d_68"})
    with pytest.raises(ValueError, match="lacks.*pt3d_68"):
        read_aflw2000(tmp_path)


def test_foreign_files_and_cases_do_not_matter(tmp_path, rng, caplog):
    write_truth(tmp_path / "a.mat", rng)
    write_image(tmp_path / "a.jpg", np.zeros((450, 450, 3)))
    (tmp_path / "a.jpg").rename(tmp_path / "a.JPG")
    (tmp_path / "a.mat").rename(tmp_path / "a.Mat")
    for name in ("._a.jpg", "._a.mat"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "Code").mkdir()
    savemat(tmp_path / "Code" / "x.mat", {"w": np.zeros(3)})
    (photo,) = read_aflw2000(tmp_path)
    assert photo.image == tmp_path / "a.JPG" and "passed over 1 .mat files" in caplog.text
    assert photos_without_truth(tmp_path) == []
    write_image(tmp_path / "Code" / "b.png", np.zeros((4, 4, 3)))
    assert photos_without_truth(tmp_path) == [tmp_path / "Code" / "b.png"]
    with pytest.raises(ValueError, match="points of 1 of 1 photos, first a"):
        read_detections([photo], tmp_path / "Code")
    points = np.array([[100, 100], [160, 101], [130, 135], [107, 166], [154, 165]], float)
    write_landmarks(tmp_path / "points" / "a.txt", points)
    (tmp_path / "points" / "a.txt").rename(tmp_path / "points" / "a.TXT")
    (found,) = read_detections([photo], tmp_path / "points")
    np.testing.assert_allclose(found, points, rtol=1e-6)


def test_damaged_photos_are_named_before_anything_is_measured(tmp_path, rng):
    for name in ("a", "b", "c"):
        write_truth(tmp_path / f"{name}.mat", rng)
        write_image(tmp_path / f"{name}.png", rng.uniform(size=(450, 450, 3)))
    photos = read_aflw2000(tmp_path)
    check_photos(photos, [p.landmarks for p in photos])
    raw = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="1 of 3 photos cannot be used .b.png.: .*b.png"):
        check_photos(photos, [p.landmarks for p in photos])
