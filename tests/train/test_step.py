import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.train.state import init_state
from facejax.train.step import (
    active_phases,
    apply_phase,
    make_train_step,
    split_microbatches,
    traced_scalars,
)
from facejax.train.system import Phase, Stage
from tests.train.toy import ToySystem, toy_config


def _setup(**overrides):
    system = ToySystem(toy_config(optimizer="sgd", **overrides))
    plan = system.plan(0)
    batch = system.source().batch(np.arange(plan.stage.batch_size), scale=1)
    batch["index"] = np.arange(plan.stage.batch_size, dtype=np.int32)
    return system, plan, init_state(system, 3), batch


def _run(system, plan, state, batch, active=("disc", "gen"), **options):
    step = jax.jit(make_train_step(system, plan.stage, active, **options))
    return jax.device_get(step(state, batch, traced_scalars(plan.scalars)))


def _quadratic(target):
    def loss(params, state, batch, rng, scalars):
        del rng, scalars
        value = jnp.mean((params["w"][None] - batch["x"]) ** 2) * target
        return value, ({}, {"count": state.aux["count"] + 1})

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
    scalars = traced_scalars({"lr/a": 0.1, "ema_decay": 0.75})
    phase = Phase("p", "a", _quadratic(bad), ema=("a",))
    new, metrics = apply_phase(phase, tx, state, {"x": x}, jax.random.key(0), scalars)
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


@pytest.mark.parametrize("shards", [1, 2])
def test_accumulation_is_a_mean_over_microbatches(shards):
    system, plan, state, batch = _setup()
    whole, metrics = _run(system, plan, state, batch)
    parts, part_metrics = _run(system, plan, state, batch, accumulate=2, shards=shards)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, parts.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["disc/loss"], part_metrics["disc/loss"], rtol=1e-5)
    assert parts.aux["count"] == 2


def test_microbatches_are_contiguous_in_every_shard():
    x = np.arange(8)
    got = split_microbatches({"x": x}, 2)["x"]
    np.testing.assert_array_equal(got, [[0, 1, 2, 3], [4, 5, 6, 7]])
    got = split_microbatches({"x": x}, 2, shards=2)["x"]
    np.testing.assert_array_equal(got, [[0, 1, 4, 5], [2, 3, 6, 7]])
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
    _, other = _run(system, plan, state.replace(step=np.int32(1)), batch)
    assert abs(first["gen/loss"] - other["gen/loss"]) > 1e-5


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_every_step_lowers_for_accelerators(platform):
    system, _, state, _ = _setup()
    for images in (0, 96):
        plan = system.plan(images)
        static = dict(plan.stage.static)
        batch = system.source().batch(np.arange(plan.stage.batch_size), **static)
        batch["index"] = np.arange(plan.stage.batch_size, dtype=np.int32)
        for active in (("disc", "reg", "gen"), ("disc", "gen")):
            step = jax.jit(make_train_step(system, plan.stage, active))
            traced = step.trace(state, batch, traced_scalars(plan.scalars))
            assert "func" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_mistakes_of_a_system_are_named():
    with pytest.raises(ValueError, match="batch_size must be positive"):
        Stage("x", 0)
    with pytest.raises(ValueError, match="sorted"):
        Stage("x", 1, (("b", 1), ("a", 2)))
    with pytest.raises(ValueError, match="every must be positive"):
        Phase("x", "gen", lambda: None, every=0)
    system, plan, _, _ = _setup()
    system.ema_groups = ()
    with pytest.raises(ValueError, match="ema_groups"):
        make_train_step(system, plan.stage, ("disc",))
    system.ema_groups = ("nobody",)
    with pytest.raises(ValueError, match="nobody"):
        init_state(system, 0)
