"""The multi-scale patch discriminator of SPADE (Park et al. 2019), as VariTex uses it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.nn.blocks import Conv
from facejax.nn.init import init_torch, only_shapes

_WIDEST = 512
_SLOPE = 0.2  # of the leaky ReLU
_INIT_STREAM = 1


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(x * x)), 1e-12)


class SpectralConv(nn.Module):
    """Convolution whose weights are divided by their largest singular value (Miyato et al. 2018).

    The singular vectors lie in the collection 'spectral': 'u' [out], 'v' [kh, kw, in]. A pass in
    training improves them by one power iteration; they are constants for the gradient.

    Attributes:
      features: output channels.
      stride: of both axes.
      size: of the kernel.
      padding: zeros on every side.
    """

    features: int
    stride: int = 1
    size: int = 4
    padding: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', features]; `train` makes an iteration."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        u_state = self.variable("spectral", "u", np.zeros, shape[-1:], np.float32)
        v_state = self.variable("spectral", "v", np.zeros, shape[:-1], np.float32)
        matrix = kernel.reshape(-1, self.features)
        u, v = u_state.value, v_state.value.reshape(-1)
        if train and not self.is_initializing():
            fixed = jax.lax.stop_gradient(matrix)
            v = _unit(fixed @ u)
            u = _unit(v @ fixed)
            u_state.value, v_state.value = u, v.reshape(shape[:-1])
        kernel = (kernel / (v @ matrix @ u)).astype(x.dtype)
        pad = (self.padding, self.padding)
        return jax.lax.conv_general_dilated(
            x, kernel, (self.stride,) * 2, (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Every channel of every image with mean 0 and variance 1; [B, H, W, C]."""
    x32 = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    x32 = x32 - x32.mean((1, 2), keepdims=True)
    variance = (x32**2).mean((1, 2), keepdims=True)
    return (x32 * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def halve(x: jax.Array) -> jax.Array:
    """Mean over 3x3 with stride 2 of the pixels that exist, [B, H, W, C] -> [B, H', W', C]."""
    for axis in (1, 2):
        size = x.shape[axis]
        out = (size - 1) // 2 + 1
        pads = [(0, 0)] * 4
        pads[axis] = (1, 1)
        padded = jnp.pad(x, pads)
        a, b, c = (
            jax.lax.slice_in_dim(padded, k, k + 2 * (out - 1) + 1, 2, axis=axis) for k in range(3)
        )
        middle = 2 * np.arange(out)
        count = 1 + (middle > 0) + (middle < size - 1)
        shape = [1] * 4
        shape[axis] = out
        x = (a + b + c) / count.reshape(shape).astype(x.dtype)
    return x


class PatchDiscriminator(nn.Module):
    """Images to scores of overlapping patches.

    Attributes:
      width: channels of the first layer; they double up to 512.
      layers: of 4x4 convolutions before the last one.
    """

    width: int = 64
    layers: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
        """The outputs of all layers, the scores [B, h, w, 1] last; x is [B, H, W, 3]."""
        width = self.width
        x = Conv(width, (4, 4), 2, 2, use_bias=True, name="model0")(x)
        found = [nn.leaky_relu(x, _SLOPE)]
        for k in range(1, self.layers):
            width = min(2 * width, _WIDEST)
            stride = 1 if k == self.layers - 1 else 2
            x = SpectralConv(width, stride, name=f"model{k}")(found[-1], train)
            found.append(nn.leaky_relu(instance_norm(x), _SLOPE))
        last = Conv(1, (4, 4), 1, 2, use_bias=True, name=f"model{self.layers}")
        return [*found, last(found[-1])]


class Discriminator(nn.Module):
    """One `PatchDiscriminator` for each of several resolutions.

    Attributes:
      width, layers: see `PatchDiscriminator`.
      scales: each sees the image of the one before at half its size.
    """

    width: int = 64
    layers: int = 4
    scales: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> list[list[jax.Array]]:
        """Per scale, what `PatchDiscriminator` returns; x is [B, H, W, 3], network images."""
        found = []
        for k in range(self.scales):
            x = halve(x) if k else x
            net = PatchDiscriminator(self.width, self.layers, name=f"discriminator_{k}")
            found.append(net(x, train))
        return found


def init_discriminator(net: Discriminator, seed: int, size: int) -> dict[str, Any]:
    """Untrained {'params', 'spectral'} as numpy arrays.

    Args:
      net: the module.
      seed: any integer.
      size: side of the images.
    """
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x), image).get("spectral", {})
    rng = np.random.default_rng([seed, _INIT_STREAM])

    def draw(leaf):
        if only_shapes():
            return leaf
        x = rng.standard_normal(leaf.shape)
        return (x / np.linalg.norm(x)).astype(np.float32)

    return {
        "params": init_torch(net.init, seed, image),
        "spectral": jax.tree.map(draw, shapes),
    }
