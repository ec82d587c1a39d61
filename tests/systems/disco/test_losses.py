"""Properties of the terms; their values are in tests/parity/test_disco.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.systems.disco import losses


@pytest.fixture
def pictures(rng):
    return jnp.asarray(rng.uniform(-0.9, 0.9, (2, 2, 16, 16, 3)), jnp.float32)


def mask():
    inside = np.zeros((2, 16, 16), np.float32)
    inside[:, 4:12, 4:12] = 1
    return jnp.asarray(inside)


def test_a_picture_that_moved_as_the_flow_says_is_no_change(pictures):
    first = pictures[0]
    second = jnp.roll(first, 2, axis=2)  # two pixels to the right
    flow = jnp.stack([jnp.zeros((2, 16, 16)), jnp.full((2, 16, 16), -2.0)], axis=-1)
    changed = losses.expression_change(first, second, flow, mask(), mask())
    still = losses.expression_change(first, second, 0 * flow, mask(), mask())
    nothing = losses.expression_change(first, first, 0 * flow, mask(), mask())
    assert nothing < 2e-4 < changed < still / 2  # the border has nowhere to come from


def test_pixels_of_the_first_face_alone_do_not_count(pictures):
    first, second = pictures
    flow = jnp.zeros((2, 16, 16, 2))
    only_first = mask() > 0
    odd = jnp.where(only_first[..., None], 0.9, second)
    far = np.ones((2, 16, 16), bool)  # beyond the blur of what is left out
    far[:, 2:14, 2:14] = False
    term = jax.grad(lambda x: losses.expression_change(first, x, flow, mask(), 0 * mask()))
    slope = np.asarray(term(odd))
    assert not slope[:, 6:10, 6:10].any() and np.abs(slope[far]).any()


def test_every_term_has_a_slope_where_pictures_differ(pictures, rng):
    first, second = pictures
    marks = jnp.asarray(rng.uniform(0, 16, (2, 68, 2)), jnp.float32)
    features = jnp.asarray(rng.normal(size=(2, 8)), jnp.float32)
    terms = {
        "color": (lambda x: losses.color_distance(x, second, mask()), first),
        "skin": (lambda x: losses.skin_color(x, second, mask()), first),
        "landmarks": (lambda x: losses.landmarks(x, marks, 16), marks + 1),
        "light": (lambda x: losses.light(x, jnp.zeros((2, 27))), jnp.ones((2, 27))),
        "identity": (lambda x: losses.identity(x, features), -features + 0.1),
        "same_identity": (lambda x: losses.same_identity(x, features), features + 0.5),
        "same_landmarks": (lambda x: losses.same_landmarks(x, marks, 14, 16), marks + 1),
        "same_hair": (lambda x: losses.same_hair(x, second[..., 0]), first[..., 0]),
    }
    for name, (term, x) in terms.items():
        slope = np.asarray(jax.grad(term)(x))
        assert np.isfinite(slope).all() and np.abs(slope).max() > 0, name


def test_people_who_resemble_each_other_are_left_alone(rng):
    features = jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)
    assert float(losses.identity(features, features)) == pytest.approx(0.3)
    slope = jax.grad(losses.identity)(features + 0.01, features)
    assert not np.asarray(slope).any()


def test_empty_masks_are_no_division_by_zero(pictures):
    first, second = pictures
    nothing = jnp.zeros((2, 16, 16))
    assert float(losses.color_distance(first, second, nothing)) == 0
    assert float(losses.skin_color(first, second, nothing)) == pytest.approx(1e-4)
    assert np.isfinite(jax.grad(losses.skin_color)(first, second, nothing)).all()
