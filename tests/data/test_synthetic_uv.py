import json

import jax
import numpy as np
import pytest

from facejax.data.packed import PackedSource, pack_source
from facejax.data.source import Source
from facejax.data.synthetic_uv import MorphableUVSource, _vertex_normals
from facejax.data.uvmaps import UVCodec, masked_downsample2
from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.morphable import decode_albedo, decode_shape
from facejax.render.uv import bake, uv_atlas
from tests.data.toy import toy_model

SOME = np.array([3, 0, 11])


@pytest.fixture(scope="module")
def source():
    return MorphableUVSource(toy_model(), 16, num_examples=12, seed=5)


def baked(model, attributes, resolution, supersample=2):
    """[..., V, C] -> [..., r, r, C] by the plain route."""
    size = resolution * supersample
    atlas = uv_atlas(model.topology.mesh, (size, size))
    maps, mask = bake(atlas, attributes), np.asarray(atlas.mask)
    while size > resolution:
        maps, mask = masked_downsample2(maps, mask)
        size //= 2
    return np.asarray(maps), mask


def test_maps_are_those_of_the_decoded_model(source):
    model = toy_model()
    batch = source.batch(SOME, resolution=16)
    assert batch["maps"].shape == (3, 16, 16, 9) and batch["maps"].dtype == np.float32
    coeffs, _ = source.draws(SOME)
    vertices = decode_shape(model, coeffs.id, coeffs.exp)
    found = source.codec.decode(batch["maps"])
    shape, mask = baked(model, vertices, 16)
    np.testing.assert_allclose(found["shape"], shape, atol=1e-3)
    albedo, _ = baked(model, decode_albedo(model, coeffs.alb), 16)
    np.testing.assert_allclose(found["texture"], albedo, atol=1e-5)
    normals, _ = baked(model, vertex_normals(vertices, model.topology.mesh), 16)
    normals = normals[:, mask] / np.linalg.norm(normals[:, mask], axis=-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(found["normals"])[:, mask], normals, atol=1e-5)
    np.testing.assert_array_equal(source.mask(16), mask)
    assert 0.2 < mask.mean() < 0.9


def test_lower_resolutions_are_means_of_the_top(source):
    maps, mask = source.batch(SOME, resolution=16)["maps"], source.mask(16)
    for resolution in (8, 4):
        maps, mask = masked_downsample2(maps, mask)
        found = source.batch(SOME, resolution=resolution)["maps"]
        np.testing.assert_allclose(found, maps, atol=2e-5)
        np.testing.assert_array_equal(source.mask(resolution), mask)
        assert (np.asarray(found)[:, ~mask] == 0).all()


def test_an_example_depends_on_seed_and_number_only(source):
    assert isinstance(source, Source) and len(source) == 12
    one = [np.asarray(source.batch(np.array([i]))["maps"])[0] for i in SOME]
    np.testing.assert_allclose(np.stack(one), source.batch(SOME)["maps"], atol=2e-5)
    first, labels = source.draws(SOME)
    again = MorphableUVSource(toy_model(), 8, num_examples=100, seed=5)
    np.testing.assert_array_equal(again.draws(SOME)[0].id, first.id)
    other = MorphableUVSource(toy_model(), 8, num_examples=100, seed=6)
    assert (other.draws(SOME)[0].id != first.id).all()


def test_labels(source):
    coeffs, labels = source.draws(np.arange(2000))
    assert labels.shape == (2000, 7) and labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    assert (labels >= -1e-6).all()
    active = (labels[:, 1:] > 0).sum(1)
    shares = [(active == k).mean() for k in range(4)]
    np.testing.assert_allclose(shares, [0.15, 0.85 * 0.7, 0.85 * 0.3, 0], atol=0.04)
    strength = 1 - labels[active > 0, 0]
    assert 0.4 - 1e-6 <= strength.min() < 0.45 and 0.95 < strength.max() <= 1 + 1e-6
    assert np.abs(coeffs.id).max() <= 2.5 and np.abs(coeffs.alb).max() <= np.float32(2.2)
    assert 0.9 < coeffs.id.std() < 1.0
    for label in range(1, 7):
        assert (labels[:, label] > 0).mean() > 0.1


def test_textures_take_the_place_of_vertex_colours():
    plain = MorphableUVSource(toy_model(), 16, num_examples=12, seed=5)
    for size in (64, 16, 8, 24):  # finer, equal, coarser, not a power of two
        textured = MorphableUVSource(toy_model(size), 16, num_examples=12, seed=5)
        a, b = (np.asarray(s.batch(SOME)["maps"])[..., :3] for s in (plain, textured))
        inner = np.s_[:, 4:12, 4:12]
        assert np.abs(a[inner]).max() > 0.1
        np.testing.assert_allclose(a[inner], b[inner], atol=0.05)


def test_encodings_hold_the_same_faces(source):
    absolute = MorphableUVSource(toy_model(), 16, 12, seed=5, encoding="absolute")
    maps = absolute.batch(np.arange(12))["maps"]
    assert 0.8 < np.abs(maps[..., 3:6]).max() <= 0.951
    a, b = source.codec.decode(source.batch(SOME)["maps"]), absolute.codec.decode(maps[SOME])
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=2e-3)
    wider = MorphableUVSource(toy_model(), 16, 12, seed=5, shape_scale_mm=20.0)
    np.testing.assert_allclose(
        wider.batch(SOME)["maps"][..., 3:6] * 2, source.batch(SOME)["maps"][..., 3:6], atol=1e-4
    )


def test_the_same_people_with_other_expressions(source):
    batch = source.batch(SOME)
    np.testing.assert_allclose(source.labelled(SOME, batch["labels"]), batch["maps"], atol=2e-5)
    other = np.roll(batch["labels"], 1, axis=1)
    maps = source.labelled(SOME, other)
    np.testing.assert_allclose(maps[..., :3], batch["maps"][..., :3], atol=2e-5)
    assert np.abs(maps[..., 3:6] - batch["maps"][..., 3:6]).max() > 0.1


def test_the_mean_face_is_encoded_as_zero(source):
    mean = source.codec.mean_maps[8]
    maps = source.codec.encode(mean[..., :3], mean[..., 3:6], mean[..., 6:])
    np.testing.assert_allclose(maps, 0, atol=1e-6)
    inside = source.mask(16)
    lengths = np.linalg.norm(source.codec.mean_maps[16][inside][:, 6:], axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_meta_describes_the_set(source):
    meta = json.loads(json.dumps(source.meta))
    assert meta["channels"] == 9 and meta["label_names"][0] == "neutral"
    again = UVCodec.from_dict(meta["codec"], source.codec.arrays())
    assert again.model == "toy" and again.model_digest == "0123"
    assert again.uv_digest == toy_model().topology.mesh.digest


def test_one_compilation_per_shape(source):
    source.batch(SOME, resolution=8)
    before = source._step._cache_size()
    for start in range(3):
        source.batch(SOME - SOME + start, resolution=8)
    assert source._step._cache_size() == before


def test_packing(source, tmp_path):
    pack_source(tmp_path / "set", source, num_examples=5, batch_size=2)
    packed = PackedSource(tmp_path / "set", verify=True)
    for resolution in (16, 4):
        a, b = (s.batch(np.arange(5), resolution=resolution) for s in (packed, source))
        np.testing.assert_allclose(a["maps"], b["maps"], atol=3e-5)
        np.testing.assert_array_equal(a["labels"], b["labels"])
    assert packed.label_names == source.label_names
    assert packed.meta["source"]["seed"] == 5


def test_normals_with_a_busy_vertex(rng):
    """A fan of 20 triangles around one vertex, a lone vertex, against the general function."""
    ring = np.arange(1, 21)
    triangles = np.stack([np.zeros(20, int), ring, np.roll(ring, -1)], 1)
    mesh = MeshTopology(triangles, 22)
    vertices = rng.normal(size=(4, 22, 3)).astype(np.float32)
    found = jax.jit(lambda v: _vertex_normals(v, mesh))(np.moveaxis(vertices, 0, -1))
    np.testing.assert_allclose(np.moveaxis(found, -1, 0), vertex_normals(vertices, mesh), atol=1e-5)


def test_bad_arguments(source):
    with pytest.raises(ValueError, match="power of two"):
        MorphableUVSource(toy_model(), 24, 10)
    with pytest.raises(ValueError, match="at least 4"):
        MorphableUVSource(toy_model(), 2, 10)
    with pytest.raises(ValueError, match="num_examples"):
        MorphableUVSource(toy_model(), 8, 0)
    with pytest.raises(ValueError, match="32 px"):
        source.batch(SOME, resolution=32)
    with pytest.raises(ValueError, match="index 12"):
        source.batch(np.array([12]))
