"""What the compiled programs of every system are made of."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from facejax.train.config import load_config
from facejax.train.memory import abstract_state, step_arguments
from facejax.train.parallel import Parallel
from facejax.train.progress import stage_starts
from facejax.train.runs import find_systems, make_system
from tests.conftest import QUICK_COMPILER, UNDER_WAY
from tests.oracles.collectives import check_collectives
from tests.oracles.hlo import largest_constant

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMS = [
    pytest.param(name, marks=pytest.mark.slow if name in UNDER_WAY else ())
    for name in find_systems()
    if (ROOT / f"configs/{name}.py").is_file()
]
LARGEST = 2**20


@functools.cache
def smoke(name):
    return make_system(load_config(f"{name}:smoke"))


def plans(system):
    return [system.plan(images) for images in stage_starts(system).values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_four_devices_add_up_gradients_statistics_and_metrics_and_nothing_else(name, monkeypatch):
    """Of every stage; tests/systems/test_contract.py looks at the first one while it trains."""
    system, parallel = smoke(name), Parallel(devices=jax.devices()[:4])
    for plan in plans(system):
        arguments = step_arguments(system, plan, abstract_state(system))
        for phase in system.phases(plan.stage):
            step = parallel.wrap(system, plan.stage, phase.name)
            text = step.lower(*arguments).compile().as_text()
            check_collectives(name, system, plan, phase, text, 4, monkeypatch)


_SCAN = """
import json, sys
import jax, numpy as np
from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.memory import abstract_state, step_arguments
from facejax.train.parallel import Parallel
from facejax.train.progress import stage_starts
from facejax.train.runs import make_system
from facejax.train.state import as_used, init_state
from tests.oracles.hlo import largest_constant

name, folder = sys.argv[1:]
config = load_config(name)
config.update_from_flattened_dict(json.loads(sys.stdin.read()))
system, found = make_system(config), {}
for stage, images in stage_starts(system).items():
    plan = system.plan(images)
    arguments = step_arguments(system, plan, abstract_state(system))
    for phase in system.phases(stage):
        step = Parallel(devices=jax.devices()[:1]).wrap(system, stage, phase.name)
        text = step.lower(*arguments).as_text()
        found[f"step {stage.name}/{phase.name}"] = largest_constant(text)
state = init_state(system, 0)
params = as_used(state.params, state.ema, state.aux, frozen_trees(system))
program = jax.jit(system.predict).lower(params, *system.predict_inputs(4))
found["predict"] = largest_constant(program.as_text())
params = jax.device_put(params)
jax.config.update("jax_dump_ir_to", folder)
for hook in ("samples", "histograms"):
    if hasattr(system, hook):
        getattr(system, hook)(params, plan, 0)
if hasattr(system, "validation"):
    system.validation(params)
print(json.dumps(found))
"""
_SMALLER = {  # as large as the default in everything that a program could hold as a constant
    "deep3d": {"gallery.num": 2, "recognition.kind": "idnet", "graph.target": "shape"},
    "tbgan": {"gallery.texture_size": 128},
    "disco": {"regression.run": "", "recognition.run": "", "gallery.num": 2},
    "idnet": {},
    "manifold": {},
    "varitex": {},
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_program_of_a_default_holds_a_large_constant(name, tmp_path):
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment["XLA_FLAGS"] = QUICK_COMPILER  # one device
    done = subprocess.run(
        [sys.executable, "-c", _SCAN, name, str(tmp_path)], cwd=ROOT, env=environment,
        input=json.dumps(_SMALLER.get(name, {})), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for file in tmp_path.glob("*.mlir"):
        found[file.name] = largest_constant(file.read_text())
    assert {k: v for k, v in found.items() if v > LARGEST} == {}
    system = smoke(name)
    pictures = any(hasattr(system, hook) for hook in ("samples", "histograms", "validation"))
    assert any(tmp_path.glob("*.mlir")) == pictures  # the gallery's programs were seen
