"""Identity embeddings of synthetic people, trained by a margin softmax."""

import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np
import optax

from facejax.data.models import model_of
from facejax.losses.identity import MARGINS
from facejax.systems.idnet import data, losses, networks
from facejax.train.system import Phase, Plan, Stage


class IdentitySystem:
    """See facejax/train/system.py for what each method is asked for."""

    ema_groups = ()

    def __init__(self, config):
        self.config = config
        if config.loss.margin_kind not in MARGINS:
            raise ValueError(
                f"loss.margin_kind is {config.loss.margin_kind!r}, wanted one of {MARGINS}"
            )
        self.net = networks.make_net(config)
        self.total_images = round(1000 * config.schedule.total_kimg)

    @functools.cached_property
    def model(self):
        """The face model of the synthetic people."""
        return model_of(self.config.data)

    @functools.cached_property
    def _source(self):
        return data.make_source(self.config, self.model)

    def source(self):
        """The examples of `SyntheticPhotoSource`."""
        return self._source

    def init(self, seed: int):
        """The network and the class centres; running statistics lie in aux."""
        return networks.initial_trees(self.net, seed, self.config.data.num_identities)

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
        ramp = min(1.0, (images_seen + s.batch_size) / max(1000 * s.ramp_kimg, 1.0))
        return Plan(
            stage=Stage("margin", s.batch_size),
            segment="all",
            scalars={
                "lr/idnet": s.lr * ramp * (1 + math.cos(math.pi * done)) / 2,
                # classes have to part before a margin can widen the gaps
                "margin": self.config.loss.margin * min(1.0, done / 0.6),
            },
        )

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """One phase."""
        del stage
        return (Phase("softmax", "idnet", self._loss),)

    def _loss(self, params, state, batch, rng, scalars):
        del rng
        c = self.config.loss
        variables = {"params": params["net"], "batch_stats": state.aux["idnet_stats"]}
        crops = networks.network_crops(self.net, batch["image"], batch["landmarks"])
        (embedding, _), new = self.net.apply(variables, crops, True, mutable=["batch_stats"])
        terms = losses.softmax_terms(
            embedding, params["classes"], batch["identity"], scalars["margin"], c.scale,
            c.margin_kind,
        )  # fmt: skip
        loss = terms.pop("loss")
        return loss, (terms, {"idnet_stats": new["batch_stats"]})

    def embed(self, trees, image: jax.Array, landmarks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Unit embeddings and crops of photos, see `networks.embed`; pure."""
        return networks.embed(self.net, trees, image, landmarks)

    @functools.cached_property
    def _gallery(self):
        from facejax.systems.idnet.gallery import Gallery

        return Gallery(self)

    def samples(self, ema_params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Held-out people and how alike their photos are to the network."""
        del plan, step
        return {"people": self._gallery.people(ema_params)}

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
            f"Measure:   python launch/main.py --mode=evaluate --workdir={workdir}",
            "Use:       python launch/main.py --config=configs/deep3d.py "
            f"--config.recognition.weights={workdir}",
        ]

    def evaluate(self, ema_params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Verification of held-out people."""
        from facejax.systems.idnet.metrics import evaluate

        del meta, workdir
        return evaluate(self, ema_params)


def make_system(config) -> IdentitySystem:
    """The system of a resolved config (configs/idnet.py)."""
    return IdentitySystem(config)
