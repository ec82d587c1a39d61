import numpy as np
import pytest

from facejax.morphable.skin import spectra
from facejax.morphable.skin.colors import hair_tone, iris_tone, linear, ramp, skin_tone

TABLE = np.exp(spectra.skin_table())  # linear light over melanin and blood


def test_tones_run_through_the_typology_angle_in_equal_steps():
    middle = TABLE[:, spectra.BLOODS // 2]
    wanted = np.linspace(spectra.ITA_LIGHTEST, spectra.ITA_DARKEST, spectra.TONES)
    np.testing.assert_allclose(spectra.typology_angle(middle), wanted, atol=0.5)
    assert (np.diff(spectra.lab(middle)[:, 0]) < 0).all()  # and get darker


def test_tones_stay_in_the_measured_range_of_faces():
    lightness, red, yellow = np.moveaxis(spectra.lab(TABLE[2:-2]), -1, 0)
    assert 20 < lightness.min() and lightness.max() < 80
    assert 2 < red.min() and red.max() < 20
    assert 9 < yellow.min() and yellow.max() < 24


def test_blood_reddens_and_melanin_darkens_every_tone():
    lab = spectra.lab(TABLE)
    assert (np.diff(lab[..., 1], axis=1) > 0).all()
    assert (np.diff(TABLE, axis=0) < 0).all()


def test_white_is_white_and_lab_knows_it():
    white = spectra.linear_rgb(np.ones(31))
    np.testing.assert_allclose(white, 1, atol=2e-3)
    np.testing.assert_allclose(spectra.lab(white), [100, 0, 0], atol=0.2)


def test_skin_tone_interpolates_the_table_and_its_slopes_are_those_of_the_table():
    log, by_melanin, by_blood = skin_tone(0.5, 0.5, 0.0)
    knot = spectra.skin_table()[16, 4]
    np.testing.assert_allclose(log, knot, atol=1e-5)
    assert (np.asarray(by_melanin) < 0).all() and by_melanin[2] < by_melanin[0]
    assert by_blood[1] < by_blood[0] and by_blood[1] < -0.2  # blood absorbs green
    yellow = skin_tone(0.5, 0.5, 1.0)[0] - log
    assert yellow[2] < -0.1


def test_ramp_interpolates_and_stays_at_its_ends():
    table = np.array([[0.0], [1.0], [4.0]])
    np.testing.assert_allclose(
        ramp(table, np.array([-1, 0, 0.25, 0.75, 1, 2.0]))[:, 0], [0, 0, 0.5, 2.5, 4, 4]
    )


@pytest.mark.parametrize(("melanin", "low", "high"), [(0.0, 0.35, 0.7), (1.0, 0.0, 0.02)])
def test_hair_runs_from_blond_to_black(melanin, low, high):
    one = np.float32(1)
    color = np.asarray(hair_tone(melanin * one, 0 * one, 0 * one))
    assert low < color.mean() < high
    red, grey = hair_tone(one * 0.5, one, 0 * one), hair_tone(one * 0.5, 0 * one, one)
    assert red[0] / red[2] > 4 and np.ptp(np.asarray(grey)) < 0.1


def test_irises_are_blue_green_or_brown():
    zero, one = np.float32(0), np.float32(1)
    blue, green, brown = iris_tone(zero, zero), iris_tone(zero, one), iris_tone(one, one)
    assert blue[2] > 1.5 * blue[0]
    assert green[1] > green[0] and green[1] > green[2]
    assert brown[0] > 1.5 * brown[2] and brown.max() < 0.05


def test_linear_inverts_the_srgb_curve():
    np.testing.assert_allclose(linear([0, 255, 128]), [0, 1, 0.2158605], rtol=1e-5)
