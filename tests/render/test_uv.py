import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import bake, rasterize, unbake, uv_atlas
from tests.oracles import meshes


def round_trip_error(vertices, topology, size, **options):
    atlas = uv_atlas(topology, size, **options)
    back = np.asarray(unbake(atlas, bake(atlas, vertices)))
    return np.linalg.norm(back - vertices, axis=-1) / np.ptp(vertices, axis=0).max()


@pytest.mark.parametrize("layout", [dict(seam=True), dict(wraps_u=True)])
def test_baked_positions_come_back(layout):
    vertices, topology = meshes.sphere(33, 48, **layout)
    error = round_trip_error(vertices, topology, 512)
    away = np.ones(len(vertices), bool)
    away[:48] = away[-48:] = False  # the open borders at the poles
    if "seam" in layout:
        away[::48] = False
    assert error[away].max() < 0.01
    assert error.max() < 0.02  # at a seam half of the texels around a vertex are missing


@pytest.mark.parametrize("batch", [(), (2,)])
def test_bake_is_interpolation_of_the_rasterised_layout(rng, batch):
    vertices, topology = meshes.sphere(7, 10)
    size = (40, 56)
    uv = topology.uv
    clip = np.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1], 0 * uv[:, 0], 1 + 0 * uv[:, 0]], axis=1)
    flat = MeshTopology(topology.uv_triangles, len(uv))
    fragments = rasterize(clip.astype(np.float32), flat, size)
    atlas = uv_atlas(topology, size)
    ids = np.asarray(fragments.triangle_id)
    assert (atlas.triangle_id != ids).mean() < 2e-3  # only texels centred exactly on an edge
    values = rng.normal(size=(*batch, len(vertices), 2)).astype(np.float32)
    got = np.asarray(bake(atlas, values))
    corners = values[..., topology.triangles[np.maximum(atlas.triangle_id, 0)], :]
    want = np.einsum("hwk,...hwkc->...hwc", atlas.barycentric, corners)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert (got[..., ~atlas.mask, :] == 0).all()
    same = (atlas.triangle_id == ids)[..., None]
    np.testing.assert_allclose(
        np.where(same, fragments.barycentric, 0), np.where(same, atlas.barycentric, 0), atol=1e-4
    )


def test_v_runs_down_and_texel_centres_are_at_one_half():
    uv = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    topology = MeshTopology([[0, 2, 1], [1, 2, 3]], 4, uv)
    baked = np.asarray(bake(uv_atlas(topology, (4, 8)), uv))
    v, u = (np.mgrid[0:4, 0:8] + 0.5) / np.array([4, 8]).reshape(2, 1, 1)
    np.testing.assert_allclose(baked, np.stack([u, v], axis=-1), atol=1e-6)


def test_wrapping_layouts_have_no_gap_at_the_seam():
    vertices, topology = meshes.sphere(9, 12, wraps_u=True)
    atlas = uv_atlas(topology, (32, 64))
    assert atlas.mask[4:-4].all()
    baked = np.asarray(bake(atlas, vertices))[4:-4]
    step = np.linalg.norm(np.diff(np.concatenate([baked, baked[:, :1]], axis=1), axis=1), axis=-1)
    assert (
        step.max() < 0.15
    )  # neighbours on the map are neighbours on the sphere, also across u = 1


def test_unbake_never_reads_outside_the_layout():
    vertices, topology = meshes.sphere(9, 16)
    atlas = uv_atlas(topology, 48)
    baked = bake(atlas, np.ones((len(vertices), 1), np.float32))
    outside = jnp.where(atlas.mask[..., None], baked, 1e6)
    np.testing.assert_allclose(unbake(atlas, outside), 1.0, rtol=1e-5)


def test_vertices_whose_texels_are_all_uncovered_read_the_nearest_covered_one():
    uv = np.array([[0.02, 0.02], [0.98, 0.03], [0.5, 0.98]], np.float32)
    topology = MeshTopology([[0, 2, 1]], 3, uv)
    atlas = uv_atlas(topology, 8)
    values = np.array([[0.0], [1.0], [2.0]], np.float32)
    np.testing.assert_allclose(unbake(atlas, bake(atlas, values)), values, atol=0.3)


def test_seam_copies_are_averaged_and_unused_uv_vertices_ignored():
    uv = np.array([[0, 0], [0.5, 0], [0, 1], [0.6, 0], [1, 0], [1, 1], [0.9, 0.9]], np.float32)
    topology = MeshTopology([[0, 2, 1], [0, 1, 2]], 3, uv, [[0, 2, 1], [3, 4, 5]])
    atlas = uv_atlas(topology, (8, 16))
    left = np.arange(16) < 8
    uv_map = np.where(left, 1.0, 3.0)[None, :, None] * np.ones((8, 16, 1))
    np.testing.assert_allclose(unbake(atlas, uv_map.astype(np.float32)), 2.0, atol=1e-6)


def test_supersampling_fills_partly_covered_texels_from_covered_samples_only():
    vertices, topology = meshes.sphere(9, 16)
    plain, fine = uv_atlas(topology, 32), uv_atlas(topology, 32, supersample=3)
    assert fine.mask.sum() > plain.mask.sum()
    assert (fine.mask | ~plain.mask).all()
    ones = bake(fine, np.ones((len(vertices), 1), np.float32))
    np.testing.assert_allclose(ones[..., 0], fine.mask, atol=1e-5)
    assert (fine.triangle_id[fine.mask] >= 0).all()


@pytest.mark.parametrize("wraps_u", [False, True])
def test_dilate_grows_by_neighbour_means_and_keeps_the_inside(rng, wraps_u):
    vertices, topology = meshes.sphere(6, 8, wraps_u=wraps_u, seam=not wraps_u)
    atlas = uv_atlas(topology, (24, 20))
    values = rng.uniform(1, 2, (2, len(vertices), 3)).astype(np.float32)
    baked = np.asarray(bake(atlas, values))
    grown = np.asarray(jax.jit(lambda m: atlas.dilate(m, 2))(baked))
    np.testing.assert_array_equal(grown[:, atlas.mask], baked[:, atlas.mask])
    reach = atlas.mask.copy()
    for _ in range(2):
        padded = np.pad(reach, 1)
        if wraps_u:
            padded[1:-1, 0], padded[1:-1, -1] = reach[:, -1], reach[:, 0]
        reach |= padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2]
    assert (grown[:, reach] >= 1).all() and (grown[:, reach] <= 2).all()
    assert (grown[:, ~reach] == 0).all()
    traced = jax.jit(lambda a, m: a.dilate(m, 2))(atlas, baked)
    np.testing.assert_allclose(traced, grown, atol=1e-6)


def test_atlas_is_cached_and_gradients_flow_both_ways(rng):
    vertices, topology = meshes.sphere(7, 10)
    assert uv_atlas(topology, 16) is uv_atlas(topology, (16, 16))
    atlas = uv_atlas(topology, 16)

    def loss(v):
        return jnp.sum(unbake(atlas, bake(atlas, v)) * vertices)

    grad = np.asarray(jax.grad(loss)(jnp.asarray(vertices)))
    direction = rng.normal(size=vertices.shape).astype(np.float32)
    want = float(loss(jnp.asarray(direction)))  # linear: the difference is the value itself
    assert (grad * direction).sum() == pytest.approx(want, rel=1e-3)


def test_errors_say_what_to_do(rng):
    vertices, topology = meshes.sphere(7, 10)
    atlas = uv_atlas(topology, 16)
    with pytest.raises(ValueError, match="one row per vertex"):
        bake(atlas, vertices[:-1])
    with pytest.raises(ValueError, match="16, 16, C"):
        unbake(atlas, np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="no UV layout"):
        uv_atlas(MeshTopology([[0, 1, 2]], 3), 16)
