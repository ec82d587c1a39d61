import types

import numpy as np
import pytest

from facejax.systems.manifold import diversity, gallery, metrics


def _rows(rng, n=6, count=4000):
    mix = rng.standard_normal((n, n))
    return (rng.standard_normal((count, n)) @ mix + 2.0).astype(np.float32)


def test_linear_is_the_least_squares_map_and_wiener_its_diagonal(rng):
    train = _rows(rng)
    noisy = train + 1.5 * rng.standard_normal(train.shape)
    design = np.concatenate([noisy, np.ones((len(noisy), 1))], axis=1)
    fitted = design @ np.linalg.lstsq(design, train, rcond=None)[0]
    found = metrics.linear(train, noisy, 1.5**2)
    best, error = np.mean((fitted - train) ** 2), np.mean((found - train) ** 2)
    assert best <= error < 1.02 * best
    alone = np.stack(
        [metrics.linear(train[:, k : k + 1], noisy[:, k : k + 1], 2.25)[:, 0] for k in range(6)], 1
    )
    np.testing.assert_allclose(metrics.wiener(train, noisy, 2.25), alone, rtol=1e-3, atol=1e-3)


def test_nearest_finds_rows_of_the_training_set(rng):
    train = _rows(rng, count=300)
    pick = rng.integers(300, size=40)
    noisy = train[pick] + 1e-3 * rng.standard_normal((40, 6))
    np.testing.assert_array_equal(diversity.nearest(train, noisy), train[pick])


def test_plausibility_and_populations(rng):
    train = _rows(rng)
    assert abs(diversity.inside_share(train, _rows(np.random.default_rng(0))) - 0.99) < 0.01
    assert diversity.inside_share(train, 40 * train) < 0.1
    sets = diversity.populations(train, train[:50], lambda x: 0.5 * x, 200, 10.0, seed=0)
    uniform = (sets["uniform"] - train.mean(axis=0)) / train.std(axis=0)
    assert np.abs(uniform).max() <= 5.0 and np.abs(uniform).max() > 4.8
    np.testing.assert_array_equal(sets["manifold"], 0.5 * sets["uniform"])
    np.testing.assert_allclose(
        np.cov(sets["gaussian"], rowvar=False), np.cov(train, rowvar=False), rtol=0.3, atol=2.0
    )
    found = diversity.diversity_figures(sets, train)
    assert found["trace"]["uniform"] > found["trace"]["manifold"] > 0
    assert found["frechet"]["uniform"] > found["frechet"]["normal"] > found["frechet"]["gaussian"]
    assert (
        found["nearest"]["real"] == 0 < found["nearest"]["gaussian"] < found["nearest"]["uniform"]
    )
    plane = gallery.principal_plane(sets)
    assert plane["real"].shape == (50, 2)
    assert plane["uniform"].std(axis=0).max() > plane["real"].std(axis=0).max()
    prior = (np.zeros(6), np.arange(6.0))
    sets = diversity.populations(train, train[:50], lambda x: x, 400, 2.0, seed=0, prior=prior)
    assert (np.abs(sets["uniform"]).max(axis=0) <= prior[1]).all()
    np.testing.assert_allclose(sets["normal"].std(axis=0), prior[1], rtol=0.15)


def test_small_steps_of_the_best_denoiser_beat_normal_sampling(rng):
    """On correlated Gaussian rows, where the best denoiser is known: a linear map."""
    train = _rows(rng)
    sets = diversity.populations(train, train, lambda x: x, 1500, 10.0, seed=0)
    power = 100.0 / 12 * train.var(axis=0).mean()

    def denoise(x, strength):
        return x + strength * (metrics.linear(train, x, power) - x)

    tried = diversity.candidates(train, sets["uniform"], denoise, (0.5, 1.0), (1, 2, 3, 4, 6, 8))
    assert [(c["strength"], c["times"]) for c in tried[:2]] == [(0.5, 1), (0.5, 2)]
    again = denoise(denoise(sets["uniform"], 0.5), 0.5)
    np.testing.assert_allclose(tried[1]["trace"], diversity.trace(again))
    normal = diversity.diversity_figures({"normal": sets["normal"]}, train)
    best = diversity.choose(tried, 0.0, 0.95)
    assert best["inside_p99"] >= 0.95 > normal["inside_p99"]["normal"]
    assert best["frechet"] == min(c["frechet"] for c in tried if c["inside_p99"] >= 0.95)
    # out of reach: the most varied of the plausible; then the most plausible
    plausible = [c for c in tried if c["inside_p99"] >= 0.95]
    assert diversity.choose(tried, 1e9, 0.95) == max(plausible, key=lambda c: c["trace"])
    assert diversity.choose(tried, 0.0, 1.1) == max(tried, key=lambda c: c["inside_p99"])


def test_a_network_that_makes_no_numbers_has_no_figures(monkeypatch):
    system = types.SimpleNamespace(nets={"shape": None}, scales={"shape": np.ones(2)})
    monkeypatch.setattr(metrics.networks, "denoise", lambda net, params, scale, p, s: p / s)
    denoise = metrics.denoiser(system, "shape", {})
    np.testing.assert_array_equal(denoise(np.ones((3, 2)), 2.0), np.full((3, 2), 0.5))
    with pytest.raises(ValueError, match="denoised shape coefficients: number 0"):
        denoise(np.ones((3, 2)), 0.0)
