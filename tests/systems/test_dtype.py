"""config.dtype=bfloat16: networks compute in it, everything else stays as it is."""

import pathlib
import re

import jax
import numpy as np
import pytest

from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.progress import stage_starts
from facejax.train.runs import find_systems, make_system
from facejax.train.state import init_state
from facejax.train.step import make_phase_step, traced_scalars
from tests.conftest import SLOW

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMS = [name for name in find_systems() if (ROOT / f"configs/{name}.py").is_file()]
QUICK = ("idnet", "manifold")  # are computed always, the others with FACEJAX_SLOW=1 only


def one_stage(name, dtype):
    """The first stage, which compiles quickest; with FACEJAX_SLOW=1 the last one."""
    config = load_config(f"{name}:smoke")
    config.dtype = dtype
    system = make_system(config)
    return system, system.plan(list(stage_starts(system).values())[-1 if SLOW else 0])


@pytest.mark.parametrize("name", SYSTEMS)
def test_losses_hardly_change_and_products_are_short(name):
    system, plan = one_stage(name, "float32")
    stage = plan.stage
    batch = system.source(stage).batch(np.arange(stage.batch_size), **dict(stage.static))
    batch["index"] = np.arange(stage.batch_size, dtype=np.int32)
    arguments = (
        init_state(system, 0),
        frozen_trees(system),
        batch,
        traced_scalars(plan.scalars, 0),
    )
    phase = system.phases(stage)[0].name
    found = {}
    for dtype in ("float32", "bfloat16"):
        system, plan = one_stage(name, dtype)
        lowered = jax.jit(make_phase_step(system, plan.stage, phase)).lower(*arguments)
        text = lowered.as_text()
        products = re.findall(
            r"stablehlo\.(?:dot_general|convolution).*-> tensor<[^>]*x(\w+)>", text
        )
        short = np.mean([p == "bf16" for p in products])
        assert (short > 0.3) if dtype == "bfloat16" else short == 0
        if name not in QUICK and not SLOW:
            continue
        state, metrics = lowered.compile()(*arguments)
        assert all(x.dtype == np.float32 for x in jax.tree.leaves(state.params))
        found[dtype] = {k: float(v) for k, v in metrics.items()}
    for key, value in found.get("float32", {}).items():
        np.testing.assert_allclose(found["bfloat16"][key], value, rtol=0.1, atol=0.05, err_msg=key)


def test_another_type_is_named():
    config = load_config("manifold:smoke")
    config.dtype = "float16"
    with pytest.raises(ValueError, match="wanted one of .'float32', 'bfloat16'"):
        make_system(config)
