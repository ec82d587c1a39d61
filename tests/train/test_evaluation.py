"""Every checkpoint of a run measured, on the toy system."""

import json

import jax
import numpy as np
import pytest

from facejax.io.checkpoints import CheckpointError
from facejax.io.images import read_image
from facejax.train import evaluation
from facejax.train.loop import train
from facejax.train.parallel import Parallel
from tests.train import toy


@pytest.fixture
def run(tmp_path):
    config = toy.toy_config()
    system = toy.make_system(config)
    train(system, config, tmp_path, parallel=Parallel(devices=jax.devices()[:1]))
    return tmp_path, config, system


def measure(run, evaluate=None, metric_of=lambda name: name.split("/")[0], **options):
    folder, config, system = run
    evaluate = evaluate or (lambda params, meta: system.evaluate(params, meta, folder))
    return evaluation.evaluate_checkpoints(folder, config, system, evaluate, metric_of, **options)


def test_figures_go_to_their_files(run, monkeypatch, caplog):
    folder = run[0]

    def evaluate(params, meta):
        norm = float(np.abs(params["gen"]["w0"]).sum())
        return {"size": 7, "norms": {"gen": norm, "name": "w0", "absent": None}, "other": 1.0}

    rows = measure(run, evaluate, lambda n: "norms" if "norms" in n else None, context=("size",))
    lines = (folder / "metric-norms.jsonl").read_text().splitlines()
    assert [json.loads(x) for x in lines] == rows["norms"] and set(rows) == {"norms"}
    assert set(rows["norms"][0]) == {"step", "kimg", "size", "norms/gen", "norms/name"}
    steps = [row["step"] for row in rows["norms"]]
    assert steps == sorted(steps) and len(steps) == 3  # config.keep
    assert len({row["norms/gen"] for row in rows["norms"]}) == 3  # of each its own parameters
    assert read_image(folder / "metrics.png").ndim == 3

    real = evaluation.load_params

    def damaged(system, folder, step):
        if step == steps[1]:
            raise CheckpointError(f"step {step} is damaged")
        return real(system, folder, step)

    monkeypatch.setattr(evaluation, "load_params", damaged)
    assert [row["step"] for row in measure(run)["norms"]] == [steps[0], steps[2]]
    assert "is damaged. It is left out." in caplog.text
    with pytest.raises(ValueError, match="no readable checkpoint with the figures"):
        measure(run, metric_of=lambda name: None)


def test_checkpoints_that_were_not_kept_are_named():
    assert evaluation.removed_checkpoints({"images": 60_000}, 10.0) == [10, 20, 30, 40, 50]
    assert evaluation.removed_checkpoints({"images": 10_064}, 10.0) == []
    assert evaluation.removed_checkpoints({"images": 20_064, "origin": "a.pkl"}, 10.0) == []
    assert evaluation.removed_checkpoints({}, 10.0) == []
    assert evaluation._some(range(1, 20)) == "1, 2, 3, 4, ..., 18, 19"


def test_figures_that_are_no_numbers_are_left_empty_and_said(run, caplog):
    found = measure(run, lambda params, meta: {"a": {"x": float("nan"), "y": 2.0}})
    assert [set(row) - {"step", "kimg"} for row in found["a"]] == [{"a/y"}] * 3
    assert "left empty: a/x" in caplog.text
    caplog.clear()
    assert evaluation.finite_figures({"a": 1.0, "b": [np.inf]}, "it") == {"a": 1.0, "b": [None]}
    assert "it: 1 figure(s) came out as no finite number" in caplog.text
