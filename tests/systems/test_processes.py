"""Two processes with two devices each give the losses of one device, for every system.

FACEJAX_SLOW=1 python -m pytest tests/systems/test_processes.py      minutes
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from facejax.train.runs import find_systems
from tests.conftest import QUICK_COMPILER

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMS = [name for name in find_systems() if (ROOT / f"configs/{name}.py").is_file()]


def start(name, workdir, devices, *flags):
    command = [
        sys.executable, "-m", "facejax", "train", f"--config={name}:smoke", f"--workdir={workdir}",
        "--config.log_every=1", *flags,
    ]  # fmt: skip
    environment = os.environ | {
        "XLA_FLAGS": f"{QUICK_COMPILER} --xla_force_host_platform_device_count={devices}"
    }
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def losses(workdir):
    """{(step, name): value} of losses and of the gradients' norms."""
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        (line["step"], k): v
        for line in lines
        for k, v in line.items()
        if k.endswith(("/loss", "/grad_norm"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_two_processes_of_two_devices_equal_one_device(name, tmp_path):
    single = start(name, tmp_path / "one", 1)
    output = single.communicate(timeout=600)[0]
    assert single.returncode == 0, output
    wanted = losses(tmp_path / "one")
    for mode in ("shard_map", "pmap"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        folder = tmp_path / mode
        flags = [f"--coordinator={address}", "--num_processes=2", f"--parallel={mode}"]
        both = [start(name, folder, 2, *flags, f"--process_id={i}") for i in range(2)]
        outputs = [process.communicate(timeout=900)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], "\n".join(outputs)
        found = losses(folder)
        assert found.keys() == wanted.keys()
        first = {k for k in wanted if k[0] <= 2}  # rounding grows from step to step
        worst = max(abs(found[k] / wanted[k] - 1) for k in first if wanted[k])
        print(f"{name} {mode}: largest relative difference of the first two steps {worst:.1e}")
        for key in first:
            np.testing.assert_allclose(found[key], wanted[key], rtol=2e-3, atol=2e-5, err_msg=key)
