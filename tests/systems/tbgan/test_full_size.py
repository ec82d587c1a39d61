"""The last stage of the `paper` preset at a small width; minutes of compilation on a CPU.

FACEJAX_SLOW=1 python -m pytest tests/systems/tbgan/test_full_size.py
"""

import pathlib

import jax
import numpy as np
import pytest

from facejax.systems.tbgan.system import make_system
from facejax.train.config import load_config
from facejax.train.state import init_state
from facejax.train.step import traced_scalars
from tests.systems.stepping import make_step

CONFIG = str(pathlib.Path(__file__).resolve().parents[3] / "configs/tbgan.py")


@pytest.mark.slow
@pytest.mark.slow
def test_a_step_of_both_networks_at_512_pixels(rng):
    config = load_config(f"{CONFIG}:paper")
    config.data.source = "black"
    config.model.update(fmap_base=1024, fmap_max=4)  # 4 channels a branch at every level
    config.schedule.minibatch.res512 = 4
    config.schedule.num_devices = 1
    system = make_system(config)
    plan = system.plan(15_000_000)
    assert plan.stage.name == "512x512" and plan.scalars["alpha"] == 0
    state = init_state(system, 0)
    maps = rng.uniform(-1, 1, (4, 512, 512, 9)).astype(np.float32)
    labels = np.eye(7, dtype=np.float32)[:4]
    batch = {"maps": maps, "labels": labels, "index": np.arange(4, dtype=np.int32)}
    step = make_step(system, plan.stage)
    new, metrics = jax.jit(step)(state, {}, batch, traced_scalars(plan.scalars, 0))
    assert all(np.isfinite(v) for v in metrics.values())
    assert metrics["disc/skipped"] == metrics["gen/skipped"] == 0
    for group, block in (("gen", "512x512"), ("disc", "512x512"), ("gen", "4x4")):
        for before, after in zip(
            jax.tree.leaves(state.params[group][block]),
            jax.tree.leaves(new.params[group][block]),
            strict=True,
        ):
            assert not np.array_equal(before, after)
