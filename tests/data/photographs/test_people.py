"""People with everything, on a coarse head: one wardrobe and one canvas for all tests."""

import os

import jax
import numpy as np
import pytest

from facejax.attachments import MATERIALS
from facejax.data.photographs import HeadLook, PeopleLook, choose_look
from facejax.data.synthetic_photos import PhotoRanges, SyntheticPhotoSource
from facejax.geometry.mesh import MeshTopology
from facejax.morphable import FaceTopology, decode_albedo, decode_shape, load_morphable
from facejax.recon.decoder import split

slow = pytest.mark.skipif(
    not os.environ.get("FACEJAX_SLOW"), reason="a minute of building and compiling: FACEJAX_SLOW=1"
)
CLEAN = PhotoRanges(blur_px=0.0, degraded=0.0, blobs=0.0, cut=0.0, yaw_deg=20.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        sizes = dict(rows=48, cols=48, n_id=6, n_alb=8, draws=24, texture_size=32)
        yield load_morphable("procedural", **sizes)


@pytest.fixture(scope="module")
def look(model):
    return PeopleLook(model, texture_size=48)


@pytest.fixture(scope="module")
def batch(model, look):
    source = SyntheticPhotoSource(
        model, 40, 12, seed=2, num_identities=3, ranges=CLEAN, look=lambda *_: look
    )
    drawn = source.draw(np.arange(6))
    return drawn, source.make(source.tables(), drawn)


@slow
def test_people_keep_skin_and_hair_and_change_clothes(look, batch):
    drawn, _ = batch
    worn = drawn["look"]
    for key in ("id", "skin", "about", "worn_hair", "worn_melanin", "worn_beard", "worn_glasses"):
        np.testing.assert_array_equal(worn[key][:3], worn[key][3:], err_msg=key)
    assert np.abs(worn["worn_clothes_color"][:3] - worn["worn_clothes_color"][3:]).max() > 0.05
    assert np.abs(worn["skin"][0] - worn["skin"][1]).max() > 0.1
    again = look.person(np.random.default_rng(4)), look.person(np.random.default_rng(4))
    jax.tree.map(np.testing.assert_array_equal, *again)


@slow
def test_surfaces_begin_with_the_head(model, look):
    person = look.person(np.random.default_rng(0))
    drawn = person | look.photo(np.random.default_rng(1), person)
    vertices = decode_shape(model, drawn["id"], drawn["exp"])
    surface = jax.jit(look.surface)(look.tables(), drawn, vertices)
    num, triangles = model.num_vertices, len(model.topology.mesh.triangles)
    np.testing.assert_array_equal(surface.mesh.vertices[:num], vertices)
    np.testing.assert_array_equal(
        look.topology.triangles[:triangles], model.topology.mesh.triangles
    )
    assert not look.triangle_material[:triangles].any()
    assert set(look.triangle_material[triangles:]) == set(range(1, 1 + len(MATERIALS)))
    for name in ("roughness", "specular", "scatter", "openness", "skin"):
        value = np.asarray(getattr(surface, name))
        assert value.shape == (look.topology.num_vertices,), name
        assert np.isfinite(value).all() and 0 <= value.min() and value.max() <= 1, name
    assert not np.asarray(surface.skin[num:]).any()


@slow
def test_albedo_coefficients_are_the_nearest(model, batch):
    """The basis explains painted skin better with them than with none."""
    drawn, photos = batch
    alb = split(photos["coeffs"], model).alb
    assert np.abs(alb).max() < 6 and np.abs(alb[0] - alb[1]).max() > 0.05
    tone = np.asarray(decode_albedo(model, alb)).mean(axis=1)
    melanin = drawn["look"]["skin"][:, 0]
    order = np.argsort(melanin)
    assert tone[order[0]].sum() > tone[order[-1]].sum()


@slow
def test_photos_of_people(batch):
    _, photos = batch
    image, mask = np.asarray(photos["image"]), np.asarray(photos["mask"])
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
    assert (mask > 0.5).mean(axis=(1, 2)).min() > 0.03


def test_looks_by_name(model):
    assert isinstance(choose_look("head", model), HeadLook)
    bare = model.replace(topology=_without_uv(model.topology))
    assert isinstance(choose_look("auto", bare), HeadLook)
    with pytest.raises(ValueError, match="UV layout"):
        choose_look("people", bare)
    with pytest.raises(ValueError, match="wanted one of"):
        choose_look("persons", model)


def _without_uv(topology):
    mesh = MeshTopology(topology.mesh.triangles, topology.mesh.num_vertices)
    return FaceTopology(
        mesh, topology.landmarks68, topology.landmarks5, topology.masks, topology.exp_names,
        topology.name, "bare",
    )  # fmt: skip
