"""Which point of a surface lies under each texel of a UV layout (numpy, on the host)."""

import numpy as np

_CHUNK = 200_000  # candidate (triangle, texel) pairs held at a time


def texel_triangles(
    uv: np.ndarray, triangles: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterises UV triangles at texel centres.

    Args:
      uv: [S, 2] in [0, 1], v down.
      triangles: [F, 3] into `uv`, any winding.
      size: texels on a side.

    Returns:
      triangle [size, size] int64 (-1 where none) and barycentric coordinates [size, size, 3].
    """
    corners = uv[triangles].astype(float) * size  # [F, 3, 2] in texels
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5).astype(int), 0, size)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5).astype(int), -1, size - 1)
    extent = np.clip(high - low + 1, 0, None)
    count = extent.prod(axis=1)
    found = np.full(size * size, -1)
    bary = np.zeros((size * size, 3))
    bounds = np.searchsorted(np.cumsum(count), np.arange(0, count.sum() + _CHUNK, _CHUNK))
    for start, end in zip(bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1), strict=True):
        number = np.arange(start, min(end, len(triangles)))
        pair = np.repeat(number, count[number])
        offset = np.arange(len(pair)) - np.repeat(
            np.cumsum(count[number]) - count[number], count[number]
        )
        column = low[pair, 0] + offset % extent[pair, 0]
        row = low[pair, 1] + offset // extent[pair, 0]
        weights = _barycentric(corners[pair], np.stack([column, row], axis=-1) + 0.5)
        hit = (weights >= -1e-9).all(axis=1)
        texel = row[hit] * size + column[hit]
        found[texel], bary[texel] = pair[hit], weights[hit]
    return found.reshape(size, size), bary.reshape(size, size, 3)


def _barycentric(corners, points):
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]

    def cross(p, q):
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-12, np.nan, area)  # degenerate: NaN is never a hit
    wb, wc = cross(points - a, c - a) / area, cross(b - a, points - a) / area
    return np.stack([1 - wb - wc, wb, wc], axis=-1)


def nearest_covered(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column [size, size] of the nearest texel that has a triangle (itself where it has).

    Filling empty texels from there keeps colours of the background out of interpolated lookups.
    """
    from scipy import ndimage

    rows, cols = ndimage.distance_transform_edt(
        found < 0, return_distances=False, return_indices=True
    )
    return rows, cols
