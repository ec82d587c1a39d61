import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.data.face_crops import face_crop
from facejax.data.photographs import HeadLook
from facejax.data.synthetic_photos import PhotoRanges, SyntheticPhotoSource
from facejax.morphable import load_morphable
from facejax.recon.decoder import decode, five_points, render_face, split

# no blur or compression, which would carry colours over borders
CLEAN = PhotoRanges(blur_px=0.0, degraded=0.0, blobs=0.0, cut=0.0)


@pytest.fixture(scope="module")
def model():
    options = dict(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)
    return load_morphable("procedural", **options)


@pytest.fixture(scope="module")
def source(model):
    return SyntheticPhotoSource(model, 48, 40, seed=3, num_identities=5, ranges=CLEAN)


@pytest.fixture(scope="module")
def batch(source):
    return source.batch(np.array([0, 5, 7, 12]))


def test_examples_do_not_depend_on_their_batch(source, batch):
    other = source.batch(np.array([12, 12, 7, 0]))
    for key, value in batch.items():
        np.testing.assert_array_equal(np.asarray(value)[[3, 3, 2, 0]], np.asarray(other[key]))


def test_what_is_in_a_photo(model, source, batch):
    assert batch["image"].shape == (4, 48, 48, 3) and batch["mask"].shape == (4, 48, 48)
    assert 0 <= float(batch["image"].min()) and float(batch["image"].max()) <= 1
    coeffs = split(batch["coeffs"], model)
    face = decode(model, coeffs, source.camera)
    np.testing.assert_allclose(batch["landmarks"], face.landmarks_px, atol=1e-3)
    # the skin mask lies where the skin is: its middle is near that of the landmarks
    rows, columns = np.nonzero(np.asarray(batch["mask"][0]) > 0.5)
    middle = np.asarray(batch["landmarks"][0]).mean(0)
    np.testing.assert_allclose([columns.mean(), 48 - rows.mean()], middle, atol=7)


def test_people_differ_and_photos_of_one_person_share_the_person(model, source, batch):
    coeffs = split(batch["coeffs"], model)
    np.testing.assert_array_equal(batch["identity"], [0, 0, 2, 2])
    np.testing.assert_array_equal(coeffs.id[0], coeffs.id[1])
    np.testing.assert_array_equal(coeffs.alb[2], coeffs.alb[3])
    assert np.abs(coeffs.id[1] - coeffs.id[2]).max() > 0.1
    assert np.abs(coeffs.angles[0] - coeffs.angles[1]).max() > 1e-3


def test_ranges_are_kept(model):
    ranges = PhotoRanges(yaw_deg=20, pitch_deg=0, roll_deg=5, shift_px=0, depth_dm=0.1)
    drawn = SyntheticPhotoSource(model, 32, 400, ranges=ranges).draws(np.arange(400))
    reach = np.rad2deg(np.abs(drawn.angles).max(axis=0))
    np.testing.assert_allclose(reach, [0, 20, 5], atol=0.5)
    assert not drawn.trans[:, :2].any() and 0.09 < np.abs(drawn.trans[:, 2]).max() <= 0.1


def test_covered_photos_differ_only_around_the_face(model, source, batch):
    covered = SyntheticPhotoSource(
        model, 48, 40, seed=3, num_identities=5, ranges=dataclasses.replace(CLEAN, covered=1.0)
    ).batch(np.array([0, 5, 7, 12]))
    np.testing.assert_array_equal(covered["landmarks"], batch["landmarks"])
    differs = np.abs(np.asarray(covered["image"] - batch["image"])).max(axis=-1) > 0.01
    assert differs[:, :3, :3].all() and differs.mean(axis=(1, 2)).min() > 0.08
    assert not differs[:, 20:28, 20:28].any()
    before, after = np.asarray(batch["mask"]), np.asarray(covered["mask"])
    assert (after <= before).all() and not after[:, :3, :3].any()
    assert (after < before - 0.3)[~differs].mean() < 0.01


def test_photos_show_the_light_that_the_coefficients_say(model, source, batch):
    """The decoder with an example's own coefficients gives the skin of its photo, nearly."""
    coeffs = split(batch["coeffs"], model)
    image, mask = render_face(model, decode(model, coeffs, source.camera), source.camera)
    skin = (np.asarray(batch["mask"]) > 0.9) & (np.asarray(mask) == 1)
    assert skin.mean() > 0.08
    error = np.abs(np.asarray(image - batch["image"]))[skin]
    assert np.median(error) < 0.15
    # brighter where the decoder is brighter
    pairs = np.stack([np.asarray(x)[skin].mean(axis=-1) for x in (image, batch["image"])])
    assert np.corrcoef(pairs)[0, 1] > 0.5


def test_the_head_lies_where_the_decoder_puts_it(model, source, batch):
    coeffs = split(batch["coeffs"], model)
    _, head = render_face(model, decode(model, coeffs, source.camera), source.camera)
    outside = np.asarray(batch["mask"])[np.asarray(head) == 0]
    assert (outside > 0.5).mean() < 0.01


@pytest.mark.slow
def test_a_look_of_ones_own(model):
    """Whatever turns a model into surfaces: here, people of one colour."""

    class Blue(HeadLook):
        def surface(self, tables, drawn, vertices):
            surface = super().surface(tables, drawn, vertices)
            blue = jnp.zeros_like(surface.mesh.vertices).at[..., 2].set(1.0)
            return surface.replace(mesh=surface.mesh.replace(vertex_colors=blue))

    source = SyntheticPhotoSource(
        model, 48, 40, ranges=CLEAN, look=lambda model, ranges: Blue(model, textured=False)
    )
    batch = source.batch(np.arange(4))
    skin = np.asarray(batch["image"])[np.asarray(batch["mask"]) > 0.9]
    assert (skin[:, 2] > skin[:, 0] + 0.1).mean() > 0.9


def test_face_crops_put_the_eyes_where_the_template_has_them(source, batch):
    # a picture of its own coordinates: x right and y down of every pixel
    rows, columns = np.indices((48, 48), np.float32)
    ramp = jnp.asarray(np.stack([columns, rows, 0 * rows], axis=-1))[None]
    for size in (112, 56):
        crop = np.asarray(face_crop(ramp, batch["landmarks"][:1], size))[0]
        points = np.array(five_points(batch["landmarks"][0]))
        points[:, 1] = 47 - points[:, 1]
        ratio = size / 112
        template = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366]])
        column, row = np.rint(((template + 0.5) * ratio - 0.5).T).astype(int)
        # three points, one similarity: only the mean is hit
        np.testing.assert_allclose(crop[row, column, :2].mean(0), points[:3].mean(0), atol=2.5)


def test_wrong_numbers(model):
    with pytest.raises(ValueError, match="num_examples"):
        SyntheticPhotoSource(model, 32, 0)
