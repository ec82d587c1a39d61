import jax
import numpy as np
import pytest
import scipy.ndimage

from facejax.image import filters


@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "wrap", "constant"])
@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_gaussian_filter_equals_scipy(rng, mode, batch):
    image = rng.normal(size=(*batch, 9, 7, 2)).astype(np.float32)  # shorter than the kernel
    sigma = (1.0, 2.5)
    got = filters.gaussian_filter(image, sigma, mode)
    want = scipy.ndimage.gaussian_filter(
        image.astype(np.float64), (0,) * len(batch) + (*sigma, 0), mode=mode
    )
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_zero_sigma_is_the_identity(rng):
    image = rng.normal(size=(4, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(filters.gaussian_filter(image, 0.0), image)


@pytest.mark.parametrize("length", [2, 5])
def test_valid_correlation_equals_numpy(rng, length):
    image = rng.normal(size=(8, 3)).astype(np.float32)
    kernel = rng.normal(size=length)
    got = filters.correlate_axis(image, kernel, 0, "valid")
    want = np.stack([np.correlate(image[:, c], kernel, "valid") for c in range(3)], axis=1)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_filter_is_its_own_transpose_when_it_wraps(rng):
    a, b = rng.normal(size=(2, 6, 8, 1)).astype(np.float32)
    blur = lambda x: filters.gaussian_filter(x, 1.0, "wrap")  # noqa: E731
    grad = jax.grad(lambda x: (blur(x) * b).sum())(a)
    np.testing.assert_allclose(grad, blur(b), atol=1e-5)


def test_errors_say_what_to_use():
    image = np.zeros((4, 4, 1), np.float32)
    with pytest.raises(ValueError, match="unknown border mode 'clamp'"):
        filters.gaussian_filter(image, 1.0, "clamp")
    with pytest.raises(ValueError, match="use a border mode other than 'valid'"):
        filters.correlate_axis(image, np.ones(5), 0, "valid")
    with pytest.raises(ValueError, match="sigma must be >= 0"):
        filters.gaussian_kernel(-1.0)
