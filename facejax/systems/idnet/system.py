"""Identity embeddings of synthetic people, trained by a margin softmax."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.data.face_crops import face_crop
from facejax.data.synthetic_photos import PhotoRanges, SyntheticPhotoSource
from facejax.geometry.math import safe_normalize
from facejax.nn.identity import IdentityNet, init_identity
from facejax.train.schedules import LrDecay
from facejax.train.system import Phase, Plan, Stage

MARGINS = ("cosface", "arcface")
HELD_OUT = 1_000_003  # seed of the held-out people, beside that of the run


def margin_logits(cosine: jax.Array, labels: jax.Array, margin: float, kind: str) -> jax.Array:
    """Cosines with a margin taken from that of the true class.

    CosFace (Wang et al. 2018, arXiv 1801.09414, eq. 4) subtracts the margin from the cosine,
    ArcFace (Deng et al. 2019, arXiv 1801.07698, eq. 3) adds it to the angle, which stays below pi.

    Args:
      cosine: [B, N].
      labels: [B] int32.
      margin: of the cosine, or radians.
      kind: 'cosface' or 'arcface'.

    Returns:
      [B, N], without the scale.
    """
    if kind == "cosface":
        hard = cosine - margin
    else:
        inside = jnp.clip(cosine, -1 + 1e-6, 1 - 1e-6)
        hard = jnp.cos(jnp.minimum(jnp.arccos(inside) + margin, np.pi))
    own = jax.nn.one_hot(labels, cosine.shape[-1], dtype=cosine.dtype)
    return jnp.where(own > 0, hard, cosine)


class IdentitySystem:
    """See facejax/train/system.py for what each method is asked for."""

    ema_groups = ()

    def __init__(self, config):
        self.config = config
        if config.loss.margin_kind not in MARGINS:
            raise ValueError(
                f"loss.margin_kind is {config.loss.margin_kind!r}, wanted one of {MARGINS}"
            )
        self.net = IdentityNet(**config.model)
        self.total_images = round(1000 * config.schedule.total_kimg)

    @functools.cached_property
    def model(self):
        """The face model of the synthetic people."""
        from facejax.morphable import load_morphable

        c = self.config.data
        options = {"path": c.model_path} if c.model_path else {}
        return load_morphable(c.model, **options, **{k: v for k, v in c.model_options.items() if v})

    def photos(self, num_examples: int, num_identities: int, seed: int) -> SyntheticPhotoSource:
        """Photos of synthetic people.

        Args:
          num_examples: photos; example i shows person i % num_identities.
          num_identities: people.
          seed: other seeds are other people.
        """
        c = self.config.data
        return SyntheticPhotoSource(
            self.model, c.image_size, num_examples, seed, num_identities=num_identities,
            ranges=PhotoRanges(**c.ranges),
        )  # fmt: skip

    @functools.cached_property
    def _source(self):
        c = self.config.data
        return self.photos(c.num_examples, c.num_identities, self.config.seed)

    def source(self):
        """The examples of `SyntheticPhotoSource`."""
        return self._source

    def init(self, seed: int):
        """The network and the class centres; running statistics lie in aux."""
        trees = init_identity(self.net, seed)
        rng = np.random.default_rng([seed, 1])
        shape = (self.net.features, self.config.data.num_identities)
        classes = 0.1 * rng.standard_normal(shape).astype(np.float32)  # short: they turn fast
        params = {"net": trees["params"], "classes": classes}
        return {"idnet": params}, {"idnet_stats": trees["batch_stats"]}

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Adam with decoupled weight decay."""
        del group
        c = self.config.optim
        return optax.chain(
            optax.scale_by_adam(b1=c.b1, b2=c.b2, eps=c.eps),
            optax.add_decayed_weights(c.weight_decay),
        )

    def plan(self, images_seen: int) -> Plan:
        """Learning rate and margin of the next step."""
        s = self.config.schedule
        done = min(images_seen / max(self.total_images, 1), 1.0)
        factor = LrDecay(ramp_kimg=s.ramp_kimg).at(images_seen, self.total_images, s.batch_size)
        return Plan(
            stage=Stage("margin", s.batch_size),
            segment="all",
            scalars={
                "lr/idnet": s.lr * factor,
                # classes have to part before a margin can widen the gaps
                "margin": self.config.loss.margin * min(1.0, done / 0.6),
            },
        )

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """One phase."""
        del stage
        return (Phase("softmax", "idnet", self._loss),)

    def crops(self, image: jax.Array, landmarks: jax.Array) -> jax.Array:
        """The network's input [B, size, size, 3] in [-1, 1] of photos."""
        return 2.0 * face_crop(image, landmarks, self.net.size) - 1.0

    def _loss(self, params, state, batch, rng, scalars):
        del rng
        c = self.config.loss
        variables = {"params": params["net"], "batch_stats": state.aux["idnet_stats"]}
        crops = self.crops(batch["image"], batch["landmarks"])
        (embedding, _), new = self.net.apply(variables, crops, True, mutable=["batch_stats"])
        centres = safe_normalize(params["classes"].T)
        cosine = safe_normalize(embedding) @ centres.T
        labels = batch["identity"]
        logits = c.scale * margin_logits(cosine, labels, scalars["margin"], c.margin_kind)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
        accuracy = jnp.mean((jnp.argmax(cosine, axis=-1) == labels).astype(jnp.float32))
        return loss, ({"accuracy": accuracy}, {"idnet_stats": new["batch_stats"]})

    def describe(self) -> list[dict[str, Any]]:
        """One row."""
        s = self.config.schedule
        return [
            {
                "net": "idnet",
                "people": self.config.data.num_identities,
                "crop": self.net.size,
                "batch": s.batch_size,
                "steps": -(-self.total_images // s.batch_size),
            }
        ]

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """What to type next."""
        return [
            f"Measure:   facejax evaluate --workdir={workdir}",
            f"Use:       facejax train --config=deep3d --config.recognition.weights={workdir}",
        ]

    def evaluate(self, ema_params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Verification of held-out people."""
        from facejax.systems.idnet.metrics import evaluate

        del meta, workdir
        return evaluate(self, ema_params)


def make_system(config) -> IdentitySystem:
    """The system of a resolved config (configs/idnet.py)."""
    return IdentitySystem(config)
