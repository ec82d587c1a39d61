"""Inception-ResNet-v1 (Szegedy et al. 2016, arXiv 1602.07261) as FaceNet's embedding network."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from facejax.nn.blocks import BatchNorm, Conv, max_pool3

_MOMENTUM, _EPSILON = 0.995, 1e-3


class _ConvNorm(nn.Module):
    """Convolution, batch normalisation without a gain, ReLU."""

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: int | str = "SAME"

    @nn.compact
    def __call__(self, x, train):
        x = Conv(self.features, self.kernel, self.stride, self.padding, name="conv")(x)
        return nn.relu(BatchNorm(_MOMENTUM, _EPSILON, use_scale=False, name="bn")(x, train))


def _branches(x, train, chains, stride=1):
    """Chains of (name, width, kernel) side by side; the last step of each has the stride."""
    out = []
    for i, chain in enumerate(chains):
        y = x
        for k, (name, width, kernel) in enumerate(chain):
            strided = stride > 1 and k == len(chain) - 1
            step = _ConvNorm(
                width, kernel, stride if strided else 1, 0 if strided else "SAME",
                name=f"Branch_{i}_Conv2d_{name}",
            )  # fmt: skip
            y = step(y, train)
        out.append(y)
    if stride > 1:
        out.append(max_pool3(x, "VALID"))
    return jnp.concatenate(out, axis=-1)


class _Residual(nn.Module):
    """x + scale * (1x1 of the branches)."""

    chains: tuple
    scale: float
    activate: bool = True

    @nn.compact
    def __call__(self, x, train):
        y = _branches(x, train, self.chains)
        x = x + self.scale * Conv(x.shape[-1], (1, 1), use_bias=True, name="Conv2d_1x1")(y)
        return nn.relu(x) if self.activate else x


class _Reduction(nn.Module):
    chains: tuple

    @nn.compact
    def __call__(self, x, train):
        return _branches(x, train, self.chains, stride=2)


class InceptionResNetV1(nn.Module):
    """Face to an identity embedding.

    Attributes:
      features: length of the embedding.
      width: channels of the first convolution, all others in proportion; 32 as published.
      blocks: residual blocks per stage.
    """

    features: int = 128
    width: int = 32
    blocks: tuple[int, int, int] = (5, 10, 5)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Embeddings and pooled features.

        Args:
          x: [B, H, W, 3], at least 75 pixels a side. The published weights take RGB at 160 pixels
            as (value - 127.5) / 128 of 0..255.
          train: normalise by the batch and update 'batch_stats', which must then be mutable.

        Returns:
          [B, features], float32, not yet of unit length, and [B, 1792] (at the published width).
        """

        def w(channels):
            return channels * self.width // 32

        one, three, valid = (1, 1), (3, 3), 0
        for name, width, kernel, stride, padding in (
            ("1a_3x3", 32, three, 2, valid), ("2a_3x3", 32, three, 1, valid),
            ("2b_3x3", 64, three, 1, "SAME"), ("pool", 0, three, 2, valid),
            ("3b_1x1", 80, one, 1, valid), ("4a_3x3", 192, three, 1, valid),
            ("4b_3x3", 256, three, 2, valid),
        ):  # fmt: skip
            if name == "pool":
                x = max_pool3(x, "VALID")
            else:
                step = _ConvNorm(w(width), kernel, stride, padding, name=f"Conv2d_{name}")
                x = step(x, train)

        def double(width, *kernels):
            """One 1x1 beside a chain that starts with a 1x1."""
            chain = [("0a_1x1", w(width), one)]
            chain += [
                (f"0{letter}_{kernel[0]}x{kernel[1]}", w(width), kernel)
                for letter, kernel in zip("bc", kernels, strict=False)
            ]
            return ((("1x1", w(width), one),), tuple(chain))

        block35 = (*double(32, three), double(32, three, three)[1])
        for k in range(self.blocks[0]):
            x = _Residual(block35, 0.17, name=f"block35_{k + 1}")(x, train)
        a, b = ("0a_1x1", w(192), one), ("0b_3x3", w(192), three)
        chains = ((("1a_3x3", w(384), three),), (a, b, ("1a_3x3", w(256), three)))
        x = _Reduction(chains, name="Mixed_6a")(x, train)
        for k in range(self.blocks[1]):
            x = _Residual(double(128, (1, 7), (7, 1)), 0.10, name=f"block17_{k + 1}")(x, train)
        a, b, last = (
            ("0a_1x1", w(256), one), ("0b_3x3", w(256), three), ("1a_3x3", w(256), three)
        )  # fmt: skip
        chains = ((a, ("1a_3x3", w(384), three)), (a, last), (a, b, last))
        x = _Reduction(chains, name="Mixed_7a")(x, train)
        block8 = double(192, (1, 3), (3, 1))
        for k in range(self.blocks[2]):
            x = _Residual(block8, 0.20, name=f"block8_{k + 1}")(x, train)
        x = _Residual(block8, 1.0, activate=False, name="Block8")(x, train)
        pooled = x.mean(axis=(1, 2)).astype(jnp.float32)
        x = nn.Dense(self.features, use_bias=False, name="Bottleneck")(pooled)
        return BatchNorm(_MOMENTUM, _EPSILON, False, name="Bottleneck_bn")(x, train), pooled
