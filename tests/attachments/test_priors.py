"""Who wears what: no style dominates, and age, sex and ancestry show."""

import dataclasses

import numpy as np
import pytest

from facejax.attachments import HAIR_NAMES, Worn, make_worn, sample_hair, sample_worn

N = 6000


def people(seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(18, 80, N), rng.beta(0.6, 0.6, N), rng.dirichlet([0.5, 0.5, 0.5], N)


@pytest.fixture(scope="module")
def worn() -> Worn:
    return sample_worn(np.random.default_rng(1), *people())


def test_no_hairstyle_has_more_than_15_percent_and_all_occur(worn):
    share = np.bincount(worn.hair, minlength=len(HAIR_NAMES)) / N
    assert share.max() <= 0.15
    assert share.min() >= 0.005


def test_every_field_is_in_its_range(worn):
    for field in dataclasses.fields(worn):
        value = getattr(worn, field.name)
        assert len(value) == N and np.isfinite(value).all(), field.name
        low = -1 if field.name in ("parting", "volume") else 0
        high = 1 if value.dtype == np.float32 else 20
        assert low <= value.min() and value.max() <= high, field.name


def test_draws_are_a_pure_function_of_the_generator(worn):
    again = sample_worn(np.random.default_rng(1), *people())
    for field in dataclasses.fields(worn):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(worn, field.name))


def test_age_sex_and_ancestry_show_but_decide_nothing(worn):
    age, masculinity, ancestry = people()
    men, women = masculinity > 0.7, masculinity < 0.3
    long = worn.hair >= HAIR_NAMES.index("bob")
    assert long[women].mean() > 0.6 and 0.05 < long[men].mean() < 0.3
    assert (worn.beard[women] == 0).all() and 0.35 < (worn.beard[men] > 0).mean() < 0.55
    old, young = age > 65, age < 30
    assert worn.grey[old].mean() > worn.grey[young].mean() + 0.3
    light = worn.melanin < 0.5
    african, asian, caucasian = (ancestry > 0.9).T
    assert light[caucasian].mean() > 0.3
    assert 0 < light[african].mean() < 0.1 and 0 < light[asian].mean() < 0.1
    assert 0.18 < (worn.glasses > 0).mean() < 0.45 and 0.03 < (worn.hat > 0).mean() < 0.12
    # something dark over the eyes is rare
    assert ((worn.glasses > 0) & (worn.tint >= 0.5)).mean() < 0.1


def test_hair_follows_the_skin_where_it_is_known():
    age, masculinity, _ = people()
    ancestry = np.tile([0.0, 0.0, 1.0], (N, 1))
    fair, dark = (
        sample_hair(np.random.default_rng(0), age, masculinity, ancestry, np.full(N, m))
        for m in (0.05, 0.6)
    )
    assert dark["melanin"].mean() > fair["melanin"].mean() + 0.08


def test_unknown_coefficients_are_refused():
    with pytest.raises(ValueError, match="hairstyle"):
        make_worn((), hairstyle=3)
