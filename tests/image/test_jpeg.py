import io

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from PIL import Image

from facejax.image import jpeg as module
from facejax.image.jpeg import jpeg, quantisation


@pytest.fixture(scope="module")
def photo():
    """Smooth shapes and some edges, 37 x 50."""
    v, u = np.indices((37, 50)) / 40
    image = np.stack([np.sin(5 * u) * v, u * v, np.cos(7 * v)], axis=-1) * 0.4 + 0.5
    image[10:20, 12:30] = [0.9, 0.2, 0.3]
    return image.clip(0, 1).astype(np.float32)


def test_block_transform_is_the_cosine_transform(rng):
    block = rng.normal(size=(8, 8))
    got = (module._DCT @ block.reshape(64)).reshape(8, 8)
    np.testing.assert_allclose(got, scipy.fft.dctn(block, norm="ortho"), atol=1e-5)


def test_quantisation_is_that_of_the_library():
    """Pillow writes libjpeg's tables into its files."""
    for quality in (10, 50, 75, 95):
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "jpeg", quality=quality)
        tables = Image.open(io.BytesIO(file.getvalue())).quantization
        for k, steps in enumerate(quantisation(quality)):
            assert sorted(np.asarray(steps).astype(int)) == sorted(tables[k])


@pytest.mark.parametrize("subsample", [False, True])
def test_losses_are_those_of_the_library(photo, subsample):
    """The same error against the original, and nearer to the library's picture than to it."""
    for quality in (20, 60, 90):
        file = io.BytesIO()
        Image.fromarray(np.rint(photo * 255).astype(np.uint8)).save(
            file, "jpeg", quality=quality, subsampling=2 if subsample else 0
        )
        want = np.asarray(Image.open(io.BytesIO(file.getvalue()))) / 255
        got = np.asarray(jpeg(photo, float(quality), subsample))
        own, theirs = (np.sqrt(np.mean((x - photo) ** 2)) for x in (got, want))
        assert 0.8 < own / theirs < 1.25
        assert np.sqrt(np.mean((got - want) ** 2)) < 0.6 * theirs


def test_pictures_of_a_batch_have_qualities_of_their_own(photo):
    both = jpeg(jnp.stack([photo, photo]), jnp.array([15.0, 90.0]))
    np.testing.assert_allclose(both[1], jpeg(photo, 90.0), atol=1e-5)
    errors = np.abs(np.asarray(both) - photo).mean(axis=(1, 2, 3))
    assert errors[0] > 1.5 * errors[1]
    fine = jpeg(photo, 100.0, subsample=False)
    np.testing.assert_allclose(fine, photo, atol=0.012)
