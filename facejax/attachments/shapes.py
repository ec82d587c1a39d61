"""Meshes of rows and tubes, for things that are made rather than grown. Host, numpy."""

import numpy as np

from facejax.attachments.head import unit_vectors


def grid_triangles(
    rows: int, columns: int, closed: bool = False, pole: bool = False, torus: bool = False
) -> np.ndarray:
    """[2 (rows-1) (columns-1), 3] triangles of a grid whose vertices are stored row by row.

    Counter-clockwise where rows run down and columns run to the right. The options name one vertex
    for those that coincide, for smooth normals; the others stay without triangles.

    Args:
      rows, columns: of the vertices.
      closed: the last column is the first.
      pole: the first row is one point.
      torus: the last row is the first, too.
    """
    grid = np.arange(rows * columns).reshape(rows, columns)
    if closed or torus:
        grid[:, -1] = grid[:, 0]
    if pole:
        grid[0] = grid[0, 0]
    if torus:
        grid[-1] = grid[0]
    a, right, lower, across = (
        grid[r, c].reshape(-1)
        for r in (slice(None, -1), slice(1, None))
        for c in (slice(None, -1), slice(1, None))
    )
    return np.concatenate(
        [np.stack([a, lower, right], 1), np.stack([right, lower, across], 1)]
    ).astype(np.int32)


def grid_uv(rows: int, columns: int) -> np.ndarray:
    """[rows columns, 2] UV of such a grid: u along the columns, v along the rows."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return np.stack([u.reshape(-1), v.reshape(-1)], axis=1)


def tube(path: np.ndarray, radius: np.ndarray | float, up: np.ndarray, corners: int) -> np.ndarray:
    """[n, corners + 1, 3] rings around a path, the first corner repeated as the last.

    Args:
      path: [n, 3]; a closed one repeats its first point.
      radius: scalar, [2] (along `up` and across it) or [n, 1].
      up: [3] or [n, 3], not along the path.
      corners: of a ring.
    """
    closed = np.allclose(path[0], path[-1])
    if closed:
        around = np.concatenate([path[-2:-1], path, path[1:2]])
        along = around[2:] - around[:-2]
    else:
        along = np.gradient(path, axis=0)
    along = unit_vectors(along)
    across = unit_vectors(np.cross(along, np.broadcast_to(up, path.shape)))
    upward = np.cross(across, along)
    angle = np.linspace(0, 2 * np.pi, corners + 1) + np.pi / corners
    size = np.broadcast_to(np.reshape(radius, (1, 2) if np.size(radius) == 2 else (-1, 1)),
                           (len(path), 2))  # fmt: skip
    return (
        path[:, None]
        + size[:, :1, None] * np.sin(angle)[None, :, None] * upward[:, None]
        + size[:, 1:, None] * np.cos(angle)[None, :, None] * across[:, None]
    )
