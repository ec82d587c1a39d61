import numpy as np
import pytest

from facejax.metrics import features, frechet

EXPECTED_KERNEL = [-0.14860092, -0.38052276, -0.55943596]
EXPECTED_BIAS = [0.44762698, -0.36045232, 0.1756634]


@pytest.fixture(scope="module")
def extractor():
    return features.RandomConvFeatures()


def test_weights_never_change():
    # the numbers are the definition of 'facejax-random-conv-v1': a change needs a new name
    kernel, bias = features.random_conv_params()[0]
    np.testing.assert_allclose(kernel[0, 0, 0, :3], EXPECTED_KERNEL, rtol=1e-6)
    np.testing.assert_allclose(bias[:3], EXPECTED_BIAS, rtol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (17, 24)])
def test_any_size_gives_256_finite_features(rng, extractor, size):
    got = extractor(rng.uniform(size=(3, *size, 3)).astype(np.float32))
    assert got.shape == (3, extractor.dim) == (3, 256)
    assert np.isfinite(got).all() and np.asarray(got).std(axis=0).min() > 0


def test_batches_do_not_matter_and_examples_are_independent(rng, extractor):
    images = rng.uniform(size=(5, 8, 8, 3)).astype(np.float32)
    got = features.extract(extractor, images, batch_size=2)
    np.testing.assert_allclose(got, extractor(images), atol=1e-6)
    with pytest.raises(ValueError, match="no images"):
        features.extract(extractor, images[:0])


def test_distance_grows_with_damage(rng, extractor):
    images = rng.uniform(size=(1024, 8, 8, 3)).astype(np.float32)
    clean = features.extract(extractor, images[:512])
    floor = frechet.frechet_distance(clean, features.extract(extractor, images[512:]))
    grey = images[512:].mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    assert frechet.frechet_distance(clean, features.extract(extractor, grey)) > 2 * floor


def test_wrong_images_are_named(extractor):
    with pytest.raises(ValueError, match=r"found images \(2, 4, 8, 3\)"):
        extractor(np.zeros((2, 4, 8, 3), np.float32))
