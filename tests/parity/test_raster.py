"""The rasteriser against a C++ z-buffer and float64 on real meshes and random triangles."""

import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import bake, rasterize, uv_atlas
from tests.oracles import rasterizer as oracle
from tests.parity.golden import case_files

CASES = [c for c in case_files("raster", "*.npz") if not str(c.id).startswith("mesh_")]


def load(path):
    case = dict(np.load(path))
    if "clip" in case:
        return case, case["clip"], case["tri"]
    mesh = np.load(path.with_name(f"{case['mesh']}.npz"))
    points = np.concatenate([mesh["verts"].astype(np.float64), np.ones((len(mesh["verts"]), 1))], 1)
    return case, (points @ case["matrix"].T).astype(np.float32), mesh["tri"]


@pytest.mark.parametrize("path", CASES)
def test_ids_barycentrics_and_depth(path):
    case, clip, triangles = load(path)
    height, width = int(case["height"]), int(case["width"])
    fragments = rasterize(clip, MeshTopology(triangles, len(clip)), (height, width))
    # Row 0 of the files is the bottom row.
    ids, bary, depth = (
        np.asarray(x)[::-1] for x in (fragments.triangle_id, fragments.barycentric, fragments.depth)
    )
    ambiguous = case["ambiguous"]
    wrong = ids != case["ids_f64"]
    assert (wrong & ~ambiguous).sum() == 0
    assert (wrong & ambiguous).sum() <= 0.5 * ambiguous.sum()
    np.testing.assert_allclose(bary.sum(-1), ids >= 0, atol=1e-5)
    assert (depth[ids < 0] == 1).all()

    row, column = np.nonzero(ids >= 0)
    want, want_depth = oracle.barycentrics(
        clip, triangles[ids[row, column]], height - 1 - row, column, height, width
    )
    np.testing.assert_allclose(bary[row, column], want, atol=5e-3)
    np.testing.assert_allclose(depth[row, column], want_depth, atol=1e-4)
    same = ids == case["ids"]
    np.testing.assert_allclose(depth[same], case["depth"][same], atol=3e-3)


@pytest.mark.parametrize("path", [c for c in CASES if "uv" in str(c.id) or c.id == "absent"])
def test_uv_atlas_agrees_with_the_reference(path):
    case, clip, triangles = load(path)
    height, width = int(case["height"]), int(case["width"])
    uv = np.stack([(clip[:, 0] + 1) / 2, (1 - clip[:, 1]) / 2], axis=-1)
    topology = MeshTopology(triangles, len(clip), uv)
    atlas = uv_atlas(topology, (height, width))
    wrong = atlas.triangle_id[::-1] != case["ids_f64"]
    assert (wrong & ~case["ambiguous"]).sum() == 0
    baked = np.asarray(bake(atlas, uv))
    v, u = (np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width]).reshape(2, 1, 1)
    np.testing.assert_allclose(baked[atlas.mask], np.stack([u, v], -1)[atlas.mask], atol=1e-5)
