import jax
import numpy as np
import pytest
import scipy.ndimage

from facejax.image import sample

SAMPLERS = [sample.sample_bilinear, sample.sample_bicubic]


def _centres(height, width):
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width)
    return np.stack([u.T, v.T], axis=-1).astype(np.float32)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_texel_centres_are_exact(rng, sampler):
    image = rng.normal(size=(5, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(sampler(image, _centres(5, 8)), image, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batched_images_with_shared_and_with_own_points(rng, sampler):
    images = rng.normal(size=(2, 3, 6, 5, 2)).astype(np.float32)
    uv = rng.uniform(size=(2, 3, 4, 2)).astype(np.float32)
    got = sampler(images, uv)
    assert got.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(got[1, 2], sampler(images[1, 2], uv[1, 2]), atol=1e-6)
    shared = sampler(images, uv[0, 0])
    np.testing.assert_allclose(shared[1, 2], sampler(images[1, 2], uv[0, 0]), atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_wrapping_is_periodic_and_clamping_is_constant(rng, sampler):
    image = rng.normal(size=(6, 6, 1)).astype(np.float32)
    uv = rng.uniform(size=(20, 2)).astype(np.float32)
    shifted = uv + np.float32([2.0, 0.0])
    got = sampler(image, shifted, wrap_u=True)
    np.testing.assert_allclose(got, sampler(image, uv, wrap_u=True), atol=1e-4)
    outside = np.float32([[-3.0, -3.0], [4.0, 4.0]])
    np.testing.assert_allclose(sampler(image, outside), image[[0, -1], [0, -1]], atol=1e-4)


def test_bilinear_equals_scipy(rng):
    image = rng.normal(size=(6, 7, 1)).astype(np.float32)
    uv = rng.uniform(-0.2, 1.2, size=(30, 2)).astype(np.float32)
    points = [uv[:, 1] * 6 - 0.5, uv[:, 0] * 7 - 0.5]
    want = scipy.ndimage.map_coordinates(image[..., 0], points, order=1, mode="nearest")
    np.testing.assert_allclose(sample.sample_bilinear(image, uv)[:, 0], want, atol=1e-5)


def test_bicubic_reproduces_quadratics_inside():
    # Catmull-Rom has third-order accuracy: exact for polynomials of degree two
    row, col = np.mgrid[:8, :8].astype(np.float32)
    poly = lambda r, c: 0.3 * r * r - r * c + 0.1 * c * c + 2  # noqa: E731
    pixels = np.random.default_rng(1).uniform(1.5, 5.5, size=(30, 2)).astype(np.float32)
    uv = (pixels[:, ::-1] + 0.5) / 8
    got = sample.sample_bicubic(poly(row, col)[..., None], uv.astype(np.float32))
    np.testing.assert_allclose(got[:, 0], poly(pixels[:, 0], pixels[:, 1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gradient_in_position_and_image(rng, sampler):
    image = rng.normal(size=(6, 6, 1)).astype(np.float32)
    uv = rng.uniform(0.2, 0.8, size=(3, 2)).astype(np.float32)
    f = lambda i, p: (sampler(i, p)[:, 0] * np.float32([1, -2, 3])).sum()  # noqa: E731
    d_image, d_uv = jax.grad(f, argnums=(0, 1))(image, uv)
    step = np.zeros_like(uv)
    step[1, 0] = 1e-3
    numeric = (f(image, uv + step) - f(image, uv - step)) / 2e-3
    np.testing.assert_allclose(d_uv[1, 0], numeric, rtol=2e-2, atol=1e-2)
    np.testing.assert_allclose((d_image * image).sum(), f(image, uv), rtol=1e-4)


def test_truncated_reading_snaps_towards_zero(rng):
    image = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    got = sample.sample_truncated(image, np.array([[0.9, 2.99], [3.0, 0.0]]))
    np.testing.assert_array_equal(got, image[:, [0, 3], [2, 0]])


def test_wrong_points_are_named():
    with pytest.raises(ValueError, match=r"uv has shape \(3, 4, 2\)"):
        sample.sample_bilinear(np.zeros((2, 4, 4, 1)), np.zeros((3, 4, 2)))
