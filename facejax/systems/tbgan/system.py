"""TBGAN as a system of the trainer: parameter groups, stages, losses, pictures, exports."""

import functools
import logging
import math
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from facejax.host.shell import command_line
from facejax.nn.equalized import fade_reals
from facejax.nn.keys import example_normals
from facejax.nn.precision import check_dtype
from facejax.systems.tbgan import data, losses, networks
from facejax.train.optim import adam
from facejax.train.schedules import EmaSchedule, ProgressiveSchedule, tick_kimg
from facejax.train.system import Phase, Plan, Stage

_log = logging.getLogger(__name__)


class Generated(NamedTuple):
    """What the generator makes.

    Attributes:
      maps: [B, r, r, C] network channels.
    """

    maps: jax.Array


class TBGANSystem:
    """See facejax/train/system.py for what each method is asked for."""

    ema_groups = ("gen",)

    def __init__(self, config):
        self.config = config
        self.net = networks.network_config(config.model, check_dtype(config.dtype))
        self.loss = losses.LossConfig(**config.loss)
        self.schedule = ProgressiveSchedule.from_config(config.schedule, self.net.resolution)
        self.ema = EmaSchedule(**config.ema)
        self.total_images = round(1000 * self.schedule.total_kimg)
        self._check()
        warning = self.schedule.check()
        if warning:
            _log.warning("%s", warning)

    def _check(self) -> None:
        for resolution in self.schedule.stages:
            n, g = self.schedule.batch_size(resolution), self.net.mbstd_group
            if n < 1 or (n > g and n % g) or n % self.loss.gp_every:
                raise ValueError(
                    f"the batch of {n} at {resolution} pixels must be at most {g} or divisible by "
                    f"it (model.mbstd_group) and divisible by {self.loss.gp_every} "
                    "(loss.gp_every): change schedule.minibatch or those"
                )

    @functools.cached_property
    def _source(self):
        return data.make_source(self.config, self.net)

    def source(self, stage: Stage | None = None):
        """The examples: {'maps': [B, r, r, C], 'labels': [B, K]}."""
        del stage
        return self._source

    def device_batch(self, stage: Stage) -> int:
        """Groups of minibatch statistics and of examples with a penalty stay on a device."""
        net = self.net
        if net.mbstd_strided:
            return stage.batch_size  # a group is spread over the whole batch
        return math.lcm(net.mbstd_group, self.loss.gp_every)

    def init(self, seed: int):
        """Parameters of both networks, every stage included."""
        params = {
            "gen": networks.init_generator(self.net, seed),
            "disc": networks.init_discriminator(self.net, seed + 1),
        }
        return params, {}

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """Maps and labels."""
        n, size = stage.batch_size, dict(stage.static)["resolution"]
        return {
            "maps": jax.ShapeDtypeStruct((n, size, size, self.net.num_channels), np.float32),
            "labels": jax.ShapeDtypeStruct((n, self.net.label_size), np.float32),
        }

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Adam of both groups."""
        del group
        return adam(**self.config.optim)

    def stage(self, resolution: int) -> Stage:
        """The static stage of a resolution."""
        return Stage(
            name=f"{resolution}x{resolution}",
            batch_size=self.schedule.batch_size(resolution),
            static=(("resolution", resolution),),
        )

    def plan(self, images_seen: int) -> Plan:
        """Stage, optimiser segment, fade, learning rate and moving average of the next step."""
        resolution, alpha = self.schedule.position(images_seen)
        stage = self.stage(resolution)
        rate = self.schedule.learning_rate(images_seen)
        return Plan(
            stage=stage,
            segment=self.schedule.segment(images_seen),
            scalars={
                "lr/gen": rate,
                "lr/disc": rate,
                "ema_decay": self.ema.at(images_seen, stage.batch_size),
                "alpha": alpha,
            },
        )

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """Discriminator, moving average of the generator, generator (Karras et al. 2018)."""
        static = dict(
            stage=int(math.log2(dict(stage.static)["resolution"])), net=self.net, cfg=self.loss
        )
        latents = self.net.latents

        def disc_loss(params, inputs):
            batch, scalars = inputs.batch, inputs.scalars
            draws = example_normals(inputs.rng, batch["index"], latents + 1)
            mix = jax.scipy.stats.norm.cdf(draws[:, -1])  # uniform, from the same single draw
            reals = fade_reals(batch["maps"], scalars["alpha"])
            loss, metrics = losses.discriminator_loss(
                params["disc"], params["gen"], reals, draws[:, :-1], batch["labels"], mix,
                scalars["alpha"], **static,
            )  # fmt: skip
            return loss, (metrics, {})

        def gen_loss(params, inputs):
            draws = example_normals(inputs.rng, inputs.batch["index"], latents)
            loss, metrics = losses.generator_loss(
                params["gen"], params["disc"], draws, inputs.batch["labels"],
                inputs.scalars["alpha"], **static,
            )  # fmt: skip
            return loss, (metrics, {})

        return (
            Phase("disc", "disc", disc_loss, ema=("gen",)),
            Phase("gen", "gen", gen_loss),
        )

    def describe(self) -> list[dict[str, Any]]:
        """One row per stage: batch, images, active parameters."""
        params = networks.abstract_parameters(self.net)
        rows = []
        for resolution, images in self.schedule.stage_images().items():
            active = {
                g: networks.active_parameters(self.net, params[g], resolution) for g in params
            }
            batch = self.schedule.batch_size(resolution)
            rows.append(
                {
                    "stage": f"{resolution}x{resolution}",
                    "batch": batch,
                    "kimg": images / 1000,
                    "steps": -(-images // batch),
                    "tick_kimg": tick_kimg(resolution),
                    "generator": active["gen"],
                    "discriminator": active["disc"],
                }
            )
        return rows

    @functools.cached_property
    def gallery(self):
        """Pictures, exports and measurements (made on first use: it loads the face model)."""
        from facejax.systems.tbgan.gallery import Gallery

        return Gallery(self.config, self.net, self._source)

    def predict(self, params: dict[str, Any], latents, labels) -> Generated:
        """Maps of the last stage; pure.

        Args:
          params: with 'gen'.
          latents: [B, latents] normal.
          labels: [B, K] probabilities.
        """
        scaled = labels * self.loss.label_scale
        maps = networks.generate(self.net, self.net.resolution, params["gen"], latents, scaled)
        return Generated(maps)

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Latents and labels."""
        sizes = (self.net.latents, self.net.label_size)
        return tuple(jax.ShapeDtypeStruct((batch_size, n), np.float32) for n in sizes)

    def samples(self, params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """A grid of generated faces, one row per expression."""
        del step
        resolution = dict(plan.stage.static)["resolution"]
        alpha = plan.scalars["alpha"]
        return {"fakes": self.gallery.fake_grid(params["gen"], resolution, alpha)}

    def real_samples(self, plan: Plan) -> dict[str, np.ndarray]:
        """The same grid of real maps."""
        return {"reals": self.gallery.real_grid(dict(plan.stage.static)["resolution"])}

    def finish(self, params, workdir: pathlib.Path) -> None:
        """Exports a few heads and a video."""
        self.gallery.export(params["gen"], workdir / "export")

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """Where to look and what to type next; of a benchmark, the speed at each resolution."""
        if self.config.data.source == "black":
            from facejax.systems.tbgan.benchmark import speed_table

            return [speed_table(workdir), f"also in {workdir}/benchmark.json and benchmark.txt"]
        run = f"--workdir={workdir}"
        curves = command_line("tensorboard", "--logdir", workdir)
        return [
            f"Pictures:  {workdir / 'samples'}   curves: {curves}",
            f"3D heads:  {workdir / 'export'}: .glb (for Blender or any glTF viewer), a video",
            f"More:      {command_line('facejax', 'generate', run, '--num=8', '--out=faces')}",
            f"Measure:   {command_line('facejax', 'evaluate', run)}",
        ]

    def reached(self, meta: dict[str, Any]) -> tuple[int, float]:
        """(resolution, alpha) that a checkpoint was trained at; layers above are untrained.

        Args:
          meta: of the checkpoint: 'images', or 'lod' where it was imported.
        """
        if "lod" not in meta:
            return self.schedule.position(meta["images"])
        levels = math.floor(meta["lod"])
        return self.net.resolution >> levels, meta["lod"] - levels

    def evaluate(self, params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Figures of the generator beside the same figures of real maps."""
        from facejax.systems.tbgan.metrics import evaluate

        self.gallery.stage = self.reached(meta)
        return evaluate(self, params["gen"], workdir)


def make_system(config) -> TBGANSystem:
    """The system of a resolved config (configs/tbgan.py)."""
    return TBGANSystem(config)
