"""Two processes on one run folder: the second is told so, and nothing of the first is touched."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from facejax.host.locks import LOCK, LockError, folder_lock
from facejax.io.checkpoints import Checkpoints
from facejax.train import prerequisites as module
from facejax.train.loop import train
from facejax.train.prerequisites import train_prerequisites
from facejax.train.runs import make_system, resolve
from tests.conftest import QUICK_COMPILER
from tests.train.test_kill import outcome, start
from tests.train.toy import ToySystem, install, student_config, toy_config

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists()


def test_the_second_of_two_gets_one_line_and_the_first_is_as_if_alone(tmp_path):
    first = start(tmp_path / "run", dict(sleep_s=0.05), tmp_path / "cache")
    _wait_for(tmp_path / "run" / "metrics.jsonl", first)
    second = start(tmp_path / "run", {}, tmp_path / "cache")
    output = second.communicate(timeout=60)[0]
    assert second.returncode == 1
    number, line = output.strip().splitlines()
    assert number == str(second.pid)
    assert line.startswith(f"error: {tmp_path / 'run'} is in use by process {first.pid} on ")
    assert "(training, since" in line and "Wait until it has ended" in line
    output = first.communicate(timeout=60)[0]
    assert first.returncode == 0, output
    whole = toy_config(sleep_s=0.05)
    train(ToySystem(whole), whole, tmp_path / "whole")
    found, wanted = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert found[1] == wanted[1]
    jax.tree.map(np.testing.assert_array_equal, found[0], wanted[0])
    names = sorted(p.name for p in (tmp_path / "run").rglob("*"))
    assert not [n for n in names if "damaged" in n or n.startswith(LOCK)]


def test_two_processes_of_one_run_share_one_lock(tmp_path):
    """Process 0 holds it; where it is refused, both say so and end."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "tests.train.toy_main", str(tmp_path / "run")]
    command += [json.dumps(dict(batch=[8, 16])), f"127.0.0.1:{port}"]
    environment = os.environ | {"XLA_FLAGS": QUICK_COMPILER}
    with folder_lock(tmp_path / "run", "looking"):
        processes = [
            subprocess.Popen([*command, str(k)], cwd=ROOT, env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for k in range(2)
        ]  # fmt: skip
        outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [1, 1], outputs
    assert f"is in use by process {os.getpid()}" in outputs[0]
    assert "error: " in outputs[1] and "Traceback" not in outputs[0] + outputs[1]


def test_a_thread_cannot_train_where_another_one_does(tmp_path):
    import threading

    found = []

    def other():
        config = toy_config()
        with pytest.raises(LockError) as error:
            train(ToySystem(config), config, tmp_path)
        found.append(str(error.value))

    with folder_lock(tmp_path, "training"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "in use by this process (training" in found[0]


def test_who_lost_the_lock_writes_no_checkpoint(tmp_path, monkeypatch):
    config = toy_config()
    system = ToySystem(config)
    real, calls = system.plan, []

    def plan(images):
        calls.append(images)
        if images >= 40 and (tmp_path / LOCK).exists():
            (tmp_path / LOCK).rename(tmp_path / "gone")  # as if taken over and let go
        return real(images)

    monkeypatch.setattr(system, "plan", plan)
    with pytest.raises(LockError, match="does not hold the folder any more"):
        train(system, config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


@pytest.fixture
def known(monkeypatch, tmp_path):
    install(monkeypatch.setattr)
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "cache"))


def _run(workdir):
    config = student_config(total_kimg=0.048)
    train_prerequisites(config, workdir)
    return train(make_system(resolve(config, workdir)), config, workdir)


def test_a_damaged_prerequisite_in_the_cache_is_trained_again_and_replaced(
    known, tmp_path, caplog, monkeypatch
):
    first = _run(tmp_path / "a")
    (kept,) = (tmp_path / "cache" / "runs").iterdir()
    (step,) = (kept / "checkpoints").iterdir()
    for file in (step / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    second = _run(tmp_path / "b")
    assert "in the cache is passed over" in caplog.text and "damaged" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, first.state.params, second.state.params)
    caplog.clear()
    _run(tmp_path / "c")
    assert "passed over" not in caplog.text
    assert [p.name for p in (tmp_path / "cache" / "runs").iterdir()] == [kept.name]
    copied = []
    monkeypatch.setattr(module, "_copy", lambda *paths: copied.append(paths))
    own = module.prerequisite_config(module.prerequisites(student_config())[0])
    module._keep(tmp_path / "a" / "prerequisites" / "teacher", kept, own, "teacher")
    assert not copied  # of two runs that need the same, the second finds it there
