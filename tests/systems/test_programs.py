"""What the compiled programs of every system are made of."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from facejax.nn import devices
from facejax.train.config import load_config
from facejax.train.memory import abstract_state, step_arguments, tree_bytes
from facejax.train.parallel import Parallel
from facejax.train.progress import stage_starts
from facejax.train.runs import find_systems, make_system
from facejax.train.step import loss_and_grads
from facejax.train.system import LossInputs
from tests.conftest import QUICK_COMPILER, SLOW
from tests.oracles.hlo import count_operations, largest_constant, reduced_bytes

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMS = [name for name in find_systems() if (ROOT / f"configs/{name}.py").is_file()]
LARGEST = 2**20


@functools.cache
def smoke(name):
    return make_system(load_config(f"{name}:smoke"))


def plans(system):
    """One of every stage; FACEJAX_SLOW=1: without it the last one, which has all networks."""
    found = [system.plan(images) for images in stage_starts(system).values()]
    return found if SLOW else found[-1:]


def floats(tree):
    """Bytes of the numbers that are averaged over devices."""
    return tree_bytes([x for x in jax.tree.leaves(tree) if np.issubdtype(x.dtype, np.floating)])


def expected_bytes(phase, arguments, monkeypatch):
    """(gradients, metrics and new aux; declared statistics), bytes of one device's averages."""
    state, frozen, batch, scalars = arguments
    declared = []

    def declare(x):
        declared.append(tree_bytes(x))
        return x

    def traced(state, frozen, batch, scalars):
        rng = jax.random.wrap_key_data(state.rng)
        inputs = LossInputs(batch, rng, scalars, state.aux, state.ema, frozen)
        return loss_and_grads(phase, state.params, inputs)

    real = devices.mean_over_devices
    with monkeypatch.context() as patch:
        for module in list(sys.modules.values()):
            if getattr(module, "mean_over_devices", None) is real:
                patch.setattr(module, "mean_over_devices", declare)
        found = jax.eval_shape(traced, *arguments)
    return floats(found), sum(declared)


@pytest.mark.parametrize("name", SYSTEMS)
def test_four_devices_add_up_gradients_statistics_and_metrics_and_nothing_else(name, monkeypatch):
    system, parallel = smoke(name), Parallel(devices=jax.devices()[:4])
    for plan in plans(system):
        arguments = step_arguments(system, plan, abstract_state(system))
        mine = step_arguments(system, plan, abstract_state(system), plan.stage.batch_size // 4)
        for phase in system.phases(plan.stage):
            step = parallel.wrap(system, plan.stage, phase.name)
            text = step.lower(*arguments).compile().as_text()
            counts = count_operations(text)
            assert counts["all-reduces in loops"] == 0
            assert counts["collectives"] == text.count(" all-reduce(") > 0  # and no other kind
            must, declared = expected_bytes(phase, mine, monkeypatch)
            # a statistic is averaged once forward, and its gradient once backward; gradients that
            # the compiler knows to be zero, of layers of later stages, are left out
            found = reduced_bytes(text)
            assert 0 < found <= must + 2 * declared, (plan.stage.name, phase.name)
            assert found > must / 2 or name in ("tbgan", "disco")


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
