"""Face Manifold as a system of the trainer: one parameter group per denoiser."""

import functools
import json
import logging
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import optax

from facejax.systems.manifold import data, networks
from facejax.train.system import Phase, Plan, Stage

_log = logging.getLogger(__name__)


class ManifoldSystem:
    """See facejax/train/system.py for what each method is asked for."""

    def __init__(self, config):
        self.config = config
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
            t: networks.NetworkConfig(c.net, r.train.shape[1], c.hidden)
            for t, r in self.rows.items()
        }

    @functools.cached_property
    def scales(self) -> dict[str, Any]:
        """[n] by target: what coefficients are divided by inside the model."""
        c = self.config.data
        return {t: data.per_component(c[f"{t}_scale"], self.config, t, r.train)
                for t, r in self.rows.items()}  # fmt: skip

    @functools.cached_property
    def _sigmas(self) -> dict[str, Any]:
        c = self.config.train
        return {t: data.per_component(c[f"{t}_sigma"], self.config, t, r.train)
                for t, r in self.rows.items()}  # fmt: skip

    def sigma(self, target: str):
        """[n] standard deviations of the corruption of a chosen component, in coefficients."""
        return self._sigmas[target]

    @functools.cached_property
    def _source(self):
        return data.CoefficientSource(self.rows, self.config.train.noise == "stored")

    def source(self):
        """The examples: {target: [B, n]}."""
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
        done = min(images_seen / max(self.total_images, 1), 1.0)
        factor = (1 + math.cos(math.pi * done)) / 2 if s.lr_decay == "cosine" else 1.0
        return Plan(
            stage=Stage(name="denoise", batch_size=s.batch_size),
            segment="all",
            scalars={f"lr/{t}": s.lr * factor for t in self.targets}
            | {"ema_decay": self._ema_decay(images_seen)},
        )

    def _ema_decay(self, images: int) -> float:
        half_life = 1000.0 * self.config.ema.half_life_kimg
        half_life = min(half_life, 0.1 * images)  # the first steps are forgotten fast
        return 0.5 ** (self.config.schedule.batch_size / half_life) if half_life else 0.0

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """One phase per target."""
        del stage
        return tuple(Phase(t, t, functools.partial(self._loss, t), ema=(t,)) for t in self.targets)

    def _loss(self, target, params, state, batch, rng, scalars):
        del scalars
        clean = batch[target]
        noisy = self._noisy(target, batch, rng)
        scale = jnp.broadcast_to(state.aux["scale"][target], clean.shape)
        out = networks.apply(self.nets[target], params, noisy / scale)
        loss = jnp.mean((out - clean / scale) ** 2)
        corruption = jnp.mean(((noisy - clean) / scale) ** 2)
        return loss, ({"mse": loss, "corruption": corruption}, {})

    def _noisy(self, target, batch, rng):
        kind = self.config.train.noise
        if kind == "stored":
            return batch[f"{target}_noisy"]
        key, number = rng, batch["index"]
        if kind == "fixed":
            key = jax.random.key(self.config.data.seed + data.TARGETS.index(target))
            number = batch["example"]
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(number)
        sigma = self.sigma(target)
        return jax.vmap(lambda k, p: data.corrupt(k, p, sigma))(keys, batch[target])

    def describe(self) -> list[dict[str, Any]]:
        """One row per denoiser."""
        s = self.config.schedule
        return [
            {
                "net": target,
                "kind": net.kind,
                "coefficients": net.length,
                "rows": len(self.rows[target].train),
                "held_out": len(self.rows[target].test),
                "batch": s.batch_size,
                "steps": -(-self.total_images // s.batch_size),
            }
            for target, net in self.nets.items()
        ]

    def finish(self, state, workdir: pathlib.Path) -> None:
        """Writes curves.png, and logs the error on all held-out faces."""
        from facejax.io.images import write_image
        from facejax.io.plots import line_plots
        from facejax.systems.manifold import metrics

        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        panels, params = {}, state.ema_params()
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
        return [
            f"Measure:   facejax evaluate --workdir={workdir}",
            f"Use:       facejax denoise --workdir={workdir} --path=FILE.npz --out=OUT",
        ]

    def evaluate(self, ema_params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Denoising beside baselines, diversity and plausibility."""
        from facejax.systems.manifold.metrics import evaluate

        del meta
        return evaluate(self, ema_params, workdir)


def make_system(config) -> ManifoldSystem:
    """The system of a resolved config (configs/manifold.py)."""
    return ManifoldSystem(config)
