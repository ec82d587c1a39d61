"""Rendered photographs, records, and tables of coefficients."""

import numpy as np
import pytest
from scipy.io import savemat

from facejax.data.synthetic_photos import PhotoRanges
from facejax.io.tfrecord_images import write_multiresolution
from facejax.systems.disco import data, parser
from facejax.systems.disco.factors import FactorSizes
from facejax.train.config import load_config
from facejax.train.runs import make_system

SIZES = FactorSizes(shape=4, exp=3, albedo=2)


@pytest.fixture(scope="module")
def system():
    return make_system(load_config("disco:smoke"))


@pytest.fixture(scope="module")
def source(system):
    return data.PhotographSource(system.model, 32, 64, 0, PhotoRanges(yaw_deg=10.0, noise=0.0))


@pytest.fixture(scope="module")
def batch(source):
    return source.batch(np.arange(8), resolution=32, labels=True)


def test_photographs_show_faces_hair_and_backgrounds(batch, source):
    image, labels = np.asarray(batch["image"]), np.asarray(batch["labels"])
    assert image.shape == (8, 32, 32, 3) and np.abs(image).max() <= 1
    for found in range(len(parser.CLASSES)):
        assert 0.02 < (labels == found).mean() < 0.9
    again = source.batch(np.arange(4, 8), resolution=32, labels=True)
    np.testing.assert_array_equal(again["image"], image[4:])
    # the middle of a picture is a face, and its corner is not
    assert (labels[:, 16, 16] == 1).all() and (labels[:, 0, 0] != 1).all()
    # hair differs from picture to picture, by more than the light
    tops = np.stack([i[lab == parser.HAIR].mean(0) for i, lab in zip(image, labels, strict=True)])
    assert tops.std(axis=0).min() > 0.1


def test_lower_resolutions_are_means(batch, source):
    half = source.batch(np.arange(8), resolution=16)
    assert set(half) == {"image"}
    image = np.asarray(batch["image"])
    want = image.reshape(8, 16, 2, 16, 2, 3).mean((2, 4))
    np.testing.assert_allclose(half["image"], want, atol=1e-5)


def test_faces_stand_at_the_centre_and_held_out_ones_differ(system):
    coeffs = system.held_out(4).coefficients(np.arange(4))
    assert not coeffs.trans.any()
    mine = data.make_source(system.config, system.model).coefficients(np.arange(4))
    assert not np.isclose(coeffs.id, mine.id).any()


def test_records_are_read_at_every_resolution(tmp_path, rng):
    images = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
    write_multiresolution(tmp_path / "set", images)
    source = data.RecordSource(str(tmp_path / "set"), 16)
    got = source.batch(np.array([2, 0]), resolution=16)["image"]
    np.testing.assert_allclose(got, images[[2, 0]] / 127.5 - 1, atol=1e-6)
    with pytest.raises(ValueError, match="wanted RGB of at least 64"):
        data.RecordSource(str(tmp_path / "set"), 64)


def test_tables_of_coefficients(tmp_path, rng):
    rows = rng.normal(size=(5, SIZES.num_coefficients + 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "coeff").mkdir()
    for i, row in enumerate(rows):
        savemat(tmp_path / f"coeff/{i}.mat", {"coeff": row[None]})
    for path in (tmp_path / "rows.npy", tmp_path / "coeff"):
        np.testing.assert_allclose(data.read_rows(str(path), SIZES), rows[:, :-3])
    np.save(tmp_path / "rows.npy", rows[:, :-1])
    with pytest.raises(ValueError, match="found 41 coefficients, wanted 39 .4 shape, 2 albedo"):
        data.read_rows(str(tmp_path / "rows.npy"), SIZES)
    rows[1, 1] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ValueError, match="NaN or infinity"):
        data.read_rows(str(tmp_path / "rows.npy"), SIZES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no .mat files"):
        data.read_rows(str(tmp_path / "empty"), SIZES)


def test_what_a_configuration_may_not_say(system):
    config = load_config("disco:smoke")
    for key, value, words in (
        ("source", "folder", "must be one of"),
        ("path", "somewhere", "data.path is set"),
        ("source", "tfrecords", "needs --config.data.path"),
    ):
        config = load_config("disco:smoke")
        config.data[key] = value
        with pytest.raises(ValueError, match=words):
            data.make_source(config, system.model)
