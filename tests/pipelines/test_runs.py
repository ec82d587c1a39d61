"""What works on the run of any system: inversion, figures of every checkpoint. On `manifold`."""

import json
import pathlib
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.commands import evaluate
from facejax.io.checkpoints import Checkpoints
from facejax.pipelines.evaluate_all import evaluate_all, metric_of
from facejax.pipelines.inversion import invert, make_sampler
from facejax.train.config import load_config
from facejax.train.run_folder import write_config
from facejax.train.runs import Run, load_run, make_system

CONFIG = str(pathlib.Path(__file__).resolve().parents[2] / "configs/manifold.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with two checkpoints that nobody trained."""
    folder = tmp_path_factory.mktemp("run")
    config = load_config(f"{CONFIG}:smoke")
    system = make_system(config)
    params, aux = system.init(0)
    write_config(folder, config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in (1, 2):
            tree = {"params": params, "ema": {g: params[g] for g in system.ema_groups}, "aux": aux}
            checkpoints.save(step, tree, {"images": 32 * step})
    return folder


def test_a_run_is_inverted(folder):
    run = load_run(folder)
    shapes = run.system.predict_inputs(3)
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=x.shape).astype(np.float32) for x in shapes]
    name = run.system.targets[0]
    targets = np.asarray(make_sampler(run, rows[1:])(rows[0]))
    np.testing.assert_array_equal(targets, make_sampler(run, rows[1:], name)(rows[0]))
    fit = invert(run, targets, *rows[1:], output=name, steps=150, rates=(0.1, 0.01))
    assert fit.losses.shape == (300, 3) and fit.latents.shape == rows[0].shape
    assert (fit.losses[-1] < 0.1 * fit.losses[0]).all()
    np.testing.assert_allclose(make_sampler(run, rows[1:])(fit.latents), fit.samples, atol=1e-5)
    alone = invert(run, targets[:1], *(r[:1] for r in rows[1:]), steps=5, rates=(0.1,))
    np.testing.assert_allclose(alone.losses[:, 0], fit.losses[:5, 0], rtol=1e-3)
    with pytest.raises(ValueError, match="no output 'maps': this system predicts"):
        invert(run, targets, *rows[1:], output="maps")
    with pytest.raises(ValueError, match="found targets"):
        invert(run, targets[:, :1], *rows[1:])


def test_samples_of_any_shape_with_conditions():
    class Made(NamedTuple):
        grid: jnp.ndarray

    class System:
        def predict(self, params, latents, scale):
            return Made(jnp.einsum("nij,n->nij", latents, scale) + params["shift"])

        def predict_inputs(self, batch_size):
            return np.zeros((batch_size, 2, 4)), np.zeros((batch_size,))

    config = load_config(f"{CONFIG}:smoke")
    run = Run(pathlib.Path("runs/x"), config, System(), {"shift": np.float32(2)}, {})
    targets, scale = np.full((2, 2, 4), 5.0), np.array([1.0, -2.0], np.float32)
    weight = np.array([1.0, 0.0])[:, None]  # the second row counts for nothing
    fit = invert(run, targets, scale, weight=weight, steps=200, rates=(0.1, 0.01))
    np.testing.assert_allclose(fit.latents[:, 0], [[3.0] * 4, [-1.5] * 4], atol=1e-2)
    start = np.random.RandomState(1000).randn(2, 4)
    np.testing.assert_allclose(fit.latents[0, 1], start[1], atol=1e-6)
    with pytest.raises(ValueError, match="found conditions"):
        invert(run, targets)
    with pytest.raises(ValueError, match="needs steps"):
        invert(run, targets, scale, steps=0)
    with pytest.raises(ValueError, match="predicts nothing"):
        invert(Run(run.folder, config, object(), {}, {}), targets)


def test_every_checkpoint_of_any_run(folder, capsys):
    assert evaluate.main(["--all", f"--workdir={folder}"]) == 0
    printed = capsys.readouterr().out
    files = sorted(folder.glob("metric-*.jsonl"))
    assert files and (folder / "metrics.png").is_file()
    for file in files:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [(row["step"], row["kimg"]) for row in rows] == [(1, 0.032), (2, 0.064)]
        assert rows[0] | {"step": 2, "kimg": 0.064} == rows[1]  # the same parameters
        assert file.stem.removeprefix("metric-") in printed
    assert evaluate.main(["--all", f"--workdir={folder / 'absent'}"]) == 2
    assert "give --config=NAME" in capsys.readouterr().err


def test_a_system_without_figures(folder, monkeypatch):
    monkeypatch.setattr("facejax.pipelines.evaluate_all.make_system", lambda config: object())
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate_all(folder)


def test_groups_of_figures():
    assert metric_of("modalities/texture/swd") == "modalities" and metric_of("rmse") == "figures"
