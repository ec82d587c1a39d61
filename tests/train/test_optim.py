import jax
import numpy as np
import optax
import pytest

from facejax.train.optim import adam


def _updates(tx, scale, steps=6):
    rng = np.random.default_rng(0)
    params = {"w": np.ones(5, np.float32)}
    state, found, grads = tx.init(params), [], []
    for _ in range(steps):
        grads.append((scale * rng.normal(size=5)).astype(np.float32))
        update, state = tx.update({"w": grads[-1]}, state, params)
        found.append(np.asarray(update["w"]))
    return np.array(found), np.array(grads), state


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_equals_optax_where_eps_does_not_matter(b1):
    got, _, _ = _updates(adam(b1, 0.99, 1e-8), 1.0)
    want, _, _ = _updates(optax.scale_by_adam(b1, 0.99, 1e-8), 1.0)
    np.testing.assert_allclose(got, want, rtol=2e-5)


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_is_the_tensorflow_formula_for_gradients_near_eps(b1):
    b2, eps = 0.99, 1e-6
    got, grads, _ = _updates(adam(b1, b2, eps), 1e-6)
    m = v = np.zeros(5)
    for t, g in enumerate(grads.astype(np.float64), start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        want = np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
        np.testing.assert_allclose(got[t - 1], want, rtol=1e-4)


def test_no_first_moment_is_stored_without_b1():
    params = {"w": np.ones(5, np.float32)}
    sizes = [sum(x.size for x in jax.tree.leaves(adam(b1).init(params))) for b1 in (0.0, 0.9)]
    assert sizes == [6, 11]
