"""A step of every published recipe at the published sizes; minutes of compilation on a CPU.

FACEJAX_SLOW=1 python -m pytest tests/systems/deep3d/test_full_size.py
"""

import os
import pathlib

import jax
import numpy as np
import pytest

from facejax.data.alignment import AlignedPhoto
from facejax.data.photo_folders import write_crop
from facejax.morphable.bfm09 import write_bfm_front
from facejax.train.config import load_config
from facejax.train.runs import make_system
from facejax.train.state import init_state
from facejax.train.step import active_phases, make_train_step, traced_scalars

CONFIG = pathlib.Path(__file__).resolve().parents[3] / "configs/deep3d.py"
# a test's time is that of the compiler
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
VERTICES, SIDE = 35_709, 189
SIZES = (35_709, 8_928, 2_232, 558, 140)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FACEJAX_SLOW"), reason="minutes: set FACEJAX_SLOW=1"),
]


def front(rng):
    """A dome of as many vertices as the front of the Basel face, with made-up bases."""
    y, x = np.meshgrid(np.linspace(1.1, -1.1, SIDE), np.linspace(-0.8, 0.8, SIDE), indexing="ij")
    z = 0.6 - 0.5 * x**2 - 0.3 * y**2 + 0.02 * np.sin(9 * x) * np.cos(7 * y)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    i = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, c), (a, c, b))])
    corner = np.argsort(np.linalg.norm(points[:, :2] - [0.8, -1.1], axis=1))
    gone = np.zeros(len(points), bool)
    gone[corner[: len(points) - VERTICES]] = True
    number = np.cumsum(~gone) - 1
    triangles = number[triangles[~gone[triangles].any(axis=1)]]
    points = points[~gone]
    wanted = rng.uniform([-0.6, -0.8], [0.6, 0.6], (68, 2))
    nearest = [np.argmin(np.sum((points[:, :2] - p) ** 2, axis=1)) for p in wanted]
    face = (np.abs(points[:, 0]) < 0.7).astype(np.float32)

    def basis(count, scale):
        waves = np.sin(points @ (3 * rng.normal(size=(3, count))))
        return scale * waves.T[..., None] * rng.normal(size=(count, 1, 3))

    return dict(
        meanshape=points, meantex=np.full_like(points, 150), idBase=basis(80, 0.01),
        exBase=basis(64, 0.01), texBase=basis(80, 3.0), tri=triangles,
        keypoints=np.array(nearest), front=face, skin=face,
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(face model, folder with a prepared photo)."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    write_bfm_front(folder / "BFM_model_front.mat", front(rng))
    picture = rng.integers(0, 256, (7, 7, 3)).repeat(32, 0).repeat(32, 1).astype(np.uint8)
    photo = AlignedPhoto(picture, None, rng.uniform(60, 160, (68, 2)))
    write_crop(folder / "crops", "a", photo, np.full((224, 224), 255, np.uint8))
    return folder / "BFM_model_front.mat", folder / "crops"


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
    step = make_train_step(system, plan.stage, active_phases(system.phases(plan.stage), 0))
    state = init_state(system, 0)
    if "graph" in groups:
        assert system.hierarchy.sizes == SIZES
    if count:
        (group,) = groups
        assert sum(x.size for x in jax.tree.leaves(state.params[group])) == count
    batch = dict(system.source().batch(np.array([0]))) | {"index": np.zeros(1, np.int32)}
    arguments = (state, batch, traced_scalars(plan.scalars))
    new, metrics = jax.jit(step).lower(*arguments).compile(FAST)(*arguments)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    assert not any(v for k, v in metrics.items() if k.endswith("/skipped"))
    for group, tree in state.params.items():
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(new.params[group]), strict=True)
        moved = any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
        assert moved == (group in groups), group
