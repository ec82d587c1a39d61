import numpy as np
import pytest
import scipy.ndimage

from facejax.image import pyramid

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256.0


def test_down_and_up_equal_scipy(rng):
    image = rng.normal(size=(2, 8, 6, 3)).astype(np.float32)
    down = scipy.ndimage.convolve(image, KERNEL, mode="mirror")[:, ::2, ::2]
    np.testing.assert_allclose(pyramid.pyramid_down(image), down, atol=1e-5)
    zeros = np.zeros((2, 16, 12, 3), np.float32)
    zeros[:, ::2, ::2] = image
    up = scipy.ndimage.convolve(zeros, 4 * KERNEL, mode="mirror")
    np.testing.assert_allclose(pyramid.pyramid_up(image), up, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_reconstruction_is_the_image(rng, batch):
    image = rng.uniform(0, 255, size=(*batch, 16, 8, 3)).astype(np.float32)
    levels = pyramid.laplacian_pyramid(image, 3)
    assert [level.shape[-3:] for level in levels] == [(16, 8, 3), (8, 4, 3), (4, 2, 3)]
    np.testing.assert_allclose(pyramid.reconstruct(levels), image, atol=1e-3)


def test_a_constant_image_has_no_bands():
    levels = pyramid.laplacian_pyramid(np.full((16, 16, 1), 7.0, np.float32), 2)
    np.testing.assert_allclose(levels[0], 0.0, atol=1e-5)
    np.testing.assert_allclose(levels[1], 7.0, atol=1e-5)


def test_sizes_that_do_not_halve_are_refused():
    with pytest.raises(ValueError, match="divisible by 4, found 6x8"):
        pyramid.laplacian_pyramid(np.zeros((6, 8, 1), np.float32), 3)
