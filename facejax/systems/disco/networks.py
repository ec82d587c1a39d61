"""StyleGAN's generator and discriminator as DiscoFaceGAN has them, with progressive growing.

Karras et al. 2019 (arXiv 1812.04948), changed as in Deng et al. 2020 (arXiv 2004.11660): the
mapping network takes face coefficients and noise, not normalised, and no styles are mixed.
Parameter names are those of the published checkpoints, so that a converter only renames and
reorders. `stage` is log2 of the training resolution and static; `alpha` in [0, 1] is traced: 1
shows only the previous stage, 0 only this one (alpha = lod - floor(lod)). Each stage runs at its
own resolution.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.image.filters import correlate_axis
from facejax.image.resample import downsample2, upsample2
from facejax.nn.equalized import (
    SQRT2,
    EqualizedConv,
    EqualizedDense,
    conv2d,
    leaky_relu,
    minibatch_stddev,
    upscale_conv2d,
)
from facejax.nn.init import abstract_params, equalized_rule, init_params

_BLUR = np.array([0.25, 0.5, 0.25])
_INSTANCE_EPSILON = 1e-8


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What the shapes of both networks depend on.

    Attributes:
      resolution: of the final pictures, a power of two, pixels.
      latent_size: numbers that the mapping network takes: coefficients and noise.
      dlatent_size: length of a style vector w.
      mapping_layers, mapping_fmaps: number and width of the mapping network's layers; the last one
        has `dlatent_size` features.
      mapping_lrmul: factor on the learning rate of the mapping network.
      fmap_base, fmap_decay, fmap_max: channels at level s are
        min(fmap_base / 2^(s * fmap_decay), fmap_max).
      mbstd_group: minibatch-stddev group size; `mbstd_strided` takes the original's group order.
      dtype: of the activations, 'float32' or 'bfloat16'; parameters and outputs stay float32.
    """

    resolution: int = 256
    latent_size: int = 286
    dlatent_size: int = 512
    mapping_layers: int = 8
    mapping_fmaps: int = 512
    mapping_lrmul: float = 0.01
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    mbstd_group: int = 4
    mbstd_strided: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        r = self.resolution
        if r < 4 or r & (r - 1):
            low = 2 ** max(2, int(math.log2(max(r, 4))))
            raise ValueError(
                f"resolution must be a power of two of at least 4, found {r}: the nearest are "
                f"{low} and {2 * low}"
            )
        if self.mapping_layers < 1:
            raise ValueError(f"mapping_layers must be at least 1, found {self.mapping_layers}")

    @property
    def resolution_log2(self) -> int:
        """log2 of the final resolution."""
        return self.resolution.bit_length() - 1

    @property
    def num_layers(self) -> int:
        """Layers of the generator that take a style: two per resolution."""
        return layers_of(self.resolution_log2)

    def nf(self, level: int) -> int:
        """Channels at a level."""
        return min(int(self.fmap_base / 2.0 ** (level * self.fmap_decay)), self.fmap_max)

    def lod(self, r: int) -> int:
        """Level of detail of a resolution's log2: 0 at the final resolution."""
        return self.resolution_log2 - r


def layers_of(stage: int) -> int:
    """Styled layers of the generator up to a stage."""
    return 2 * (stage - 1)


def noise_sizes(stage: int) -> list[int]:
    """Side in pixels of the noise map of each layer up to a stage."""
    return [2 ** (2 + i // 2) for i in range(layers_of(stage))]


def blur(x: jax.Array) -> jax.Array:
    """Binomial 3x3 filter, zeros outside; [N, H, W, C]."""
    return correlate_axis(correlate_axis(x, _BLUR, 1, "constant"), _BLUR, 2, "constant")


def instance_norm(x: jax.Array) -> jax.Array:
    """Every channel of a picture less its mean, over its standard deviation; [N, H, W, C].

    Statistics are float32.
    """
    x32 = x.astype(jnp.float32)
    x32 = x32 - jnp.mean(x32, axis=(1, 2), keepdims=True)
    square = jnp.mean(x32 * x32, axis=(1, 2), keepdims=True)
    return (x32 * jax.lax.rsqrt(square + _INSTANCE_EPSILON)).astype(x.dtype)


class Mapping(nn.Module):
    """Coefficients and noise to a style vector."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        """[N, latent_size] -> [N, dlatent_size], float32."""
        c, x = self.cfg, latents.astype(self.cfg.dtype)
        for i in range(c.mapping_layers):
            features = c.dlatent_size if i == c.mapping_layers - 1 else c.mapping_fmaps
            layer = EqualizedDense(features, lrmul=c.mapping_lrmul, name=f"Dense{i}")
            x = leaky_relu(layer(x))
        return x.astype(jnp.float32)


class _NoiseStrength(nn.Module):
    """Noise [N or 1, H, W, 1] times a strength per channel."""

    features: int

    @nn.compact
    def __call__(self, noise):
        strength = self.param("weight", nn.initializers.zeros, (self.features,), jnp.float32)
        return noise * strength.astype(noise.dtype).reshape(1, 1, 1, -1)


class _StyledLayer(nn.Module):
    """A convolution, or the learned constant, then noise, bias, rectifier, norm and style."""

    features: int
    mode: str  # 'const', 'same' or 'up'

    @nn.compact
    def __call__(self, x, style, noise):
        """x [N, H, W, C] (None for 'const'), style [N, D], noise [N or 1, H', W', 1]."""
        features = self.features
        if self.mode == "const":
            const = self.param("const", nn.initializers.ones, (4, 4, features), jnp.float32)
            x = jnp.broadcast_to(const.astype(style.dtype), (len(style), 4, 4, features))
        else:
            shape = (3, 3, x.shape[-1], features)
            w = self.param("weight", nn.initializers.normal(1.0), shape, jnp.float32)
            w = (w * (SQRT2 / math.sqrt(9 * x.shape[-1]))).astype(x.dtype)
            x = blur(upscale_conv2d(x, w)) if self.mode == "up" else conv2d(x, w)
        x = x + _NoiseStrength(features, name="Noise")(noise.astype(x.dtype))
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        x = instance_norm(leaky_relu(x + bias.astype(x.dtype).reshape(1, 1, 1, -1)))
        s = EqualizedDense((2, features), 1.0, flat_bias=True, name="StyleMod")(style)
        return x * (s[:, None, None, 0] + 1) + s[:, None, None, 1]


class _Block(nn.Module):
    """Both layers of a resolution; its name is the parameter scope."""

    features: int
    layers: tuple[tuple[str, str], ...]  # (name, mode)

    @nn.compact
    def __call__(self, x, styles, noise):
        for i, (name, mode) in enumerate(self.layers):
            x = _StyledLayer(self.features, mode, name=name)(x, styles[:, i], noise[i])
        return x


class Synthesis(nn.Module):
    """Styles and noise maps to pictures."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, styles: jax.Array, noise: Sequence[jax.Array], alpha, stage: int):
        """Pictures of one stage.

        Args:
          styles: [N, L, dlatent_size], L at least `layers_of(stage)`; one per layer, from coarse
            to fine.
          noise: maps [N or 1, S, S, 1] of as many layers, S as `noise_sizes` says.
          alpha: scalar in [0, 1], share of the previous stage.
          stage: log2 of the resolution, 2..resolution_log2.

        Returns:
          [N, 2^stage, 2^stage, 3] float32, about [-1, 1]; no output non-linearity.
        """
        c = self.cfg
        styles = styles.astype(c.dtype)
        last = c.resolution_log2 if self.is_initializing() else stage
        x, images = None, {}
        for r in range(2, last + 1):
            i = layers_of(r) - 2
            names = (("Const", "const"), ("Conv", "same"))
            if r > 2:
                names = (("Conv0_up", "up"), ("Conv1", "same"))
            block = _Block(c.nf(r - 1), names, name=f"{2**r}x{2**r}")
            x = block(x, styles[:, i : i + 2], noise[i : i + 2])
            if r >= stage - 1 or self.is_initializing():
                to_rgb = EqualizedConv(3, 1, gain=1.0, name=f"ToRGB_lod{c.lod(r)}")
                images[r] = to_rgb(x).astype(jnp.float32)
        if stage == 2:
            return images[2]
        return images[stage] + (upsample2(images[stage - 1]) - images[stage]) * alpha


class _Down(nn.Module):
    """The discriminator's layers of a resolution."""

    features: int
    next_features: int

    @nn.compact
    def __call__(self, x):
        x = leaky_relu(EqualizedConv(self.features, name="Conv0")(x))
        layer = EqualizedConv(self.next_features, mode="down", name="Conv1_down")
        return leaky_relu(layer(blur(x)))


class _Head(nn.Module):
    """The discriminator's 4x4 block: minibatch stddev, convolution, two dense layers."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, x):
        c = self.cfg
        if c.mbstd_group > 1:
            x = minibatch_stddev(x, c.mbstd_group, c.mbstd_strided)
        x = leaky_relu(EqualizedConv(c.nf(1), name="Conv")(x))
        x = x.reshape(x.shape[0], -1)  # (y, x, channel)
        x = leaky_relu(EqualizedDense(c.nf(0), name="Dense0")(x))
        return EqualizedDense(1, 1.0, name="Dense1")(x)


class Discriminator(nn.Module):
    """Pictures to realness scores."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, images: jax.Array, alpha, stage: int) -> jax.Array:
        """Scores of pictures at a stage's own resolution.

        Args:
          images: [N, 2^stage, 2^stage, 3] in [-1, 1].
          alpha: scalar in [0, 1], share of the previous stage's input.
          stage: log2 of the resolution.

        Returns:
          [N] float32, higher is more real.
        """
        c = self.cfg

        def from_rgb(r, image):
            layer = EqualizedConv(c.nf(r - 1), 1, name=f"FromRGB_lod{c.lod(r)}")
            return leaky_relu(layer(image.astype(c.dtype)))

        first = c.resolution_log2 if self.is_initializing() else stage
        x = from_rgb(first, images)
        for r in range(first, 2, -1):
            x = _Down(c.nf(r - 1), c.nf(r - 2), name=f"{2**r}x{2**r}")(x)
            if r == first or self.is_initializing():
                images = downsample2(images)
                x = x + (from_rgb(r - 1, images) - x) * jnp.asarray(alpha).astype(x.dtype)
        return _Head(c, name="4x4")(x).astype(jnp.float32)[:, 0]


def _noise_shapes(stage: int) -> tuple:
    return tuple(jax.ShapeDtypeStruct((1, n, n, 1), jnp.float32) for n in noise_sizes(stage))


def _init_calls(cfg: NetworkConfig) -> dict:
    """{name: (Flax init with every stage touched, abstract inputs)}."""
    stage = cfg.resolution_log2
    f32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    return {
        "mapping": (Mapping(cfg).init, f32((4, cfg.latent_size))),
        "synthesis": (
            lambda key, w, noise: Synthesis(cfg).init(key, w, noise, 0.0, stage),
            f32((4, cfg.num_layers, cfg.dlatent_size)),
            _noise_shapes(stage),
        ),
        "disc": (
            lambda key, x: Discriminator(cfg).init(key, x, 0.0, stage),
            f32((4, cfg.resolution, cfg.resolution, 3)),
        ),
    }


def abstract_parameters(cfg: NetworkConfig) -> dict:
    """{'gen': tree, 'disc': tree} of shapes, at no cost in numbers or memory."""
    found = {name: abstract_params(*call) for name, call in _init_calls(cfg).items()}
    return {"gen": {k: found[k] for k in ("mapping", "synthesis")}, "disc": found["disc"]}


def init_generator(cfg: NetworkConfig, seed: int) -> dict:
    """{'mapping', 'synthesis'}: all parameters, every stage included, numpy arrays."""
    calls = _init_calls(cfg)

    def mapping_rule(name, shape, rng):
        return equalized_rule(name, shape, rng) / cfg.mapping_lrmul

    rules = {"mapping": mapping_rule, "synthesis": _synthesis_rule}
    return {
        name: init_params(calls[name][0], seed, rule, *calls[name][1:])
        for name, rule in rules.items()
    }


def _synthesis_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Weights N(0, 1), the constant one, noise without effect, styles at rest."""
    if name.endswith("/const"):
        return np.ones(shape)
    return np.zeros(shape) if "/Noise/" in name else equalized_rule(name, shape, rng)


def init_discriminator(cfg: NetworkConfig, seed: int) -> dict:
    """All parameters of the discriminator, every stage included: nested dicts of numpy arrays."""
    init, *inputs = _init_calls(cfg)["disc"]
    return init_params(init, seed, equalized_rule, *inputs)


def init_noise(cfg: NetworkConfig, seed: int) -> tuple[np.ndarray, ...]:
    """The noise maps that pictures are made with after training: [1, S, S, 1] each, normal."""
    rng = np.random.default_rng([seed, 0x6E6F6973])
    return tuple(
        rng.standard_normal((1, n, n, 1)).astype(np.float32)
        for n in noise_sizes(cfg.resolution_log2)
    )


def noise_dict(maps: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Noise maps by name, in whose order they are used: what a checkpoint holds."""
    return {f"layer{i:02d}": a for i, a in enumerate(maps)}


def example_noise(keys: jax.Array, stage: int) -> tuple[jax.Array, ...]:
    """Fresh noise maps of single examples.

    Args:
      keys: [N], one per example.
      stage: log2 of the resolution.

    Returns:
      [N, S, S, 1] per layer.
    """
    sizes = noise_sizes(stage)
    total = sum(n * n for n in sizes)
    flat = jax.vmap(lambda key: jax.random.normal(key, (total,)))(keys)
    ends = np.cumsum([n * n for n in sizes])[:-1].tolist()
    parts = jnp.split(flat, ends, axis=-1)
    return tuple(p.reshape(-1, n, n, 1) for p, n in zip(parts, sizes, strict=True))


def styles_of(cfg: NetworkConfig, gen: dict, latents: jax.Array) -> jax.Array:
    """Styles [N, L, dlatent_size], the same for every layer, of latents [N, latent_size].

    Args:
      cfg: of the network.
      gen: parameters with 'mapping'.
      latents: coefficients and noise.
    """
    w = Mapping(cfg).apply({"params": gen["mapping"]}, latents)
    return jnp.broadcast_to(w[:, None], (len(w), cfg.num_layers, w.shape[-1]))


def pictures_of(
    cfg: NetworkConfig, gen: dict, styles: jax.Array, noise: Sequence[jax.Array], alpha, stage: int
) -> jax.Array:
    """`Synthesis` with the parameters gen['synthesis']."""
    return Synthesis(cfg).apply({"params": gen["synthesis"]}, styles, noise, alpha, stage)


def scores_of(cfg: NetworkConfig, disc: dict, images: jax.Array, alpha, stage: int) -> jax.Array:
    """`Discriminator` with the parameters `disc`."""
    return Discriminator(cfg).apply({"params": disc}, images, alpha, stage)


def truncate_identity(
    styles: jax.Array, identity: jax.Array, average: jax.Array, rate: float, layers: int = 8
) -> jax.Array:
    """Styles moved toward the average person, everything else kept ("attribute-preserving").

    Args:
      styles: [N, L, D] of whole coefficients.
      identity: [N, L, D] of the same identities with expression, pose, light and noise at zero.
      average: [1, L, D], the mean of such styles over people (with random noise, as published).
      rate: 1 keeps the styles, 0 gives everybody the average identity.
      layers: how many of the coarse layers move.
    """
    moved = styles + (average - identity) * (1.0 - rate)
    return jnp.concatenate([moved[:, :layers], styles[:, layers:]], axis=1)


def active_parameters(cfg: NetworkConfig, params: dict, resolution: int) -> int:
    """Number of parameters of one network that a stage trains.

    Args:
      cfg: of both networks.
      params: the discriminator's, or the generator's 'mapping' or 'synthesis'.
      resolution: of the stage, pixels.
    """
    stage, total = resolution.bit_length() - 1, 0
    for name, tree in params.items():
        if "RGB" in name:
            active = cfg.resolution_log2 - int(name.split("lod")[1]) in (stage, stage - 1)
        else:
            active = name.startswith("Dense") or int(name.split("x")[0]) <= resolution
        total += active * sum(x.size for x in jax.tree.leaves(tree))
    return total
