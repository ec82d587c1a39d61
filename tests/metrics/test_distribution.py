import jax
import numpy as np
import pytest

from facejax.metrics.distribution import distribution_figures
from facejax.metrics.frechet import kernel_distance


class Mean:
    name = "mean"

    def __call__(self, images):
        return images.mean((1, 2))


class Classifier(Mean):
    def probabilities(self, features):
        return features / features.sum(1, keepdims=True)


def test_any_extractor_serves(rng):
    pictures = rng.uniform(size=(12, 32, 32, 3)).astype(np.float32)
    fake, real, key = pictures[:4], pictures[4:], jax.random.key(0)
    assert set(distribution_figures(fake, real, key, Mean())) == {
        "swd_x1e3", "ms_ssim", "frechet_mean"
    }  # fmt: skip
    found = distribution_figures(fake, real, key, Classifier())
    features = pictures.mean((1, 2))
    wanted = kernel_distance(features[4:8], features[:4])
    assert found["kernel_mean"]["fake"] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert 1 <= found["inception_score"]["fake"] < 3


def test_a_set_is_as_far_from_itself_as_nothing(rng):
    real = rng.uniform(size=(8, 32, 32, 3)).astype(np.float32)
    found = distribution_figures(real[:4], real, jax.random.key(0))
    (name,) = (k for k in found if k.startswith("frechet"))
    assert abs(found[name]["fake"]) < 1e-3 * found[name]["floor"]
    assert found["ms_ssim"]["fake"] == found["ms_ssim"]["real"]
