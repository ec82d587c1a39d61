import numpy as np
import pytest
import scipy.linalg

from facejax.metrics import frechet


def _sqrtm_formula(a, b):
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)


def _sets(rng, num_a=60, num_b=45, dim=8):
    mix = rng.normal(size=(dim, dim))
    return rng.normal(size=(num_a, dim)) @ mix, rng.normal(0.5, 2, size=(num_b, dim))


def test_frechet_equals_the_matrix_square_root_formula(rng):
    a, b = _sets(rng)
    want = _sqrtm_formula(a, b)
    np.testing.assert_allclose(frechet.frechet_distance(a, b), want, rtol=1e-9)
    got = frechet.frechet_distance_from_moments(
        a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
    )
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_frechet_with_fewer_samples_than_dimensions(rng):
    # rotated into 40 dimensions, rank-deficient sets keep the distance of the 8 they live in
    a, b = _sets(rng, 20, 20)
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0][:8]
    want = _sqrtm_formula(a, b)
    np.testing.assert_allclose(
        frechet.frechet_distance(a @ rotation, b @ rotation), want, rtol=1e-9
    )
    few_a, few_b = rng.normal(size=(5, 40)), rng.normal(size=(7, 40))
    by_features = frechet.frechet_distance(few_a, few_b)
    by_moments = frechet.frechet_distance_from_moments(
        few_a.mean(0), np.cov(few_a, rowvar=False), few_b.mean(0), np.cov(few_b, rowvar=False)
    )
    np.testing.assert_allclose(by_features, by_moments, rtol=1e-6)
    assert frechet.frechet_distance(few_a, few_a) < 1e-9


def test_frechet_of_a_shift_is_its_square(rng):
    a, _ = _sets(rng)
    shift = np.arange(8.0)
    np.testing.assert_allclose(frechet.frechet_distance(a, a + shift), (shift**2).sum(), rtol=1e-9)


def test_kernel_distance_equals_loops_and_is_unbiased(rng):
    a, b = _sets(rng, 7, 5, 3)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    def within(s):
        return np.mean([k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])

    want = within(a) + within(b) - 2 * np.mean([k(x, y) for x in a for y in b])
    np.testing.assert_allclose(frechet.kernel_distance(a, b), want, rtol=1e-10)
    same = rng.normal(size=(400, 4))
    mean, deviation = frechet.kernel_distance_subsets(same[:200], same[200:], rng, 50, 30)
    assert abs(mean) < deviation
    far, _ = frechet.kernel_distance_subsets(same[:200], same[200:] + 1, rng, 50, 30)
    assert far > 10 * abs(mean)


def test_inception_score_limits_and_loop(rng):
    sure = np.eye(5)[np.arange(50) % 5]
    np.testing.assert_allclose(frechet.inception_score(sure, 5), (5.0, 0.0), atol=1e-9)
    np.testing.assert_allclose(
        frechet.inception_score(np.full((20, 4), 0.25), 2), (1, 0), atol=1e-9
    )
    p = rng.dirichlet(np.ones(6), size=23)
    scores = []
    for i in range(3):
        part = p[i * 23 // 3 : (i + 1) * 23 // 3]
        kl = part * (np.log(part) - np.log(part.mean(0)))
        scores.append(np.exp(kl.sum(1).mean()))
    got = frechet.inception_score(p, 3)
    np.testing.assert_allclose(got, (np.mean(scores), np.std(scores)), rtol=1e-10)


def test_bad_features_are_named():
    with pytest.raises(ValueError, match=r"shapes \(3, 4\) and \(3, 5\)"):
        frechet.frechet_distance(np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="not finite"):
        frechet.kernel_distance(np.full((3, 4), np.nan), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="apply a softmax"):
        frechet.inception_score(np.ones((20, 3)), 2)
    with pytest.raises(ValueError, match="with N >= 10 splits"):
        frechet.inception_score(np.ones((5, 1)))
