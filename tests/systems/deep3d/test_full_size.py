"""A step of every published recipe at the published sizes; minutes of compilation on a CPU.

FACEJAX_SLOW=1 python -m pytest tests/systems/deep3d/test_full_size.py
"""

import pathlib

import jax
import numpy as np
import pytest

from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.runs import make_system
from facejax.train.state import init_state
from facejax.train.step import traced_scalars
from tests.oracles.published_data import write_face_and_photo
from tests.systems.stepping import make_step

CONFIG = pathlib.Path(__file__).resolve().parents[3] / "configs/deep3d.py"
# a test's time is that of the compiler
SIZES = (35_709, 8_928, 2_232, 558, 140)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(face model, folder with a prepared photo)."""
    return write_face_and_photo(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize(
    "preset,groups,count",
    [
        ("paper-tf", {"rnet"}, 24_034_625),
        ("paper-pytorch", {"rnet"}, 24_034_625),
        ("gcn", {"graph"}, 17_249_140),
        ("texture-gcn", {"graph", "critic"}, None),
    ],
)
def test_a_step_at_the_published_sizes(preset, groups, count, files):
    config = load_config(f"{CONFIG}:{preset}")
    config.data.model_path, config.data.path = (str(p) for p in files)
    config.schedule.update(batch_size=1, graph_batch_size=1)
    config.adversarial.weight = 1e-3 if "critic" in groups else 0.0
    system = make_system(config)
    plan = system.plan(system.total_images - 16)
    step = make_step(system, plan.stage)
    state = init_state(system, 0)
    if "graph" in groups:
        assert system.hierarchy.sizes == SIZES
    if count:
        (group,) = groups
        assert sum(x.size for x in jax.tree.leaves(state.params[group])) == count
    batch = dict(system.source().batch(np.array([0]))) | {"index": np.zeros(1, np.int32)}
    scalars = traced_scalars(plan.scalars, 0)
    arguments = (state, frozen_trees(system), batch, scalars)
    new, metrics = jax.jit(step).lower(*arguments).compile()(*arguments)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    assert not any(v for k, v in metrics.items() if k.endswith("/skipped"))
    for group, tree in state.params.items():
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(new.params[group]), strict=True)
        moved = any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
        assert moved == (group in groups), group
