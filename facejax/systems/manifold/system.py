"""Face Manifold as a system of the trainer: one parameter group per denoiser."""

import functools
import logging
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.host.files import read_json_lines
from facejax.host.shell import command_line
from facejax.nn.keys import example_keys
from facejax.nn.precision import cast, check_dtype, uncast
from facejax.systems.manifold import data, losses, networks
from facejax.train.schedules import EmaSchedule, LrDecay
from facejax.train.system import Phase, Plan, Stage

_log = logging.getLogger(__name__)


class Denoised(NamedTuple):
    """Denoised coefficients, [B, n] each; None for a target that the run does not have."""

    shape: jax.Array | None = None
    expression: jax.Array | None = None


class ManifoldSystem:
    """See facejax/train/system.py for what each method is asked for."""

    def __init__(self, config):
        self.config = config
        check_dtype(config.dtype)
        self.targets = tuple(t.strip() for t in config.model.targets.split(","))
        unknown = set(self.targets) - set(data.TARGETS)
        if unknown or len(set(self.targets)) < len(self.targets):
            raise ValueError(
                f"model.targets is {config.model.targets!r}, wanted one or both of "
                f"{','.join(data.TARGETS)}"
            )
        s = config.schedule
        if s.lr_decay not in ("constant", "cosine"):
            raise ValueError(f"schedule.lr_decay is {s.lr_decay!r}, wanted 'constant' or 'cosine'")
        if config.train.noise not in ("fresh", "fixed", "stored"):
            raise ValueError(
                f"train.noise is {config.train.noise!r}, wanted 'fresh' (drawn for every step), "
                "'fixed' (one draw per row) or 'stored' (noisy.npy of data.source='arrays')"
            )
        if config.model.hidden < 1:
            raise ValueError(f"model.hidden is {config.model.hidden}, wanted at least 1")
        self.lr_decay = LrDecay(s.lr_decay)
        # no average where the half life is 0, and the untrained parameters are forgotten at once
        self.ema = EmaSchedule(0.0, config.ema.half_life_kimg, ramp=0.1, least_images=0.0)
        self.ema_groups = self.targets
        self.total_images = round(1000 * s.total_kimg)

    @functools.cached_property
    def rows(self) -> dict[str, data.Rows]:
        """Clean rows by target."""
        return {t: data.load_rows(self.config, t) for t in self.targets}

    @functools.cached_property
    def nets(self) -> dict[str, networks.NetworkConfig]:
        """Network by target; the number of coefficients is that of the data."""
        c = self.config.model
        return {
            t: networks.NetworkConfig(c.net, length, c.hidden)
            for t, (_, _, length) in self._counts.items()
        }

    @functools.cached_property
    def _counts(self) -> dict[str, tuple[int, int, int]]:
        """`data.row_counts`: what a network is made for is known before rows are drawn."""
        return {t: data.row_counts(self.config, t) for t in self.targets}

    @functools.cached_property
    def scales(self) -> dict[str, Any]:
        """[n] by target: what coefficients are divided by inside the model."""
        return {t: self._spread(self.config.data[f"{t}_scale"], t) for t in self.targets}

    @functools.cached_property
    def _sigmas(self) -> dict[str, Any]:
        return {t: self._spread(self.config.train[f"{t}_sigma"], t) for t in self.targets}

    def _spread(self, spec: str | float, target: str):
        """`data.per_component` of the training rows, which are not drawn for a plain number."""
        number = data.same_for_all(spec)
        if number:
            return np.full(self.nets[target].length, number, np.float32)
        return data.per_component(spec, self.config, target, self.rows[target].train)

    def sigma(self, target: str):
        """[n] standard deviations of the corruption of a chosen component, in coefficients."""
        return self._sigmas[target]

    @functools.cached_property
    def _source(self):
        return data.CoefficientSource(self.rows, self.config.train.noise == "stored")

    def source(self, stage: Stage | None = None):
        """The examples: {target: [B, n]}."""
        del stage
        return self._source

    def init(self, seed: int):
        """Parameters of each denoiser; `aux` keeps the scales, so that checkpoints hold them."""
        params = {
            t: networks.init(net, seed + data.TARGETS.index(t)) for t, net in self.nets.items()
        }
        return params, {"scale": dict(self.scales)}

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Adam as torch has it."""
        del group
        return optax.scale_by_adam(**self.config.optim)

    def plan(self, images_seen: int) -> Plan:
        """Learning rate and moving average of the next step."""
        s = self.config.schedule
        factor = self.lr_decay.at(images_seen, self.total_images, s.batch_size)
        return Plan(
            stage=Stage(name="denoise", batch_size=s.batch_size),
            segment="all",
            scalars={f"lr/{t}": s.lr * factor for t in self.targets}
            | {"ema_decay": self.ema.at(images_seen, s.batch_size)},
        )

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """One phase per target."""
        del stage
        return tuple(Phase(t, t, functools.partial(self._loss, t), ema=(t,)) for t in self.targets)

    def _loss(self, target, params, inputs):
        batch, clean = inputs.batch, inputs.batch[target]
        noisy = self._noisy(target, batch, inputs.rng)
        scale = jnp.broadcast_to(inputs.aux["scale"][target], clean.shape)
        net, dtype = self.nets[target], self.config.dtype
        out = networks.apply(net, cast(params[target], dtype), cast(noisy / scale, dtype))
        loss, metrics = losses.denoising_loss(uncast(out), clean, noisy, scale)
        return loss, (metrics, {})

    def _noisy(self, target, batch, rng):
        kind = self.config.train.noise
        if kind == "stored":
            return batch[f"{target}_noisy"]
        key, number = rng, batch["index"]
        if kind == "fixed":
            key = jax.random.key(self.config.data.seed + data.TARGETS.index(target))
            number = batch["example"]
        sigma = self.sigma(target)
        corrupt = jax.vmap(lambda k, p: losses.corrupt(k, p, sigma))
        return corrupt(example_keys(key, number), batch[target])

    def describe(self) -> list[dict[str, Any]]:
        """One row per denoiser."""
        s = self.config.schedule
        return [
            {
                "net": target,
                "kind": net.kind,
                "coefficients": net.length,
                "rows": self._counts[target][0],
                "held_out": self._counts[target][1],
                "batch": s.batch_size,
                "steps": -(-self.total_images // s.batch_size),
            }
            for target, net in self.nets.items()
        ]

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """Rows of each target, noisy ones where they are stored."""
        noisy = ("", "_noisy") if self.config.train.noise == "stored" else ("",)
        shapes = {
            f"{t}{suffix}": jax.ShapeDtypeStruct((stage.batch_size, net.length), np.float32)
            for t, net in self.nets.items()
            for suffix in noisy
        }
        return shapes | {"example": jax.ShapeDtypeStruct((stage.batch_size,), np.int32)}

    def predict(self, params: dict[str, Any], *rows: jax.Array) -> Denoised:
        """Coefficients, each denoised once; pure.

        Args:
          params: {target: tree} and 'scale'.
          *rows: [B, n] of each of `targets`.
        """
        found = {
            target: networks.denoise(self.nets[target], params[target], params["scale"][target], x)
            for target, x in zip(self.targets, rows, strict=True)
        }
        return Denoised(**found)

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Coefficients of each target."""
        return tuple(
            jax.ShapeDtypeStruct((batch_size, self.nets[t].length), np.float32)
            for t in self.targets
        )

    def finish(self, params, workdir: pathlib.Path) -> None:
        """Writes curves.png, and logs the error on all held-out faces."""
        from facejax.io.images import write_image
        from facejax.io.plots import line_plots
        from facejax.systems.manifold import metrics

        records = read_json_lines(workdir / "metrics.jsonl")
        panels = {}
        for target in self.targets:
            points = [(r["kimg"], r[f"{target}/mse"]) for r in records if f"{target}/mse" in r]
            if points:
                panels[f"{target}: training error"] = {"mse": tuple(zip(*points, strict=True))}
            clean, noisy = metrics.corrupted(
                self.rows[target].test, self.sigma(target), 1, self.config.evaluate.seed
            )
            found = metrics.denoiser(self, target, params[target])(noisy)
            _log.info(
                "%s: mean squared error of %d held-out faces %.5g, of their corruption %.5g",
                target, len(clean), ((found - clean) ** 2).mean(), ((noisy - clean) ** 2).mean(),
            )  # fmt: skip
        if panels:
            write_image(workdir / "curves.png", line_plots(panels, "thousand vectors", log_y=True))

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """What to type next."""
        run = f"--workdir={workdir}"
        use = command_line("facejax", "denoise", run, "--path=FILE.npz", "--out=OUT")
        return [
            f"Measure:   {command_line('facejax', 'evaluate', run)}",
            f"Use:       {use}",
        ]

    def evaluate(self, params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Denoising beside baselines, diversity and plausibility."""
        from facejax.systems.manifold.metrics import evaluate

        del meta
        return evaluate(self, params, workdir)


def make_system(config) -> ManifoldSystem:
    """The system of a resolved config (configs/manifold.py)."""
    return ManifoldSystem(config)
