"""Where two surfaces cross: teeth through lips, an eyeball through its lids."""

import numpy as np


def crossing_triangles(vertices: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of triangles of two surfaces of which an edge of one passes through the other.

    Triangles that share a vertex do not count, nor do those that only touch in a plane.

    Args:
      vertices: [V, 3], any unit.
      first: [A, 3] vertex ids of the triangles of one surface.
      second: [B, 3] of the other.

    Returns:
      [N, 2] int64: rows of `first` and of `second`, sorted.
    """
    from scipy.spatial import cKDTree

    vertices = np.asarray(vertices, np.float64)
    first, second = np.asarray(first), np.asarray(second)
    if not len(first) or not len(second):
        return np.zeros((0, 2), np.int64)
    corners = [vertices[t] for t in (first, second)]
    middles = [c.mean(axis=1) for c in corners]
    radii = [
        np.linalg.norm(c - m[:, None], axis=2).max(axis=1)
        for c, m in zip(corners, middles, strict=True)
    ]
    near = cKDTree(middles[0]).query_ball_point(middles[1], radii[1] + radii[0].max())
    pairs = np.array([(a, b) for b, found in enumerate(near) for a in found], np.int64)
    pairs = pairs.reshape(-1, 2)
    a, b = pairs.T
    gap = np.linalg.norm(middles[0][a] - middles[1][b], axis=1)
    apart = (first[a][:, :, None] != second[b][:, None, :]).all(axis=(1, 2))
    pairs = pairs[(gap < radii[0][a] + radii[1][b]) & apart]
    a, b = corners[0][pairs[:, 0]], corners[1][pairs[:, 1]]
    crossing = np.zeros(len(pairs), bool)
    for edges, triangle in ((a, b), (b, a)):
        for k in range(3):
            crossing |= _pierces(edges[:, k], edges[:, (k + 1) % 3], triangle)
    pairs = pairs[crossing]
    return pairs[np.lexsort(pairs.T[::-1])]


def _pierces(start, end, triangle):
    """[N] bool: a segment passes through a triangle (Moeller and Trumbore 1997)."""
    direction, corner = end - start, triangle[:, 0]
    u_edge, v_edge = triangle[:, 1] - corner, triangle[:, 2] - corner
    p = np.cross(direction, v_edge)
    determinant = (u_edge * p).sum(axis=1)
    flat = np.abs(determinant) < 1e-12
    scale = 1 / np.where(flat, 1.0, determinant)
    away = start - corner
    q = np.cross(away, u_edge)
    u, v = (away * p).sum(axis=1) * scale, (direction * q).sum(axis=1) * scale
    t = (v_edge * q).sum(axis=1) * scale
    return ~flat & (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)
