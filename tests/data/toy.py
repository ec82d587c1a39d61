"""A small face model made by hand: a curved grid whose UV layout leaves a background."""

import numpy as np

from facejax.geometry.mesh import MeshTopology
from facejax.morphable import FaceTopology, MorphableModel
from facejax.morphable.expressions import PRESETS

ROWS, COLUMNS = 9, 11
EXPRESSIONS = tuple(sorted({name for mix in PRESETS.values() for name in mix}))


def toy_model(texture_size: int | None = None) -> MorphableModel:
    """A patch of 99 vertices, about 80 mm wide; optionally with albedo textures."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    u, v = columns / (COLUMNS - 1), rows / (ROWS - 1)
    corner = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).reshape(-1)
    a, b, c, d = corner, corner + 1, corner + COLUMNS, corner + COLUMNS + 1
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    uv = np.stack([0.08 + 0.8 * u, 0.1 + 0.75 * v], -1).reshape(-1, 2)
    mesh = MeshTopology(triangles, ROWS * COLUMNS, uv=uv)
    height = 25 * np.cos(2 * (u - 0.5)) * np.cos(1.5 * (v - 0.5))
    mean = np.stack([80 * (u - 0.5), 100 * (0.5 - v), height], -1).reshape(-1, 3)

    def waves(count, amplitude, u, v):
        phase = rng.uniform(0, 6, (count, 3, 3, 1))
        waves = np.sin(4 * u.reshape(-1) + phase[:, :, 0]) * np.cos(
            3 * v.reshape(-1) + phase[:, :, 1]
        )
        return (amplitude * np.moveaxis(waves, 1, -1)).astype(np.float32)

    topology = FaceTopology(
        mesh,
        landmarks68=np.arange(68),
        landmarks5=np.arange(5),
        masks={},
        exp_names=EXPRESSIONS,
        name="toy",
        digest="0123",
    )
    num_alb = 4
    state = rng.bit_generator.state
    alb_basis = waves(num_alb, 0.05, u, v)
    mean_texture = tex_basis = None
    if texture_size:
        centre = (np.arange(texture_size) + 0.5) / texture_size
        tex_v, tex_u = np.meshgrid((centre - 0.1) / 0.75, (centre - 0.08) / 0.8, indexing="ij")
        rng.bit_generator.state = state  # the same waves, in finer samples
        tex_basis = waves(num_alb, 0.05, tex_u, tex_v).reshape(num_alb, texture_size, -1, 3)
        mean_texture = np.full((texture_size, texture_size, 3), 0.5, np.float32)
    return MorphableModel(
        mean_shape=mean.astype(np.float32),
        id_basis=waves(5, 1.0, u, v),
        id_std=np.array([3, 2, 2, 1, 1], np.float32),
        exp_basis=waves(len(EXPRESSIONS), 4.0, u, v),
        exp_std=np.ones(len(EXPRESSIONS), np.float32),
        mean_albedo=np.full((ROWS * COLUMNS, 3), 0.5, np.float32),
        alb_basis=alb_basis,
        alb_std=np.ones(num_alb, np.float32),
        mean_texture=mean_texture,
        tex_basis=tex_basis,
        topology=topology,
    )
