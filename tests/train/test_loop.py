import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from facejax.io.checkpoints import CheckpointError, Checkpoints
from facejax.train.loop import train
from tests.train.test_logging import events
from tests.train.toy import ToySystem, toy_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLOCKS = ("time", "sec/kimg", "images/s", "drawn/s", "compile_s")


def _trace(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines]


def _final(workdir):
    tree, meta = Checkpoints(workdir / "checkpoints").restore_latest()
    facts = {k: meta[k] for k in ("step", "images", "segment", "stage", "averages", "digest")}
    return tree, facts


def _train(workdir, **overrides):
    config = toy_config(**overrides)
    return train(ToySystem(config), config, workdir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nobody disturbed, in a folder that tests only read."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, _train(folder)


def test_a_run_leaves_what_it_promises(finished):
    folder, result = finished
    assert (result.step, result.images) == (21, 240)
    steps = [line["step"] for line in _trace(folder)]
    assert steps == [3, 6, 9, 12, 15, 18, 21]
    first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert {"kimg", "stage", "sec/kimg", "images/s", "time", "compile_s", "disc/loss"} <= set(first)
    assert Checkpoints(folder / "checkpoints").steps() == [14, 18, 21]
    samples = sorted(p.name for p in (folder / "samples").iterdir())
    assert samples == ["fakes-000000.png", "reals-000000.png"]
    weights = [v.histo.num for v in events(folder) if v.tag == "weights"]
    assert len(weights) == 3 and set(weights) == {8}  # 2 x hidden, with every picture
    assert json.loads((folder / "config.json").read_text())["seed"] == 3
    assert "stage two, batch 16" in (folder / "log.txt").read_text()
    assert (folder / "export.npy").exists()


def test_figures_of_other_data_are_logged_with_the_pictures(tmp_path):
    config = toy_config()
    system = ToySystem(config)
    system.validation = lambda params: {"mean": float(np.mean(params["gen"]["w0"]))}
    train(system, config, tmp_path)
    lines = [line for line in _trace(tmp_path) if "val/mean" in line]
    pictures = [v for v in events(tmp_path) if v.tag == "weights"]
    assert len(lines) == len(pictures) == 3
    assert lines[-1].keys() == {"step", "kimg", "stage", "val/mean"}
    final = Checkpoints(tmp_path / "checkpoints").restore_latest()[0]["ema"]["gen"]["w0"]
    np.testing.assert_allclose(lines[-1]["val/mean"], np.mean(final), rtol=1e-5)


def test_one_program_per_phase_of_a_stage(finished):
    assert finished[1].compiled == [
        f"{stage} ({phase})" for stage in ("one", "two") for phase in ("disc", "reg", "gen")
    ]


def test_the_optimiser_starts_afresh_with_a_segment(finished):
    # Segments start at images 0, 96 and 160: 5 steps of 16 images are left after the last.
    opt = finished[1].state.opt
    assert int(opt["gen"].count) == 5
    assert int(finished[1].state.aux["count"]) == 21


def test_a_complete_run_says_so_and_changes_nothing(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0], tmp_path / "run")
    before = _final(tmp_path / "run")[1], _trace(tmp_path / "run")
    result = _train(tmp_path / "run")
    assert result.compiled == [] and result.step == 21
    assert (_final(tmp_path / "run")[1], _trace(tmp_path / "run")) == before
    assert "the run is complete" in (tmp_path / "run" / "log.txt").read_text()


def test_another_configuration_is_refused_but_not_a_longer_run(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(ValueError, match=r"lr was 0.05, now 0.5.*--workdir=NEW_FOLDER"):
        _train(tmp_path / "run", lr=0.5)
    result = _train(tmp_path / "run", total_kimg=0.272, log_every=1)
    assert result.step == 23
    assert [line["step"] for line in _trace(tmp_path / "run")][-3:] == [21, 22, 23]


def test_the_newest_good_checkpoint_is_used(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "21" / "meta")
    _train(tmp_path / "run")
    assert _trace(tmp_path / "run") == _trace(finished[0])
    assert _final(tmp_path / "run")[1] == _final(finished[0])[1]


def test_a_run_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write to the run folder"):
        _train(tmp_path / "file" / "run")


def test_a_batch_that_does_not_divide_stops_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="nearest batch sizes are 4 or 8"):
        _train(tmp_path / "run", batch=(8, 6))
    assert not (tmp_path / "run").exists()


def test_gradients_that_are_not_finite_are_skipped_and_said(tmp_path, caplog):
    config = toy_config(total_kimg=0.024, log_every=1, lazy=False)
    system = ToySystem(config)
    source = system.source()
    source._x = np.full_like(source._x, np.nan)
    result = train(system, config, tmp_path)
    assert all(line["disc/skipped"] == 1.0 for line in _trace(tmp_path))
    assert all("disc/loss" not in line for line in _trace(tmp_path))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(result.state.params)))
    assert "disc updates" in (tmp_path / "log.txt").read_text()


def test_profile(tmp_path):
    config = toy_config(total_kimg=0.048, lazy=False)
    train(ToySystem(config), config, tmp_path, profile_steps=2)
    assert any((tmp_path / "profile").rglob("*.pb"))


def _start(workdir, **overrides):
    command = [sys.executable, "-m", "tests.train.toy_main", str(workdir), json.dumps(overrides)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def _wait_for_line(process, workdir, step):
    """Until the run has logged a step beyond `step`."""
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        path = workdir / "metrics.jsonl"
        if path.exists() and any(f'"step": {s},' in path.read_text() for s in range(step, 22)):
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {step}: {process.communicate()[0]}")


@pytest.mark.slow
def test_killed_twice_equals_never_killed(finished, tmp_path):
    for step in (6, 15):
        process = _start(tmp_path, sleep_s=0.1)
        try:
            _wait_for_line(process, tmp_path, step)
            time.sleep(random.random() * 0.2)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    process = _start(tmp_path, sleep_s=0.1)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "going on from step" in output
    assert _trace(tmp_path) == _trace(finished[0])
    (tree, facts), (wanted_tree, wanted_facts) = _final(tmp_path), _final(finished[0])
    assert facts == wanted_facts
    jax.tree.map(np.testing.assert_array_equal, tree, wanted_tree)


SIGNALS = [(name, 128 + getattr(signal, name)) for name in ("SIGTERM", "SIGINT", "SIGHUP")
           if hasattr(signal, name)]  # fmt: skip


@pytest.mark.parametrize("name, code", SIGNALS)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(
    finished, heard_signals, tmp_path, name, code
):
    process = _start(tmp_path, sleep_s=0.1)
    try:
        _wait_for_line(process, tmp_path, 9)
        time.sleep(0.11)  # inside a window of the averages
        os.kill(process.pid, getattr(signal, name))
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == code and "saved" in output
    assert _final(tmp_path)[1]["step"] >= 9
    _train(tmp_path, sleep_s=0.1)
    assert _trace(tmp_path) == _trace(finished[0])
    assert _final(tmp_path)[1] == _final(finished[0])[1]
