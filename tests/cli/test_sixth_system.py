"""Somebody else's system: a folder and a configuration on the path, no other file touched."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from facejax.io.images import read_image

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = '''"""Pebbles: a network that draws a grey disc from its radius.

More about it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.source import Source
from facejax.train.optim import adam
from facejax.train.system import Phase, Plan, Stage


def picture(radius, size):
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    distance = np.hypot(axis[:, None], axis[None])
    return (distance < radius[:, None, None]).astype(np.float32)


class Pebbles(Source):
    meta = {}

    def __init__(self, config):
        self._radius = np.random.default_rng(0).uniform(0.2, 0.9, config.num_examples)
        self._size = config.size

    def __len__(self):
        return len(self._radius)

    def draw(self, indices):
        radius = self._radius[indices]
        return {"radius": radius.astype(np.float32), "image": picture(radius, self._size)}


class PebbleSystem:
    ema_groups = ("net",)

    def __init__(self, config):
        self.config = config
        self.total_images = round(1000 * config.total_kimg)

    def init(self, seed):
        rng, width, size = np.random.default_rng(seed), self.config.width, self.config.size
        shapes = {"w0": (1, width), "b0": (width,), "w1": (width, size * size)}
        return {"net": {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}}, {}

    def draw(self, params, radius):
        hidden = jnp.tanh(radius[:, None] @ params["w0"] + params["b0"])
        size = self.config.size
        return jax.nn.sigmoid(hidden @ params["w1"]).reshape(-1, size, size)

    def plan(self, images_seen):
        del images_seen
        scalars = {"lr/net": self.config.lr, "ema_decay": 0.9}
        return Plan(Stage("all", self.config.batch_size), "all", scalars)

    def phases(self, stage):
        del stage
        return (Phase("draw", "net", self._loss, ema=("net",)),)

    def _loss(self, params, inputs):
        drawn = self.draw(params["net"], inputs.batch["radius"])
        return jnp.mean((drawn - inputs.batch["image"]) ** 2), ({}, {})

    def optimizer(self, group):
        del group
        return adam()

    def source(self, stage):
        del stage
        return Pebbles(self.config)

    def samples(self, params, plan, step):
        del plan, step
        images = self.draw(params["net"], jnp.linspace(0.2, 0.9, 4))
        row = np.concatenate(np.asarray(images), axis=1)
        return {"pebbles": np.rint(255 * np.stack([row] * 3, axis=-1)).astype(np.uint8)}

    def evaluate(self, params, meta, workdir):
        del meta, workdir
        radius = np.linspace(0.25, 0.85, 16).astype(np.float32)
        found = self.draw(params["net"], radius)
        return {"mse": float(np.mean((found - picture(radius, self.config.size)) ** 2))}


def make_system(config):
    return PebbleSystem(config)
'''
VERBS = '''"""What there is to do with pebbles."""

import pathlib

from facejax.train.verbs import Verb


def _flags(p):
    p.add_argument("--out", required=True, help="folder")
    p.add_argument("--num", type=int, default=4, help="pebbles (4)")


def _generate(run, args):
    import numpy as np

    from facejax.io.images import write_image

    radius = np.random.default_rng(0).uniform(0.2, 0.9, args.num).astype(np.float32)
    images = np.asarray(run.system.draw(run.params["net"], radius))
    folder = pathlib.Path(args.out)
    return [write_image(folder / f"{k}.png", image) for k, image in enumerate(images)]


def _weigh(run, args):
    print("weights:", sum(v.size for v in run.params["net"].values()))
    return []


VERBS = {
    "generate": Verb("Pictures of pebbles.", _flags, _generate),
    "weigh": Verb("How many weights.", lambda p: None, _weigh),
}
'''
CONFIG = '''"""Pebbles, seconds."""

from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "long")


def get_config(preset=None):
    preset = choose_preset(preset, PRESETS)
    c = train_config("pebble", log_every=5, sample_kimg=0.2, checkpoint_kimg=0.2)
    c.update(
        dict(size=8, width=16, lr=0.02, batch_size=16, num_examples=64),
        total_kimg=3.2 if preset == "long" else 0.4,
    )
    return c
'''


@pytest.fixture(scope="module")
def facejax(tmp_path_factory):
    """Runs `facejax VERB ...` in a folder without a checkout; returns (exit code, output)."""
    mine = tmp_path_factory.mktemp("mine")
    for name, text in (
        ("facejax/systems/pebble/system.py", SYSTEM),
        ("facejax/systems/pebble/verbs.py", VERBS),
        ("configs/pebble.py", CONFIG),
    ):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(text)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(mine), str(ROOT)])}
    folder = tmp_path_factory.mktemp("work")

    def run(*argv):
        done = subprocess.run(
            [sys.executable, "-m", "facejax", *argv],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    run.folder = folder
    return run


def test_it_trains_goes_on_generates_and_is_measured(facejax):
    folder = facejax.folder / "runs/pebble"
    code, text = facejax("train", "--config=pebble")
    assert code == 0, text
    records = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["kimg"] == 0.4
    assert read_image(folder / "samples" / "pebbles-000000.png").shape == (8, 32, 3)
    code, text = facejax("evaluate", "--workdir=runs/pebble")
    assert code == 0 and "mse" in text, text
    before = json.loads((folder / "evaluation.json").read_text())
    assert before["step"] == 25

    code, text = facejax("train", "--config=pebble:long")
    assert code == 0, text
    again = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert again[: len(records)] == records and again[-1]["step"] == 200
    assert facejax("evaluate", "--workdir=runs/pebble")[0] == 0
    after = json.loads((folder / "evaluation.json").read_text())
    assert after["step"] == 200 and after["mse"] < 0.7 * before["mse"]

    code, text = facejax("generate", "--workdir=runs/pebble", "--out=stones", "--num=3")
    assert code == 0 and "Look at: stones/0.png" in text, text
    images = [read_image(facejax.folder / f"stones/{k}.png") for k in range(3)]
    assert np.mean([i.mean() for i in images]) > 0.05
    code, text = facejax("weigh", "--workdir=runs/pebble")  # a verb that no command is named after
    assert code == 0 and f"weights: {2 * 16 + 16 * 64}" in text


def test_commands_know_it(facejax):
    code, text = facejax("systems")
    paragraph = next(p for p in text.split("\n\n") if p.startswith("pebble:"))
    assert code == 0
    assert "pebble: Pebbles: a network that draws a grey disc from its radius.\n" in paragraph
    assert "train, evaluate, generate, weigh" in paragraph and "pebble, pebble:long" in paragraph
    assert "tbgan: " in text
    assert "weigh" in facejax("--help")[1]
    help_text = facejax("generate", "--help")[1]
    assert "Of runs of pebble." in help_text and "Of runs of tbgan." in help_text
    code, text = facejax("train", "--config=peble")
    assert code == 2 and "no configuration 'peble'. Did you mean 'pebble'?" in text


@pytest.mark.parametrize(
    "argv, message",
    [
        (["denoise"], "It offers: generate, weigh; systems with it: manifold"),
        (["edit"], "does not offer 'edit'. It offers: generate, weigh; systems with it: disco"),
        (["evaluate", "scatter"], "which does not offer 'evaluate scatter'"),
        (["wiegh"], "no verb 'wiegh'. Did you mean 'weigh'?"),
    ],
)  # fmt: skip
def test_verbs_that_a_run_lacks(facejax, argv, message):
    folder = facejax.folder / "given"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"system": "pebble"}')
    code, text = facejax(*argv, "--workdir=given")
    assert code == 2 and message in text and text.count("\n") == 1


def test_a_verb_of_two_systems_needs_a_run(facejax):
    code, text = facejax("generate", "--out=x")
    assert (
        code == 2 and "give --workdir=RUN: disco, pebble, tbgan, varitex offer 'generate'" in text
    )
