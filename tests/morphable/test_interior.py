import copy

import jax
import numpy as np
import pytest

from facejax.morphable import decode_shape
from facejax.morphable.interior import Interior


def with_interior(model, interior):
    """The same model with another mask 'interior'."""
    topology = copy.copy(model.topology)
    topology.masks = model.topology.masks | {"interior": interior}
    return model.replace(topology=topology)


@pytest.fixture
def model(small_model):
    """A small head whose mouth cavity is declared to lie inside."""
    inside = (small_model.topology.masks["mouth_inside"] > 0.5).astype(np.float32)
    return with_interior(small_model, inside)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_the_cavity_follows_the_face(model, batch):
    rng = np.random.default_rng(0)
    identity = rng.standard_normal((*batch, model.num_id)).astype(np.float32)
    weights = np.zeros((*batch, model.num_exp), np.float32)
    weights[..., model.topology.exp_index["jawOpen"]] = 0.7
    mean = np.asarray(model.mean_shape)
    want = np.asarray(decode_shape(model, identity, weights)) - mean
    interior = Interior(model, noise_mm=0.1)
    broken = want.copy()
    broken[..., interior.inner, :] += 20 * rng.standard_normal((*batch, len(interior.inner), 3))
    got = np.asarray(interior(broken))
    outside = np.setdiff1d(np.arange(model.num_vertices), interior.inner)
    np.testing.assert_array_equal(got[..., outside, :], broken[..., outside, :])
    error = np.linalg.norm(got - want, axis=-1)[..., interior.inner]
    assert error.mean() < 0.5 and np.linalg.norm(want, axis=-1)[..., interior.inner].mean() > 3


def test_what_the_model_does_not_know_is_carried_along(model):
    """A face that moves as a whole takes the cavity with it."""
    interior = Interior(model, noise_mm=50.0)
    moved = np.zeros((model.num_vertices, 3), np.float32)
    moved[interior.face] = (0.0, 0.0, 4.0)
    got = np.asarray(interior(moved))[interior.inner]
    np.testing.assert_allclose(got.mean(axis=0), (0.0, 0.0, 4.0), atol=0.5)


def test_gradients_are_finite(model):
    interior = Interior(model, noise_mm=1.0)
    grad = jax.grad(lambda x: (interior(x) ** 2).sum())(np.asarray(model.mean_shape))
    assert np.isfinite(grad).all()


def test_a_model_without_an_inside_is_refused(model):
    with pytest.raises(ValueError, match="must not be empty"):
        Interior(with_interior(model, np.zeros(model.num_vertices, np.float32)), 1.0)
