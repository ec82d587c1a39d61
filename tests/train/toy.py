"""A GAN of two tiny MLPs on numbers, with everything a system can have: see `ToySystem`."""

import pathlib
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from facejax.data.source import Source
from facejax.host.files import atomic_path
from facejax.nn.keys import example_normals
from facejax.train import prerequisites, runs
from facejax.train.optim import adam
from facejax.train.runs import load_run
from facejax.train.system import Frozen, Phase, Plan, Prerequisite, Stage

DIM = 3


def toy_config(**overrides) -> ConfigDict:
    config = ConfigDict(
        dict(
            system="toy", seed=3, log_every=3, sample_kimg=0.1, checkpoint_kimg=0.064, keep=3,
            accumulate=1, parallel="shard_map", dtype="float32", init_from="", init_with="",
            hidden=4, optimizer="adam", lr=0.05, total_kimg=0.24,
            batch=(8, 16), lazy=True, sleep_s=0.0, extra=(1, 2),
        )
    )  # fmt: skip
    config.update(overrides)
    config.lock()
    return config


class ToySource(Source):
    """Rows from the host, scaled on the devices by a table."""

    meta = {"dim": DIM}

    def __init__(self, sleep_s=0.0):
        self._x = np.random.default_rng(5).normal(1.0, 0.5, (37, DIM)).astype(np.float32)
        self._sleep_s = sleep_s

    def __len__(self):
        return len(self._x)

    def draw(self, indices, scale):
        del scale
        time.sleep(self._sleep_s)
        return {"rows": {"x": self._x[indices]}}

    def tables(self, scale):
        return {"scale": np.full((), scale, np.float32)}

    def make(self, tables, drawn, scale):
        del scale
        return {"x": drawn["rows"]["x"] * tables["scale"]}


def mlp(params, x):
    return jnp.tanh(x @ params["w0"]) @ params["w1"]


class ToySystem:
    """Two stages of different batch size and scale, three segments, one lazy phase, an aux."""

    ema_groups = ("gen",)

    def __init__(self, config):
        self.config = config
        self.total_images = round(1000 * config.total_kimg)
        self._source = ToySource(config.sleep_s)

    def init(self, seed):
        rng, hidden = np.random.default_rng(seed), self.config.hidden

        def net(inputs, outputs):
            return {
                "w0": rng.normal(size=(inputs, hidden)).astype(np.float32),
                "w1": rng.normal(size=(hidden, outputs)).astype(np.float32),
            }

        aux = {"real_mean": np.zeros(DIM, np.float32), "count": np.zeros((), np.int32)}
        return {"gen": net(2, DIM), "disc": net(DIM, 1)}, aux

    def plan(self, images_seen):
        first = images_seen < 96
        stage = (
            Stage("one", self.config.batch[0], (("scale", 1),))
            if first
            else Stage("two", self.config.batch[1], (("scale", 2),))
        )
        segment = "one" if first else "fade" if images_seen < 160 else "two"
        alpha = float(np.clip((images_seen - 96) / 64, 0, 1))
        rates = {"lr/gen": self.config.lr, "lr/disc": self.config.lr}
        return Plan(stage, segment, rates | {"ema_decay": 0.9, "alpha": alpha})

    def phases(self, stage):
        def disc(params, inputs):
            batch, aux = inputs.batch, inputs.aux
            fake = mlp(params["gen"], example_normals(inputs.rng, batch["index"], 2))
            loss = jnp.mean(jax.nn.softplus(mlp(params["disc"], fake)))
            loss += jnp.mean(jax.nn.softplus(-mlp(params["disc"], batch["x"])))
            mean = 0.9 * aux["real_mean"] + 0.1 * jnp.mean(batch["x"], axis=0)
            return loss, (
                {"x": jnp.mean(batch["x"])}, {"real_mean": mean, "count": aux["count"] + 1}
            )  # fmt: skip

        def reg(params, inputs):
            grad = jax.grad(lambda x: jnp.sum(mlp(params["disc"], x)))(inputs.batch["x"])
            return 0.1 * jnp.mean(jnp.sum(grad**2, axis=-1)), ({}, {})

        def gen(params, inputs):
            fake = mlp(params["gen"], example_normals(inputs.rng, inputs.batch["index"], 2))
            loss = jnp.mean(jax.nn.softplus(-mlp(params["disc"], fake)))
            near = jnp.mean((fake - inputs.frozen["middle"]["x"][None]) ** 2)
            return loss + 0.01 * inputs.scalars["alpha"] * near, ({}, {})

        lazy = (Phase("reg", "disc", reg, every=2),) if self.config.lazy else ()
        return (Phase("disc", "disc", disc, ema=("gen",)), *lazy, Phase("gen", "gen", gen))

    def optimizer(self, group):
        return optax.identity() if self.config.optimizer == "sgd" else adam(0.0, 0.99, 1e-8)

    def source(self, stage=None):
        return self._source

    def frozen(self):
        return {"middle": Frozen({"x": np.zeros(DIM, np.float32)}, "the origin")}

    def samples(self, params, plan, step):
        value = np.asarray(mlp(params["gen"], jnp.ones((1, 2)))).mean()
        return {"fakes": np.full((4, 4, 3), int(abs(value)) % 255, np.uint8)}

    def histograms(self, params, plan, step):
        return {"weights": params["gen"]["w0"]}

    def real_samples(self, plan):
        return {"reals": np.zeros((4, 4, 3), np.uint8)}

    def finish(self, params, workdir):
        with atomic_path(pathlib.Path(workdir) / "export.npy") as path:
            np.save(path, np.asarray(params["gen"]["w0"]))

    def closing_lines(self, workdir):
        return [f"Exports: {workdir}/export.npy"]

    def evaluate(self, params, meta, workdir):
        return {"norms": {"gen": float(optax.tree.norm(params["gen"]))}, "step": meta["step"]}


def make_system(config):
    return ToySystem(config)


class StudentSystem(ToySystem):
    """The toy whose generator keeps near a number of another run of the toy, its prerequisite."""

    def frozen(self):
        run = load_run(self.config.teacher, "toy")
        middle = np.asarray(run.params["gen"]["w1"][0])
        return {"middle": Frozen({"x": middle}, f"{self.config.teacher}, {run.meta['step']}")}


def student_config(**overrides) -> ConfigDict:
    config = toy_config()
    with config.unlocked():
        config.system, config.teacher = "student", "auto"
    config.update(overrides)
    return config


def _prerequisites(config):
    return (Prerequisite("teacher", "teacher", "toy", {"total_kimg": 0.048}),)


MODULES = {
    "toy": types.SimpleNamespace(make_system=ToySystem),
    "student": types.SimpleNamespace(make_system=StudentSystem, prerequisites=_prerequisites),
}


def install(patch):
    """Makes both systems and their configurations known by name.

    Args:
      patch: sets an attribute of a module, as `monkeypatch.setattr` does.
    """
    patch(runs, "system_module", lambda name, part="system": MODULES[name])
    patch(prerequisites, "load_config", lambda spec: toy_config())
