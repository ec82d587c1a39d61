"""VariTex: a variational neural texture of the face, rendered with everything around it."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.data.models import model_of
from facejax.host.shell import command_line
from facejax.nn.keys import example_normals
from facejax.nn.precision import check_dtype
from facejax.nn.vgg import VGG19
from facejax.pretrained.features import vgg_weights
from facejax.systems.varitex import data, images, losses
from facejax.systems.varitex.discriminator import Discriminator, init_discriminator
from facejax.systems.varitex.networks import Generator, init_generator
from facejax.train.system import Frozen, Phase, Plan, Stage


class Rendered(NamedTuple):
    """What the generator makes of codes and UV maps.

    Attributes:
      image: [B, S, S, 3] pictures, in [0, 1] but for the network's overshoot.
      probability: [B, S, S, 1] of the foreground.
      texture: [B, T, T, C] neural textures.
    """

    image: jax.Array
    probability: jax.Array
    texture: jax.Array


class VariTexSystem:
    """See facejax/train/system.py for what each method is asked for."""

    ema_groups = ()

    def __init__(self, config):
        self.config = config
        check_dtype(config.dtype)
        m, d = config.model, config.discriminator
        self.loss_config = losses.LossConfig(**config.loss)
        self.nets = losses.Networks(
            Generator(**m),
            Discriminator(d.width, d.layers, d.scales),
            VGG19(config.vgg.width, config.vgg.levels) if config.loss.vgg else None,
        )
        self.total_images = round(1000 * config.schedule.total_kimg)

    @property
    def generator(self) -> Generator:
        """The module."""
        return self.nets.generator

    @functools.cached_property
    def model(self):
        """The face model whose UV maps are drawn; None where prepared photos bring theirs."""
        c = self.config.data
        if c.source == "prepared" and not c.model_path:
            return None
        return model_of(c, on_host=True)

    @functools.cached_property
    def _source(self):
        return data.make_source(self.config, self.model)

    def source(self, stage: Stage | None = None):
        """The examples of `data.make_source`."""
        del stage
        return self._source

    def init(self, seed: int):
        """Parameters of the groups 'gen' and 'disc'; statistics and singular vectors in aux."""
        gen = init_generator(self.generator, seed)
        size = self.generator.image_size
        disc = init_discriminator(self.nets.discriminator, seed, size)
        params = {"gen": gen["params"], "disc": disc["params"]}
        return params, {"gen_stats": gen["batch_stats"], "disc_spectral": disc["spectral"]}

    def frozen(self) -> dict[str, Frozen]:
        """The features of the perceptual loss."""
        if self.nets.vgg is None:
            return {}
        return {"vgg": vgg_weights(self.nets.vgg, self.config.vgg.weights, self.config.vgg.seed)}

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Adam as PyTorch has it."""
        del group
        c = self.config.optim
        return optax.scale_by_adam(b1=c.b1, b2=c.b2, eps=c.eps)

    def plan(self, images_seen: int) -> Plan:
        """One stage at constant learning rates."""
        del images_seen
        s = self.config.schedule
        return Plan(
            stage=Stage("textures", s.batch_size),
            segment="all",
            scalars={"lr/gen": s.lr, "lr/disc": s.lr_discriminator},
        )

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """The generator, then the discriminator against the generator as it is then."""
        del stage
        return (Phase("gen", "gen", self._gen_loss), Phase("disc", "disc", self._disc_loss))

    def _noise(self, inputs):
        return example_normals(inputs.rng, inputs.batch["index"], self.generator.latent)

    def _gen_loss(self, params, inputs):
        vgg = inputs.frozen.get("vgg")
        return losses.generator_loss(
            self.nets, self.loss_config, params, inputs.aux, vgg, inputs.batch,
            self._noise(inputs), self.config.dtype,
        )  # fmt: skip

    def _disc_loss(self, params, inputs):
        return losses.discriminator_loss(
            self.nets, self.loss_config, params, inputs.aux, inputs.batch, self._noise(inputs),
            self.config.dtype,
        )  # fmt: skip

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """What `data.example_shapes` says."""
        return data.example_shapes(self.generator.image_size, stage.batch_size)

    def _variables(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"params": params["gen"], "batch_stats": params["gen_stats"]}

    def encode(self, params: dict[str, Any], image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and deviation of codes [B, latent] of pictures; pure.

        Args:
          params: {'gen', 'gen_stats'}.
          image: [B, S, S, 3] pictures in [0, 1] whose background is that of the training.
        """

        def run(net, image):
            return net.distribution(net.encode(image))

        network = images.to_network(image)
        return self.generator.apply(self._variables(params), network, method=run)

    def predict(self, params: dict[str, Any], code: jax.Array, uv: jax.Array) -> Rendered:
        """Renders codes [B, latent] into UV maps [B, S, S, 2]; pure.

        Args:
          params: {'gen', 'gen_stats'}.
          code: standard normal for new faces, or what `encode` finds.
          uv: in [-1, 1], background exactly -1 (`geometry.uv_map`).
        """
        found = self.generator.apply(
            self._variables(params), code, uv, method=Generator.latent_to_image
        )
        return Rendered(
            images.from_network(found["image_out"]),
            found["segmentation_predicted"],
            found["texture_person"],
        )

    def repose(
        self, params: dict[str, Any], texture: jax.Array, exterior: jax.Array, uv: jax.Array
    ) -> Rendered:
        """Kept textures [B, T, T, C] in other UV maps, around them `exterior` codes; pure.

        Args:
          params: {'gen', 'gen_stats'}.
          texture: of `predict`.
          exterior: [B, latent / 2], the second half of codes.
          uv: [B, S, S, 2].
        """
        found = self.generator.apply(
            self._variables(params), texture, exterior, uv, method=Generator.interior_to_image
        )
        return Rendered(
            images.from_network(found["image_out"]), found["segmentation_predicted"], texture
        )

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Codes and UV maps."""
        net = self.generator
        shapes = ((batch_size, net.latent), (batch_size, net.image_size, net.image_size, 2))
        return tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)

    @functools.cached_property
    def _gallery(self):
        from facejax.systems.varitex.gallery import Gallery

        return Gallery(self)

    def samples(self, params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Held-out heads reconstructed and turned, and new ones."""
        del plan, step
        return self._gallery.pictures(params) if self._gallery.possible else {}

    def validation(self, params) -> dict[str, float]:
        """Reconstruction of the gallery's heads."""
        return self._gallery.figures(params) if self._gallery.possible else {}

    def describe(self) -> list[dict[str, Any]]:
        """One row."""
        s, net = self.config.schedule, self.generator
        return [
            {
                "net": "varitex",
                "image": net.image_size,
                "texture": f"{net.texture_size}x{net.texture_channels}",
                "width": net.width,
                "batch": s.batch_size,
                "steps": -(-self.total_images // s.batch_size),
            }
        ]

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """What to type next."""
        return [f"Measure:   {command_line('facejax', 'evaluate', f'--workdir={workdir}')}"]

    def evaluate(self, params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Held-out people: reconstruction and re-posing against the true rendering."""
        from facejax.systems.varitex.metrics import evaluate

        del meta, workdir
        return evaluate(self, params)


def make_system(config) -> VariTexSystem:
    """The system of a resolved config (configs/varitex.py)."""
    return VariTexSystem(config)
