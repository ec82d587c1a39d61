import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry import rotations
from facejax.morphable import load_morphable
from facejax.morphable.storage import save_npz
from facejax.pipelines import fit
from facejax.recon import decoder

SMALL = dict(rows=32, cols=32, n_id=6, n_alb=4, draws=16)
OPTIONS = fit.FitOptions(photo_steps=80)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("model"))[0]


def saved_model(folder):
    """(model, its file): read back, so that all tests compile the same programs."""
    path = folder / "model.npz"
    save_npz(path, load_morphable("procedural", **SMALL))
    return load_morphable(path), path


def truth(model):
    """A turned, smiling, unevenly lit face."""
    rng = np.random.default_rng(3)
    zero = decoder.zero_coefficients(model)
    exp = np.zeros(model.num_exp, np.float32)
    exp[model.topology.exp_index["mouthSmile_L"]] = 0.6
    exp[model.topology.exp_index["mouthSmile_R"]] = 0.6
    gamma = np.zeros((3, 9), np.float32)
    gamma[:, 0], gamma[:, 3] = 0.4, -0.15
    return zero.replace(
        id=jnp.asarray(rng.standard_normal(model.num_id) * 0.7, jnp.float32),
        exp=jnp.asarray(exp),
        alb=jnp.asarray(rng.standard_normal(model.num_alb) * 0.7, jnp.float32),
        angles=jnp.array([0.05, 0.35, -0.08]),
        trans=jnp.array([0.03, -0.02, 0.1]),
        gamma=jnp.asarray(gamma.reshape(27)),
    )


@jax.jit
def draw(model, coeffs):
    """(picture [224, 224, 3], mask, landmarks y up)."""
    face = decoder.decode(model, coeffs)
    return *decoder.render_face(model, face), face.landmarks_px


@pytest.fixture(scope="module")
def photo(model):
    """(crop, landmarks [68, 2] y up, true coefficients); a blue wall behind the face."""
    coeffs = truth(model)
    image, mask, landmarks = (np.asarray(a) for a in draw(model, coeffs))
    image = np.where(mask[..., None] > 0, image, [0.3, 0.5, 0.9])
    return np.uint8(255 * np.clip(image, 0, 1)), landmarks, coeffs


def pose_error_deg(found, true):
    turn = decoder.rotation(found.angles).T @ decoder.rotation(true.angles)
    return float(jnp.rad2deg(jnp.arccos(jnp.clip((jnp.trace(turn) - 1) / 2, -1, 1))))


def landmark_distance(model, found, landmarks):
    return np.linalg.norm(np.asarray(draw(model, found)[2]) - landmarks, axis=1)


def test_fit_recovers_a_synthetic_photo(model, photo):
    crop, landmarks, true = photo
    five = np.asarray(decoder.five_points(landmarks))
    before = fit.fit_colors._cache_size()
    by_five = fit.fit_photo(model, crop, five, OPTIONS)
    by_all = fit.fit_photo(model, crop, landmarks, OPTIONS)
    assert fit.fit_colors._cache_size() == before + 1, "five and 68 points share one program"
    for found in (by_five, by_all):
        assert pose_error_deg(found.coeffs, true) < 2.0
        assert set(found.curves) == set(fit.CURVES)
        assert all(len(v) == OPTIONS.photo_steps for v in found.curves.values())
        assert found.curves["photo"][-1] < 0.95 * found.curves["photo"][0]
        assert found.curves["total"][-1] < 0.95 * found.curves["total"][0]
        assert np.all((found.coeffs.exp >= 0) & (found.coeffs.exp <= 1))
        # the light comes from the image's right, as it should
        assert found.coeffs.gamma.reshape(3, 9)[:, 3].mean() < -0.05
    assert landmark_distance(model, by_all.coeffs, landmarks).mean() < 1.0
    # 63 of these were not given
    assert landmark_distance(model, by_five.coeffs, landmarks).mean() < 2.0
    assert float(by_all.landmark_px) < 1.0


def test_landmarks_alone(model, photo):
    _, landmarks, true = photo
    targets = fit.make_targets(landmarks, OPTIONS)
    found = fit.fit_landmarks(model, targets, OPTIONS)
    assert pose_error_deg(found, true) < 2.0
    assert float(fit.landmark_error(model, found, targets)) < 1.0
    assert not np.any(found.alb) and not np.any(found.gamma)
    start = decoder.zero_coefficients(model)
    assert float(fit.landmark_error(model, start, targets)) > 5.0


def test_a_good_start_stays(model, photo):
    crop, landmarks, true = photo
    only = dataclasses.replace(OPTIONS, photo_steps=0)
    same = fit.fit_photo(model, crop, landmarks, only, start=true)
    np.testing.assert_array_equal(decoder.join(same.coeffs), decoder.join(true))
    assert same.curves == {}
    held = fit.fit_photo(model, crop, landmarks, OPTIONS, start=true, hold_identity=True)
    np.testing.assert_array_equal(held.coeffs.id, true.id)
    assert np.any(held.coeffs.exp != true.exp)
    refined = fit.fit_photo(model, crop, landmarks, OPTIONS, start=true)
    assert np.any(refined.coeffs.id != true.id)
    assert pose_error_deg(refined.coeffs, true) < 1.0
    assert landmark_distance(model, refined.coeffs, landmarks).mean() < 1.0


def test_what_lies_beyond_the_photo_does_not_count(model, photo):
    crop, landmarks, true = photo
    inside = np.broadcast_to(np.arange(224) < 130, (224, 224))
    cut = crop * inside[..., None].astype(np.uint8)
    image, mask, _ = (np.asarray(a) for a in draw(model, true))
    hidden = (mask > 0) & ~inside

    def error(**options):
        found = fit.fit_photo(model, cut, landmarks, OPTIONS, **options)
        drawn, cover, _ = (np.asarray(a) for a in draw(model, found.coeffs))
        return np.abs(drawn - image)[hidden & (cover > 0)].mean()

    assert error(inside=inside) < 0.75 * error()


def test_targets():
    five = fit.make_targets(np.ones((5, 2)), OPTIONS)
    every = fit.make_targets(np.ones((68, 2)), OPTIONS)
    assert (np.asarray(five.inverse_px) > 0).tolist() == [True] * 5 + [False] * 68
    assert (np.asarray(every.inverse_px) > 0).tolist() == [False] * 5 + [True] * 68
    np.testing.assert_allclose(every.inverse_px[5:22], 1 / OPTIONS.jaw_px)
    with pytest.raises(ValueError, match=r"\(6, 2\), wanted \[5, 2\] or \[68, 2\]"):
        fit.make_targets(np.ones((6, 2)))


def test_lips_close_no_further_than_the_jaw_opens(model):
    index = model.topology.exp_index
    exp = jnp.full(model.num_exp, 0.8).at[index["jawOpen"]].set(0.3)
    out = fit.feasible_expressions(model, exp, 0.0, 0.5)
    assert float(out[index["mouthClose"]]) == pytest.approx(0.3)
    assert float(out.max()) == pytest.approx(0.5)


def test_bad_input(model, photo):
    crop, landmarks, _ = photo
    with pytest.raises(ValueError, match=r"wanted \[224, 224, 3\] uint8"):
        fit.fit_photo(model, crop[:100], landmarks)
    with pytest.raises(ValueError, match="use the face model that the coefficients"):
        fit.fit_photo(model, crop, landmarks, start=decoder.zero_coefficients((2, 3, 4)))
    with pytest.raises(ValueError, match="multiple of 4"):
        fit.FitOptions(size=30)
    with pytest.raises(ValueError, match="negative number of steps"):
        fit.FitOptions(photo_steps=-1)


def test_rotation_helper_measures_degrees():
    zero = decoder.zero_coefficients((1, 1, 1))
    turned = zero.replace(angles=jnp.array([0.0, 0.1, 0.0]))
    assert pose_error_deg(turned, zero) == pytest.approx(np.degrees(0.1), rel=1e-3)
    assert rotations.euler_to_matrix(turned.angles, "xyz").shape == (3, 3)
