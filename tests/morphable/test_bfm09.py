import numpy as np
import pytest
from scipy.io import loadmat, savemat

from facejax.morphable import decode_albedo, decode_shape, load_morphable
from facejax.morphable.bfm09 import (
    front_from_model,
    load_bfm_front,
    model_from_front,
    read_bfm_front,
    write_bfm_front,
)
from facejax.morphable.bfm09_sources import find_sources, front_from_sources, read_expressions
from tests.oracles.mat_files import write_bfm, write_bfm09_folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bfm")
    return folder, write_bfm09_folder(folder, np.random.default_rng(0))


def test_a_face_by_the_basel_formula(sources, rng):
    folder, f = sources
    front = front_from_sources(folder, n_id=6, n_exp=5, n_tex=4)
    model = model_from_front(front)
    a, e, b = (rng.standard_normal(n).astype(np.float32) for n in (6, 5, 4))
    pick = f["trim"][f["front_in_trim"]]
    shape = f["shapeMU"][:, 0] + f["shapePC"][:, :6] @ (f["shapeEV"][:6, 0] * a)
    exp = ((f["exp_std"][:5] * e) @ f["exp_pc"][:5]).reshape(-1, 3)[f["front_in_trim"]]
    mean = f["shapeMU"].reshape(-1, 3)[pick].mean(axis=0)
    wanted = (shape.reshape(-1, 3)[pick] + exp - mean) / 1000  # mm
    np.testing.assert_allclose(decode_shape(model, a, e), wanted, atol=1e-3)
    color = f["texMU"][:, 0] + f["texPC"][:, :4] @ (f["texEV"][:4, 0] * b)
    wanted = color.reshape(-1, 3)[pick] / 255
    np.testing.assert_allclose(decode_albedo(model, b), wanted, atol=1e-5)
    topology = model.topology
    np.testing.assert_array_equal(topology.mesh.triangles, f["tri"])
    np.testing.assert_array_equal(topology.landmarks68, f["keypoints"])
    np.testing.assert_array_equal(np.flatnonzero(topology.masks["front"]), f["inside"])
    np.testing.assert_array_equal(topology.masks["skin"], f["skin"])
    assert topology.name == "bfm09" and "Basel" in topology.licence


def test_the_file_of_the_original_programs(sources, tmp_path):
    front = front_from_sources(sources[0])
    write_bfm_front(tmp_path / "any.mat", front)
    raw, num = loadmat(tmp_path / "any.mat"), len(front["meanshape"])
    assert raw["meanshape"].shape == (1, 3 * num) and raw["idBase"].shape == (3 * num, 12)
    assert raw["keypoints"].shape == (1, 68) and raw["keypoints"].min() >= 1
    around = raw["point_buf"].astype(int) - 1  # triangles of each vertex, padded with F
    for v in (0, num // 2):
        mine = np.flatnonzero((front["tri"] == v).any(axis=1))
        assert set(around[v]) - {len(front["tri"])} == set(mine)
    ids = raw["frontmask2_idx"].astype(int).reshape(-1) - 1
    inner = ids[raw["tri_mask2"].astype(int) - 1]
    wanted = front["tri"][np.isin(front["tri"], ids).all(axis=1)]
    np.testing.assert_array_equal(inner, wanted)
    again = read_bfm_front(tmp_path / "any.mat")
    for key, value in front.items():
        np.testing.assert_array_equal(again[key], value, err_msg=key)
    model = load_morphable(tmp_path / "any.mat")
    np.testing.assert_allclose(model.mean_shape.mean(axis=0), 0, atol=1e-4)
    back = front_from_model(model)
    np.testing.assert_allclose(back["texBase"], front["texBase"], atol=1e-4)
    shift = front["meanshape"] - back["meanshape"]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-6)


def test_files_are_known_by_their_contents(sources, tmp_path):
    for i, path in enumerate(sorted(sources[0].iterdir())):
        (tmp_path / f"{'abcdef'[i]}{path.suffix}").write_bytes(path.read_bytes())
    roles, others = find_sources(tmp_path)
    assert len(roles) == 6 and not others
    (tmp_path / roles["front_idx"].name).unlink()
    (tmp_path / "readme.txt").write_text("some text")
    savemat(tmp_path / "sel.mat", dict(select_id=np.ones((3, 1))))
    with pytest.raises(ValueError, match=r"BFM_front_idx.mat.*readme.txt is a text.*select_vertex"):
        front_from_sources(tmp_path)
    (tmp_path / "again.bin").write_bytes(roles["expressions"].read_bytes())
    with pytest.raises(ValueError, match="two files of one kind"):
        find_sources(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        find_sources(tmp_path / "absent")


def test_files_that_do_not_belong_together(sources, tmp_path, rng):
    for path in sources[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "std_exp.txt").write_text("3 2 1")
    with pytest.raises(ValueError, match="7 components.*wanted 3"):
        front_from_sources(tmp_path)
    (tmp_path / "std_exp.txt").write_text(" ".join(["2"] * 7))
    write_bfm09_folder(tmp_path / "other", rng, side=12)
    (tmp_path / "other" / "BFM_front_idx.mat").replace(tmp_path / "BFM_front_idx.mat")
    for path in (tmp_path / "other").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="idx holds.*do not belong together"):
        front_from_sources(tmp_path)
    data = (tmp_path / "Exp_Pca.bin").read_bytes()
    (tmp_path / "cut.bin").write_bytes(data[:-8])
    with pytest.raises(ValueError, match="no Exp_Pca.bin"):
        read_expressions(tmp_path / "cut.bin")


def test_wrong_files_are_named(sources, tmp_path, rng):
    write_bfm(tmp_path / "BFM.mat", rng)
    with pytest.raises(ValueError, match="face3d-style BFM.mat, wanted Deep3D"):
        load_bfm_front(tmp_path / "BFM.mat")
    with pytest.raises(ValueError, match="01_MorphableModel.*import_bfm"):
        load_morphable(sources[0] / "01_MorphableModel.mat")
    with pytest.raises(ValueError, match="facemodel_info"):
        load_morphable(sources[0] / "facemodel_info.mat")
    front = front_from_sources(sources[0])
    write_bfm_front(tmp_path / "a.mat", front)
    raw = {k: v for k, v in loadmat(tmp_path / "a.mat").items() if k[0] != "_"}
    savemat(tmp_path / "b.mat", raw | dict(tri=raw["tri"] - 1))
    with pytest.raises(ValueError, match="counts from 1"):
        load_morphable(tmp_path / "b.mat")
    savemat(tmp_path / "c.mat", raw | dict(idBase=raw["idBase"][:-3]))
    with pytest.raises(ValueError, match="idBase has shape"):
        load_morphable(tmp_path / "c.mat")
    savemat(tmp_path / "d.mat", raw | dict(keypoints=raw["keypoints"][:, :5]))
    with pytest.raises(ValueError, match="wanted 68"):
        load_morphable(tmp_path / "d.mat")
