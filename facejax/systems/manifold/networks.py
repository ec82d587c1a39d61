"""Denoising networks over coefficient vectors (Dinashi, Toosi, Akhaee 2019, arXiv 1910.01403).

The autoencoders read a coefficient vector as a one-channel signal: convolutions of width 3 with
max-pooling, and back with unpooling at the remembered positions. There are no activation functions:
the switches of the pools are the only non-linearity.

The gated network is ours. It has the form of the best estimate under sparse corruption: how much to
believe of each component, then one linear map of what is believed.

Activations are [B, length, channels]. A convolution's kernel is [3, in, out], applied as a
correlation; the transposed convolutions are stored as the correlations that they equal.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WIDTHS = {"autoencoder4": (8, 16, 32, 64), "autoencoder3": (32, 64, 128)}
KINDS = (*WIDTHS, "gated", "mlp")
_TAPS = 3


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """A denoiser.

    Attributes:
      kind: 'autoencoder4' (16,353 parameters) and 'autoencoder3' (61,953) as published; 'gated',
        out = W (gate * x) + b with gates in [0, 1] from two hidden ReLU layers that see x and |x|;
        'mlp', two hidden ReLU layers.
      length: n, the number of coefficients.
      hidden: width of the hidden layers of 'gated' and 'mlp'.
    """

    kind: str = "autoencoder4"
    length: int = 80
    hidden: int = 256

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"found the network {self.kind!r}, wanted one of {KINDS}")
        levels = len(WIDTHS.get(self.kind, ()))
        size = self.length
        for _ in range(levels):
            size = (size if self.kind == "autoencoder4" else size - 2) // 2
        if size < 1:
            raise ValueError(
                f"found {self.length} coefficients, too few for the {levels} pools of "
                f"{self.kind!r}; use kind 'mlp' or a model with more components"
            )


def init(net: NetworkConfig, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Numpy parameters by the default rule of torch: all uniform in +-1/sqrt(fan_in).

    For transposed convolutions that rule takes 3 * (output channels) for fan_in. The linear map of
    'gated' starts at half the identity.

    Args:
      net: the network.
      seed: any integer.

    Returns:
      {layer: {'kernel', 'bias'}} float32.
    """
    rng = np.random.default_rng(seed)

    def layer(kernel_shape, fan_in):
        bound = 1 / np.sqrt(fan_in)
        return {
            "kernel": rng.uniform(-bound, bound, kernel_shape).astype(np.float32),
            "bias": rng.uniform(-bound, bound, kernel_shape[-1]).astype(np.float32),
        }

    if net.kind in ("gated", "mlp"):
        n = net.length
        sizes = (2 * n if net.kind == "gated" else n, net.hidden, net.hidden, n)
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        params = {f"dense_{i}": layer((a, b), a) for i, (a, b) in enumerate(pairs, 1)}
        if net.kind == "gated":
            half = 0.5 * np.eye(n, dtype=np.float32)
            params["linear"] = {"kernel": half, "bias": np.zeros(n, np.float32)}
        return params
    widths = (1, *WIDTHS[net.kind])
    params = {}
    for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
        params[f"conv_{i}"] = layer((_TAPS, a, b), _TAPS * a)
    back = widths[::-1]
    for i, (a, b) in enumerate(zip(back[:-1], back[1:], strict=True), 1):
        params[f"deconv_{i}"] = layer((_TAPS, a, b), _TAPS * b)
    return params


def apply(net: NetworkConfig, params: Mapping[str, Any], x: jax.Array) -> jax.Array:
    """Denoised vectors.

    Args:
      net: the network.
      params: from `init` or `from_torch`.
      x: [..., n], in the unit of the network (see `denoise` for coefficients).

    Returns:
      The shape of `x`.
    """
    if x.shape[-1] != net.length:
        raise ValueError(
            f"found vectors of length {x.shape[-1]}, wanted {net.length}: the network was made for "
            "another number of coefficients"
        )
    if net.kind == "gated":
        gate = jax.nn.sigmoid(_mlp(params, jnp.concatenate([x, jnp.abs(x)], axis=-1)))
        return _dense(params["linear"], gate * x)
    if net.kind == "mlp":
        return _mlp(params, x)
    pooled, switches, lengths = encode(net, params, x)
    h = pooled[-1]
    pad = 1 if net.kind == "autoencoder4" else 2
    for i in range(len(switches)):
        h = unpool(h, switches[-1 - i], lengths[-1 - i])
        h = _conv(params[f"deconv_{i + 1}"], h, pad)
    return h[..., 0].reshape(x.shape)


def encode(net: NetworkConfig, params: Mapping[str, Any], x: jax.Array):
    """The pooled activations of an autoencoder.

    Args:
      net: an autoencoder.
      params: its parameters.
      x: [..., n].

    Returns:
      Lists over the levels: pooled values [B, length // 2, channels]; switches of the same shape,
      True where the second of two neighbours was larger; the static lengths before pooling.
    """
    h = x.reshape(-1, net.length, 1)
    pad = 1 if net.kind == "autoencoder4" else 0
    pooled, switches, lengths = [], [], []
    for i in range(len(WIDTHS[net.kind])):
        h = _conv(params[f"conv_{i + 1}"], h, pad)
        lengths.append(h.shape[-2])
        h, second = pool(h)
        pooled.append(h)
        switches.append(second)
    return pooled, switches, lengths


def pool(h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maxima of neighbouring pairs along the length and which of the two it was.

    Args:
      h: [B, length, C]; an odd last position is dropped.

    Returns:
      [B, length // 2, C] values, and bool: True where the second is larger (ties: the first).
    """
    half = h.shape[-2] // 2
    first, second = (h[..., k : 2 * half : 2, :] for k in (0, 1))
    switch = second > first
    return jnp.where(switch, second, first), switch


def unpool(h: jax.Array, switch: jax.Array, length: int) -> jax.Array:
    """Puts values back where `pool` took them from, zeros elsewhere.

    Args:
      h, switch: [B, length // 2, C].
      length: before pooling.

    Returns:
      [B, length, C].
    """
    zero = jnp.zeros_like(h)
    pairs = jnp.stack([jnp.where(switch, zero, h), jnp.where(switch, h, zero)], axis=-2)
    flat = pairs.reshape(h.shape[0], 2 * h.shape[1], h.shape[2])
    return jnp.pad(flat, ((0, 0), (0, length - flat.shape[1]), (0, 0)))


def _mlp(params, x):
    h = jax.nn.relu(_dense(params["dense_1"], x))
    h = jax.nn.relu(_dense(params["dense_2"], h))
    return _dense(params["dense_3"], h)


def _dense(layer, x):
    out = x @ layer["kernel"]
    return out + jnp.broadcast_to(layer["bias"], out.shape)


def _conv(layer, h, pad):
    """Correlation of [B, L, in] with [3, in, out], `pad` zeros on both ends.

    As one matrix product of shifted copies: several times faster than a convolution on CPU.
    """
    h = jnp.pad(h, ((0, 0), (pad, pad), (0, 0)))
    out = h.shape[-2] - _TAPS + 1
    taps = jnp.concatenate([h[:, k : k + out] for k in range(_TAPS)], axis=-1)
    kernel = layer["kernel"]
    return _dense({"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": layer["bias"]}, taps)


def denoise(
    net: NetworkConfig,
    params: Mapping[str, Any],
    scale: jax.Array,
    coefficients: jax.Array,
    strength: float | jax.Array = 1.0,
    times: int | jax.Array = 1,
) -> jax.Array:
    """Denoised coefficients in their own unit.

    Args:
      net: the network.
      params: its parameters.
      scale: [n]; the network works on coefficients / scale.
      coefficients: [..., n].
      strength: how far to go, p + strength * (f(p) - p); 1 is the network's output.
      times: how often, each time from where the last one ended.

    Returns:
      The shape of `coefficients`.
    """
    coefficients = jnp.asarray(coefficients)
    scale = jnp.broadcast_to(scale, coefficients.shape)

    def step(_, p):
        return p + strength * (apply(net, params, p / scale) * scale - p)

    return jax.lax.fori_loop(0, times, step, coefficients)


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Parameters of a torch state_dict of AutoEncoder4 or AutoEncoder3.

    Args:
      state: 'conv_i.weight' [out, in, 3], 'deconv_i.weight' [in, out, 3], 'conv_i.bias', ...

    Returns:
      As `init` makes them.
    """
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in state.items():
        layer, field = name.rsplit(".", 1)
        value = np.asarray(value, np.float32)
        if field == "weight" and layer.startswith("deconv"):
            value = value[..., ::-1].transpose(2, 0, 1)
        elif field == "weight":
            value = value.transpose(2, 1, 0)
        params.setdefault(layer, {})["kernel" if field == "weight" else "bias"] = (
            np.ascontiguousarray(value)
        )
    return params
