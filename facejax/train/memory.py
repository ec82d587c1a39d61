"""How much memory a step takes, from its trace: no device is touched and nothing is compiled."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from facejax.nn.init import shapes_only
from facejax.train.frozen import frozen_of
from facejax.train.state import TrainState
from facejax.train.step import checked_phases, make_phase_step, traced_scalars
from facejax.train.system import Frozen, Plan, System

# What compilers compute inside the loops of those that use it, instead of storing it.
_FUSED = frozenset(
    """abs add add_any and atan2 bitcast_convert_type broadcast_in_dim ceil clamp copy copy_p
    convert_element_type cos div eq erf erf_inv exp exp2 expand_dims expm1 floor ge gt integer_pow
    iota is_finite le log log1p logistic lt max min mul ne neg not or pow real rem reshape rev round
    rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin slice sqrt square
    squeeze stop_gradient sub tan tanh transpose xor""".split()
)
_LOOPS = frozenset({"scan", "while"})


def tree_bytes(tree: Any) -> int:
    """Bytes of the arrays (or shapes) of a tree."""
    return sum(_bytes(x) for x in jax.tree.leaves(tree))


def _bytes(x: Any) -> int:
    dtype = getattr(x, "dtype", None)
    if dtype is None or jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
        return 16 * math.prod(getattr(x, "shape", ()))  # keys
    return math.prod(x.shape) * np.dtype(dtype).itemsize


def _inner(eqn) -> list:
    """The jaxprs that an equation runs."""
    found = []
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns"):
                found.append(item)
            elif hasattr(item, "jaxpr") and hasattr(item.jaxpr, "eqns"):
                found.append(item.jaxpr)
    return found


def peak_bytes(jaxpr: Any) -> int:
    """An estimate of the most bytes that a program holds at once, besides its inputs.

    Equations are taken in their order. A result lives from its equation to its last use.
    Elementwise results take no memory: they keep alive what they are computed from, as if each of
    their users computed them again. Those that the program returns take the place of inputs, as a
    donated state does.

    Args:
      jaxpr: of `jax.make_jaxpr(...)(...).jaxpr`.
    """
    stored: dict[Any, frozenset] = {}  # variable -> stored variables that it needs
    last: dict[Any, int] = {}

    def needs(atom):
        return stored.get(atom, frozenset()) if not hasattr(atom, "val") else frozenset()

    end = len(jaxpr.eqns)
    for k, eqn in enumerate(jaxpr.eqns):
        used = frozenset().union(*(needs(a) for a in eqn.invars))
        for variable in used:
            last[variable] = k
        for out in eqn.outvars:
            stored[out] = used if eqn.primitive.name in _FUSED else frozenset((out,))
    for out in jaxpr.outvars:
        for variable in needs(out):
            last[variable] = end
    ends: dict[int, list] = {}
    for variable, k in last.items():
        ends.setdefault(k, []).append(variable)
    live = peak = 0
    for k, eqn in enumerate(jaxpr.eqns):
        if eqn.primitive.name in _FUSED:
            continue
        inside = max((peak_bytes(inner) for inner in _inner(eqn)), default=0)
        own = sum(_bytes(out.aval) for out in eqn.outvars)
        # what a loop stacks lies beside what its body holds; other calls make their results inside
        held = own + inside if eqn.primitive.name in _LOOPS else max(own, inside)
        peak = max(peak, live + held)
        live += sum(_bytes(out.aval) for out in eqn.outvars if out in last)
        live -= sum(_bytes(v.aval) for v in ends.get(k, ()))
    return peak


def abstract_state(system: System) -> TrainState:
    """The shapes of a state: nothing is drawn, no device is touched."""

    def shapes(tree):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), tree)

    with shapes_only():
        params, aux = system.init(0)
    params = {group: shapes(tree) for group, tree in params.items()}  # in the system's order
    aux = shapes(aux)
    return TrainState(
        step=jax.ShapeDtypeStruct((), np.int32),
        params=params,
        opt={g: jax.eval_shape(system.optimizer(g).init, tree) for g, tree in params.items()},
        ema={g: params[g] for g in system.ema_groups},
        aux=aux,
        rng=jax.ShapeDtypeStruct((2,), np.uint32),
    )


def step_arguments(
    system: System,
    plan: Plan,
    state: TrainState,
    batch_size: int | None = None,
    frozen: dict[str, Frozen] | None = None,
) -> tuple:
    """Shapes of (state, frozen, batch, scalars) of a step.

    Args:
      system: with `example_shapes`.
      plan: of the step.
      state: of `abstract_state`.
      batch_size: of a device; None for the whole batch.
      frozen: of `System.frozen`; by default its shapes are made.
    """
    size = batch_size or plan.stage.batch_size
    batch = {
        name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
        for name, x in system.example_shapes(plan.stage).items()
    }
    batch["index"] = jax.ShapeDtypeStruct((size,), np.int32)
    if frozen is None:
        with shapes_only():  # of a network that has yet to be trained there is nothing else
            frozen = frozen_of(system)
    trees = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype),
        {name: item.tree for name, item in frozen.items()},
    )
    scalars = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), traced_scalars(plan.scalars, 0)
    )
    return state, trees, batch, scalars


def step_bytes(
    system: System,
    plan: Plan,
    state: TrainState,
    frozen: dict[str, Frozen] | None = None,
    accumulate: int = 1,
) -> int:
    """An estimate of the bytes that a device holds in a step of a plan, all its inputs included.

    Args:
      system: with `example_shapes`.
      plan: of the step.
      state: of `abstract_state`, the same for all stages.
      frozen: of `System.frozen`, the same for all stages; by default its shapes are made.
      accumulate: the number of microbatches.
    """
    arguments = step_arguments(system, plan, state, frozen=frozen)
    peaks = []
    for phase in checked_phases(system, plan.stage):
        step: Callable = make_phase_step(system, plan.stage, phase.name, accumulate=accumulate)
        peaks.append(peak_bytes(jax.make_jaxpr(step)(*arguments).jaxpr))
    return tree_bytes(arguments) + max(peaks)
