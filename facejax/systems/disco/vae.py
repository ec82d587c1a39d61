"""Variational autoencoders that turn normal latents into realistic face coefficients.

Deng et al. 2020 (arXiv 2004.11660, section 3.1): one small network per factor, trained on
coefficients of photos and frozen afterwards. Coefficients are not normalised; a learned scalar, the
noise of what is decoded, balances both terms of the loss.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.nn.init import init_params
from facejax.nn.precision import cast, uncast
from facejax.systems.disco.factors import NAMES, Factors, FactorSizes, split_latents

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LAYERS = 3
_LEAST_PROBABILITY = 1e-8  # inside the logarithms of the cross entropy


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of one autoencoder.

    Attributes:
      size: coefficients.
      latent_size: latents.
      hidden: width of all hidden layers.
    """

    size: int
    latent_size: int
    hidden: int


def vae_configs(sizes: FactorSizes, hidden: Factors) -> Factors:
    """The autoencoder of each factor; `hidden` are their widths, 512, 256, 32, 128 as published."""
    return Factors(*map(VAEConfig, sizes.coefficients, sizes.latents, hidden))


class _MLP(nn.Module):
    """Hidden layers with rectifiers, then linear heads side by side."""

    hidden: int
    heads: tuple[tuple[str, int], ...]

    @nn.compact
    def __call__(self, x):
        for i in range(_LAYERS):
            x = nn.relu(nn.Dense(self.hidden, name=f"fc{i}")(x))
        return tuple(nn.Dense(size, name=name)(x) for name, size in self.heads)


def _encoder(cfg: VAEConfig) -> _MLP:
    return _MLP(cfg.hidden, (("mean", cfg.latent_size), ("log_sd", cfg.latent_size)))


def _decoder(cfg: VAEConfig) -> _MLP:
    return _MLP(cfg.hidden, (("x_hat", cfg.size),))


def _glorot(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if not name.endswith("kernel"):
        return np.zeros(shape)
    limit = math.sqrt(6.0 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def init_vae(cfg: VAEConfig, seed: int) -> dict:
    """{'encoder', 'decoder', 'log_gamma'} of one autoencoder, numpy arrays."""
    x = jax.ShapeDtypeStruct((1, cfg.size), jnp.float32)
    z = jax.ShapeDtypeStruct((1, cfg.latent_size), jnp.float32)
    return {
        "encoder": init_params(_encoder(cfg).init, seed, _glorot, x),
        "decoder": init_params(_decoder(cfg).init, seed + 1, _glorot, z),
        "log_gamma": np.zeros((), np.float32),
    }


def encode(
    cfg: VAEConfig, params: dict, x: jax.Array, dtype: str = "float32"
) -> tuple[jax.Array, jax.Array]:
    """Mean and log standard deviation [B, latent_size] of the latents of coefficients [B, size]."""
    variables, x = cast(({"params": params["encoder"]}, jnp.asarray(x)), dtype)
    return uncast(_encoder(cfg).apply(variables, x))


def decode(cfg: VAEConfig, params: dict, z: jax.Array, dtype: str = "float32") -> jax.Array:
    """Coefficients [B, size] of latents [B, latent_size], without the decoder's noise."""
    variables, z = cast(({"params": params["decoder"]}, jnp.asarray(z)), dtype)
    return uncast(_decoder(cfg).apply(variables, z)[0])


def vae_loss(
    cfg: VAEConfig,
    params: dict,
    x: jax.Array,
    eps: jax.Array,
    cross_entropy: bool = False,
    dtype: str = "float32",
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """KL divergence and negative log density of what is decoded (spec of the program).

    The total may be negative: it is a density, whose width exp(log_gamma) is learned.

    Args:
      cfg: sizes.
      params: see `init_vae`.
      x: [B, size] coefficients.
      eps: [B, latent_size] normal.
      cross_entropy: the program's other second term, for data in [0, 1]: binary cross entropy.
      dtype: in which both networks compute.

    Returns:
      Mean over the batch, and its terms: 'kl', 'gen' and the width 'gamma'.
    """
    mean, log_sd = encode(cfg, params, x, dtype)
    z = mean + jnp.exp(log_sd) * eps
    decoded = decode(cfg, params, z, dtype)
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) - 2 * log_sd - 1, axis=-1)
    log_gamma = params["log_gamma"]
    if cross_entropy:
        low = _LEAST_PROBABILITY
        gen = -x * jnp.log(jnp.maximum(decoded, low))
        gen = gen - (1 - x) * jnp.log(jnp.maximum(1 - decoded, low))
    else:
        gen = 0.5 * (x - decoded) ** 2 * jnp.exp(-2 * log_gamma) + log_gamma + _HALF_LOG_2PI
    kl, gen = jnp.mean(kl), jnp.mean(jnp.sum(gen, axis=-1))
    return kl + gen, {"kl": kl, "gen": gen, "gamma": jnp.exp(log_gamma)}


def kl_per_latent(cfg: VAEConfig, params: dict, x: jax.Array) -> jax.Array:
    """[latent_size] mean KL divergence of each latent over coefficients [B, size].

    A latent below 0.1 carries nothing: the encoder leaves it at the prior.
    """
    mean, log_sd = encode(cfg, params, x)
    return 0.5 * jnp.mean(mean**2 + jnp.exp(2 * log_sd) - 2 * log_sd - 1, axis=0)


def decode_factors(cfgs: Factors, params: dict, z: Factors) -> Factors:
    """Coefficients by factor of latents by factor; no gradient flows into the networks.

    Args:
      cfgs: see `vae_configs`.
      params: {factor: tree}.
      z: [B, n] each.
    """
    params = jax.lax.stop_gradient(params)
    found = (decode(getattr(cfgs, k), params[k], getattr(z, k)) for k in NAMES)
    return Factors(*map(jax.lax.stop_gradient, found))


def decode_latents(cfgs: Factors, params: dict, z: jax.Array, sizes: FactorSizes) -> Factors:
    """`decode_factors` of joined latents [B, num_latents]."""
    return decode_factors(cfgs, params, split_latents(z, sizes))
