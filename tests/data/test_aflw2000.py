import numpy as np
import pytest
from scipy.io import savemat

from facejax.data.aflw2000 import read_aflw2000
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
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    photos = read_aflw2000(tmp_path)
    assert [p.image.stem for p in photos] == ["a", "b"]
    for photo in photos:
        fields = wanted[photo.image.stem]
        np.testing.assert_allclose(photo.landmarks, fields["pt3d_68"][:2].T)
        assert photo.yaw_rad == pytest.approx(fields["Pose_Para"][0, 1])


def test_incomplete_folders(tmp_path, rng):
    with pytest.raises(ValueError, match="no .mat files"):
        read_aflw2000(tmp_path / "absent")
    fields = write_truth(tmp_path / "a.mat", rng)
    with pytest.raises(ValueError, match="no photo a"):
        read_aflw2000(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    savemat(tmp_path / "a.mat", {k: v for k, v in fields.items() if k != "pt3d_68"})
    with pytest.raises(ValueError, match="lacks.*pt3d_68"):
        read_aflw2000(tmp_path)
