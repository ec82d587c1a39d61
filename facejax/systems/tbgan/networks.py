"""Trunk-branch generator and discriminator of TBGAN (Gecer et al., ECCV 2020, arXiv 1909.02215).

Progressive growing as in Karras et al. (ICLR 2018); the highest resolutions split into one branch
per modality (texture, shape, normals). Parameter names are those of the published checkpoints, so
that a converter only renames and transposes. `stage` is log2 of the training resolution and static;
`alpha` in [0, 1] is traced: 1 shows only the previous stage, 0 only this one (alpha = lod -
floor(lod)).
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.image.resample import downsample2, upsample2
from facejax.nn.equalized import (
    SQRT2,
    EqualizedConv,
    EqualizedDense,
    leaky_relu,
    minibatch_stddev,
    pixel_norm,
)
from facejax.nn.init import abstract_params, equalized_rule, init_params


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What the shapes of both networks depend on.

    Attributes:
      resolution: of the final maps, a power of two, pixels.
      modalities: (branch name, channels) in channel order.
      label_size: number of expression labels, 0 for none.
      lod_sep: log2 of the last resolution that all modalities share in the generator.
      fmap_base, fmap_decay, fmap_max: channels per modality at level s are
        min(fmap_base / 2^(s * fmap_decay), fmap_max).
      latent_size: 0 takes the number of channels of the 4x4 block.
      mbstd_group: minibatch-stddev group size; `mbstd_strided` takes the original's group order.
      normalize_latents: pixel norm over latent and label together.
      pixelnorm_epsilon: inside the square root of every pixel norm.
      use_pixelnorm, use_wscale, use_leakyrelu: the original's ablations.
      dtype: of the activations, 'float32' or 'bfloat16'; parameters and outputs stay float32.
    """

    resolution: int = 512
    modalities: tuple[tuple[str, int], ...] = (("tex", 3), ("shp", 3), ("nor", 3))
    label_size: int = 7
    lod_sep: int = 7
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    latent_size: int = 0
    mbstd_group: int = 4
    mbstd_strided: bool = False
    normalize_latents: bool = True
    pixelnorm_epsilon: float = 1e-8
    use_pixelnorm: bool = True
    use_wscale: bool = True
    use_leakyrelu: bool = True
    dtype: str = "float32"

    def __post_init__(self):
        r = self.resolution
        if r < 4 or r & (r - 1):
            low = 2 ** max(2, int(math.log2(max(r, 4))))
            raise ValueError(
                f"resolution must be a power of two of at least 4, found {r}: the nearest are "
                f"{low} and {2 * low}"
            )
        if not self.modalities or any(c < 1 for _, c in self.modalities):
            raise ValueError(
                f"modalities must be (name, channels) pairs with channels of at least 1, found "
                f"{self.modalities}"
            )

    @property
    def resolution_log2(self) -> int:
        """log2 of the final resolution."""
        return self.resolution.bit_length() - 1

    @property
    def num_channels(self) -> int:
        """Channels of the maps over all modalities."""
        return sum(c for _, c in self.modalities)

    @property
    def latents(self) -> int:
        """Length of the latent vector."""
        return self.latent_size or self.nf(0)

    def nf_branch(self, level: int) -> int:
        """Channels per modality at a level."""
        return min(int(self.fmap_base / 2.0 ** (level * self.fmap_decay)), self.fmap_max)

    def nf(self, level: int) -> int:
        """Channels over all modalities at a level."""
        return len(self.modalities) * self.nf_branch(level)

    def lod(self, r: int) -> int:
        """Level of detail of a resolution's log2: 0 at the final resolution."""
        return self.resolution_log2 - r


def network_config(c, dtype: str = "float32") -> NetworkConfig:
    """NetworkConfig of `config.model`; modalities are written 'tex:3,shp:3,nor:3'."""
    fields = dict(c) | {"dtype": dtype}
    fields["modalities"] = tuple(
        (name, int(width)) for name, width in (m.split(":") for m in c.modalities.split(","))
    )
    return NetworkConfig(**fields)


def _split(x: jax.Array, sizes: list[int]) -> list[jax.Array]:
    return jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis=-1)


class _Level(nn.Module):
    """A pair of convolutions, for the trunk or for one branch: its name is the parameter scope."""

    cfg: NetworkConfig
    layers: tuple[tuple[str, int, int, str], ...]  # (name, features, kernel size, mode)
    norm: bool

    @nn.compact
    def __call__(self, x):
        c = self.cfg
        for name, features, kernel, mode in self.layers:
            x = EqualizedConv(features, kernel, mode, equalized=c.use_wscale, name=name)(x)
            x = leaky_relu(x) if c.use_leakyrelu else jax.nn.relu(x)
            if self.norm and c.use_pixelnorm:
                x = pixel_norm(x, c.pixelnorm_epsilon)
        return x


class _Branches(nn.Module):
    """The same convolutions once per modality on its own share of the channels."""

    cfg: NetworkConfig
    layers: tuple[tuple[str, int, int, str], ...]
    norm: bool

    @nn.compact
    def __call__(self, x):
        parts = jnp.split(x, len(self.cfg.modalities), axis=-1)
        parts = [
            _Level(self.cfg, self.layers, self.norm, name=name)(p)
            for (name, _), p in zip(self.cfg.modalities, parts, strict=True)
        ]
        return jnp.concatenate(parts, axis=-1)


class _ToMaps(nn.Module):
    """Per-modality 1x1 convolutions from the branches to the maps."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, x):
        parts = jnp.split(x, len(self.cfg.modalities), axis=-1)
        return jnp.concatenate(
            [
                EqualizedConv(ch, 1, gain=1.0, equalized=self.cfg.use_wscale, name=name)(p)
                for (name, ch), p in zip(self.cfg.modalities, parts, strict=True)
            ],
            axis=-1,
        )


class _FromMaps(nn.Module):
    """Per-modality 1x1 convolutions from the maps to the branches."""

    cfg: NetworkConfig
    features: int  # per branch

    @nn.compact
    def __call__(self, x):
        parts = _split(x, [c for _, c in self.cfg.modalities])
        return jnp.concatenate(
            [
                EqualizedConv(self.features, 1, equalized=self.cfg.use_wscale, name=name)(p)
                for (name, _), p in zip(self.cfg.modalities, parts, strict=True)
            ],
            axis=-1,
        )


class _Base(nn.Module):
    """The generator's 4x4 block."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, x):
        c = self.cfg
        act = leaky_relu if c.use_leakyrelu else jax.nn.relu
        norm = (lambda v: pixel_norm(v, c.pixelnorm_epsilon)) if c.use_pixelnorm else (lambda v: v)
        x = EqualizedDense((4, 4, c.nf(1)), SQRT2 / 4, c.use_wscale, name="Dense")(x)
        x = norm(act(x))
        return norm(act(EqualizedConv(c.nf(1), equalized=c.use_wscale, name="Conv")(x)))


class Generator(nn.Module):
    """Latents and labels to coupled UV maps (tbgan 'G_paper')."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, latents, labels, alpha, stage: int):
        """Maps of one stage.

        Args:
          latents: [N, cfg.latents], standard normal.
          labels: [N, label_size] (or [N, 0]).
          alpha: scalar in [0, 1], share of the previous stage.
          stage: log2 of the resolution, 2..resolution_log2.

        Returns:
          [N, 2^stage, 2^stage, num_channels] float32; no output non-linearity.
        """
        c = self.cfg
        x = jnp.concatenate([latents, labels], axis=-1)
        if c.normalize_latents:
            x = pixel_norm(x, c.pixelnorm_epsilon)
        x = _Base(c, name="4x4")(x.astype(c.dtype))
        maps = {2: x}
        last = c.resolution_log2 if self.is_initializing() else stage
        for r in range(3, last + 1):
            kind, share = (_Level, 1) if r <= c.lod_sep else (_Branches, len(c.modalities))
            layers = (("Conv0_up", 3, "up"), ("Conv1", 3, "same"))
            layers = tuple((n, c.nf(r - 1) // share, k, m) for n, k, m in layers)
            x = kind(c, layers, True, name=f"{2**r}x{2**r}")(x)
            maps[r] = x
        wanted = list(maps) if self.is_initializing() else [r for r in maps if r >= stage - 1]
        out = {}
        for r in wanted:
            name = f"ToRGB_lod{c.lod(r)}"
            if r <= c.lod_sep:
                to_maps = EqualizedConv(
                    c.num_channels, 1, gain=1.0, equalized=c.use_wscale, name=name
                )
            else:
                to_maps = _ToMaps(c, name=name)
            out[r] = to_maps(maps[r]).astype(jnp.float32)
        if stage == 2:
            return out[2]
        return out[stage] + (upsample2(out[stage - 1]) - out[stage]) * alpha


class _Head(nn.Module):
    """The discriminator's 4x4 block: minibatch stddev, convolution, two dense layers."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, x):
        c = self.cfg
        act = leaky_relu if c.use_leakyrelu else jax.nn.relu
        if c.mbstd_group > 1:
            x = minibatch_stddev(x, c.mbstd_group, c.mbstd_strided)
        x = act(EqualizedConv(c.nf(1), equalized=c.use_wscale, name="Conv")(x))
        x = x.reshape(x.shape[0], -1)  # (y, x, channel)
        x = act(EqualizedDense(c.nf(0), equalized=c.use_wscale, name="Dense0")(x))
        return EqualizedDense(1 + c.label_size, 1.0, c.use_wscale, name="Dense1")(x)


class Discriminator(nn.Module):
    """UV maps to a realness score and expression logits (tbgan 'D_paper')."""

    cfg: NetworkConfig

    @nn.compact
    def __call__(self, maps, alpha, stage: int):
        """Scores of maps at a stage's own resolution.

        Args:
          maps: [N, 2^stage, 2^stage, num_channels].
          alpha: scalar in [0, 1], share of the previous stage's input.
          stage: log2 of the resolution.

        Returns:
          score [N] float32 (higher is more real), logits [N, label_size] float32.
        """
        c = self.cfg

        def from_maps(r, image):
            name, features = f"FromRGB_lod{c.lod(r)}", c.nf(r - 1)
            if r >= c.lod_sep - 1:
                layer = _FromMaps(c, features // len(c.modalities), name=name)
            else:
                layer = EqualizedConv(features, 1, equalized=c.use_wscale, name=name)
            y = layer(image.astype(c.dtype))
            return leaky_relu(y) if c.use_leakyrelu else jax.nn.relu(y)

        first = c.resolution_log2 if self.is_initializing() else stage
        image = maps
        x = from_maps(first, image)
        for r in range(first, 2, -1):
            share = len(c.modalities) if r >= c.lod_sep else 1
            layers = (
                ("Conv0", c.nf(r - 1) // share, 3, "same"),
                ("Conv1_down", c.nf(r - 2) // share, 3, "down"),
            )
            kind = _Branches if r >= c.lod_sep else _Level
            x = kind(c, layers, False, name=f"{2**r}x{2**r}")(x)
            if r == first or self.is_initializing():
                image = downsample2(image)
                x = x + (from_maps(r - 1, image) - x) * jnp.asarray(alpha).astype(x.dtype)
        out = _Head(c, name="4x4")(x).astype(jnp.float32)
        return out[:, 0], out[:, 1:]


def _init_calls(cfg: NetworkConfig) -> dict:
    """{group: (Flax init with every stage touched, abstract inputs)}."""
    z = jax.ShapeDtypeStruct((4, cfg.latents), jnp.float32)
    y = jax.ShapeDtypeStruct((4, cfg.label_size), jnp.float32)
    x = jax.ShapeDtypeStruct((4, cfg.resolution, cfg.resolution, cfg.num_channels), jnp.float32)
    stage = cfg.resolution_log2
    return {
        "gen": (lambda key, z, y: Generator(cfg).init(key, z, y, 0.0, stage), z, y),
        "disc": (lambda key, x: Discriminator(cfg).init(key, x, 0.0, stage), x),
    }


def abstract_parameters(cfg: NetworkConfig) -> dict:
    """{'gen': tree, 'disc': tree} of shapes, at no cost in numbers or memory."""
    return {group: abstract_params(*call) for group, call in _init_calls(cfg).items()}


def init_generator(cfg: NetworkConfig, seed: int) -> dict:
    """All parameters of the generator, every stage included, as nested dicts of numpy arrays."""
    init, *inputs = _init_calls(cfg)["gen"]
    return init_params(init, seed, _rule(cfg), *inputs)


def init_discriminator(cfg: NetworkConfig, seed: int) -> dict:
    """All parameters of the discriminator, every stage included: nested dicts of numpy arrays."""
    init, *inputs = _init_calls(cfg)["disc"]
    return init_params(init, seed, _rule(cfg), *inputs)


def _rule(cfg: NetworkConfig):
    if cfg.use_wscale:
        return equalized_rule

    def scaled(name, shape, rng):
        gain = SQRT2 / 4 if name == "4x4/Dense/weight" else SQRT2
        gain = 1.0 if "ToRGB" in name or "Dense1" in name else gain
        fan_in = math.prod(shape[:-1])
        return equalized_rule(name, shape, rng) * (gain / math.sqrt(fan_in))

    return scaled


def active_parameters(cfg: NetworkConfig, params: dict, resolution: int) -> int:
    """Number of parameters of one network that a stage trains.

    Args:
      cfg: of both networks.
      params: of the generator or the discriminator.
      resolution: of the stage, pixels.
    """
    stage = resolution.bit_length() - 1
    total = 0
    for name, tree in params.items():
        if name.startswith(("ToRGB", "FromRGB")):
            r = cfg.resolution_log2 - int(name.split("lod")[1])
            active = r in (stage, stage - 1)
        else:
            active = int(name.split("x")[0]) <= resolution
        total += active * sum(x.size for x in jax.tree.leaves(tree))
    return total


@functools.partial(jax.jit, static_argnums=(0, 1))
def generate(net: NetworkConfig, resolution: int, params, latents, labels, alpha=0.0):
    """Maps of latents [N, latents] and scaled labels [N, K] at a stage, [N, r, r, C]."""
    stage = int(math.log2(resolution))
    return Generator(net).apply(
        {"params": params}, latents, labels, jnp.asarray(alpha, jnp.float32), stage
    )
