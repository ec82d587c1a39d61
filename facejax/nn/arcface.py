"""ArcFace's improved ResNets for face recognition (Deng et al. 2019, arXiv 1801.07698)."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from facejax.nn.blocks import BatchNorm, Conv, PRelu

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 14, 3)}


class _Block(nn.Module):
    """Normalise, 3x3, normalise, PReLU, 3x3 (strided), normalise; nothing follows the sum."""

    width: int
    stride: int
    project: bool

    @nn.compact
    def __call__(self, x, train):
        y = BatchNorm(name="bn1")(x, train)
        y = Conv(self.width, padding=1, name="conv1")(y)
        y = PRelu(name="prelu")(BatchNorm(name="bn2")(y, train))
        y = Conv(self.width, stride=self.stride, padding=1, name="conv2")(y)
        y = BatchNorm(name="bn3")(y, train)
        if self.project:
            x = Conv(self.width, (1, 1), self.stride, name="downsample_conv")(x)
            x = BatchNorm(name="downsample_bn")(x, train)
        return x + y


class IResNet(nn.Module):
    """Aligned face to an identity embedding.

    Attributes:
      depth: 18 or 50.
      width: channels of the first stage; 64 as published.
      features: length of the embedding.
    """

    depth: int = 50
    width: int = 64
    features: int = 512

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Embeddings [B, features], float32, not yet of unit length.

        Args:
          x: [B, H, W, 3] RGB in [-1, 1]; 112 x 112, aligned by `arcface_similarity`, for the
            published weights.
          train: normalise by the batch and update 'batch_stats', which must then be mutable.
        """
        if self.depth not in BLOCKS:
            raise ValueError(f"found an IResNet of depth {self.depth!r}, wanted {sorted(BLOCKS)}")
        x = Conv(self.width, padding=1, name="conv1")(x)
        x = PRelu(name="prelu")(BatchNorm(name="bn1")(x, train))
        for stage, count in enumerate(BLOCKS[self.depth]):
            for k in range(count):
                block = _Block(
                    self.width * 2**stage, 1 if k else 2, not k, name=f"layer{stage + 1}_{k}"
                )
                x = block(x, train)
        x = BatchNorm(name="bn2")(x, train).astype(jnp.float32)
        x = nn.Dense(self.features, name="fc")(x.reshape(x.shape[0], math.prod(x.shape[1:])))
        return BatchNorm(name="features")(x, train)  # its gain stays at 1 in the original training
