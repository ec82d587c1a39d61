import jax
import numpy as np
import pytest
import scipy.ndimage

from facejax.image import resample


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_upsample2_repeats_and_downsample2_inverts_it(rng, batch):
    image = rng.normal(size=(*batch, 4, 6, 2)).astype(np.float32)
    up = resample.upsample2(image)
    np.testing.assert_array_equal(up, image.repeat(2, axis=-3).repeat(2, axis=-2))
    np.testing.assert_allclose(resample.downsample2(up), image, atol=1e-6)


def test_downsample2_is_the_block_mean_and_wants_even_sizes():
    image = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    np.testing.assert_allclose(resample.downsample2(image)[..., 0], [[2.5, 4.5]])
    with pytest.raises(ValueError, match="even size, found 3x4"):
        resample.downsample2(np.zeros((3, 4, 1), np.float32))


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 20), (16, 6), (9, 13)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize_equals_jax_image_resize(rng, method, size, antialias):
    image = rng.normal(size=(2, 9, 13, 3)).astype(np.float32)
    got = resample.resize(image, size, method, antialias=antialias)
    name = {"bicubic": "cubic", "bilinear": "linear"}.get(method, method)
    want = jax.image.resize(image, (2, *size, 3), name, antialias=antialias)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("width", [24, 4])
def test_resize_wraps_like_three_copies(rng, method, width):
    image = rng.normal(size=(6, 12, 1)).astype(np.float32)
    got = resample.resize(image, (6, width), method, wrap_u=True)
    tiled = resample.resize(np.tile(image, (1, 3, 1)), (6, 3 * width), method)
    np.testing.assert_allclose(got, tiled[:, width : 2 * width], atol=1e-5)


def test_resize_has_the_gradient_of_a_linear_map(rng):
    image, other = rng.normal(size=(2, 5, 6, 1)).astype(np.float32)
    weight = rng.normal(size=(3, 9, 1)).astype(np.float32)
    f = lambda x: (resample.resize(x, (3, 9), "bicubic") * weight).sum()  # noqa: E731
    np.testing.assert_allclose((jax.grad(f)(image) * other).sum(), f(other), rtol=1e-4)


def test_resize_names_what_is_wrong():
    image = np.zeros((4, 4, 1), np.float32)
    with pytest.raises(ValueError, match="unknown resize method 'lanczos'"):
        resample.resize(image, (2, 2), "lanczos")
    with pytest.raises(ValueError, match="size must be positive"):
        resample.resize(image, (0, 2))


def test_gaussian_blur_clamps_rows_and_wraps_columns(rng):
    image = rng.normal(size=(2, 7, 9, 1)).astype(np.float32)
    for wrap_u in (False, True):
        modes = ("nearest", "nearest", "wrap" if wrap_u else "nearest", "nearest")
        want = scipy.ndimage.gaussian_filter(image.astype(np.float64), (0, 1.5, 1.5, 0), mode=modes)
        np.testing.assert_allclose(resample.gaussian_blur(image, 1.5, wrap_u), want, atol=1e-5)
    rolled = resample.gaussian_blur(np.roll(image, 4, axis=2), 1.5, wrap_u=True)
    np.testing.assert_allclose(
        rolled, np.roll(resample.gaussian_blur(image, 1.5, True), 4, 2), atol=1e-6
    )
