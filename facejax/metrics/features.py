"""Feature extractors for distribution distances: a plug-in protocol, and one that is always there.

The usual Inception weights are not part of this package. Any pure function of images fits the
protocol; numbers are comparable only under the same extractor, so its name goes beside them.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from facejax.nn.batching import in_batches

RANDOM_CONV_V1 = "facejax-random-conv-v1"
_WIDTHS = (3, 32, 64, 160)  # the last three are pooled and joined: 256 features
_SEED = 20210917  # part of the definition of v1


class FeatureExtractor(Protocol):
    """A named, fixed map from images to features.

    Attributes:
      name: identifies weights and preprocessing; report it with every number.
    """

    name: str

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features [B, D] of images [B, H, W, 3] in [0, 1]."""


class RandomConvFeatures:
    """The embedded extractor: a small convolutional net with fixed random weights, D = 256.

    Random features see colour, contrast and texture statistics, not semantics: good for tests,
    smoke runs and for following one training run. Its Frechet distance is not an FID.
    """

    name = RANDOM_CONV_V1
    dim = sum(_WIDTHS[1:])

    def __init__(self):
        self.params = random_conv_params()
        self._apply = jax.jit(random_conv_features)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features [B, 256] of images [B, H, W, 3] in [0, 1], at least 8 pixels a side."""
        return self._apply(self.params, images)


def random_conv_params(seed: int = _SEED) -> tuple:
    """Kernels [3, 3, in, out] and biases [out] of the embedded extractor, numpy float32."""
    rng = np.random.Generator(np.random.PCG64(seed))
    params = []
    for fan_in, width in zip(_WIDTHS[:-1], _WIDTHS[1:], strict=True):
        kernel = rng.standard_normal((3, 3, fan_in, width)) * np.sqrt(2.0 / (9 * fan_in))
        params.append((kernel.astype(np.float32), rng.uniform(-0.5, 0.5, width).astype(np.float32)))
    return tuple(params)


def random_conv_features(params: tuple, images: jax.Array) -> jax.Array:
    """Mean activation of every channel of every layer; a pure function.

    Args:
      params: from `random_conv_params`.
      images: [B, H, W, 3] in [0, 1], H and W at least 8.

    Returns:
      [B, 256] float32.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < 8:
        raise ValueError(
            f"found images {images.shape}; wanted [B, H, W, 3] with H and W at least 8"
        )
    x = 2.0 * jnp.asarray(images, jnp.float32) - 1.0
    features = []
    for kernel, bias in params:
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (2, 2),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,  # the same features on every platform
        )
        x = jax.nn.leaky_relu(x + bias.reshape(1, 1, 1, -1), 0.2)
        features.append(x.mean(axis=(1, 2)))
    return jnp.concatenate(features, axis=-1)


def extract(extractor: FeatureExtractor, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Features [N, D], float32, of a whole set of images, in batches of one size.

    Args:
      extractor: any FeatureExtractor.
      images: [N, H, W, 3] in [0, 1].
      batch_size: the last batch is filled up, so that one program serves all.
    """
    num = len(images)
    if num == 0:
        raise ValueError("there are no images to extract features of")
    return in_batches(extractor, images, min(batch_size, num))
