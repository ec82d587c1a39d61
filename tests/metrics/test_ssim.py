import jax
import numpy as np
import pytest

from facejax.metrics import ssim


def _pair(rng, *shape):
    a = rng.uniform(size=shape).astype(np.float32)
    return a, np.clip(a + rng.normal(0, 0.1, size=shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_ssim_equals_scikit_image(rng, batch):
    metrics = pytest.importorskip("skimage.metrics")
    a, b = _pair(rng, *batch, 19, 24, 3)
    got = ssim.ssim(a, b)
    assert got.shape == batch
    want = [
        metrics.structural_similarity(x, y, data_range=1.0, gaussian_weights=True, channel_axis=-1)
        for x, y in zip(a.reshape(-1, 19, 24, 3), b.reshape(-1, 19, 24, 3), strict=True)
    ]
    np.testing.assert_allclose(got, np.reshape(want, batch), atol=1e-5)


def test_identity_symmetry_and_range(rng):
    a, b = _pair(rng, 2, 32, 16, 3)
    for measure in (ssim.ssim, ssim.ms_ssim):
        np.testing.assert_allclose(measure(a, a), 1.0, atol=1e-5)
        np.testing.assert_allclose(measure(a, b), measure(b, a), atol=1e-6)
        assert (np.asarray(measure(a, b)) < 1).all()
        np.testing.assert_allclose(measure(255 * a, 255 * b, 255.0), measure(a, b), atol=1e-5)


def test_gradient_pulls_images_together(rng):
    a, b = _pair(rng, 16, 16, 1)
    grad = jax.grad(lambda x: ssim.ssim(x, b))(a)
    assert np.isfinite(grad).all()
    assert ssim.ssim(a + 0.1 * np.asarray(grad) / np.abs(grad).max(), b) > ssim.ssim(a, b)


def test_similarity_within_a_set_is_one_without_diversity(rng):
    a, b = _pair(rng, 2, 16, 16, 3)
    assert ssim.ms_ssim_within(np.repeat(a, 2, axis=0)[:3]) > 0.9999
    np.testing.assert_allclose(ssim.ms_ssim_within(a), ssim.ms_ssim(a[0], a[1]), atol=1e-6)


def test_errors_name_the_size(rng):
    a, b = _pair(rng, 8, 24, 3)
    with pytest.raises(ValueError, match="at least 11x11 pixels, found 8x24"):
        ssim.ssim(a, b)
    with pytest.raises(ValueError, match="divisible by 16, found 8x24"):
        ssim.ms_ssim(a, b)
    with pytest.raises(ValueError, match="different shapes"):
        ssim.ssim_and_cs(a, b[:4])
    with pytest.raises(ValueError, match="needs two images"):
        ssim.ms_ssim_within(a[None])
