"""A slow, obvious float64 z-buffer: every triangle against every pixel."""

import numpy as np


def barycentrics(clip, triangle, row, column, height, width):
    """Float64 perspective-correct barycentrics [N, 3] and ndc z [N]; row 0 is the top."""
    q = np.asarray(clip, np.float64)[triangle]  # [N, 3, 4]
    fx = ((column + 0.5) * 2 / width - 1)[:, None]
    fy = (1 - (row + 0.5) * 2 / height)[:, None]
    dx, dy = q[..., 0] - fx * q[..., 3], q[..., 1] - fy * q[..., 3]
    pairs = ((1, 2), (2, 0), (0, 1))
    a = np.stack([dx[:, i] * dy[:, j] - dy[:, i] * dx[:, j] for i, j in pairs], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        b = a / a.sum(axis=1, keepdims=True)
        return b, (b * q[..., 2]).sum(axis=1) / (b * q[..., 3]).sum(axis=1)


def rasterize(clip, triangles, height, width):
    """-> triangle_id [H, W], barycentric [H, W, 3], depth [H, W], ambiguous [H, W].

    Inclusive edges, nearest ndc z, the larger id at equal depth. A pixel is ambiguous where an edge
    or a second surface is so close that float32 may decide otherwise.
    """
    row, column = (g.reshape(-1) for g in np.mgrid[0:height, 0:width])
    num = height * width
    depth, second = np.full(num, np.inf), np.full(num, np.inf)
    ids, bary, near_edge = np.full(num, -1), np.zeros((num, 3)), np.zeros(num, bool)
    clip = np.asarray(clip, np.float64)
    for i, triangle in enumerate(np.asarray(triangles)):
        b, z = barycentrics(clip, np.tile(triangle, (num, 1)), row, column, height, width)
        with np.errstate(invalid="ignore"):
            front = (b * clip[triangle, 3]).sum(axis=1) > 0
            visible = front & (np.abs(z) <= 1) & np.isfinite(b).all(axis=1)
            hit = visible & (b >= 0).all(axis=1)
            near_edge |= front & (np.abs(z) < 1.01) & (np.abs(b.min(axis=1)) < 2e-4)
            near_edge |= (b >= -2e-4).all(axis=1) & (np.abs(np.abs(z) - 1) < 1e-4)
        nearer = hit & (z <= depth)
        second = np.where(nearer, depth, np.where(hit, np.minimum(second, z), second))
        depth, ids = np.where(nearer, z, depth), np.where(nearer, i, ids)
        bary = np.where(nearer[:, None], b, bary)
    ambiguous = near_edge | (second - np.where(ids < 0, -9.0, depth) < 2e-5)
    depth = np.where(ids < 0, 1.0, depth)
    shape = (height, width)
    return (
        ids.reshape(shape),
        bary.reshape(*shape, 3),
        depth.reshape(shape),
        ambiguous.reshape(shape),
    )
