import dataclasses

import jax
import numpy as np
import pytest

from facejax.morphable.skin import SkinPaint, sample_skin

N = 6000


def draw(seed=0, age=None, male=None, ancestry=None):
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 80, N) if age is None else np.full(N, age)
    male = rng.random(N) if male is None else np.full(N, male)
    shares = rng.dirichlet(np.full(3, 0.6), N) if ancestry is None else np.tile(ancestry, (N, 1))
    return sample_skin(rng, age, male, shares)


@pytest.fixture(scope="module")
def crowd():
    return draw()


def test_the_same_seed_draws_the_same_people(crowd):
    again, other = draw(), draw(seed=1)
    for a, b, c in zip(*(jax.tree.leaves(x) for x in (crowd, again, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32 and a.shape == (N,)
        assert np.ptp(a) == 0 or not np.array_equal(a, c)


def test_people_lie_in_the_ranges_and_use_them(crowd):
    for name, (low, high, typical) in SkinPaint.ranges().items():
        values = getattr(crowd, name)
        assert low <= values.min() and values.max() <= high, name
        assert low <= typical <= high
        if name != "catchlight":
            assert np.ptp(values) > 0.5 * (high - low), name


@pytest.mark.parametrize("name", ["brow_arch", "brow_height", "brow_gap", "carotene", "makeup_hue"])
def test_coefficients_of_either_sign_are_drawn_symmetrically(crowd, name):
    values = getattr(crowd, name)
    centered = values - values.mean()
    assert abs((centered**3).mean() / centered.std() ** 3) < 0.25


def test_tone_follows_ancestry_with_a_spread_and_an_overlap():
    tones = [draw(ancestry=share).melanin for share in np.eye(3)]
    african, asian, caucasian = (np.median(t) for t in tones)
    assert african > asian + 0.2 > caucasian + 0.25
    assert all(0.05 < t.std() < 0.2 for t in tones)
    assert tones[0].min() < tones[1].max()


def test_age_brings_lines_spots_grey_hair_and_thinning():
    young, old = draw(age=22.0, male=1.0), draw(age=72.0, male=1.0)
    for name in ("forehead_lines", "eye_lines", "fold_lines", "neck_lines", "hair_grey",
                 "recession", "age_spots"):  # fmt: skip
        assert getattr(old, name).mean() > getattr(young, name).mean() + 0.2, name
    assert young.lip_blood.mean() > old.lip_blood.mean()
    assert 0 < (old.hair_grey < 0.2).mean() < 0.2  # some keep their colour


def test_beard_and_brows_come_with_masculinity_and_makeup_without_it():
    men, women = draw(male=0.95), draw(male=0.05)
    for name in ("stubble", "moustache", "chin_beard", "jaw_beard", "recession"):
        assert getattr(women, name).max() <= 0.05 < getattr(men, name).mean(), name
    assert men.brow_thickness.mean() > women.brow_thickness.mean() + 0.2
    assert women.makeup.mean() > 0.2 > 0.05 > men.makeup.mean()
    assert 0.2 < (men.stubble < 0.25).mean() < 0.8  # no style dominates


def test_hair_and_eyes_go_with_tone_but_not_strictly():
    african, caucasian = draw(ancestry=(1, 0, 0)), draw(ancestry=(0, 0, 1))
    assert np.quantile(african.hair_melanin, 0.05) > 0.7
    assert np.quantile(african.iris_melanin, 0.05) > 0.7
    for name in ("hair_melanin", "iris_melanin"):
        assert getattr(caucasian, name).std() > 0.2
    assert caucasian.freckles.mean() > 4 * african.freckles.mean()
    mixed = draw()
    tie = np.corrcoef(mixed.melanin, mixed.hair_melanin)[0, 1]
    assert 0.2 < tie < 0.8


def test_an_empty_crowd_is_a_crowd():
    empty = sample_skin(np.random.default_rng(0), np.zeros(0), np.zeros(0), np.zeros((0, 3)))
    assert all(x.shape == (0,) for x in jax.tree.leaves(empty))


def test_wrong_people_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="one row per person"):
        sample_skin(rng, np.full(2, 30.0), np.full(3, 0.5), np.full((2, 3), 1 / 3))
    with pytest.raises(ValueError, match="sum to 1"):
        sample_skin(rng, np.full(2, 30.0), np.full(2, 0.5), np.full((2, 3), 0.5))


def test_paint_of_one_typical_face_needs_no_arguments():
    names = [f.name for f in dataclasses.fields(SkinPaint)]
    assert set(SkinPaint.ranges()) == set(names)
    assert SkinPaint(melanin=0.5).melanin == 0.5
