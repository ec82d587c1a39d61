import json

import jax
import numpy as np
import pytest

from facejax.data.uvmaps import UVCodec, log2_resolution, masked_downsample2, pyramid


def physical(rng, *shape):
    """Random texture, shape (mm) and unit normals of the given leading shape."""
    texture = rng.uniform(0, 1, (*shape, 3)).astype(np.float32)
    position = rng.uniform(-90, 90, (*shape, 3)).astype(np.float32)
    normals = rng.normal(size=(*shape, 3)).astype(np.float32)
    return texture, position, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def make_codec(rng, resolution=8, mask=None, **fields):
    mean = np.concatenate(physical(rng, resolution, resolution), axis=-1)
    return UVCodec.from_mean(mean, mask, **fields)


@pytest.mark.parametrize("encoding", ["offset", "absolute"])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_round_trip(rng, encoding, lead):
    codec = make_codec(rng, encoding=encoding, center_mm=(1.0, -2.0, 3.0), extent_mm=90.0)
    texture, shape, normals = physical(rng, *lead, 8, 8)
    maps = codec.encode(texture, shape, normals)
    assert maps.shape == (*lead, 8, 8, 9)
    decoded = codec.decode(maps)
    np.testing.assert_allclose(decoded["texture"], texture, atol=1e-5)
    np.testing.assert_allclose(decoded["shape"], shape, atol=1e-3)
    np.testing.assert_allclose(decoded["normals"], normals, atol=1e-5)


def test_offset_by_hand(rng):
    codec = make_codec(rng, texture_scale=2.5, shape_scale_mm=10.0, normals_scale=0.5)
    mean = codec.mean_maps[8]
    maps = codec.encode(mean[..., :3] + 0.1, mean[..., 3:6] + 20.0, mean[..., 6:] + 0.2)
    expected = np.repeat([0.25, 2.0, 0.1], 3)
    np.testing.assert_allclose(maps, np.broadcast_to(expected, (8, 8, 9)), atol=1e-4)


def test_absolute_by_hand():
    codec = UVCodec(encoding="absolute", center_mm=(0.0, 10.0, 0.0), extent_mm=50.0)
    flat = np.ones((4, 4, 1), np.float32)
    maps = codec.encode(
        flat * [[[0.0, 0.5, 1.0]]], flat * [[[50.0, 10.0, -25.0]]], flat * [[[0.0, 0.6, 0.8]]]
    )
    np.testing.assert_allclose(maps[1, 2], [-1, 0, 1, 1, 0, -0.5, 0, 0.6, 0.8], atol=1e-6)


def test_outside_the_mask_everything_is_zero(rng):
    mask = rng.uniform(size=(8, 8)) > 0.3
    codec = make_codec(rng, mask=mask, encoding="absolute")
    maps = np.asarray(codec.encode(*physical(rng, 8, 8)))
    assert (maps[~mask] == 0).all() and (maps[mask] != 0).any(axis=-1).all()
    decoded = codec.decode(np.ones((8, 8, 9), np.float32))
    for value in decoded.values():
        assert (np.asarray(value)[~mask] == 0).all()


def test_some_modalities_in_another_order(rng):
    codec = UVCodec(modalities=(("shape", 3), ("texture", 3)), encoding="absolute")
    texture, shape, normals = physical(rng, 4, 4)
    maps = codec.encode(texture=texture, shape_mm=shape)
    np.testing.assert_allclose(maps[..., 3:], texture * 2 - 1, atol=1e-6)
    assert set(codec.decode(maps)) == {"shape", "texture"}
    with pytest.raises(ValueError, match="normals"):
        codec.encode(texture, shape, normals)
    with pytest.raises(ValueError, match="9 channels, wanted 6"):
        codec.decode(np.zeros((4, 4, 9), np.float32))


def test_decoding_is_differentiable_where_normals_vanish():
    codec = UVCodec(encoding="absolute")
    grad = jax.grad(lambda m: sum(v.sum() for v in codec.decode(m).values()))(
        np.zeros((4, 4, 9), np.float32)
    )
    assert np.isfinite(grad).all()


def test_masked_means_against_loops(rng):
    maps = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    mask = rng.uniform(size=(6, 4)) > 0.5
    mask[:2, :2] = False
    small, small_mask = masked_downsample2(maps, mask)
    for i in range(3):
        for j in range(2):
            block = mask[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            values = maps[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2][:, block]
            expected = values.mean(1) if block.any() else np.zeros((2, 3))
            np.testing.assert_allclose(small[:, i, j], expected, atol=1e-6)
            assert small_mask[i, j] == block.any()


def test_a_full_mask_gives_plain_means(rng):
    maps = rng.normal(size=(16, 16, 2)).astype(np.float32)
    levels, masks = pyramid(maps)
    assert sorted(levels) == [4, 8, 16] and masks[4].all()
    np.testing.assert_allclose(
        levels[4], maps.reshape(4, 4, 4, 4, 2).mean((1, 3)), rtol=1e-5, atol=1e-6
    )


def test_save_and_load(rng, tmp_path):
    mask = rng.uniform(size=(8, 8)) > 0.3
    codec = make_codec(rng, mask=mask, model="toy", model_digest="12", uv_digest="ab")
    codec.save(tmp_path)
    again = UVCodec.load(tmp_path)
    assert again.to_dict() == json.loads(json.dumps(codec.to_dict()))
    assert again.to_dict()["resolutions"] == [4, 8]
    maps = rng.normal(size=(8, 8, 9)).astype(np.float32)
    for name, value in codec.decode(maps).items():
        np.testing.assert_array_equal(again.decode(maps)[name], value)


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"encoding": "relative"}, "'offset' or 'absolute'"),
        ({"encoding": "offset"}, "mean maps"),
        ({"modalities": (("depth", 3),)}, "depth"),
        ({"modalities": (("shape", 3), ("shape", 3))}, "distinct"),
        ({"modalities": (("shape", 2),)}, "3 channels"),
        ({"texture_scale": 0.0}, "texture_scale"),
        ({"masks": {4: np.ones((8, 8), bool)}}, "mask at 4"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        UVCodec(**({"encoding": "absolute"} | fields))


def test_bad_files(rng, tmp_path):
    with pytest.raises(ValueError, match="codec.json is missing"):
        UVCodec.load(tmp_path)
    codec = make_codec(rng)
    with pytest.raises(ValueError, match="version 9"):
        UVCodec.from_dict(codec.to_dict() | {"version": 9})
    with pytest.raises(ValueError, match="colour"):
        UVCodec.from_dict(codec.to_dict() | {"colour": 1}, codec.arrays())
    with pytest.raises(ValueError, match="no mean map at 16"):
        codec.encode(*physical(rng, 16, 16))


def test_resolutions_are_powers_of_two():
    assert [log2_resolution(r) for r in (1, 4, 512)] == [0, 2, 9]
    for bad in (0, 3, 48):
        with pytest.raises(ValueError, match="power of two"):
            log2_resolution(bad)
