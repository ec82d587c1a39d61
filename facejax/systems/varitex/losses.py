"""The losses of VariTex and the two objectives of a training step."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from facejax.losses import adversarial
from facejax.nn.precision import cast, uncast
from facejax.nn.vgg import VGG19
from facejax.systems.varitex.discriminator import Discriminator
from facejax.systems.varitex.networks import Generated, Generator

# mode: (generator's, discriminator's) loss of the scores of one scale
_GAN = {
    "ls": (adversarial.least_squares_generator, adversarial.least_squares_discriminator),
    "hinge": (adversarial.hinge_generator, adversarial.hinge_discriminator),
    "original": (adversarial.logistic_generator, adversarial.logistic_discriminator),
    "w": (adversarial.wgan_generator, adversarial.wgan_discriminator),
}
GAN_MODES = tuple(_GAN)
KL_DIRECTIONS = ("prior_posterior", "posterior_prior")
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of the levels of `VGG19`, as published


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Kinds and weights of the terms; the defaults are the published program's.

    Attributes:
      gan_mode: one of GAN_MODES.
      kl_direction: see `kl_divergence`.
      gan, gan_features, l2, kl, vgg, segmentation, rgb_texture: weights of `generator_terms`; `gan`
        also that of the discriminator's loss.
    """

    gan_mode: str = "ls"
    kl_direction: str = "prior_posterior"
    gan: float = 1.0
    gan_features: float = 1.0
    l2: float = 1.0
    kl: float = 0.1
    vgg: float = 2.0
    segmentation: float = 1.0
    rgb_texture: float = 0.0

    def __post_init__(self):
        for name, known in (("gan_mode", GAN_MODES), ("kl_direction", KL_DIRECTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"loss.{name} is {getattr(self, name)!r}, wanted one of {', '.join(known)}"
                )


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a training step.

    Attributes:
      generator, discriminator: the trained ones.
      vgg: the frozen features; None leaves out the term.
    """

    generator: Generator
    discriminator: Discriminator
    vgg: VGG19 | None


def gan_generator(scores: Sequence[jax.Array], mode: str) -> jax.Array:
    """The generator's loss of the scores of its images, a mean over scales.

    Args:
      scores: per scale, any shape.
      mode: one of GAN_MODES.
    """
    return sum(_GAN[mode][0](s) for s in scores) / len(scores)


def gan_discriminator(real: Sequence[jax.Array], fake: Sequence[jax.Array], mode: str) -> jax.Array:
    """The discriminator's loss, of real and fake images together, a mean over scales.

    Args:
      real, fake: per scale, scores of any shape.
      mode: one of GAN_MODES.
    """
    terms = [_GAN[mode][1](r, f) for r, f in zip(real, fake, strict=True)]
    return sum(terms) / len(terms)


def feature_matching(
    fake: Sequence[Sequence[jax.Array]], real: Sequence[Sequence[jax.Array]]
) -> jax.Array:
    """How far the discriminator's hidden features of two images lie apart.

    The mean over scales of the sum over layers, without the scores, of the mean absolute
    difference (Wang et al. 2018). No gradient flows into `real`.

    Args:
      fake, real: per scale the outputs of all layers.
    """
    total = sum(
        jnp.mean(jnp.abs(f - jax.lax.stop_gradient(r)))
        for fs, rs in zip(fake, real, strict=True)
        for f, r in zip(fs[:-1], rs[:-1], strict=True)
    )
    return total / len(fake)


def kl_divergence(mu: jax.Array, std: jax.Array, direction: str = "prior_posterior") -> jax.Array:
    """Between N(0, 1) and N(mu, std), [B]: mean over the dimensions of a code, in nats.

    Args:
      mu, std: [B, latent].
      direction: 'prior_posterior' is KL(N(0, 1) || N(mu, std)), as the published program has it;
        'posterior_prior' the one of the variational bound (Kingma and Welling 2014, appendix B).
    """
    if direction == "prior_posterior":
        terms = jnp.log(std) + (1.0 + mu**2) / (2.0 * std**2) - 0.5
    else:
        terms = (std**2 + mu**2) / 2.0 - jnp.log(std) - 0.5
    return jnp.mean(terms, axis=-1)


@jax.custom_jvp
def binary_cross_entropy(probability: jax.Array, target: jax.Array) -> jax.Array:
    """Of each element, any shape; logarithms are at least -100, as PyTorch has them.

    The gradient is finite everywhere: p (1 - p) in its denominator is at least 1e-12.

    Args:
      probability: in [0, 1].
      target: in [0, 1]; no gradient flows into it.
    """
    log_p, log_q = jnp.log(probability), jnp.log1p(-probability)
    return -(target * jnp.maximum(log_p, -100.0) + (1.0 - target) * jnp.maximum(log_q, -100.0))


@binary_cross_entropy.defjvp
def _binary_cross_entropy_jvp(primals, tangents):
    p, target = primals
    slope = (p - target) / jnp.maximum(p * (1.0 - p), 1e-12)
    return binary_cross_entropy(p, target), slope * tangents[0]


def vgg_distance(fake: Sequence[jax.Array], real: Sequence[jax.Array]) -> jax.Array:
    """Weighted mean absolute differences of VGG features; no gradient flows into `real`.

    Args:
      fake, real: features of `VGG19`.
    """
    return sum(
        weight * jnp.mean(jnp.abs(f - jax.lax.stop_gradient(r)))
        for weight, f, r in zip(VGG_WEIGHTS[: len(fake)], fake, real, strict=True)
    )


def generator_terms(
    out: Generated,
    batch: dict[str, jax.Array],
    fake: Sequence[Sequence[jax.Array]],
    real: Sequence[Sequence[jax.Array]],
    features: tuple[Sequence[jax.Array], Sequence[jax.Array]] | None,
    cfg: LossConfig,
) -> dict[str, jax.Array]:
    """The unweighted terms of the generator's loss, scalars by the names of their weights.

    Args:
      out: what the generator made of the batch.
      batch: 'image_in' [B, S, S, 3] network images, 'segmentation_mask' [B, S, S, 1] in [0, 1].
      fake, real: the discriminator's outputs of `out.image_out` and of the target.
      features: VGG features of the same two; None leaves out the term.
      cfg: kinds of the terms.
    """
    target = batch["image_in"]
    probability = out.segmentation_predicted
    terms = {
        "gan": gan_generator([scale[-1] for scale in fake], cfg.gan_mode),
        "gan_features": feature_matching(fake, real),
        "l2": jnp.mean((out.image_out - target) ** 2),
        "kl": jnp.mean(kl_divergence(out.style_latent_mu, out.style_latent_std, cfg.kl_direction)),
        "segmentation": jnp.mean(binary_cross_entropy(probability, batch["segmentation_mask"])),
    }
    if features is not None:
        terms["vgg"] = vgg_distance(*features)
    if cfg.rgb_texture:
        color = out.face_featureimage[..., :3]
        terms["rgb_texture"] = jnp.mean(((color - target) * out.mask_uv) ** 2)
    return terms


def _apply(net, variables, *inputs, dtype, mutable):
    """Outputs in float32 and new collections of a network in training that computes in `dtype`."""
    params = cast(variables["params"], dtype)
    inputs = [cast(x, dtype) for x in inputs]
    out, new = net.apply({**variables, "params": params}, *inputs, train=True, mutable=[mutable])
    return (out if dtype == "float32" else uncast(out)), new[mutable]


def _generate(nets, params, stats, batch, noise, dtype):
    # the noise scales float32 statistics; multiplier 1
    return _apply(
        nets.generator, {"params": params, "batch_stats": stats}, batch["image_in_encode"],
        batch["uv_rendered"], noise, dtype=dtype, mutable="batch_stats",
    )  # fmt: skip


def _judge(nets, params, spectral, fake, real, dtype):
    """The discriminator's outputs of fakes and of reals, and the new spectral vectors."""
    both = jnp.concatenate([fake, real])
    variables = {"params": params, "spectral": spectral}
    found, spectral = _apply(nets.discriminator, variables, both, dtype=dtype, mutable="spectral")
    halves = [[layer[: len(fake)] for layer in scale] for scale in found]
    others = [[layer[len(fake) :] for layer in scale] for scale in found]
    return halves, others, spectral


def generator_loss(
    nets: Networks,
    cfg: LossConfig,
    params: dict[str, Any],
    aux: dict[str, Any],
    vgg: dict[str, Any] | None,
    batch: dict[str, jax.Array],
    noise: jax.Array,
    dtype: str = "float32",
) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """The first half of a step: what the generator is trained on.

    Args:
      nets: the modules.
      cfg: kinds and weights.
      params: {'gen', 'disc'}.
      aux: {'gen_stats': running statistics, 'disc_spectral': singular vectors}.
      vgg: variables of the frozen features; None without them.
      batch: 'image_in_encode', 'image_in' [B, S, S, 3] network images, 'uv_rendered' [B, S, S, 2],
        'segmentation_mask' [B, S, S, 1].
      noise: [B, latent] standard normal.
      dtype: in which the networks compute.

    Returns:
      The weighted sum, the unweighted terms, and the new aux, of which the discriminator's vectors
      are one power iteration further.
    """
    out, stats = _generate(nets, params["gen"], aux["gen_stats"], batch, noise, dtype)
    target = batch["image_in"]
    fake, real, spectral = _judge(
        nets, params["disc"], aux["disc_spectral"], out.image_out, target, dtype
    )
    features = None
    if nets.vgg is not None:
        frozen = {"params": cast(vgg["params"], dtype)}
        pair = [nets.vgg.apply(frozen, cast(x, dtype)) for x in (out.image_out, target)]
        features = tuple(pair) if dtype == "float32" else tuple(map(uncast, pair))
    terms = generator_terms(out, batch, fake, real, features, cfg)
    loss = sum(getattr(cfg, name) * term for name, term in terms.items())
    return loss, (terms, {"gen_stats": stats, "disc_spectral": spectral})


def discriminator_loss(
    nets: Networks,
    cfg: LossConfig,
    params: dict[str, Any],
    aux: dict[str, Any],
    batch: dict[str, jax.Array],
    noise: jax.Array,
    dtype: str = "float32",
) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """The second half of a step: real images against fresh ones of the generator just updated.

    The pass of the generator, without a gradient, moves its running statistics a second time.

    Args: see `generator_loss`; `noise` is drawn anew.
    """
    out, stats = _generate(nets, params["gen"], aux["gen_stats"], batch, noise, dtype)
    image = jax.lax.stop_gradient(out.image_out)
    fake, real, spectral = _judge(
        nets, params["disc"], aux["disc_spectral"], image, batch["image_in"], dtype
    )
    loss = gan_discriminator([s[-1] for s in real], [s[-1] for s in fake], cfg.gan_mode)
    terms = {
        "score_real": sum(jnp.mean(s[-1]) for s in real) / len(real),
        "score_fake": sum(jnp.mean(s[-1]) for s in fake) / len(fake),
    }
    return 0.5 * cfg.gan * loss, (terms, {"gen_stats": stats, "disc_spectral": spectral})
