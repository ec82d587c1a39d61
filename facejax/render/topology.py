"""What the rasteriser needs to know about a list of triangles, made once on the host."""

import weakref
from typing import NamedTuple

import numpy as np

from facejax.geometry.mesh import MeshTopology


class RasterTopology(NamedTuple):
    """Index arrays of F triangles; a pytree, passed to compiled functions as data.

    Attributes:
      tri: [F, 3] int32, the triangles' own vertex order; pixels load rows of it.
      ordered: [3, F] int32, each column ascending: both triangles at an edge then evaluate it with
        identical arithmetic, so that no pixel falls between them.
      parity: [F] float32, +1 where `ordered` is an even permutation of `tri`, else -1.
      opposite: [3, F] int32, across the edge that faces tri[k], the neighbour's third vertex; -1 on
        borders and non-manifold edges.
    """

    tri: np.ndarray
    ordered: np.ndarray
    parity: np.ndarray
    opposite: np.ndarray


_cache: "weakref.WeakKeyDictionary[MeshTopology, dict[str, RasterTopology]]" = (
    weakref.WeakKeyDictionary()
)


def raster_topology(topology: MeshTopology, domain: str = "vertex") -> RasterTopology:
    """The RasterTopology of a mesh, cached as long as the mesh's topology lives.

    Args:
      topology: the mesh's topology.
      domain: 'vertex' for its triangles, 'uv' for its UV triangles.

    Raises:
      ValueError: for an unknown domain, or 'uv' without a UV layout.
    """
    if domain not in ("vertex", "uv"):
        raise ValueError(f"domain is {domain!r}; use 'vertex' or 'uv'.")
    if domain == "uv" and topology.uv_triangles is None:
        raise ValueError(
            "this topology has no UV layout, so nothing can be interpolated in UV space; build "
            "MeshTopology with uv (and uv_triangles where seams split vertices)."
        )
    made = _cache.setdefault(topology, {})
    if domain not in made:
        made[domain] = from_triangles(
            topology.triangles if domain == "vertex" else topology.uv_triangles
        )
    return made[domain]


def uv_layout(topology: MeshTopology) -> tuple[np.ndarray, np.ndarray]:
    """UV vertices [S', 2] and triangles [F, 3] in which no triangle jumps across the u seam.

    The topology's own, except with `uv_wraps_u`: there the corners of crossing triangles that lie
    at small u are replaced by copies at u + 1.
    """
    uv, tri = topology.uv, topology.uv_triangles
    if not topology.uv_wraps_u:
        return uv, tri
    u = uv[tri, 0]
    low = (np.ptp(u, axis=1) > 0.5)[:, None] & (u < 0.5)
    copied = np.unique(tri[low])
    out = tri.copy()
    out[low] = len(uv) + np.searchsorted(copied, tri[low])
    return np.concatenate([uv, uv[copied] + np.float32([1, 0])]), out


def from_triangles(triangles: np.ndarray) -> RasterTopology:
    """The RasterTopology of a bare [F, 3] list."""
    t = np.asarray(triangles, np.int32)
    perm = np.argsort(t, axis=1, kind="stable")
    even = perm[:, 1] == (perm[:, 0] + 1) % 3
    return RasterTopology(
        tri=np.ascontiguousarray(t),
        ordered=np.ascontiguousarray(np.take_along_axis(t, perm, axis=1).T),
        parity=np.where(even, 1.0, -1.0).astype(np.float32),
        opposite=_opposite(t),
    )


def _opposite(t: np.ndarray) -> np.ndarray:
    num = len(t)
    if not num:
        return np.full((3, 0), -1, np.int32)
    edges = np.sort(np.concatenate([t[:, [1, 2]], t[:, [0, 2]], t[:, [0, 1]]]), axis=1)
    key = edges[:, 0].astype(np.int64) * (int(t.max()) + 1) + edges[:, 1]
    facing = np.concatenate([t[:, 0], t[:, 1], t[:, 2]])
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    pair = first[np.diff(np.r_[first, len(key)]) == 2]  # manifold interior edges only
    out = np.full(3 * num, -1, np.int32)
    out[order[pair]] = facing[order[pair + 1]]
    out[order[pair + 1]] = facing[order[pair]]
    return out.reshape(3, num)
