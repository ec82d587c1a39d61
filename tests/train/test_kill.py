"""Runs killed at random moments, start-up and prerequisites included, equal unbroken ones.

FACEJAX_SLOW=1 python -m pytest tests/train/test_kill.py      twenty moments instead of two
"""

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

from facejax.io.checkpoints import Checkpoints
from facejax.train.loop import train
from tests.train.toy import ToySystem, toy_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLOCKS = ("time", "sec/kimg", "images/s", "drawn/s", "compile_s")
TIMES = 10 if os.environ.get("FACEJAX_SLOW") else 1


def start(workdir, overrides, cache):
    command = [sys.executable, "-m", "tests.train.toy_main", str(workdir), json.dumps(overrides)]
    environment = os.environ | {"FACEJAX_CACHE_DIR": str(cache)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment
    )


def finish(process):
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return output


def outcome(workdir):
    """(arrays, lines of metrics.jsonl without times) of a run and of its prerequisites."""
    arrays, lines = {}, {}
    for folder in sorted(p.parent for p in workdir.rglob("checkpoints")):
        name = str(folder.relative_to(workdir))
        arrays[name] = Checkpoints(folder / "checkpoints").restore_latest()[0]
        path = folder / "metrics.jsonl"
        if name == ".":  # a prerequisite may have come from the cache, without them
            records = [json.loads(line) for line in path.read_text().splitlines()]
            lines = [{k: v for k, v in r.items() if k not in CLOCKS} for r in records]
    return arrays, lines


@pytest.mark.parametrize(
    "kind", ["prerequisite", pytest.param("init_from", marks=pytest.mark.slow)]
)
def test_killed_at_random_moments(kind, tmp_path):
    if kind == "prerequisite":
        overrides = dict(system="student", sleep_s=0.05)
    else:
        other = toy_config(seed=11, total_kimg=0.048)
        train(ToySystem(other), other, tmp_path / "other")
        overrides = dict(init_from=f"{tmp_path / 'other'}:gen", sleep_s=0.05)
    began = time.monotonic()
    finish(start(tmp_path / "whole", overrides, tmp_path / "cache"))
    seconds = time.monotonic() - began
    wanted = outcome(tmp_path / "whole")
    rng = random.Random(kind)
    for k in range(TIMES):
        folder, cache = tmp_path / f"killed{k}", tmp_path / f"cache{k}"
        process = start(folder, overrides, cache)
        time.sleep(rng.uniform(0.05, 1.0) * seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        finish(start(folder, overrides, cache))
        arrays, lines = outcome(folder)
        assert lines == wanted[1]
        jax.tree.map(np.testing.assert_array_equal, arrays, wanted[0])
