"""What every system under facejax/systems promises to the trainer, on its `:smoke` preset."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from facejax.train import loop
from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.loop import train
from facejax.train.parallel import Parallel
from facejax.train.progress import stage_starts
from facejax.train.runs import make_system
from facejax.train.state import init_state
from facejax.train.step import make_phase_step, traced_scalars
from tests.conftest import SLOW, UNDER_WAY
from tests.oracles.collectives import check_collectives
from tests.oracles.lowering import accelerator_programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
RENDERED = {  # stages and phases of the presets that render
    ("deep3d", "rnet", "rnet"),
    *(("disco", stage, "gen") for stage in ("8x8", "16x16", "16x16-contrast")),
}
QUICK = ("idnet", "manifold")  # every form is compiled always; of the others with FACEJAX_SLOW=1
SYSTEMS = [
    pytest.param(name, marks=pytest.mark.slow if name in UNDER_WAY else ())
    for name in sorted(p.parent.name for p in (ROOT / "facejax/systems").glob("*/system.py"))
]


class Headless:
    """A system without pictures and exports, which may crash at a given number of images."""

    def __init__(self, system, crash_at=None):
        self._system, self._crash_at = system, crash_at

    def __getattr__(self, name):
        if name in ("samples", "histograms", "validation", "real_samples", "finish"):
            raise AttributeError(name)
        return getattr(self._system, name)

    def phases(self, stage):
        return self._system.phases(stage)

    def plan(self, images):
        return self._system.plan(images)


class Crash(Exception):
    pass


@functools.cache
def smoke(name):
    """(config, system) of a preset; cached, because sources take seconds to build."""
    config = load_config(str(ROOT / f"configs/{name}.py") + ":smoke")
    config.log_every, config.checkpoint_kimg = 1, 0.048
    return config, make_system(config)


def trace(folder):
    """{step: metrics} without times."""
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    drop = ("time", "sec/kimg", "images/s", "drawn/s", "compile_s")
    return {x["step"]: {k: v for k, v in x.items() if k not in drop} for x in lines}


@pytest.fixture(scope="module", params=SYSTEMS)
def unbroken(request, tmp_path_factory):
    config, system = smoke(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    result = train(Headless(system), config, folder, parallel=Parallel(devices=jax.devices()[:1]))
    return request.param, folder, result


def test_a_run_is_finite_and_compiles_once_per_stage(unbroken):
    name, folder, result = unbroken
    _, system = smoke(name)
    lines = trace(folder)
    assert list(lines) == list(range(1, result.step + 1))
    for metrics in lines.values():
        values = [v for v in metrics.values() if isinstance(v, float)]
        assert np.isfinite(values).all() and not any(
            v for k, v in metrics.items() if k.endswith("/skipped")
        )
    assert len(result.compiled) == len(set(result.compiled))
    stages = {system.plan(i).stage.name for i in range(0, system.total_images, 8)}
    assert {c.split(" ")[0] for c in result.compiled} == stages


def test_a_crashed_run_goes_on_bit_for_bit(unbroken, tmp_path, monkeypatch):
    name, folder, result = unbroken
    config, system = smoke(name)
    real = loop._Run.train_step

    def crashing(self, plan, batch):
        if self.step == result.step - 2:
            raise Crash
        return real(self, plan, batch)

    one = Parallel(devices=jax.devices()[:1])
    monkeypatch.setattr(loop._Run, "train_step", crashing)
    with pytest.raises(Crash):
        train(Headless(system), config, tmp_path, parallel=one)
    monkeypatch.setattr(loop._Run, "train_step", real)
    again = train(Headless(system), config, tmp_path, parallel=one)
    assert trace(tmp_path) == trace(folder)
    for a, b in zip(
        jax.tree.leaves(again.state.as_used()),
        jax.tree.leaves(result.state.as_used()),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def programs(monkeypatch):
    """{phase: text of the compiled step} of what is trained in a test."""
    texts, real = {}, loop._Run._compile

    def compile_and_keep(self, stage, arguments):
        real(self, stage, arguments)
        texts.update({phase: step.as_text() for phase, step in self.programs[stage].items()})

    monkeypatch.setattr(loop._Run, "_compile", compile_and_keep)
    return texts


@pytest.mark.parametrize("mode,devices", [("shard_map", 4), ("pmap", 4)])
def test_devices_change_no_loss_and_add_up_gradients_only(
    unbroken, tmp_path, mode, devices, programs, monkeypatch
):
    name, folder, _ = unbroken
    if mode == "pmap" and name not in QUICK and not SLOW:
        pytest.skip("slow: FACEJAX_SLOW=1 runs it")
    config, system = smoke(name)
    parallel = Parallel(mode, jax.devices()[:devices])

    class Short(Headless):
        total_images = 2 * system.plan(0).stage.batch_size

    train(Short(system), config, tmp_path, parallel=parallel)
    wanted, found = trace(folder), trace(tmp_path)
    # Adam hides a wrong scale of the gradients, so their norms are compared too
    for step in (1, 2):
        for key, value in wanted[step].items():
            if "/" in key and isinstance(value, float):
                np.testing.assert_allclose(
                    found[step][key], value, rtol=2e-3, atol=2e-5, err_msg=key
                )
    if mode == "shard_map":
        plan = system.plan(0)
        phases = {phase.name: phase for phase in system.phases(plan.stage)}
        assert programs.keys() == phases.keys()
        for key, text in programs.items():
            check_collectives(name, system, plan, phases[key], text, devices, monkeypatch)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_step_lowers_for_accelerators(name):
    config, system = smoke(name)
    state = init_state(system, config.seed)
    plans = [system.plan(images) for images in stage_starts(system).values()]
    stages = {stage for system_name, stage, _ in RENDERED if system_name == name}
    rendered = [plan for plan in plans if plan.stage.name in stages]
    for plan in plans if SLOW else (rendered or plans)[-1:]:
        stage = plan.stage
        batch = system.source(stage).batch(np.arange(stage.batch_size), **dict(stage.static))
        batch["index"] = np.arange(stage.batch_size, dtype=np.int32)
        arguments = (state, frozen_trees(system), batch, traced_scalars(plan.scalars, 0))
        for phase in system.phases(stage):
            renders = (name, stage.name, phase.name) in RENDERED
            step = make_phase_step(system, stage, phase.name)
            assert all(accelerator_programs(step, *arguments, renders=renders))
