import gc
import weakref

import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import topology as raster
from tests.oracles import meshes


def test_sorted_triangles_keep_their_parity_and_neighbours(rng):
    _, mesh = meshes.sphere(6, 8)
    turns = rng.integers(0, 3, len(mesh.triangles))
    triangles = np.stack([np.roll(t, k) for t, k in zip(mesh.triangles, turns, strict=True)])
    topo = raster.from_triangles(triangles)
    assert (np.diff(topo.ordered, axis=0) > 0).all()
    for f, t in enumerate(triangles):
        same_winding = any((np.roll(topo.ordered[:, f], k) == t).all() for k in range(3))
        assert topo.parity[f] == (1 if same_winding else -1)
        for k in range(3):
            edge = {*t} - {t[k]}
            others = [s for g, s in enumerate(triangles) if g != f and edge <= {*s}]
            want = ({*others[0]} - edge).pop() if others else -1
            assert topo.opposite[k, f] == want


def test_edges_with_three_triangles_have_no_neighbour():
    topo = raster.from_triangles([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert (topo.opposite == -1).all()


def test_cached_while_the_mesh_lives():
    mesh = MeshTopology([[0, 1, 2]], 3)
    assert raster.raster_topology(mesh) is raster.raster_topology(mesh)
    alive = weakref.ref(mesh)
    del mesh
    gc.collect()
    assert alive() is None


def test_wrapping_layouts_copy_the_low_corners():
    uv = np.array([[0.9, 0.2], [0.1, 0.2], [0.95, 0.8], [0.3, 0.5]], np.float32)
    mesh = MeshTopology([[0, 1, 2], [1, 3, 1]], 4, uv, uv_wraps_u=True)
    out, triangles = raster.uv_layout(mesh)
    np.testing.assert_array_equal(triangles, [[0, 4, 2], [1, 3, 1]])
    np.testing.assert_allclose(out[4], [1.1, 0.2])
    np.testing.assert_array_equal(out[:4], uv)


def test_unknown_domain_raises():
    with pytest.raises(ValueError, match="'vertex' or 'uv'"):
        raster.raster_topology(MeshTopology([[0, 1, 2]], 3), "face")
