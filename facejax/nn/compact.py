"""A small image encoder for small crops: positions survive, and nothing is normalised.

Global average pooling forgets where things are, and the statistics of small batches are noise to a
regression that is precise to a tenth of a pixel. Here the last cells (4x4 of a crop of 64) are
flattened, and residual branches start at zero instead of being normalised (SkipInit: De and Smith
2020, arXiv 2002.10444).
"""

import math

import jax
import numpy as np
from flax import linen as nn

from facejax.nn.blocks import Conv

_STAGES = 3


class CompactEncoder(nn.Module):
    """Image to one feature vector of 16 times the width.

    A 5x5 convolution of stride 2, three stages of a 3x3 convolution of stride 2 and one residual
    block, and a linear layer; ReLUs between. The number of weights depends on the image's size.

    Attributes:
      width: channels of the first convolution; every stage doubles them.
    """

    width: int = 16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [B, 16 width] of images [B, H, W, C] in [0, 1]."""
        x = nn.relu(Conv(self.width, (5, 5), 2, 2, use_bias=True, name="conv")(x - 0.5))
        for stage in range(1, _STAGES + 1):
            width = self.width * 2**stage
            x = nn.relu(Conv(width, (3, 3), 2, 1, use_bias=True, name=f"shrink{stage}")(x))
            y = nn.relu(Conv(width, (3, 3), 1, 1, use_bias=True, name=f"conv{stage}_1")(x))
            y = Conv(width, (3, 3), 1, 1, use_bias=True, name=f"conv{stage}_2")(y)
            gain = self.param(f"gain{stage}", nn.initializers.zeros, (1,) * y.ndim)
            x = nn.relu(x + gain.astype(y.dtype) * y)
        x = x.reshape(x.shape[0], -1)
        return nn.relu(nn.Dense(self.num_features, name="fc")(x))

    @property
    def num_features(self) -> int:
        """Length of the feature vector."""
        return 16 * self.width


def compact_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Initial values for `init_params`: normal weights by fan-in; biases and gains 0."""
    if name.endswith("kernel"):
        return rng.standard_normal(shape) / math.sqrt(math.prod(shape[:-1]))
    return np.zeros(shape)
