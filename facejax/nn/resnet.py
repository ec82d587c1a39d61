"""Residual networks (He et al. 2016) as image encoders, in the two forms that are published.

'torch' is torchvision's: a stage is shrunk by its first block, 3x3 max pooling pads by one pixel.
'slim' is TensorFlow's resnet_v1: a stage is shrunk by its last block (the last stage not at all),
max pooling pads at the bottom and right. Parameter trees are the same for both.
"""

import math

import jax
import numpy as np
from flax import linen as nn

from facejax.nn.blocks import BatchNorm, Conv, max_pool3

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
_MOMENTUM = {"torch": 0.9, "slim": 0.997}


def num_features(depth: int, width: int = 64) -> int:
    """Channels after the last stage: 512 of a ResNet-18 and 2048 of a ResNet-50 of full width."""
    return width * 8 * (4 if depth == 50 else 1)


class _Block(nn.Module):
    """Basic block (two 3x3) or bottleneck (1x1, 3x3, 1x1; its output is four times wider)."""

    width: int
    stride: int
    bottleneck: bool
    momentum: float

    @nn.compact
    def __call__(self, x, train):
        out = self.width * (4 if self.bottleneck else 1)
        # (kernel, width, stride); the stride lies in the first 3x3 convolution
        steps = [((3, 3), self.width, self.stride), ((3, 3), out, 1)]
        if self.bottleneck:
            steps = [((1, 1), self.width, 1), ((3, 3), self.width, self.stride), ((1, 1), out, 1)]
        y = x
        for k, (kernel, width, stride) in enumerate(steps, start=1):
            y = Conv(width, kernel, stride, kernel[0] // 2, name=f"conv{k}")(y)
            y = BatchNorm(self.momentum, name=f"bn{k}")(y, train)
            y = nn.relu(y) if k < len(steps) else y
        shortcut = x
        if self.has_projection(x.shape[-1]):
            shortcut = Conv(out, (1, 1), self.stride, name="downsample_conv")(x)
            shortcut = BatchNorm(self.momentum, name="downsample_bn")(shortcut, train)
        elif self.stride > 1:
            shortcut = x[:, :: self.stride, :: self.stride]
        return nn.relu(y + shortcut)

    def has_projection(self, in_features: int) -> bool:
        """Whether the shortcut is a 1x1 convolution."""
        return in_features != self.width * (4 if self.bottleneck else 1)


class ResNet(nn.Module):
    """Image to one feature vector, by global average pooling.

    Attributes:
      depth: 18 (basic blocks), 10 (half as many) or 50 (bottlenecks).
      width: channels of the first stage; 64 as published.
      variant: 'torch' or 'slim' (depth 50 only), see the module.
      small_stem: start with a 3x3 convolution of stride 1 and no pooling, for small images and for
        encoders that keep detail.
    """

    depth: int = 50
    width: int = 64
    variant: str = "torch"
    small_stem: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Features [B, num_features(depth, width)] of images [B, H, W, C].

        Args:
          x: images of any range, any size from 32 pixels; the type is the one computed in.
          train: normalise by the batch and update 'batch_stats', which must then be mutable.
        """
        if self.depth not in BLOCKS or self.variant not in _MOMENTUM:
            raise ValueError(
                f"found a ResNet of depth {self.depth!r}, variant {self.variant!r}; wanted a depth "
                f"of {sorted(BLOCKS)} and a variant of {sorted(_MOMENTUM)}"
            )
        if self.depth != 50 and self.variant == "slim":
            raise ValueError("the variant 'slim' has depth 50 only; use that or variant 'torch'")
        momentum, slim = _MOMENTUM[self.variant], self.variant == "slim"
        stem = ((3, 3), 1, 1) if self.small_stem else ((7, 7), 2, 3)
        x = Conv(self.width, *stem, name="conv1")(x)
        x = nn.relu(BatchNorm(momentum, name="bn1")(x, train))
        if not self.small_stem:
            x = max_pool3(x, "SAME" if slim else (1, 1))
        for stage, count in enumerate(BLOCKS[self.depth]):
            for k in range(count):
                if slim:
                    shrinks = k == count - 1 and stage < 3
                else:
                    shrinks = k == 0 and stage > 0
                block = _Block(
                    self.width * 2**stage, 2 if shrinks else 1, self.depth == 50, momentum,
                    name=f"layer{stage + 1}_{k}",
                )  # fmt: skip
                x = block(x, train)
        return x.mean(axis=(1, 2))


def resnet_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Initial values for `init_params`: He-normal by fan-out, gains 1, biases 0 (torchvision)."""
    if name.endswith("kernel"):
        return rng.standard_normal(shape) * math.sqrt(2.0 / (math.prod(shape[:-2]) * shape[-1]))
    return np.ones(shape) if name.endswith("scale") else np.zeros(shape)
