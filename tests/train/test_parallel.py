import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from facejax.train.loop import train
from facejax.train.parallel import Parallel, initialize
from tests.conftest import QUICK_COMPILER
from tests.train.toy import ToySystem, toy_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
OVERRIDES = dict(optimizer="sgd", total_kimg=0.128, lazy=False, log_every=1, lr=0.5)


def _losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = ("disc/loss", "disc/grad_norm", "gen/loss", "gen/grad_norm")
    return np.array([[line[name] for name in names] for line in lines])


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    config = toy_config(**OVERRIDES)
    train(ToySystem(config), config, folder, parallel=Parallel("shard_map", jax.devices()[:1]))
    return _losses(folder)


@pytest.mark.parametrize("mode", ["shard_map", "pmap"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_four_devices_equal_one(one_device, tmp_path, mode, accumulate):
    config = toy_config(accumulate=accumulate, parallel=mode, **OVERRIDES)
    result = train(ToySystem(config), config, tmp_path, parallel=Parallel(mode, jax.devices()[:4]))
    assert len(jax.tree.leaves(result.state.params)[0].sharding.device_set) == 4
    np.testing.assert_allclose(_losses(tmp_path), one_device, rtol=2e-5)


@pytest.mark.parametrize("mode", ["shard_map", pytest.param("pmap", marks=pytest.mark.slow)])
def test_two_processes_equal_one(one_device, tmp_path, mode):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    overrides = json.dumps(OVERRIDES | {"parallel": mode})
    env = os.environ | {"XLA_FLAGS": f"{QUICK_COMPILER} --xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-m", "tests.train.toy_main", str(tmp_path), overrides, address]
    processes = [
        subprocess.Popen(
            [*command, str(i)], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    np.testing.assert_allclose(_losses(tmp_path), one_device, rtol=2e-5)
    assert (tmp_path / "export.npy").exists()


def test_a_batch_that_does_not_divide_names_the_nearest_that_do():
    parallel = Parallel("shard_map", jax.devices()[:4])
    parallel.check_batch_size(16, 2)
    with pytest.raises(ValueError, match="multiple of 4; the nearest batch sizes are 8 or 12"):
        parallel.check_batch_size(10)
    with pytest.raises(ValueError, match="the nearest batch sizes are 8$"):
        parallel.check_batch_size(3, 2)
    with pytest.raises(ValueError, match="in groups of 4: wanted a multiple of 16"):
        parallel.check_batch_size(8, together=4)
    Parallel(devices=jax.devices()[:1]).check_batch_size(3, together=4)  # nothing is cut


def test_settings_that_do_not_fit_together():
    with pytest.raises(ValueError, match="parallel must be one of"):
        Parallel("shard")
    with pytest.raises(ValueError, match="without a coordinator"):
        initialize(None, 2, 0)
    with pytest.raises(ValueError, match="needs --num_processes"):
        initialize("localhost:1")
    with pytest.raises(ValueError, match="process_id must be in 0 .. 1"):
        initialize("localhost:1", 2, 2)
