"""Small meshes with everything that a face has: curvature, a UV seam, maps."""

import numpy as np

from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.io.tangents import tangent_to_object


def cylinder(columns=8, rows=4, radius=80.0, height=200.0) -> Mesh:
    """An open tube in millimetres; u runs once around it, with a seam, v from 0.2 to 0.8 down."""
    angle = 2 * np.pi * np.arange(columns) / columns
    y = np.linspace(height / 2, -height / 2, rows)
    ring = radius * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    vertices = (ring[None] + y[:, None, None] * np.array([0, 1, 0])).reshape(-1, 3)
    grid = np.arange(rows * columns).reshape(rows, columns)
    uv_vertex = np.concatenate([grid.reshape(-1), grid[:, 0]])  # seam copies come last
    uv_grid = np.concatenate([grid, rows * columns + np.arange(rows)[:, None]], axis=1)
    u = np.broadcast_to(np.arange(columns + 1) / columns, (rows, columns + 1))
    v = np.broadcast_to(np.linspace(0.2, 0.8, rows)[:, None], (rows, columns + 1))
    uv = np.zeros((len(uv_vertex), 2), np.float32)
    uv[uv_grid.reshape(-1)] = np.stack([u, v], axis=-1).reshape(-1, 2)
    a, b = uv_grid[:-1, :-1], uv_grid[:-1, 1:]
    c, d = uv_grid[1:, :-1], uv_grid[1:, 1:]
    uv_triangles = np.stack([[a, c, d], [a, d, b]]).transpose(2, 3, 0, 1).reshape(-1, 3)
    topology = MeshTopology(uv_vertex[uv_triangles], rows * columns, uv, uv_triangles, uv_vertex)
    return Mesh(vertices.astype(np.float32), topology)


def with_maps(mesh: Mesh, rng, size=(32, 48)) -> Mesh:
    """The mesh with a random 8-bit texture, vertex colours and normals tilted off the surface."""
    tilt = rng.normal(0, 0.3, size=(*size, 3)).astype(np.float32) + np.float32([0, 0, 1])
    normals = tangent_to_object(mesh, tilt)
    texture = rng.integers(0, 256, size=(*size, 3)).astype(np.float32) / np.float32(255)
    colors = rng.integers(0, 256, size=mesh.vertices.shape).astype(np.float32) / np.float32(255)
    return mesh.replace(texture=texture, normal_map=normals, vertex_colors=colors)
