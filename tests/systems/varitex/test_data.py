"""Rendered heads, photos prepared as published, and what is said about wrong files."""

import json

import jax
import numpy as np
import pytest

from facejax.data.models import model_of
from facejax.morphable.bfm17 import load_bfm17
from facejax.render import rasterize
from facejax.systems.varitex import data, geometry, preprocess
from facejax.train.config import load_config
from tests.oracles.hdf5_files import layout_of, write_bfm17
from tests.oracles.prepared_photos import write_prepared


@pytest.fixture(scope="module")
def config():
    return load_config("varitex:smoke")


@pytest.fixture(scope="module")
def model(config):
    return model_of(config.data, on_host=True)


@pytest.fixture(scope="module")
def heads(config, model):
    return data.make_source(config, model)


def test_an_example_is_a_pure_function_of_its_number(heads):
    one, two = heads.draw(np.array([3, 5])), heads.draw(np.array([5]))
    for key in ("id", "exp", "alb", "light", "R", "t"):
        np.testing.assert_array_equal(one[key][1], two[key][0])
    np.testing.assert_array_equal(one["affine"]["angle"][1], two["affine"]["angle"][0])
    again = heads.draw(np.array([3 + heads.num_identities]))
    np.testing.assert_array_equal(again["id"][0], one["id"][0])
    assert np.any(again["exp"][0] != one["exp"][0]) or np.any(again["R"][0] != one["R"][0])
    with pytest.raises(ValueError, match="outside a set of 32"):
        heads.draw(np.array([32]))


def test_batches_hold_heads_before_a_plain_background(heads):
    batch = {k: np.asarray(v) for k, v in heads.batch(np.arange(8)).items()}
    assert {k: v.shape for k, v in batch.items()} == {
        k: v.shape for k, v in data.example_shapes(32, 8).items()
    }
    uv, mask = batch["uv_rendered"], batch["segmentation_mask"]
    seen = (uv != -1).any(-1, keepdims=True)
    assert np.abs(uv).max() <= 1 and 0.05 < seen.mean() < mask.mean() < 0.8
    assert not np.any(seen & (mask == 0))
    black = batch["image_in"][0, 0, 0]
    outside = np.broadcast_to(mask == 0, batch["image_in"].shape)
    np.testing.assert_allclose(
        batch["image_in"][outside].reshape(-1, 3), np.tile(black, (int((mask == 0).sum()), 1))
    )
    # the encoder's picture is upright and in the middle, whatever happens to the target
    rows = np.nonzero((batch["image_in_encode"] != black).any(-1))
    assert abs(rows[2].mean() - 15.5) < 3


def test_the_augmented_view_is_the_warped_one(rng):
    """A moved mesh covers the pixels that the nearest warp of its picture covers."""
    size = 64
    points = np.array([[-8, -6, -60], [9, -5, -60], [3, 9, -60]], np.float32)
    from facejax.geometry.mesh import MeshTopology

    mesh = MeshTopology([[0, 1, 2]], 3)
    for flip in (False, True):
        affine = preprocess.Affine(12.0, (5.0, -3.0), 1.15, flip)
        clip = geometry.clip_of(points[None], size)
        before = np.asarray(rasterize(clip, mesh, (size, size)).triangle_id)[0] >= 0
        moved = data.similar_clip(clip, data.affine_arrays([affine], size))
        after = np.asarray(rasterize(moved, mesh, (size, size)).triangle_id)[0] >= 0
        warped = preprocess.warp_nearest(before[..., None], affine)[..., 0]
        assert np.mean(after != warped) < 0.01 and after.sum() > 200


def test_letters_choose_what_varies(rng):
    still = preprocess.draw_affine(rng, 64, "")
    assert still == preprocess.Affine()
    some = [preprocess.draw_affine(rng, 512, "ds") for _ in range(50)]
    assert all(a.shift_px == (0, 0) and not a.flip and 1 <= a.scale <= 1.2 for a in some)
    assert max(abs(a.angle_deg) for a in some) <= 15
    every = [preprocess.draw_affine(rng, 512) for _ in range(200)]
    assert 0.3 < np.mean([a.flip for a in every]) < 0.7
    shifts = np.array([a.shift_px for a in every])
    assert np.abs(shifts).max() <= 102 and (shifts == np.round(shifts)).all()
    with pytest.raises(ValueError, match="wanted 'all' or letters of"):
        preprocess.check_letters("dx")


@pytest.fixture
def prepared(tmp_path, rng):
    arrays = write_prepared(tmp_path / "set", rng)
    return tmp_path / "set", arrays


def photos(folder, **options):
    how = preprocess.Preprocess(16, 24)
    return data.PreparedPhotos(data.read_prepared(folder), folder / "images", how, **options)


def test_prepared_photos(prepared):
    folder, arrays = prepared
    source = photos(folder, views=3)
    assert len(source) == 6 and len(photos(folder, split="val")) == 1
    batch = source.draw(np.arange(6))
    assert {k: v.shape for k, v in batch.items()} == {
        k: v.shape for k, v in data.example_shapes(16, 6).items()
    }
    # the same photo under another augmentation: only the target moves
    np.testing.assert_array_equal(batch["image_in_encode"][0], batch["image_in_encode"][2])
    assert np.any(batch["image_in"][0] != batch["image_in"][2])
    np.testing.assert_array_equal(batch["image_in"][4], source.draw(np.array([4]))["image_in"][0])
    still = photos(folder, transforms="").draw(np.array([0]))
    np.testing.assert_array_equal(still["image_in"], still["image_in_encode"])
    uv = preprocess.resize(arrays["uv"][0].astype(np.float32), 16, "nearest")
    np.testing.assert_array_equal(still["uv_rendered"][0], uv)


def test_uv_maps_from_coefficients(tmp_path, rng):
    arrays = write_bfm17(tmp_path / "m.h5", rng)
    (tmp_path / "face12.json").write_text(json.dumps(layout_of(arrays)))
    model = load_bfm17(tmp_path / "m.h5", reference=np.zeros((68, 3)))
    given = write_prepared(tmp_path / "set", rng, with_uv=False)
    source = photos(tmp_path / "set", model=model, transforms="")
    found = source.draw(np.array([0]))["uv_rendered"][0]
    raw = sum(arrays[f"{p}/model/pcaBasis"] @ given[k][0]
              for p, k in (("shape", "sp"), ("expression", "ep")))  # fmt: skip
    vertices = (arrays["shape/model/mean"] + raw).reshape(-1, 3)
    posed = geometry.pose(vertices, given["R"][0], given["t"][0], given["s"][0, 0])
    large = np.asarray(geometry.uv_map(posed, model.topology.mesh, 24, v_up=True))
    np.testing.assert_allclose(found, preprocess.resize(large, 16, "nearest"), atol=1e-5)
    with pytest.raises(ValueError, match="found no uv.npy: name the face model"):
        photos(tmp_path / "set")
    write_prepared(tmp_path / "other", rng, with_uv=False, num=(9, 4))
    with pytest.raises(ValueError, match="sp.npy has 9 coefficients, the face model 7"):
        photos(tmp_path / "other", model=model)


def test_wrong_files_are_named(prepared, rng):
    folder, arrays = prepared
    with pytest.raises(ValueError, match="no split 'test', wanted one of all, train, val"):
        photos(folder, split="test")

    def expect(name, value, words, read=lambda: data.read_prepared(folder)):
        np.save(folder / f"{name}.npy", value, allow_pickle=True)
        with pytest.raises(ValueError, match=words):
            read()
        if name in arrays:
            np.save(folder / f"{name}.npy", arrays[name])

    expect("s", arrays["s"][:2], "s.npy: found float32 .2, 1., wanted 3 rows")
    expect("segmentation", arrays["segmentation"] / 2.0, "segmentation.npy: found float64")
    expect("R", np.array([{}], object), "R.npy: .*Python objects")
    wide = arrays["uv"] * 1.5
    expect(
        "uv",
        wide,
        "uv.npy, row 0: wanted values in .-1, 1.",
        lambda: photos(folder).draw(np.arange(1)),
    )
    expect("uv", arrays["uv"][:, :8, :8], "uv.npy has 8 pixels a side, data.load_size is 24",
           lambda: photos(folder))  # fmt: skip
    content = (folder / "sp.npy").read_bytes()
    (folder / "sp.npy").write_bytes(content[:-5])
    with pytest.raises(ValueError, match="sp.npy: .*cut or damaged"):
        data.read_prepared(folder)
    (folder / "sp.npy").unlink()
    with pytest.raises(ValueError, match="found no sp.npy, wanted a prepared data set"):
        data.read_prepared(folder)
    (folder / "sp.npy").write_bytes(content)
    np.savez(folder / "dataset_splits.npz", train=[7])
    with pytest.raises(ValueError, match="train names examples beyond the 3"):
        data.read_prepared(folder)
    np.save(folder / "filename.npy", np.array(["a", {}, 3], object), allow_pickle=True)
    with pytest.raises(ValueError, match="filename.npy: .*anything but texts"):
        data.read_prepared(folder)


def test_settings_that_do_not_exist():
    with pytest.raises(ValueError, match="data.background is 'pink', wanted one of min"):
        preprocess.Preprocess(background="pink")
    config = load_config("varitex:smoke")
    model = model_of(config.data, on_host=True)
    for key, value, words in (
        ("background", "keep", "rendered heads have no photo behind them"),
        ("source", "photos", "wanted 'rendered' or 'prepared'"),
        ("transforms", "all of them", "letters of"),
    ):
        wrong = load_config("varitex:smoke")
        wrong.data[key] = value
        with pytest.raises(ValueError, match=words):
            data.make_source(wrong, model)
    bare = jax.tree.map(lambda x: x, model)
    bare = bare.replace(topology=_without_layout(bare.topology))
    with pytest.raises(ValueError, match="has no UV layout"):
        data.make_source(config, bare)


def _without_layout(topology):
    from facejax.geometry.mesh import MeshTopology
    from facejax.morphable import FaceTopology

    mesh = MeshTopology(topology.mesh.triangles, topology.mesh.num_vertices)
    return FaceTopology(
        mesh, topology.landmarks68, topology.landmarks5, topology.masks, topology.exp_names,
        topology.name, topology.digest,
    )  # fmt: skip
