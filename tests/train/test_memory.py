"""The estimate of a step's memory: on programs counted by hand, and against XLA's own figure."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.train.config import load_config
from facejax.train.memory import (
    abstract_state,
    peak_bytes,
    step_arguments,
    step_bytes,
    tree_bytes,
)
from facejax.train.parallel import Parallel
from facejax.train.runs import make_system
from facejax.train.step import checked_phases

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
N = 16
ARRAY = 4 * N * N  # bytes
SHAPE = jax.ShapeDtypeStruct((N, N), np.float32)


def peak(function, *arguments):
    """In arrays [N, N]."""
    return peak_bytes(jax.make_jaxpr(function)(*arguments).jaxpr) / ARRAY


def test_a_chain_of_products_holds_two():
    def chain(x, w):
        for _ in range(5):
            x = x @ w
        return x

    assert peak(chain, SHAPE, SHAPE) == 2  # one that is read, one that is written
    assert peak(jax.jit(chain), SHAPE, SHAPE) == 2
    assert peak(lambda x, w: x @ w, SHAPE, SHAPE) == 1


def test_elementwise_chains_are_fused():
    def chain(x):
        for _ in range(5):
            x = jnp.cos(jnp.sin(x)) + 1.0
        return x

    assert peak(chain, SHAPE) == 0  # in the place of the input
    assert peak(lambda x, w: chain(x @ w) @ w, SHAPE, SHAPE) == 2
    assert peak(lambda x, w: jnp.sum(chain(x @ w) * (x @ w)), SHAPE, SHAPE) == pytest.approx(
        2 + 1 / N**2
    )


def test_what_a_gradient_needs_is_kept():
    layers = 6

    def loss(w, x):
        for _ in range(layers):
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    # the results of all layers, two gradients and what they are added up in
    assert layers <= peak(jax.grad(loss), SHAPE, SHAPE) <= layers + 4


def test_what_a_loop_stacks_lies_beside_what_its_body_holds():
    def body(x, w):
        x = (x @ w) @ w
        return x, x

    def scan(x, ws):
        return jax.lax.scan(body, x, ws)

    length = 7
    ws = jax.ShapeDtypeStruct((length, N, N), np.float32)
    assert peak(scan, SHAPE, ws) == length + 1 + 2  # the stack, the carry, two in the body
    assert peak(lambda x, ws: scan(x, ws)[0], SHAPE, ws) <= length + 3


def test_results_end_with_their_last_use():
    def branches(x, w):
        return sum(jnp.sum(x @ (w + k)) for k in range(8))

    def together(x, w):
        return jnp.sum(jnp.concatenate([x @ (w + k) for k in range(8)]) @ w)

    assert peak(branches, SHAPE, SHAPE) < 1.1
    assert 16 <= peak(together, SHAPE, SHAPE) < 17  # eight parts, and them in one array


def test_keys_and_narrow_numbers_count_by_their_size():
    assert tree_bytes({"a": np.zeros((3, 5), np.int8), "b": np.float64(1)}) == 15 + 8
    assert tree_bytes(jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))) == 48


def test_shapes_of_a_state_are_free(monkeypatch):
    system = make_system(load_config(f"{CONFIGS}/tbgan.py:paper"))
    monkeypatch.setattr(np.random, "default_rng", lambda *a: pytest.fail("numbers were made"))
    state = abstract_state(system)
    assert list(state.params) == ["gen", "disc"]
    leaves = jax.tree.leaves(state)
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in leaves)
    assert tree_bytes(state.params["gen"]) == 4 * 206_959_464


@pytest.mark.parametrize("name", ["manifold", "tbgan"])
def test_the_estimate_is_near_what_the_compiler_plans(name):
    """Measured on CPU: manifold 1.1, tbgan 0.8, idnet 1.0, deep3d 0.8 to 1.0."""
    system = make_system(load_config(f"{CONFIGS / name}.py:smoke"))
    plan, state = system.plan(0), abstract_state(system)
    arguments = step_arguments(system, plan, state)
    parallel = Parallel(devices=jax.devices()[:1])
    planned = []
    for phase in checked_phases(system, plan.stage):
        step = parallel.wrap(system, plan.stage, phase.name)
        found = step.lower(*arguments).compile().memory_analysis()
        planned.append(found.argument_size_in_bytes + found.temp_size_in_bytes)
    assert 1 / 1.5 < step_bytes(system, plan, state) / max(planned) < 1.5
