import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.train.frozen import frozen_trees
from facejax.train.state import init_state
from facejax.train.step import (
    active_phases,
    apply_phase,
    checked_phases,
    make_phase_step,
    split_microbatches,
    traced_scalars,
)
from facejax.train.system import Phase, Stage
from tests.train.toy import ToySystem, toy_config


def _setup(**overrides):
    system = ToySystem(toy_config(optimizer="sgd", **overrides))
    plan = system.plan(0)
    batch = system.source(plan.stage).batch(np.arange(plan.stage.batch_size), scale=1)
    batch["index"] = np.arange(plan.stage.batch_size, dtype=np.int32)
    return system, plan, init_state(system, 3), batch


def _run(system, plan, state, batch, active=("disc", "gen"), number=0, **options):
    scalars, metrics = traced_scalars(plan.scalars, number), {}
    for name in active:
        step = jax.jit(make_phase_step(system, plan.stage, name, **options))
        state, found = step(state, frozen_trees(system), batch, scalars)
        metrics |= found
    return jax.device_get((state, metrics))


def _quadratic(target):
    def loss(params, inputs):
        value = jnp.mean((params["a"]["w"][None] - inputs.batch["x"]) ** 2) * target
        return value, ({}, {"count": inputs.aux["count"] + 1})

    return loss


@pytest.mark.parametrize("bad", [1.0, np.nan, np.inf])
def test_phase_is_plain_gradient_descent_and_skips_what_is_not_finite(bad):
    from facejax.train.state import TrainState

    w = np.array([2.0, -1.0], np.float32)
    tx = optax.trace(0.5)
    state = TrainState(
        step=np.int32(0), params={"a": {"w": w}}, opt={"a": tx.init({"w": w})}, ema={"a": {"w": w}},
        aux={"count": np.int32(7)}, rng=np.zeros(2, np.uint32),
    )  # fmt: skip
    x = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    scalars = traced_scalars({"lr/a": 0.1, "ema_decay": 0.75}, 0)
    phase = Phase("p", "a", _quadratic(bad), ema=("a",))
    new, metrics = apply_phase(phase, {"a": tx}, state, {}, {"x": x}, jax.random.key(0), scalars)
    grad = 2 * np.mean(w - x, axis=0) / 2
    good = np.isfinite(bad)
    want = w - 0.1 * grad if good else w
    np.testing.assert_allclose(new.params["a"]["w"], want, rtol=1e-6)
    np.testing.assert_allclose(new.ema["a"]["w"], want + (w - want) * 0.75, rtol=1e-6)
    np.testing.assert_allclose(new.opt["a"].trace["w"], grad if good else 0 * grad, rtol=1e-6)
    assert new.aux["count"] == (8 if good else 7)
    assert metrics["p/skipped"] == (0 if good else 1)


def test_moving_average_is_taken_before_the_generator_moves():
    system, plan, state, batch = _setup()
    new, _ = _run(system, plan, state, batch)
    for old, ema in zip(*map(jax.tree.leaves, (state.params["gen"], new.ema["gen"])), strict=True):
        np.testing.assert_allclose(ema, old, rtol=1e-6)  # a lerp of equal numbers
    assert not np.allclose(new.params["gen"]["w0"], state.params["gen"]["w0"])


def test_a_phase_of_two_groups_moves_each_at_its_own_rate():
    """Gradient descent on (a b - x)^2 by hand, and the state of a third group stays."""
    from facejax.train.state import TrainState

    def loss(params, inputs):
        value = jnp.mean((params["a"] * params["b"] - inputs.batch["x"]) ** 2)
        return value, ({}, {})

    params = {"a": np.float32(2.0), "b": np.float32(3.0), "c": np.float32(1.0)}
    tx = optax.trace(0.5)
    state = TrainState(
        step=np.int32(0), params=params, opt={g: tx.init(p) for g, p in params.items()}, ema={},
        aux={}, rng=np.zeros(2, np.uint32),
    )  # fmt: skip
    phase = Phase("both", ("a", "b"), loss)
    scalars = traced_scalars({"lr/a": 0.1, "lr/b": 0.01}, 0)
    batch = {"x": np.array([5.0, 7.0], np.float32) - 4}
    new, metrics = apply_phase(
        phase, {"a": tx, "b": tx}, state, {}, batch, jax.random.key(0), scalars
    )
    slope = 2 * (6 - 2)  # of the product
    np.testing.assert_allclose(new.params["a"], 2 - 0.1 * slope * 3, rtol=1e-6)
    np.testing.assert_allclose(new.params["b"], 3 - 0.01 * slope * 2, rtol=1e-6)
    assert new.params["c"] == 1 and new.opt["c"] is state.opt["c"]
    np.testing.assert_allclose(metrics["both/grad_norm"], slope * np.hypot(2, 3), rtol=1e-6)
    np.testing.assert_allclose(metrics["both/grad_norm/b"], slope * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="different names"):
        Phase("both", ("a", "a"), loss)


def test_accumulation_is_a_mean_over_microbatches():
    system, plan, state, batch = _setup()
    whole, metrics = _run(system, plan, state, batch)
    parts, part_metrics = _run(system, plan, state, batch, accumulate=2)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, parts.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["disc/loss"], part_metrics["disc/loss"], rtol=1e-5)
    assert parts.aux["count"] == 2


def test_microbatches_are_contiguous():
    x = np.arange(8)
    got = split_microbatches({"x": x}, 2)["x"]
    np.testing.assert_array_equal(got, [[0, 1, 2, 3], [4, 5, 6, 7]])
    with pytest.raises(ValueError, match="divisor of 8"):
        split_microbatches({"x": x}, 3)


def test_a_lazy_phase_runs_on_every_nth_step_and_leaves_the_others_randomness_alone():
    system, plan, state, batch = _setup()
    phases = system.phases(plan.stage)
    assert [active_phases(phases, i) for i in range(3)] == [
        ("disc", "reg", "gen"), ("disc", "gen"), ("disc", "reg", "gen"),
    ]  # fmt: skip
    _, with_reg = _run(system, plan, state, batch, active=("disc", "reg", "gen"))
    _, without = _run(system, plan, state, batch)
    np.testing.assert_allclose(with_reg["disc/loss"], without["disc/loss"], rtol=1e-6)
    assert "reg/loss" in with_reg and "reg/loss" not in without


def test_randomness_follows_the_step_and_the_index_not_the_place():
    system, plan, state, batch = _setup()
    _, first = _run(system, plan, state, batch)
    turned = {name: value[::-1] for name, value in batch.items()}
    _, same = _run(system, plan, state, turned)
    np.testing.assert_allclose(first["gen/loss"], same["gen/loss"], rtol=1e-5)
    _, other = _run(system, plan, state, batch, number=1)
    assert abs(first["gen/loss"] - other["gen/loss"]) > 1e-5


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_every_step_lowers_for_accelerators(platform):
    system, _, state, _ = _setup()
    for images in (0, 96):
        plan = system.plan(images)
        static = dict(plan.stage.static)
        batch = system.source(plan.stage).batch(np.arange(plan.stage.batch_size), **static)
        batch["index"] = np.arange(plan.stage.batch_size, dtype=np.int32)
        for name in ("disc", "reg", "gen"):
            step = jax.jit(make_phase_step(system, plan.stage, name))
            scalars = traced_scalars(plan.scalars, 0)
            traced = step.trace(state, frozen_trees(system), batch, scalars)
            assert "func" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_mistakes_of_a_system_are_named():
    with pytest.raises(ValueError, match="batch_size must be positive"):
        Stage("x", 0)
    with pytest.raises(ValueError, match="sorted"):
        Stage("x", 1, (("b", 1), ("a", 2)))
    with pytest.raises(ValueError, match="every must be positive"):
        Phase("x", "gen", lambda: None, every=0)
    system, plan, _, _ = _setup()
    lazy = Phase("lazy", "gen", lambda: None, every=2)
    system.phases = lambda stage: (lazy,)
    with pytest.raises(ValueError, match="every step"):
        checked_phases(system, plan.stage)
    system, plan, _, _ = _setup()
    system.ema_groups = ()
    with pytest.raises(ValueError, match="ema_groups"):
        make_phase_step(system, plan.stage, "disc")
    system.ema_groups = ("nobody",)
    with pytest.raises(ValueError, match="nobody"):
        init_state(system, 0)
