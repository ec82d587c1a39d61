import json

import numpy as np
import pytest

from facejax.geometry.mesh import vertex_normals
from facejax.morphable import load_morphable
from facejax.morphable.procedural import build_procedural
from facejax.morphable.procedural.build import HeadGrid, paint_basis, pca
from facejax.morphable.procedural.layout import CanonicalLayout
from tests.morphable.conftest import SMALL
from tests.parity.golden import ROOT


def test_arrays_are_finite_and_in_range(small_model):
    m, t = small_model, small_model.topology
    for name in ("mean_shape", "id_basis", "id_std", "exp_basis", "alb_basis", "tex_basis"):
        assert np.isfinite(getattr(m, name)).all(), name
    assert m.num_vertices == 47 * 47 + 1
    assert m.mean_texture.shape == (64, 64, 3) and m.tex_basis.shape == (8, 64, 64, 3)
    assert 0 <= float(m.mean_albedo.min()) and float(m.mean_albedo.max()) <= 1
    assert t.mesh.uv.min() >= 0 and t.mesh.uv.max() <= 1 and t.uv_wraps_u
    for name, mask in t.masks.items():
        assert mask.shape == (m.num_vertices,) and 0 <= mask.min() and mask.max() <= 1, name
    extent = np.ptp(np.asarray(m.mean_shape), axis=0)
    assert 140 < extent[0] < 220 and 280 < extent[1] < 340  # millimetres


def test_identity_basis_is_orthonormal(small_model):
    basis = np.asarray(small_model.id_basis).reshape(small_model.num_id, -1)
    np.testing.assert_allclose(basis @ basis.T, np.eye(small_model.num_id), atol=2e-3)
    assert (np.diff(small_model.id_std) <= 0).all()


def test_every_landmark_is_a_vertex_of_its_own(small_model):
    t = small_model.topology
    assert len(set(t.landmarks68.tolist())) == 68 and len(set(t.landmarks5.tolist())) == 5
    points = np.asarray(small_model.mean_shape)[t.landmarks68]
    assert points[0, 0] < points[16, 0]  # 0 is the subject's right, image left
    mirrored = points[16::-1] * [-1, 1, 1]
    np.testing.assert_allclose(points[:17], mirrored, atol=8)
    assert points[30, 2] == points[:, 2].max()  # the nose tip
    assert points[8, 1] == points[:, 1].min()  # the chin


def test_same_seed_same_model_other_seed_other_model():
    def digest(**options):
        arrays = build_procedural(**(SMALL | dict(draws=12, n_id=4, n_alb=4, **options)))
        return json.loads(str(arrays["meta"]))["digest"]

    assert digest() == digest()
    assert digest() != digest(seed=1)


def test_half_precision_bases_lose_less_than_a_hundredth_of_a_millimetre(rng):
    arrays = build_procedural(**(SMALL | dict(draws=20)))
    assert arrays["id_basis"].dtype == np.float16
    coeffs = rng.standard_normal((20, SMALL["n_id"])) * arrays["id_std"]
    step = np.spacing(np.abs(arrays["id_basis"])).astype(float) / 2  # the most that rounding moves
    error = np.sqrt(np.einsum("nk,kvc->nvc", coeffs**2, step**2))
    assert error.mean() < 0.01


def test_mesh_is_welded_at_crown_and_seam(small_model):
    mesh = small_model.topology.mesh
    edges = np.sort(
        np.concatenate(
            [mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]], mesh.triangles[:, [2, 0]]]
        ),
        axis=1,
    )
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    assert (count == 1).sum() == 47  # the only border is the neck
    np.testing.assert_array_equal(mesh.uv_vertex[mesh.uv_triangles], mesh.triangles)
    assert len(mesh.uv) == 48 * 48  # seam and crown keep their copies there


def test_normals_point_outward_and_are_smooth_over_the_seam(small_model):
    mesh, points = small_model.topology.mesh, small_model.mean_shape
    normals = np.asarray(vertex_normals(points, mesh))
    assert normals[0, 1] > 0.9  # the crown looks up
    grid = normals[mesh.uv_vertex].reshape(48, 48, 3)
    back = grid[2:40, 0]
    assert (back[:, 2] < 0).mean() > 0.9
    across = (grid[2:40, 1] * grid[2:40, -2]).sum(axis=-1)  # the two neighbours of the seam
    assert across.min() > 0.5
    nose = normals[small_model.topology.landmarks68[30]]
    assert nose[2] > 0.7


def test_lips_are_apart_only_when_the_jaw_opens(small_model):
    t = small_model.topology
    inner = np.asarray(small_model.mean_shape)[t.landmarks68[[62, 66]]]
    opened = (
        inner + np.asarray(small_model.exp_basis)[t.exp_index["jawOpen"]][t.landmarks68[[62, 66]]]
    )
    assert 0 < inner[0, 1] - inner[1, 1] < 1.5
    assert opened[0, 1] - opened[1, 1] > 15


def test_grid_welds_to_the_mean_at_the_crown():
    grid = HeadGrid(4, 5)
    values = np.arange(20.0)[:, None]
    welded = grid.weld(values)[:, 0]
    assert len(welded) == 3 * 4 + 1
    assert welded[0] == values[:5].mean()
    np.testing.assert_array_equal(welded[1:5], [5, 6, 7, 8])


def test_pca_recovers_a_low_rank_set(rng):
    factors = rng.standard_normal((30, 3)).astype(np.float32)
    samples = factors @ rng.standard_normal((3, 50)).astype(np.float32) + 2
    mean, basis, std = pca(samples, 3)
    centered = samples - mean
    np.testing.assert_allclose(centered @ basis.T @ basis, centered, atol=1e-3)
    np.testing.assert_allclose((centered @ basis.T).std(axis=0, ddof=1), std, rtol=1e-3)


def test_paint_basis_shares_coefficients_between_vertices_and_texels(rng):
    factors = rng.standard_normal((20, 2)).astype(np.float32)
    vertex = np.einsum("nk,kvc->nvc", factors, rng.standard_normal((2, 7, 3))).astype(np.float32)
    tex = np.einsum("nk,kabc->nabc", factors, rng.standard_normal((2, 4, 4, 3))).astype(np.float32)
    basis = paint_basis(vertex, tex, 2)
    coeffs = np.einsum("nvc,kvc->nk", vertex - basis["mean_albedo"], basis["alb_basis"])
    want = tex - basis["mean_texture"]
    np.testing.assert_allclose(
        np.einsum("nk,kabc->nabc", coeffs, basis["tex_basis"]), want, atol=0.03
    )


def _similarity(source, target):
    """Least-squares rotation, scale and shift of source [N, 3] onto target (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return (s * np.diag(sign)).sum() / (a**2).sum() * a @ (u @ sign @ vt).T + target.mean(0)


def test_landmarks_lie_where_those_of_a_scanned_mean_head_do():
    path = ROOT.parent / "data" / "ict_facekit.npz"
    if not path.exists():
        pytest.skip("no converted ICT-FaceKit beside the reference vectors; set FACEJAX_GOLDEN")
    with np.load(path) as ict:
        want = 10 * ict["neutral"][ict["landmarks68"]].astype(float)
    arrays = build_procedural(draws=4, n_id=2, n_alb=2, texture_size=8)
    got = arrays["mean_shape"][arrays["landmarks68"]].astype(float)
    error = np.linalg.norm(_similarity(got, want) - want, axis=1)
    eyes = np.linalg.norm(want[36] - want[45])
    assert error.mean() / eyes < 0.03
    assert error[17:].mean() / eyes < 0.03


def test_layout_is_symmetric():
    u = np.linspace(0, 1, 41)
    left = CanonicalLayout(u, np.full(41, 0.5))
    right = CanonicalLayout(1 - u, np.full(41, 0.5))
    np.testing.assert_allclose(left.x, -right.x, atol=1e-9)
    np.testing.assert_allclose(left.y, right.y, atol=1e-9)


def test_default_options_are_the_documented_ones(monkeypatch):
    seen = {}

    def fake(kind, key, build):
        seen.update(key)
        return kind

    monkeypatch.setattr("facejax.morphable.load.cached_model", fake)
    assert load_morphable("procedural", on_host=True) == "procedural"
    assert (seen["rows"], seen["cols"], seen["n_id"], seen["texture_size"]) == (128, 128, 80, 256)
