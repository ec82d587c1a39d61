"""Layers of progressive GANs: equalised learning rate, pixel norm, minibatch standard deviation.

Source: Karras et al., Progressive Growing of GANs (ICLR 2018), sections 3, 4.1, 4.2. Weights are
stored unscaled, N(0, 1), and multiplied by `gain / sqrt(fan_in)` when used. Images are NHWC,
kernels HWIO.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from facejax.image.resample import downsample2, upsample2

SQRT2 = math.sqrt(2.0)  # He's gain for (leaky) rectifiers


def leaky_relu(x: jax.Array) -> jax.Array:
    """max(0.2 x, x), any shape."""
    return jnp.maximum(0.2 * x, x)


def pixel_norm(x: jax.Array, eps: float = 1e-8) -> jax.Array:
    """Each vector along the last axis divided by its root mean square, in float32; [..., C]."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)).astype(x.dtype)


def fade_reals(images: jax.Array, alpha: jax.Array) -> jax.Array:
    """Real images [N, H, W, C] as they enter a fading stage: lerp(them, their 2x2 means, alpha)."""
    return images + (upsample2(downsample2(images)) - images) * alpha


def minibatch_stddev(x: jax.Array, group_size: int, strided: bool = False) -> jax.Array:
    """Appends one channel: the mean standard deviation of the features within a group.

    Args:
      x: [N, H, W, C] features; N at most `group_size` or divisible by it.
      group_size: examples per group.
      strided: False forms groups of neighbouring examples, which stay on one device when the batch
        is sharded; True the original's groups (m, m + M, m + 2M, ...) of M = N / group_size.

    Returns:
      [N, H, W, C + 1].

    Raises:
      ValueError: N is larger than the group size and not divisible by it.
    """
    n, h, w, _ = x.shape
    g = min(group_size, n)
    if n % g:
        raise ValueError(
            f"a batch of {n} cannot be cut into minibatch-stddev groups of {group_size}: choose a "
            f"batch size that is at most {group_size} or divisible by it"
        )
    shape, axis = ((g, n // g), 0) if strided else ((n // g, g), 1)
    y = x.astype(jnp.float32).reshape(*shape, *x.shape[1:])
    y = y - jnp.mean(y, axis=axis, keepdims=True)
    y = jnp.sqrt(jnp.mean(y * y, axis=axis) + 1e-8)  # population standard deviation
    y = jnp.mean(y, axis=(1, 2, 3)).astype(x.dtype)  # [groups]
    y = jnp.tile(y, g) if strided else jnp.repeat(y, g)
    y = jnp.broadcast_to(y.reshape(n, 1, 1, 1), (n, h, w, 1))
    return jnp.concatenate([x, y], axis=-1)


def conv2d(x: jax.Array, w: jax.Array) -> jax.Array:
    """Stride 1, 'SAME'; x [N, H, W, I], w [kh, kw, I, O]. 1x1 is a matrix product: 2x on CPU."""
    if w.shape[:2] == (1, 1):
        return x @ w[0, 0]
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def upscale_conv2d(x: jax.Array, w: jax.Array) -> jax.Array:
    """Nearest-neighbour 2x upscale, then a 'SAME' convolution: [N, H, W, I] -> [N, 2H, 2W, O].

    One 2x2 convolution of summed taps would need 16 instead of 36 multiplications per weight; XLA's
    CPU convolutions made that 1.3 to 2.7 times slower in training.
    """
    return conv2d(upsample2(x), w)


def conv2d_downscale(x: jax.Array, w: jax.Array) -> jax.Array:
    """A 'SAME' convolution, then a 2x2 mean: [N, H, W, I] -> [N, H / 2, W / 2, O]; even H, W."""
    return downsample2(conv2d(x, w))


def _add_bias(x: jax.Array, b: jax.Array) -> jax.Array:
    return x + b.astype(x.dtype).reshape((1,) * (x.ndim - 1) + b.shape)


class EqualizedConv(nn.Module):
    """Convolution with run-time scaled weights and a bias.

    Attributes:
      features: output channels.
      kernel_size: 1 or 3.
      mode: 'same', 'up' (2x nearest upscale first) or 'down' (2x2 mean afterwards).
      gain: of the equalised learning rate; sqrt(2) in front of a rectifier, else 1.
      equalized: False initialises at the scaled size instead and uses the weights as they are.
    """

    features: int
    kernel_size: int = 3
    mode: str = "same"
    gain: float = SQRT2
    equalized: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k, c = self.kernel_size, x.shape[-1]
        std = self.gain / math.sqrt(k * k * c)
        init = nn.initializers.normal(1.0 if self.equalized else std)
        w = self.param("weight", init, (k, k, c, self.features), jnp.float32)
        b = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        w = (w * std if self.equalized else w).astype(x.dtype)
        conv = {"same": conv2d, "up": upscale_conv2d, "down": conv2d_downscale}[self.mode]
        return _add_bias(conv(x, w), b)


class EqualizedDense(nn.Module):
    """Matrix product with run-time scaled weights; `bias_features` biases repeat over the outputs.

    Attributes:
      features: output size (an int, or a shape that the output is reshaped to).
      gain: of the equalised learning rate.
      equalized: as in EqualizedConv.
      lrmul: factor on the learning rate of this layer; weights should start at N(0, 1 / lrmul)
        (Karras et al. 2019, appendix C).
      flat_bias: one bias for every output, also where `features` is a shape.
    """

    features: int | tuple[int, ...]
    gain: float = SQRT2
    equalized: bool = True
    lrmul: float = 1.0
    flat_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.features,) if isinstance(self.features, int) else self.features
        std = self.gain / math.sqrt(x.shape[-1])
        init = nn.initializers.normal((1.0 if self.equalized else std) / self.lrmul)
        w = self.param("weight", init, (x.shape[-1], math.prod(shape)), jnp.float32)
        size = math.prod(shape) if self.flat_bias else shape[-1]
        b = self.param("bias", nn.initializers.zeros, (size,), jnp.float32) * self.lrmul
        w = (w * (std if self.equalized else 1.0) * self.lrmul).astype(x.dtype)
        out = x @ w
        if self.flat_bias:
            return _add_bias(out, b).reshape(*x.shape[:-1], *shape)
        return _add_bias(out.reshape(*x.shape[:-1], *shape), b)
