"""Catmull-Clark subdivision as a sparse matrix: it serves a mean, a basis and masks alike."""

import numpy as np


class Refinement:
    """One Catmull-Clark step of a quad mesh (Catmull and Clark 1978); borders are B-spline curves.

    New vertices stand in this order: those of the cage, one per edge, one per quad.

    Args:
      quads: [Q, 4] vertex ids, counter-clockwise from outside.
      num_vertices: V.

    Attributes:
      matrix: scipy.sparse [V', V], rows sum to 1.
      quads: [4 Q, 4].
      edges: [E, 2] vertex ids of each edge.
    """

    def __init__(self, quads: np.ndarray, num_vertices: int):
        from scipy.sparse import coo_matrix, diags_array, eye_array, vstack

        quads = np.asarray(quads, np.int64)
        num, num_quads = int(num_vertices), len(quads)
        corners = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), axis=1)
        edges, edge_of, sides = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
        edge_of = edge_of.reshape(-1, 4)  # [Q, 4]: edge from corner k to corner k + 1

        def incidence(rows, columns, shape):
            return coo_matrix((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()

        def averaging(matrix):
            return diags_array(1 / np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1)) @ matrix

        quad_ids = np.repeat(np.arange(num_quads), 4)
        quad_vertex = incidence(quad_ids, quads.ravel(), (num_quads, num))
        edge_vertex = incidence(
            np.repeat(np.arange(len(edges)), 2), edges.ravel(), (len(edges), num)
        )
        edge_quad = incidence(edge_of.ravel(), quad_ids, (len(edges), num_quads))
        quad_points, middles = averaging(quad_vertex), averaging(edge_vertex)
        inner = (sides == 2).astype(float)
        beside = edge_quad @ quad_points  # sum over the two sides
        edge_points = diags_array(1 - inner / 2) @ middles + diags_array(inner / 4) @ beside

        on_border = np.zeros(num)
        on_border[edges[sides != 2].ravel()] = 1
        valence = np.maximum(np.bincount(quads.ravel(), minlength=num), 1)
        keep = eye_array(num).tocsr()
        smooth = (
            diags_array(1 / valence) @ averaging(quad_vertex.T.tocsr()) @ quad_points
            + diags_array(2 / valence) @ averaging(edge_vertex.T.tocsr()) @ middles
            + diags_array((valence - 3) / valence) @ keep
        )
        along = edge_vertex.T @ diags_array(1 - inner) @ middles  # sum over the border's two edges
        vertex_points = (
            diags_array(1 - on_border) @ smooth
            + diags_array(on_border) @ (0.5 * keep + 0.25 * along)
        )  # fmt: skip
        self.matrix = vstack([vertex_points, edge_points, quad_points]).tocsr()
        self.edges = edges
        middle = num + len(edges) + np.arange(num_quads)
        self.quads = np.concatenate(
            [
                np.stack(
                    [quads[:, k], num + edge_of[:, k], middle, num + edge_of[:, k - 1]], axis=1
                )
                for k in range(4)
            ]
        )

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values [..., V, C] of the cage -> [..., V', C] in the same dtype."""
        values = np.asarray(values)
        flat = np.moveaxis(values, -2, 0)
        fine = self.matrix.astype(values.dtype) @ flat.reshape(flat.shape[0], -1)
        return np.moveaxis(fine.reshape(fine.shape[0], *flat.shape[1:]), 0, -2)


def refine_flat(values: np.ndarray, quads: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Values [N, C] on a flat layout, new ones in the middle of edges and quads: no smoothing.

    Args:
      values: of the cage.
      quads: [Q, 4] into them.
      edges: [E, 2], of the `Refinement` of these quads.
    """
    middles, centres = values[edges].mean(axis=1), values[quads].mean(axis=1)
    return np.concatenate([values, middles, centres])


def triangulate(quads: np.ndarray) -> np.ndarray:
    """Quads [Q, 4] -> triangles [2 Q, 3] int32: the first halves, then the second ones."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
