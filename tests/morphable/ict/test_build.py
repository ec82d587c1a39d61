import numpy as np
import pytest

from facejax.geometry.sphere import fit_sphere
from facejax.morphable import expression_presets, load_morphable
from facejax.morphable.ict import RAW_KEYS, build_ict, read_raw
from facejax.morphable.storage import model_from_arrays
from tests.morphable.ict import toy
from tests.parity.golden import ROOT

ICT = ROOT.parent / "data" / "ict_facekit.npz"
SMALL = dict(n_id=12, n_alb=6, draws=12, texture_size=96)
needs_ict = pytest.mark.skipif(
    not ICT.exists(), reason=f"no converted ICT-FaceKit at {ICT}; set FACEJAX_GOLDEN"
)


@pytest.fixture(scope="module")
def toy_npz(tmp_path_factory):
    """The toy folder as a converted .npz, as a user would have one."""
    root = tmp_path_factory.mktemp("ict")
    toy.write_folder(root)
    raw = read_raw(root, toy.TOY_REGIONS)
    np.savez(root / "converted.npz", **raw)
    return root / "converted.npz", raw


def test_toy_model_has_the_geometry_of_its_source(toy_npz):
    path, raw = toy_npz
    model = model_from_arrays(build_ict(path, n_id=2, n_alb=3, draws=8, texture_size=32))
    np.testing.assert_allclose(model.mean_shape, 10 * raw["neutral"], atol=1e-4)
    offsets = np.asarray(model.id_std)[:, None, None] * np.asarray(model.id_basis)
    np.testing.assert_allclose(offsets, 10 * raw["id_offsets"], atol=0.01)
    lengths = np.linalg.norm(np.asarray(model.id_basis).reshape(2, -1), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)
    np.testing.assert_allclose(model.exp_basis, 10 * raw["exp_offsets"], atol=1e-4)
    assert model.topology.exp_names == toy.EXPRESSIONS
    uv = model.topology.mesh.uv
    np.testing.assert_allclose(uv[:, 1], 1 - raw["uv_atlas"][:, 1], atol=1e-6)
    assert not model.topology.uv_wraps_u


def test_converted_npz_is_recognised_and_cached(toy_npz, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    options = dict(n_id=2, n_alb=3, draws=8, texture_size=32)
    by_path = load_morphable(toy_npz[0], **options)
    by_name = load_morphable("ict", path=toy_npz[0], **options)
    assert by_path.topology.name == "ict"
    assert by_path.topology.digest == by_name.topology.digest
    assert len(list(tmp_path.glob("ict-*.npz"))) == 1


@pytest.mark.parametrize("options", [dict(n_id=3), dict(n_id=0), dict(n_id=1, n_alb=9, draws=9)])
def test_impossible_sizes_are_explained(toy_npz, options):
    with pytest.raises(ValueError, match="wanted 1"):
        build_ict(toy_npz[0], **options)


def test_sphere_is_recovered(rng):
    direction = rng.standard_normal((50, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    center, radius = fit_sphere(np.array([3.1, 3.6, 7.9]) + 1.54 * direction)
    np.testing.assert_allclose(center, [3.1, 3.6, 7.9], atol=1e-9)
    np.testing.assert_allclose(radius, 1.54)


@pytest.fixture(scope="module")
def ict():
    return model_from_arrays(build_ict(ICT, **SMALL))


@needs_ict
def test_ict_model_is_complete(ict):
    with np.load(ICT) as source:
        assert set(RAW_KEYS) <= set(source.files)
        np.testing.assert_allclose(ict.mean_shape, 10 * source["neutral"], atol=1e-4)
        want = 10 * source["id_offsets"][:12].astype(np.float32)
    got = np.asarray(ict.id_std)[:, None, None] * np.asarray(ict.id_basis)
    np.testing.assert_allclose(got, want, atol=0.01)  # mm
    assert ict.num_exp == 53
    assert len(set(ict.topology.landmarks68.tolist())) == 68
    assert len(expression_presets(ict)[0]) == 7
    assert 0 <= float(ict.mean_texture.min()) and float(ict.mean_texture.max()) <= 1


@needs_ict
def test_ict_five_points_are_where_the_68_say(ict):
    points, t = np.asarray(ict.mean_shape), ict.topology
    five, all68 = points[t.landmarks5], points[t.landmarks68]
    for got, corners in ((five[0], all68[36:42]), (five[1], all68[42:48])):
        np.testing.assert_allclose(got[:2], corners[:, :2].mean(axis=0), atol=2)
    np.testing.assert_array_equal(t.landmarks5[2:], t.landmarks68[[30, 48, 54]])


@needs_ict
def test_ict_paint_lies_on_the_features(ict):
    albedo, t = np.asarray(ict.mean_albedo), ict.topology
    luminance = albedo.mean(axis=1)
    cheek_ids = [t.landmarks68[k] for k in (2, 14)]
    skin = albedo[t.masks["face"] * t.masks["skin"] > 0.9].mean(axis=0)
    assert skin[0] > skin[1] > skin[2]
    points, on_lips = np.asarray(ict.mean_shape), t.masks["lips"] > 0.9
    low, high = points[t.landmarks68[48:60]].min(axis=0), points[t.landmarks68[48:60]].max(axis=0)
    assert (points[on_lips, :2] > low[:2] - 2).all() and (points[on_lips, :2] < high[:2] + 2).all()
    lips = albedo[on_lips].mean(axis=0)
    assert lips[0] / lips[1] > 1.15 * skin[0] / skin[1]
    brows = luminance[t.landmarks68[[18, 19, 24, 25]]].mean()
    assert brows < 0.8 * luminance[cheek_ids].mean()
    assert luminance[t.landmarks5[:2]].max() < 0.3  # pupils
    mouth = albedo[t.masks["mouth_inside"] > 0.9].mean(axis=0)
    assert mouth[0] > 2 * mouth[1] and mouth.mean() < 0.3
    crown = luminance[points[:, 1].argmax()]
    assert crown < 0.3  # hair


@needs_ict
def test_ict_texture_and_vertex_albedo_agree(ict):
    mesh, tex = ict.topology.mesh, np.asarray(ict.mean_texture)
    size = tex.shape[0]
    column, row = np.clip((mesh.uv * size).astype(int), 0, size - 1).T
    difference = np.abs(tex[row, column] - np.asarray(ict.mean_albedo)[mesh.uv_vertex]).mean(
        axis=-1
    )
    assert np.median(difference) < 0.02 and (difference < 0.15).mean() > 0.9
