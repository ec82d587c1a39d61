import numpy as np

from facejax.systems.manifold import figures, metrics


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
    np.testing.assert_array_equal(metrics.nearest(train, noisy), train[pick])


def test_plausibility_and_populations(rng):
    train = _rows(rng)
    assert abs(metrics.inside_share(train, _rows(np.random.default_rng(0))) - 0.99) < 0.01
    assert metrics.inside_share(train, 40 * train) < 0.1
    sets = metrics.populations(train, train[:50], lambda x: 0.5 * x, 200, 10.0, seed=0)
    uniform = (sets["uniform"] - train.mean(axis=0)) / train.std(axis=0)
    assert np.abs(uniform).max() <= 5.0 and np.abs(uniform).max() > 4.8
    np.testing.assert_array_equal(sets["manifold"], 0.5 * sets["uniform"])
    found = metrics.diversity_figures(sets, train)
    assert found["trace"]["uniform"] > found["trace"]["manifold"] > 0
    assert found["frechet"]["uniform"] > found["frechet"]["real"]
    plane = figures.principal_plane(sets)
    assert plane["real"].shape == (50, 2)
    assert plane["uniform"].std(axis=0).max() > plane["real"].std(axis=0).max()
