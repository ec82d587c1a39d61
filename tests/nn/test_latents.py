import numpy as np
import pytest
import scipy.ndimage

from facejax.nn import latents


@pytest.mark.parametrize("sigma", [0.0, 1.0, 20.0])
def test_path_is_scipys_wrapped_blur_with_unit_variance(rng, sigma):
    noise = rng.normal(size=(24, 2, 5)).astype(np.float32)
    want = scipy.ndimage.gaussian_filter(noise.astype(np.float64), (sigma, 0, 0), mode="wrap")
    want /= np.sqrt(np.mean(want**2))
    got = latents.smooth_latent_path(noise, sigma)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_path_closes_smoothly(rng):
    path = latents.smooth_latent_path(rng.normal(size=(60, 32)), 3.0)
    steps = np.linalg.norm(path - np.roll(path, 1, axis=0), axis=1)
    assert steps[0] < 2 * np.median(steps)  # step 0 joins the last frame to the first
    assert steps.max() < 0.5 * np.linalg.norm(path, axis=1).min()


def test_negative_sigma_is_refused():
    with pytest.raises(ValueError, match="sigma_frames must be >= 0"):
        latents.smooth_latent_path(np.zeros((4, 2)), -1.0)


def test_labels_are_scaled_probabilities(rng):
    logits = rng.normal(size=(2, 3, 4)) * 500  # overflows without the shift by the maximum
    probabilities = latents.softmax_labels(logits)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0)
    np.testing.assert_array_equal(probabilities.argmax(-1), logits.argmax(-1))
    scale = [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(latents.softmax_labels(logits, scale), probabilities * scale)
