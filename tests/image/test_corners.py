"""What the docstrings promise of tiny images, long kernels, and points at and beyond the border."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from facejax.image import color, filters, pyramid, resample, sample, warp


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 5, 1), (2, 3, 1)])
@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "wrap", "constant"])
def test_blur_of_images_smaller_than_the_kernel(rng, shape, mode):
    image = rng.normal(size=shape).astype(np.float32)
    got = filters.gaussian_filter(jnp.asarray(image), 1.5, mode)
    want = ndimage.gaussian_filter(image, (1.5, 1.5, 0), mode=mode)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [((1, 1), (3, 4)), ((1, 4), (1, 1)), ((2, 3), (5, 1))])
def test_resizing_from_and_to_one_pixel(rng, method, sizes):
    image = rng.uniform(size=(*sizes[0], 2)).astype(np.float32)
    got = resample.resize(jnp.asarray(image), sizes[1], method)
    want = jax.image.resize(image, (*sizes[1], 2), "cubic" if method == "bicubic" else method)
    np.testing.assert_allclose(got, want, atol=1e-5)
    constant = resample.resize(jnp.ones_like(image), sizes[1], method, wrap_u=True)
    np.testing.assert_allclose(constant, 1.0, atol=1e-6)


def test_a_pyramid_down_to_one_pixel_is_inverted(rng):
    image = rng.normal(size=(4, 4, 1)).astype(np.float32)
    levels = pyramid.laplacian_pyramid(jnp.asarray(image), 3)
    assert levels[-1].shape == (1, 1, 1)
    np.testing.assert_allclose(pyramid.reconstruct(levels), image, atol=1e-6)
    with pytest.raises(ValueError, match="at least one level"):
        pyramid.laplacian_pyramid(jnp.asarray(image), 0)


@pytest.mark.parametrize("read", [sample.sample_bilinear, sample.sample_bicubic])
def test_points_beyond_the_border_take_its_texel(rng, read):
    image = rng.uniform(size=(3, 4, 2)).astype(np.float32)
    far = np.float32([[-7, -9], [1e9, 0.5 / 3], [0.125, -1e9], [1e30, 1e30]])
    got = np.asarray(read(jnp.asarray(image), far))
    np.testing.assert_allclose(got, image[[0, 0, 0, 2], [0, 3, 0, 3]], atol=1e-5)
    around = np.float32([[0.1, 0.4], [3.1, 0.4], [-1.9, 0.4]])
    turned = np.asarray(read(jnp.asarray(image), around, wrap_u=True))
    np.testing.assert_allclose(turned, np.broadcast_to(turned[:1], turned.shape), atol=1e-4)
    one = np.asarray(read(jnp.asarray(image[:1, :1]), around))
    np.testing.assert_allclose(one, np.broadcast_to(image[0, 0], one.shape), atol=1e-6)


def test_a_warp_of_one_pixel_is_black_outside():
    image = jnp.ones((1, 1, 3))
    out = warp.affine_warp(image, jnp.float32([[1, 0, 2], [0, 1, 1]]), (3, 5))
    wanted = np.zeros((3, 5, 3))
    wanted[1, 2] = 1
    np.testing.assert_allclose(out, wanted, atol=1e-5)


@pytest.mark.parametrize("curve", [color.srgb_to_linear, color.linear_to_srgb])
def test_colour_curves_have_finite_gradients_everywhere(curve):
    x = jnp.float32([-1.0, -1e-30, 0.0, 1e-30, 0.0031308, 0.04045, 1.0, 3.0])
    value, slope = jax.vmap(jax.value_and_grad(curve))(x)
    assert np.isfinite(value).all() and np.isfinite(slope).all() and (np.asarray(slope) > 0).all()
