"""The disentanglement score."""

import numpy as np
import pytest

from facejax.metrics.disentangle import disentanglement, spread


def test_spreads_of_known_sets():
    values = np.array([[[0.0, 0], [3, 4], [0, 0]]])
    assert spread(values)[0] == pytest.approx(10 / 3)
    assert spread(values, "std")[0] == pytest.approx(np.sqrt(2 + 32 / 9))
    with pytest.raises(ValueError, match="wanted one of"):
        spread(values, "mean")
    with pytest.raises(ValueError, match="at least 2"):
        spread(values[:, :1])


@pytest.mark.parametrize("kind", ["pairwise", "std"])
def test_a_factor_that_moves_its_own_property_scores_high(kind, rng):
    real = {k: rng.normal(size=(200, 3)) for k in ("a", "b", "c")}
    own, others = rng.normal(size=(20, 10, 3)), 0.1 * rng.normal(size=(2, 20, 10, 3))
    sets = {
        "a": {"a": own, "b": others[0], "c": others[1]},
        "b": {"a": own, "b": own, "c": own},  # everything moves alike
    }
    scores = disentanglement(sets, real, kind)
    assert scores["a"] == pytest.approx(100, rel=0.25)
    assert scores["b"] == pytest.approx(1, rel=0.3)
    # units of a property do not matter
    scaled = {f: {k: 7 * v for k, v in p.items()} for f, p in sets.items()}
    again = disentanglement(scaled, {k: 7 * v for k, v in real.items()}, kind)
    assert again["a"] == pytest.approx(scores["a"])
