"""What the devices of a data-parallel step may tell each other."""

import sys

import jax
import numpy as np

from facejax.nn import devices
from facejax.train.memory import abstract_state, step_arguments, tree_bytes
from facejax.train.step import loss_and_grads
from facejax.train.system import LossInputs
from tests.oracles.hlo import count_operations, reduced_bytes


def check_collectives(name, system, plan, phase, text, num_devices, monkeypatch):
    """Asserts that a compiled phase adds up gradients, statistics and metrics and nothing else.

    Args:
      name: of the system.
      plan: of the stage.
      phase: of the system's `phases`.
      text: `compiled.as_text()` of the phase's step for several devices.
    """
    counts = count_operations(text)
    assert counts["all-reduces in loops"] == 0
    assert counts["collectives"] == text.count(" all-reduce(") > 0  # and no other kind
    rows = plan.stage.batch_size // num_devices
    mine = step_arguments(system, plan, abstract_state(system), rows)
    must, declared = _expected_bytes(phase, mine, monkeypatch)
    # a statistic is averaged once forward, and its gradient once backward; gradients that the
    # compiler knows to be zero, of layers of later stages, are left out
    found = reduced_bytes(text)
    assert 0 < found <= must + 2 * declared, (plan.stage.name, phase.name)
    assert found > must / 2 or name in ("tbgan", "disco")


def _floats(tree):
    """Bytes of the numbers that are averaged over devices."""
    return tree_bytes([x for x in jax.tree.leaves(tree) if np.issubdtype(x.dtype, np.floating)])


def _expected_bytes(phase, arguments, monkeypatch):
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
    return _floats(found), sum(declared)
