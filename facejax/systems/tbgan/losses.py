"""Losses of TBGAN: WGAN-GP with drift and an auxiliary expression classifier with soft targets.

Sources: Gulrajani et al. 2017 (gradient penalty), Karras et al. 2018 (drift), Gecer et al. 2020
(labels). Every term is a mean over the examples given; nothing here knows of devices.
"""

import dataclasses

import jax
import jax.numpy as jnp

from facejax.losses.adversarial import (
    score_drift,
    slope_penalty,
    slopes_between,
    wgan_discriminator,
    wgan_generator,
)
from facejax.losses.classification import soft_cross_entropy
from facejax.systems.tbgan.networks import Discriminator, Generator, NetworkConfig


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the losses; the defaults are the published ones.

    Attributes:
      gp_weight, gp_target: gradient penalty weight * (|grad| - target)^2 / target^2.
      drift_weight: times the mean squared score of real maps.
      label_weight_gen: cross entropy of generated maps in the generator's loss.
      label_weight_real, label_weight_fake: the same in the discriminator's loss.
      label_scale: factor on the labels that enter the generator (the published demo used about 10).
      gp_every: the penalty is taken on every n-th example of the batch.
    """

    gp_weight: float = 10.0
    gp_target: float = 1.0
    drift_weight: float = 0.001
    label_weight_gen: float = 1.0
    label_weight_real: float = 1.0
    label_weight_fake: float = 1.0
    label_scale: float = 1.0
    gp_every: int = 1


def generator_loss(
    gen, disc, latents, labels, alpha, *, stage: int, net: NetworkConfig, cfg: LossConfig
):
    """-mean score of generated maps, plus the label term.

    Args:
      gen, disc: parameters.
      latents: [N, latents]; labels: [N, K] probabilities; alpha: scalar in [0, 1].
      stage: log2 of the resolution, static.

    Returns:
      scalar loss, dict of scalar metrics.
    """
    fakes = Generator(net).apply({"params": gen}, latents, labels * cfg.label_scale, alpha, stage)
    scores, logits = Discriminator(net).apply({"params": disc}, fakes, alpha, stage)
    loss = wgan_generator(scores)
    metrics = {"score_fake": jnp.mean(scores)}
    if net.label_size and cfg.label_weight_gen:
        ce = soft_cross_entropy(labels, logits)
        loss, metrics["label"] = loss + cfg.label_weight_gen * ce, ce
    return loss, metrics


def discriminator_loss(
    disc,
    gen,
    reals,
    latents,
    labels,
    mix,
    alpha,
    *,
    stage: int,
    net: NetworkConfig,
    cfg: LossConfig,
):
    """mean(D(fake) - D(real)) + gradient penalty + drift + label terms.

    The penalty's gradient is taken at the stage's own resolution and its norm divided by
    2^(levels above the stage), which equals the original's norm over nearest-upscaled images.

    Args:
      disc, gen: parameters; no gradient reaches gen.
      reals: [N, H, W, C] maps at the stage's resolution, faded already (`fade_reals`).
      latents: [N, latents]; labels: [N, K] probabilities of the reals, used for the fakes too.
      mix: [N] in [0, 1], position of the penalty's points between real (0) and fake (1).
      alpha: scalar in [0, 1].
      stage: log2 of the resolution, static.

    Returns:
      scalar loss, dict of scalar metrics.
    """
    fakes = Generator(net).apply({"params": gen}, latents, labels * cfg.label_scale, alpha, stage)
    fakes = jax.lax.stop_gradient(fakes)

    def score(maps):
        return Discriminator(net).apply({"params": disc}, maps, alpha, stage)

    fake_scores, fake_logits = score(fakes)
    real_scores, real_logits = score(reals)
    loss = wgan_discriminator(real_scores, fake_scores)
    metrics = {"wasserstein": -loss, "score_real": jnp.mean(real_scores)}
    if cfg.gp_weight:
        # every n-th example, as a reshape: the choice stays on its device when the batch is sharded
        pick = lambda a: a.reshape(-1, cfg.gp_every, *a.shape[1:])[:, 0]  # noqa: E731
        # minibatch stddev couples examples of a group: slopes of the sum of scores, as the original
        slopes = slopes_between(lambda x: score(x)[0], pick(reals), pick(fakes), pick(mix))
        slopes = slopes / 2.0 ** net.lod(stage)
        penalty = slope_penalty(slopes, cfg.gp_target)
        loss = loss + cfg.gp_weight * penalty
        metrics |= {"gradient_penalty": penalty, "gradient_norm": jnp.mean(slopes)}
    loss = loss + cfg.drift_weight * score_drift(real_scores)
    if net.label_size:
        ce_real = soft_cross_entropy(labels, real_logits)
        ce_fake = soft_cross_entropy(labels, fake_logits)
        loss = loss + cfg.label_weight_real * ce_real + cfg.label_weight_fake * ce_fake
        metrics |= {"label_real": ce_real, "label_fake": ce_fake}
    return loss, metrics
