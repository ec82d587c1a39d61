"""How open each vertex of a head lies: ambient occlusion of the mean face (numpy, on the host)."""

import numpy as np

from facejax.morphable.skin.anatomy import PARTS, Head

_VOXEL, _REACH, _RAYS = 1.6, 30.0, 36


def ambient_occlusion(head: Head, surface: np.ndarray) -> np.ndarray:
    """Share of the sky above each vertex, cosine-weighted, [V] in [0, 1].

    Rays march through voxels of the surface; what hides the sky counts less with distance, up to
    30 mm (canonical).

    Args:
      head: the head; strips of lashes hide nothing.
      surface: [N, 3] points that cover it densely, closer than 1.6 mm.
    """
    solid = np.concatenate([surface, head.vertices])
    low = solid.min(axis=0) - 2 * _VOXEL
    shape = np.ceil((solid.max(axis=0) + 2 * _VOXEL - low) / _VOXEL).astype(int)
    lash = head.part == PARTS.index("lash")
    filled = np.zeros(shape, bool)
    filled[tuple(((surface - low) / _VOXEL).astype(int).T)] = True
    filled[tuple(((head.vertices[lash] - low) / _VOXEL).astype(int).T)] = False

    n = head.normals
    helper = np.where(np.abs(n[:, :1]) < 0.8, [[1.0, 0, 0]], [[0, 1.0, 0]])
    t = np.cross(n, helper)
    t /= np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-9)
    b = np.cross(n, t)
    i = np.arange(_RAYS)
    away = np.sqrt((i + 0.5) / _RAYS)  # cosine-weighted spiral
    turn = i * np.pi * (3 - np.sqrt(5))
    hidden = np.zeros(len(n))
    steps = np.arange(1.2 * _VOXEL, _REACH, _VOXEL)
    for r, phi in zip(away, turn, strict=True):
        ray = r * (np.cos(phi) * t + np.sin(phi) * b) + np.sqrt(1 - r * r) * n
        blocked = np.zeros(len(n))
        for step in steps[::-1]:  # the nearest wall counts
            at = head.vertices + 0.9 * _VOXEL * n + ray * step - low
            at = (at / _VOXEL).astype(int)
            inside = ((at >= 0) & (at < shape)).all(axis=1)
            at = np.where(inside[:, None], at, 0)
            hit = filled[tuple(at.T)] & inside
            blocked = np.where(hit, 1 - step / _REACH, blocked)
        hidden += blocked
    return _smoothed(1 - hidden / _RAYS, head.triangles)


def _smoothed(values, triangles):
    """Two rounds of averaging with the neighbours."""
    for _ in range(2):
        total, count = values.copy(), np.ones(len(values))
        for k in range(3):
            for other in (1, 2):
                end = triangles[:, (k + other) % 3]
                total += np.bincount(triangles[:, k], values[end], len(values))
                count += np.bincount(triangles[:, k], minlength=len(values))
        values = total / count
    return values
