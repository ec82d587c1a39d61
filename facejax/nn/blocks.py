"""Convolution, batch normalisation and pooling as residual networks use them. Images are NHWC."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.nn.devices import mean_over_devices, num_mapped_devices


class Conv(nn.Module):
    """2-D convolution, kernel [kh, kw, in, out], computed in the type of the input.

    A 1x1 convolution is a matrix product, of every stride-th pixel: 2x faster on CPU.

    Attributes:
      features: output channels.
      kernel: (height, width).
      stride: of both axes.
      padding: zeros on each side, or 'SAME' (which puts the odd one at the bottom and right).
      use_bias: add one number per channel.
    """

    features: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: int | str = 0
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', features]."""
        shape = (*self.kernel, x.shape[-1], self.features)
        w = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32).astype(x.dtype)
        if self.kernel == (1, 1) and self.padding in (0, "SAME"):
            x = x[:, :: self.stride, :: self.stride] @ w[0, 0]
        else:
            pad = self.padding
            x = jax.lax.conv_general_dilated(
                x, w, (self.stride,) * 2, pad if pad == "SAME" else ((pad, pad),) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
        if self.use_bias:
            x = x + _per_channel(self, "bias", nn.initializers.zeros, x)
        return x


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with the running statistics of the originals.

    Unlike `flax.linen.BatchNorm`, the running variance takes the unbiased variance of the batch, as
    PyTorch and TensorFlow's fused operation do. Statistics are float32 in 'batch_stats', float64
    where the input is; over a batch that is spread over devices they are those of the whole batch.

    Attributes:
      momentum: weight of the old running statistics (PyTorch's `momentum` is one minus this).
      epsilon: added to the variance.
      use_scale: learn a gain per channel.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """[..., C] to the same; `train` normalises by the batch and updates the running values."""
        shape = (x.shape[-1],)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", np.zeros, shape, np.float32)
        running_var = self.variable("batch_stats", "var", np.ones, shape, np.float32)
        x32 = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, var = running_mean.value, running_var.value
        if train:
            axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
            mean = mean_over_devices(x32.mean(axes))
            centered = x32 - mean.reshape((1,) * (x.ndim - 1) + shape)
            var = mean_over_devices((centered**2).mean(axes))
            count *= num_mapped_devices()
            if not self.is_initializing():
                keep, take = self.momentum, 1.0 - self.momentum
                running_mean.value = keep * running_mean.value + take * mean
                unbiased = var * (count / max(count - 1, 1))
                running_var.value = keep * running_var.value + take * unbiased
        factor = jax.lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * self.param("scale", nn.initializers.ones, shape, jnp.float32)
        ones = (1,) * (x.ndim - 1)
        mean, factor, bias = (v.reshape(*ones, -1) for v in (mean, factor, bias))
        return ((x32 - mean) * factor + bias).astype(x.dtype)


def initial_batch_stats(init: Callable, *args) -> dict:
    """Running statistics of an untrained module, mean 0 and variance 1, as numpy arrays.

    Args:
      init: the module's `init`, called abstractly as init(key, *args).
      *args: abstract or real inputs of the module.

    Returns:
      The 'batch_stats' collection; empty for a module without running statistics.
    """
    variables = jax.eval_shape(lambda *a: init(jax.random.key(0), *a), *args)
    tree = variables.get("batch_stats", {})
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.full(leaf.shape, path[-1].key == "var", np.float32), tree
    )


class PRelu(nn.Module):
    """max(x, 0) + a min(x, 0) with one learned slope per channel (He et al. 2015)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] -> [..., C]."""
        slope = _per_channel(self, "slope", nn.initializers.constant(0.25), x)
        return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)


def _per_channel(module: nn.Module, name: str, init, x: jax.Array) -> jax.Array:
    """A learned number per channel, ready to be broadcast against x."""
    value = module.param(name, init, (x.shape[-1],), jnp.float32)
    return value.astype(x.dtype).reshape((1,) * (x.ndim - 1) + value.shape)


def max_pool3(x: jax.Array, padding: tuple[int, int] | str) -> jax.Array:
    """Maximum over 3x3 with stride 2, [B, H, W, C] -> [B, H', W', C].

    One axis after the other, as the maximum of three slices: the gradient of a windowed reduction
    is 4 times slower on CPU.

    Args:
      x: [B, H, W, C].
      padding: (before, after) of both axes, 'SAME' or 'VALID'.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        if padding == "SAME":
            total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
            before, after = total // 2, total - total // 2
        else:
            before, after = (0, 0) if padding == "VALID" else padding
        pads = [(0, 0)] * 4
        pads[axis] = (before, after)
        x = jnp.pad(x, pads, constant_values=-np.inf)
        out = (x.shape[axis] - 3) // 2 + 1
        parts = (jax.lax.slice_in_dim(x, k, k + 2 * (out - 1) + 1, 2, axis=axis) for k in range(3))
        a, b, c = parts
        x = jnp.maximum(jnp.maximum(a, b), c)
    return x
