import numpy as np
import pytest

from facejax.morphable.makehuman import sample_identity, sample_people
from facejax.morphable.makehuman.people import ANCESTRIES, features


@pytest.fixture(scope="module")
def people():
    return sample_people(np.random.default_rng(0), 6000)


def test_ages_sexes_and_ancestries_are_those_of_a_population(people):
    age = people.age_years
    assert 18 <= age.min() and age.max() <= 80
    assert 43 < age.mean() < 47 and 13 < age.std() < 17
    assert people.masculinity.min() >= 0 and people.masculinity.max() <= 1
    assert 0.47 < (people.masculinity > 0.5).mean() < 0.53
    assert people.ancestry.shape == (6000, len(ANCESTRIES))
    np.testing.assert_allclose(people.ancestry.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(people.ancestry.mean(axis=0), 1 / 3, atol=0.02)


def test_coefficients_have_unit_variance_and_no_correlation(people):
    assert people.id.dtype == np.float32 and people.id.shape[1] >= 70
    np.testing.assert_allclose(people.id.mean(axis=0), 0, atol=0.06)
    covariance = np.cov(people.id.T)
    np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=0.08)


def test_heads_go_with_their_attributes(people):
    """Age, sex and ancestry can be read from the coefficients."""
    x = features(people.age_years, people.masculinity, people.ancestry)
    design = np.c_[people.id, np.ones(len(people.id))]
    left = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    explained = 1 - left.var(axis=0) / x.var(axis=0)
    masculinity, _, old_age, african, asian = explained
    assert masculinity > 0.6 and old_age > 0.6 and african > 0.6 and asian > 0.6


def test_they_are_a_pure_function_of_the_generator():
    a, b = (sample_people(np.random.default_rng(5), 3, num_id=6) for _ in range(2))
    for name in ("age_years", "masculinity", "ancestry", "id"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.id.shape == (3, 6)
    assert not sample_people(np.random.default_rng(5), 3, id_scale=0.0).id.any()
    assert sample_people(np.random.default_rng(5), 0).id.shape[0] == 0


def test_heads_of_known_people():
    rng = np.random.default_rng(1)
    n = 2000
    thirds = np.full((n, 3), 1 / 3)
    men = sample_identity(rng, np.full(n, 40.0), np.ones(n), thirds)
    women = sample_identity(rng, np.full(n, 40.0), np.zeros(n), thirds)
    apart = (men.mean(axis=0) - women.mean(axis=0)) / men.std(axis=0)
    assert np.abs(apart).max() > 1.0
    assert (men.std(axis=0) < 1.1).all()


def test_too_many_coefficients_are_refused():
    with pytest.raises(ValueError, match="num_id=1000, wanted"):
        sample_people(np.random.default_rng(0), 2, num_id=1000)
