import numpy as np
import pytest

from facejax.morphable.ict import RAW_KEYS, REGIONS, find_obj_folder, read_obj_folder, read_raw
from tests.morphable.ict import toy
from tests.parity.golden import ROOT


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("ict")
    return root, *toy.write_folder(root)


@pytest.fixture(scope="module")
def raw(written):
    return read_raw(written[0], toy.TOY_REGIONS)


def test_kept_vertices_and_offsets(written, raw):
    _, neutral, identities, expressions = written
    kept = np.concatenate([np.arange(r.first, r.end) for r in toy.TOY_REGIONS])
    assert set(raw) == set(RAW_KEYS)
    np.testing.assert_allclose(raw["neutral"], neutral[kept], atol=1e-5)
    np.testing.assert_allclose(raw["id_offsets"], (identities - neutral)[:, kept], atol=1e-5)
    np.testing.assert_allclose(raw["exp_offsets"], (expressions - neutral)[:, kept], atol=1e-5)
    assert list(raw["exp_names"]) == list(toy.EXPRESSIONS)
    np.testing.assert_array_equal(np.bincount(raw["region"]), [toy.PATCH] * 6)


def test_faces_are_triangles_of_kept_vertices(written, raw):
    quads = (toy.SIDE - 1) ** 2
    assert len(raw["faces"]) == 6 * 2 * quads + 1  # six patches of quads and one triangle
    np.testing.assert_array_equal(raw["uv_vertex"][raw["faces_uv"]], raw["faces"])
    a, b, c = (raw["neutral"][raw["faces"][:, k]] for k in range(3))
    front = np.cross(b - a, c - a)[raw["region"][raw["faces"][:, 0]] == 0]
    assert (front[:, 2] > 0).all()  # winding is kept


def test_atlas_tiles_do_not_overlap(raw):
    tiles = {"face": (0, 1), "head": (2, 3), "left": (4,), "right": (5,)}
    boxes = {}
    region = raw["region"][raw["uv_vertex"]]
    for name, numbers in tiles.items():
        uv = raw["uv_atlas"][np.isin(region, numbers)]
        boxes[name] = (uv.min(axis=0), uv.max(axis=0))
    assert boxes["face"][1][0] < 0.75 < boxes["head"][0][0]
    assert boxes["face"][0][1] > 0.25
    assert boxes["head"][0][1] > 0.75 > boxes["left"][1][1]
    assert boxes["left"][0][1] > 0.5 > boxes["right"][1][1] > boxes["right"][0][1] > 0.25


def test_landmarks_are_renumbered(raw):
    np.testing.assert_array_equal(raw["landmarks68"], np.linspace(0, 143, 68).astype(int))


def test_folder_is_found_above_and_at_the_meshes(written, tmp_path):
    root = written[0]
    assert find_obj_folder(root) == find_obj_folder(root / "FaceXModel") == root / "FaceXModel"
    assert find_obj_folder(tmp_path) is None


def test_incomplete_folders_are_explained(tmp_path):
    toy.write_folder(tmp_path)
    folder = tmp_path / "FaceXModel"
    with pytest.raises(ValueError, match="wanted at least 23791"):
        read_obj_folder(folder, REGIONS)
    (folder / "jawOpen.obj").unlink()
    with pytest.raises(ValueError, match="jawOpen.obj is missing"):
        read_obj_folder(folder, toy.TOY_REGIONS)
    (folder / "identity001.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match="identity001.obj: found 1 vertices"):
        read_obj_folder(folder, toy.TOY_REGIONS)
    (folder / "generic_neutral_mesh.obj").write_text("version https://git-lfs\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        read_obj_folder(folder, toy.TOY_REGIONS)
    (folder / "vertex_indices.json").unlink()
    with pytest.raises(ValueError, match="vertex_indices.json is missing"):
        read_obj_folder(folder, toy.TOY_REGIONS)


def test_foreign_npz_is_explained(tmp_path):
    np.savez(tmp_path / "x.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="lacks.*id_offsets"):
        read_raw(tmp_path / "x.npz")


def test_region_table_matches_the_converted_model():
    path = ROOT.parent / "data" / "ict_facekit.npz"
    if not path.exists():
        pytest.skip("no converted ICT-FaceKit beside the reference vectors; set FACEJAX_GOLDEN")
    with np.load(path) as ict:
        kept = np.concatenate([np.arange(r.first, r.end) for r in REGIONS])
        np.testing.assert_array_equal(ict["orig_index"], kept)
        assert [str(n) for n in ict["region_names"]] == [r.name for r in REGIONS]
