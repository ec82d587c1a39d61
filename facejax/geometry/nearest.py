"""Nearest points of triangle meshes, on the host; exact."""

import numpy as np


class NearestTriangles:
    """Finds the nearest triangle of points; prepared once for one set of triangles.

    Exact: of every triangle, sorted by size, none can be nearest whose centre is farther than the
    nearest corner plus its own radius.

    Args:
      corners: [F, 3, 3] of the triangles; those without an area are segments or points.

    Raises:
      ValueError: no triangles, or corners that are not finite.
    """

    def __init__(self, corners: np.ndarray):
        from scipy.spatial import cKDTree

        if not len(corners):
            raise ValueError("found no triangles to be near to; wanted a surface")
        broken = np.flatnonzero(~np.isfinite(corners).all(axis=(1, 2)))
        if len(broken):
            raise ValueError(
                f"triangle {broken[0]} (counted from 0) has corners that are not finite, as have "
                f"{len(broken)} of {len(corners)}"
            )
        self._corners = corners
        centre = corners.mean(axis=1)
        radius = np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1)
        self._corner_tree = cKDTree(corners.reshape(-1, 3))
        size = np.floor(np.log2(np.maximum(radius, 1e-12 * radius.max() + 1e-300))).astype(int)
        members = [np.flatnonzero(size == number) for number in np.unique(size)]
        self._classes = [(m, radius[m].max(), cKDTree(centre[m])) for m in members]

    def query(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The triangle nearest to each point, and where on it.

        Args:
          points: [N, 3], any unit.

        Returns:
          (triangle [N], barycentrics [N, 3] of the nearest point, at least 0, sum 1).

        Raises:
          ValueError: points that are not finite.
        """
        if not len(points):
            return np.zeros(0, np.int64), np.zeros((0, 3))
        broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(broken):
            raise ValueError(
                f"point {broken[0]} (counted from 0) is not finite: nothing is near it"
            )
        bound, _ = self._corner_tree.query(points)
        pairs = []
        for member, radius, tree in self._classes:
            found = tree.query_ball_point(points, (bound + radius) * (1 + 1e-9))
            count = np.array([len(f) for f in found])
            flat = np.fromiter((k for f in found for k in f), np.int64, count.sum())
            pairs.append((np.repeat(np.arange(len(points)), count), member[flat]))
        point, triangle = (np.concatenate(x) for x in zip(*pairs, strict=True))
        weight = closest_barycentric(points[point], self._corners[triangle])
        near = np.einsum("nk,nkc->nc", weight, self._corners[triangle])
        distance = np.sum((near - points[point]) ** 2, axis=1)
        order = np.lexsort((triangle, distance, point))
        first = order[np.unique(point[order], return_index=True)[1]]
        return triangle[first], weight[first]


def nearest_on_triangles(points: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`NearestTriangles.query` of triangles that are asked about once.

    Args:
      points: [N, 3], any unit.
      corners: [F, 3, 3] of the triangles.
    """
    return NearestTriangles(corners).query(points)


def closest_barycentric(p: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentrics [N, 3] of the point of triangles [N, 3, 3] nearest to points [N, 3].

    Exactly zero for the corners that an edge or a corner as nearest feature leaves out. Source:
    Ericson, Real-Time Collision Detection (2005), section 5.1.5; triangles without an area by their
    edges, as rounding decides there which feature the tests name.
    """
    weight = _by_region(p, corners)
    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(ab, ac), axis=1)
    longest = np.maximum(np.linalg.norm(ab, axis=1), np.linalg.norm(ac, axis=1))
    flat = np.flatnonzero(area <= 1e-12 * longest**2)
    if len(flat):
        weight[flat] = _by_edges(p[flat], corners[flat])
    return weight


def _by_edges(p, corners):
    best, near = np.zeros((len(p), 3)), np.full(len(p), np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, along = corners[:, i], corners[:, j] - corners[:, i]
        length = np.sum(along**2, axis=1)
        t = np.sum((p - start) * along, axis=1)
        t = np.clip(np.divide(t, length, out=np.zeros_like(t), where=length > 0), 0.0, 1.0)
        distance = np.sum((start + t[:, None] * along - p) ** 2, axis=1)
        closer = distance < near
        weight = np.zeros((len(p), 3))
        weight[:, i], weight[:, j] = 1.0 - t, t
        best[closer], near = weight[closer], np.minimum(near, distance)
    return best


def _by_region(p, corners):
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = b - a, c - a

    def dot(x, y):
        return np.sum(x * y, axis=1)

    d1, d2 = dot(ab, p - a), dot(ac, p - a)
    d3, d4 = dot(ab, p - b), dot(ac, p - b)
    d5, d6 = dot(ab, p - c), dot(ac, p - c)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    zero, one = np.zeros(len(p)), np.ones(len(p))

    def ratio(x, y):
        return np.divide(x, y, out=np.zeros_like(x), where=y != 0)

    on_ab, on_ac = ratio(d1, d1 - d3), ratio(d2, d2 - d6)
    on_bc = ratio(d4 - d3, (d4 - d3) + (d5 - d6))
    v, w = ratio(vb, va + vb + vc), ratio(vc, va + vb + vc)
    cases = [
        ((d1 <= 0) & (d2 <= 0), (one, zero, zero)),
        ((d3 >= 0) & (d4 <= d3), (zero, one, zero)),
        ((vc <= 0) & (d1 >= 0) & (d3 <= 0), (1 - on_ab, on_ab, zero)),
        ((d6 >= 0) & (d5 <= d6), (zero, zero, one)),
        ((vb <= 0) & (d2 >= 0) & (d6 <= 0), (1 - on_ac, zero, on_ac)),
        ((va <= 0) & (d4 >= d3) & (d5 >= d6), (zero, 1 - on_bc, on_bc)),
    ]
    where = [test for test, _ in cases]
    columns = [
        np.select(where, [value[k] for _, value in cases], default)
        for k, default in enumerate((1 - v - w, v, w))
    ]
    return np.stack(columns, axis=1)
