"""Identity embeddings of synthetic people, trained by a margin softmax."""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
import optax

from facejax.data.models import model_of
from facejax.data.synthetic_photos import example_shapes
from facejax.host.shell import command_line
from facejax.losses.identity import MARGINS
from facejax.nn.precision import cast, check_dtype, uncast
from facejax.systems.idnet import data, losses, networks
from facejax.train.schedules import LrDecay
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
        check_dtype(config.dtype)
        self.net = networks.make_net(config)
        self.total_images = round(1000 * config.schedule.total_kimg)

    @functools.cached_property
    def model(self):
        """The face model of the synthetic people."""
        return model_of(self.config.data, on_host=True)

    @functools.cached_property
    def _source(self):
        return data.make_source(self.config, self.model)

    def source(self, stage: Stage | None = None):
        """The examples of `SyntheticPhotoSource`."""
        del stage
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

    def _loss(self, params, inputs):
        c, dtype, batch = self.config.loss, self.config.dtype, inputs.batch
        variables = {
            "params": cast(params["idnet"]["net"], dtype),
            "batch_stats": inputs.aux["idnet_stats"],
        }
        crops = networks.network_crops(self.net, batch["image"], batch["landmarks"])
        (embedding, _), new = self.net.apply(
            variables, cast(crops, dtype), True, mutable=["batch_stats"]
        )
        terms = losses.softmax_terms(
            uncast(embedding), params["idnet"]["classes"], batch["identity"],
            inputs.scalars["margin"], c.scale, c.margin_kind,
        )  # fmt: skip
        loss = terms.pop("loss")
        return loss, (terms, {"idnet_stats": new["batch_stats"]})

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """What `facejax.data.synthetic_photos.example_shapes` says."""
        return example_shapes(self.model, self.config.data.image_size, stage.batch_size)

    def predict(
        self, params: dict[str, Any], image: jax.Array, landmarks: jax.Array
    ) -> networks.Embedded:
        """Unit embeddings and crops of photos, see `networks.embed`; pure."""
        return networks.embed(self.net, params, image, landmarks)

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Photos, and their landmarks."""
        size = self.config.data.image_size
        shapes = ((batch_size, size, size, 3), (batch_size, 68, 2))
        return tuple(jax.ShapeDtypeStruct(s, np.float32) for s in shapes)

    @functools.cached_property
    def _gallery(self):
        from facejax.systems.idnet.gallery import Gallery

        return Gallery(self)

    def samples(self, params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Held-out people and how alike their photos are to the network."""
        del plan, step
        return {"people": self._gallery.people(params)}

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
        use = ("--config=deep3d", f"--config.recognition.run={workdir}")
        return [
            f"Measure:   {command_line('facejax', 'evaluate', f'--workdir={workdir}')}",
            f"Use:       {command_line('facejax', 'train', *use)}",
        ]

    def evaluate(self, params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Verification of held-out people."""
        from facejax.systems.idnet.metrics import evaluate

        del meta, workdir
        return evaluate(self, params)


def make_system(config) -> IdentitySystem:
    """The system of a resolved config (configs/idnet.py)."""
    return IdentitySystem(config)
