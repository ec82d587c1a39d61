import jax
import numpy as np
import pytest

from facejax.morphable import (
    decode_shape,
    expression_presets,
    landmarks,
    load_morphable,
    sample_coefficients,
)
from facejax.morphable.model import FaceTopology


def _landmarks(model, exp):
    vertices = decode_shape(model, np.zeros(model.num_id, np.float32), exp)
    return np.asarray(landmarks(model, vertices))


@pytest.fixture(scope="module")
def models(small_model):
    return small_model, load_morphable("makehuman", texture_size=0, subdivide=0, num_id=1)


@pytest.mark.parametrize("number", [0, 1])
def test_presets_move_the_face_as_named(models, number):
    model = models[number]
    names, weights = expression_presets(model)
    assert names == ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
    assert weights.shape == (7, model.num_exp)
    assert weights.min() >= 0 and weights.max() <= 1 and not weights[0].any()
    face = {n: _landmarks(model, w) for n, w in zip(names, weights, strict=True)}
    moved = {n: (p - face["neutral"])[:, 1] for n, p in face.items()}  # up, mm
    corners, brows_inner = [48, 54], [21, 22]
    assert moved["happy"][corners].min() > 3
    assert moved["sad"][corners].max() < -2 and moved["sad"][brows_inner].min() > 2
    assert moved["surprise"][8] < -10 and moved["surprise"][17:27].min() > 1
    assert moved["anger"][brows_inner].max() < -2


def _renamed(model, rename, name="other"):
    t = model.topology
    names = tuple(rename(n) for n in t.exp_names)
    return model.replace(
        topology=FaceTopology(t.mesh, t.landmarks68, t.landmarks5, t.masks, names, name, "0")
    )


def test_presets_accept_apple_names(small_model):
    def apple(name):
        return name.replace("_L", "Left").replace("_R", "Right")

    got = expression_presets(_renamed(small_model, apple, "procedural"))[1]
    np.testing.assert_array_equal(got, expression_presets(small_model)[1])


def test_presets_need_blendshape_names(small_model):
    with pytest.raises(ValueError, match="mouthSmile.*'other'"):
        expression_presets(_renamed(small_model, lambda name: f"pca{len(name)}"))


def test_samples_are_reproducible_plausible_and_varied(small_model):
    draw = sample_coefficients(small_model, np.random.default_rng(3), 64)
    again = sample_coefficients(small_model, np.random.default_rng(3), 64)
    for a, b in zip(jax.tree.leaves(draw), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
    assert draw.id.shape == (64, 16) and draw.alb.shape == (64, 8)
    assert np.abs(draw.id).max() <= 2.5 and 0.8 < draw.id.std() < 1.1
    assert draw.exp.min() >= 0 and draw.exp.max() <= 1
    neutral = (draw.exp == 0).all(axis=1).mean()
    assert 0.15 < neutral < 0.55
    still = sample_coefficients(small_model, np.random.default_rng(3), 4, exp_scale=0.0)
    assert not still.exp.any()


def test_zero_samples_are_empty(small_model):
    assert sample_coefficients(small_model, np.random.default_rng(0), 0).exp.shape == (0, 45)
