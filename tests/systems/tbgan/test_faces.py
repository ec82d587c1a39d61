import types

import jax
import numpy as np
import pytest

from facejax.data.synthetic_uv import MorphableUVSource
from facejax.metrics.uvmaps import nearest_label
from facejax.morphable import decode_shape, load_morphable
from facejax.systems.tbgan.faces import FaceMaker, FaceOptions
from facejax.systems.tbgan.metrics import expression_coefficients


@pytest.fixture(scope="module")
def model():
    return load_morphable("procedural", rows=48, cols=48, n_id=16, n_alb=8, draws=40)


@pytest.fixture(scope="module", params=["offset", "absolute"])
def case(request, model):
    source = MorphableUVSource(model, 32, 8, encoding=request.param)
    return source, FaceMaker(model, source.codec, FaceOptions(texture_size=128))


def test_real_maps_become_the_faces_they_were_made_of(model, case):
    source, maker = case
    batch = source.batch(np.arange(4))
    mesh = maker(batch["maps"])
    coeffs, _ = source.draws(np.arange(4))
    want = np.asarray(decode_shape(model, coeffs.id, coeffs.exp))
    error = np.linalg.norm(np.asarray(mesh.vertices) - want, axis=-1)
    spread = np.linalg.norm(want - np.asarray(model.mean_shape), axis=-1)
    if source.codec.encoding == "offset":
        assert error.mean() < 0.15 * spread.mean() and np.median(error) < 0.6
    else:  # a 32-pixel map of a head cannot hold its details: the nose is cut by millimetres
        assert np.median(error) < 3.0
    assert mesh.texture.shape == (4, 128, 128, 3)
    lengths = np.linalg.norm(mesh.normal_map, axis=-1)
    inside = np.broadcast_to(np.asarray(maker._templates()[2]), lengths.shape)
    assert inside.mean() > 0.97  # the sawtooth of triangles at the crown is outside
    np.testing.assert_allclose(lengths[inside], 1.0, atol=1e-3)
    assert not lengths[~inside].any()


def test_no_offset_is_the_template(model, case):
    source, maker = case
    if source.codec.encoding != "offset":
        pytest.skip("absolute maps have no template")
    mesh = maker(np.zeros((1, 16, 16, 9), np.float32))
    np.testing.assert_allclose(mesh.vertices[0], model.mean_shape, atol=1e-3)


def test_faces_do_not_depend_on_their_neighbours(case):
    source, maker = case
    maps = source.batch(np.arange(3))["maps"]
    together = maker(maps)
    alone = maker(maps[1:2])
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1], b[0], atol=2e-4)


def test_maps_of_another_model_are_refused(model, case):
    source, _ = case
    other = load_morphable("procedural", rows=48, cols=48, n_id=8, n_alb=8, draws=40)
    with pytest.raises(ValueError, match="made for face model 'procedural'"):
        FaceMaker(other, source.codec)


def test_expressions_of_real_maps_are_recovered_in_full(case):
    source, maker = case
    maps = np.asarray(source.labelled(np.arange(7), np.eye(7, dtype=np.float32)))
    found = expression_coefficients(types.SimpleNamespace(maker=maker), maps)
    np.testing.assert_array_equal(nearest_label(found, np.eye(7)[:, 1:]), np.arange(7))
    np.testing.assert_allclose(np.diag(found[1:]), 1.0, atol=0.25)
