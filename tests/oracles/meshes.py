"""Small meshes for tests."""

import functools

import numpy as np

from facejax.geometry.mesh import MeshTopology


def soup(rng, num, size, *, w_range=(0.5, 3.0)):
    """Unconnected random triangles of about `size` ndc units: clip [3 num, 4] and MeshTopology."""
    center = rng.uniform(-1, 1, (num, 1, 2))
    xy = center + size * rng.uniform(-1, 1, (num, 3, 2))
    z = rng.uniform(-0.9, 0.9, (num, 3, 1))
    w = rng.uniform(*w_range, (num, 3, 1))
    clip = np.concatenate([xy * w, z * w, w], axis=-1).reshape(-1, 4).astype(np.float32)
    return clip, MeshTopology(np.arange(3 * num).reshape(-1, 3), 3 * num)


def grid(rows, columns):
    """A flat grid on [-1, 1]^2, counter-clockwise with y up: xy [V, 2] and triangles [F, 3]."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    b, c, d = a + 1, a + columns, a + columns + 1
    triangles = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return np.stack([x, y], axis=-1).reshape(-1, 2), triangles


@functools.cache  # one topology per layout: compiled renders are shared between tests
def sphere(rows=9, columns=16, *, seam=True, wraps_u=False):
    """Unit sphere with a cylindrical UV layout: vertices [V, 3] and MeshTopology.

    The poles are left open. With `seam` the first and the last column of UV vertices share their
    vertices; with `wraps_u` there is one UV vertex per vertex and triangles cross u = 1.
    """
    lat = np.linspace(0.15, np.pi - 0.15, rows)
    lon = np.arange(columns) / columns * 2 * np.pi - np.pi
    s, c = np.sin(lat)[:, None], np.cos(lat)[:, None]
    vertices = np.stack(
        np.broadcast_arrays(s * np.sin(lon)[None], c, s * np.cos(lon)[None]), axis=-1
    ).reshape(-1, 3)
    r, k = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")

    def quads(width, wrap):
        a, b = r * width + k, r * width + (k + 1) % (columns if wrap else width)
        c_, d = a + width, b + width
        return np.concatenate(
            [np.stack([a, c_, d], -1).reshape(-1, 3), np.stack([a, d, b], -1).reshape(-1, 3)]
        )

    triangles = quads(columns, True)
    v = np.linspace(0.05, 0.95, rows)
    if wraps_u or not seam:
        u = (np.arange(columns) + 0.5) / columns
        uv = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
        topology = MeshTopology(triangles, len(vertices), uv, uv_wraps_u=wraps_u)
    else:
        u = np.linspace(0.02, 0.98, columns + 1)
        uv = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
        topology = MeshTopology(triangles, len(vertices), uv, quads(columns + 1, False))
    return vertices.astype(np.float32), topology
