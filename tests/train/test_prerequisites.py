import json
import logging
import shutil

import jax
import numpy as np
import pytest

from facejax.train import prerequisites as module
from facejax.train.config import load_config
from facejax.train.loop import train
from facejax.train.prerequisites import describe_prerequisites, train_prerequisites
from facejax.train.runs import load_run, make_system, prerequisites, resolve
from tests.train.toy import install, student_config


@pytest.fixture(autouse=True)
def _known(monkeypatch, tmp_path):
    install(monkeypatch.setattr)
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "cache"))


def run(workdir, **overrides):
    config = student_config(total_kimg=0.048, **overrides)
    train_prerequisites(config, workdir)
    return train(make_system(resolve(config, workdir)), config, workdir)


def test_a_prerequisite_is_trained_first_kept_and_taken_from_the_cache(tmp_path, caplog):
    caplog.set_level(logging.INFO, "facejax")
    config = student_config(total_kimg=0.048)
    lines = describe_prerequisites(config, tmp_path / "a")
    assert lines == [
        f"teacher=auto: teacher (toy): trained first: 0.048 kimg, in "
        f"{tmp_path}/a/prerequisites/teacher"
    ]
    first = run(tmp_path / "a")
    assert "teacher=auto: first teacher (toy) is trained" in caplog.text
    assert json.loads((tmp_path / "a" / "config.json").read_text())["teacher"] == "auto"
    caplog.clear()
    assert "finished, in" in describe_prerequisites(config, tmp_path / "a")[0]
    assert "finished, taken from" in describe_prerequisites(config, tmp_path / "b")[0]
    again = run(tmp_path / "b")
    assert "is taken from" in caplog.text and "is trained" not in caplog.text
    for a, b in zip(*map(jax.tree.leaves, (first.state.params, again.state.params)), strict=True):
        np.testing.assert_array_equal(a, b)
    # a run folder is whole: it can be moved, and the cache emptied
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "b").rename(tmp_path / "c")
    moved = load_run(tmp_path / "c", "student")
    teacher = load_run(tmp_path / "c" / "prerequisites" / "teacher", "toy")
    np.testing.assert_array_equal(moved.params["middle"]["x"], teacher.params["gen"]["w1"][0])
    assert moved.meta["frozen"]["middle"]["origin"].endswith("teacher, 6")


def test_another_configuration_is_another_run(tmp_path, monkeypatch):
    run(tmp_path / "a")
    kept = set((tmp_path / "cache" / "runs").iterdir())
    real = module.load_config
    monkeypatch.setattr(
        module, "load_config", lambda spec: real(spec).copy_and_resolve_references()
    )

    def other(spec):
        config = real(spec)
        config.lr = 0.01
        return config

    monkeypatch.setattr(module, "load_config", other)
    run(tmp_path / "b")
    assert len(set((tmp_path / "cache" / "runs").iterdir()) - kept) == 1


def test_a_changed_prerequisite_is_one_error(tmp_path):
    run(tmp_path / "a")
    teacher = tmp_path / "a" / "prerequisites" / "teacher"
    shutil.rmtree(teacher)
    config = student_config(total_kimg=0.064)
    own = module.prerequisite_config(prerequisites(config)[0])
    own.lr = 0.01
    train(make_system(own), own, teacher)
    with pytest.raises(ValueError, match="the frozen .middle. of .*found .*digest"):
        train(make_system(resolve(config, tmp_path / "a")), config, tmp_path / "a")
    with pytest.raises(ValueError, match="was trained with the frozen 'middle'"):
        load_run(tmp_path / "a")


def test_a_named_run_needs_no_training(tmp_path):
    run(tmp_path / "a")
    teacher = str(tmp_path / "a" / "prerequisites" / "teacher")
    config = student_config(total_kimg=0.048, teacher=teacher)
    assert prerequisites(config) == () and resolve(config, tmp_path / "b").teacher == teacher
    train_prerequisites(config, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    train(make_system(config), config, tmp_path / "b")
    assert load_run(tmp_path / "b").meta["step"] == 6


def test_deep3d_asks_for_people_of_its_own_face_model(monkeypatch):
    monkeypatch.undo()
    config = load_config("deep3d:smoke")
    config.recognition.update(kind="idnet", run="auto")
    (wanted,) = prerequisites(config)
    assert (wanted.name, wanted.spec) == ("recognition", "idnet:smoke")
    own = module.prerequisite_config(wanted)
    assert own.system == "idnet" and own.data.model_options == config.data.model_options
    resolved = resolve(config, "runs/x")
    assert resolved.recognition.run == "runs/x/prerequisites/recognition"
    assert config.recognition.run == "auto"
