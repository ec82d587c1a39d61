import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import savemat

from facejax.io.images import write_image
from facejax.pipelines import reconstruct as rec
from facejax.pipelines.landmark_nme import aflw_nme
from facejax.pipelines.regressors import Regressor
from facejax.recon import decoder
from tests.pipelines.test_fit import draw, truth


def test_nme_of_the_truth_is_zero_and_of_a_shift_its_length(model, folder, tmp_path):
    true = truth(model)
    coeffs = jnp.broadcast_to(decoder.join(true), (2, decoder.num_coefficients(model)))
    method = rec.Reconstructor(
        regressor=Regressor(model, 32, lambda crops: decoder.Reconstruction(coeffs)), batch_size=2
    )
    photo = rec.read_photo(folder / "photos" / "a.png")
    marks = photo.aligned.transform.to_photo(np.asarray(draw(model, true)[2]))
    area = np.prod(np.ptp(marks, axis=0))
    shifts = np.array([[0, 0], [3, 4], [0, 0]])
    for k, (shift, yaw) in enumerate(zip(shifts, (0.1, -0.2, 0.9), strict=True)):
        write_image(tmp_path / "aflw" / f"{k}.png", photo.pixels)
        (tmp_path / f"{k}.txt").write_bytes((folder / "photos" / "a.txt").read_bytes())
        fields = dict(pt3d_68=(marks + shift).T, Pose_Para=np.array([[0, yaw, 0, 0, 0, 0, 1]]))
        savemat(tmp_path / "aflw" / f"{k}.mat", fields)
    found = aflw_nme(method, tmp_path / "aflw", tmp_path)
    wanted = 100 * 5 / np.sqrt(area)
    assert found["nme_percent"]["0-30"] == pytest.approx(wanted / 2, rel=1e-4)
    assert found["nme_percent"]["30-60"] == pytest.approx(0, abs=1e-4)
    assert found["nme_percent"]["mean"] == pytest.approx(wanted / 3, rel=1e-4)
    assert found["num_faces"] == 3 and found["aligned_by"].endswith(str(tmp_path))
    (tmp_path / "aflw" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="1.png: not a readable image"):
        aflw_nme(method, tmp_path / "aflw", tmp_path)
