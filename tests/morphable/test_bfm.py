import numpy as np
import pytest
from scipy.io import savemat

from facejax.geometry.mesh import triangle_normals
from facejax.morphable import decode_albedo, decode_shape, load_morphable, load_npz, save_npz
from facejax.morphable.bfm import load_bfm
from tests.oracles.mat_files import write_bfm, write_parameters


def test_vertices_and_colours_are_those_of_the_file(tmp_path, rng):
    f = write_bfm(tmp_path / "BFM.mat", rng)
    model = load_bfm(tmp_path / "BFM.mat")
    sp, ep, tp = (rng.standard_normal(n) for n in (6, 4, 6))
    raw_sp, raw_ep = sp * f["shapeEV"][:, 0], ep * f["expEV"][:, 0]
    wanted = f["shapeMU"][:, 0] + f["expMU"][:, 0] + f["shapePC"] @ raw_sp + f["expPC"] @ raw_ep
    found = decode_shape(model, sp.astype(np.float32), ep.astype(np.float32))
    np.testing.assert_allclose(found, wanted.reshape(-1, 3) / 1000, rtol=1e-4, atol=1e-2)
    colors = (f["texMU"][:, 0] + f["texPC"] @ (tp * f["texEV"][:, 0])) / 255
    found = decode_albedo(model, tp.astype(np.float32))
    np.testing.assert_allclose(found, colors.reshape(-1, 3), atol=1e-5)
    np.testing.assert_array_equal(model.topology.landmarks68, f["kpt_ind"][0] - 1)
    np.testing.assert_array_equal(model.topology.landmarks5[2:], f["kpt_ind"][0, [30, 48, 54]] - 1)
    assert (np.asarray(triangle_normals(model.mean_shape, model.topology.mesh))[:, 2] > 0).all()


def test_recognised_by_content_and_saved_again(tmp_path, rng):
    write_bfm(tmp_path / "whatever.mat", rng)
    model = load_morphable(tmp_path / "whatever.mat")
    assert model.topology.name == "bfm" and "Basel" in model.topology.licence
    save_npz(tmp_path / "model.npz", model)
    again = load_npz(tmp_path / "model.npz")
    assert again.topology.digest == model.topology.digest
    np.testing.assert_array_equal(again.id_basis, model.id_basis)


def test_other_matlab_files_are_named(tmp_path, rng):
    write_parameters(tmp_path / "picture.mat", rng)
    with pytest.raises(ValueError, match="parameters of one picture"):
        load_bfm(tmp_path / "picture.mat")
    savemat(tmp_path / "info.mat", {"model_info": {"trimIndex": [1]}})
    with pytest.raises(ValueError, match="BFM_info.mat"):
        load_morphable(tmp_path / "info.mat")
    savemat(tmp_path / "half.mat", {"model": {"shapeMU": [1.0]}})
    with pytest.raises(ValueError, match="without .*shapePC"):
        load_bfm(tmp_path / "half.mat")
    (tmp_path / "text.mat").write_text("not a matlab file, but long enough to look at" * 9)
    with pytest.raises(ValueError, match="text.mat: not a readable Matlab file"):
        load_bfm(tmp_path / "text.mat")
    with pytest.raises(ValueError, match="no such file"):
        load_bfm(tmp_path / "absent.mat")


def test_indices_outside_the_model(tmp_path, rng):
    fields = write_bfm(tmp_path / "a.mat", rng)
    savemat(tmp_path / "b.mat", {"model": fields | {"tri": fields["tri"] - 1}})
    with pytest.raises(ValueError, match="counts from 1"):
        load_bfm(tmp_path / "b.mat")


@pytest.mark.parametrize("key", ["shapePC", "texEV", "tri", "kpt_ind"])
def test_numbers_that_are_none(tmp_path, rng, key):
    fields = write_bfm(tmp_path / "a.mat", rng)
    fields[key].flat[0] = np.nan
    savemat(tmp_path / "b.mat", {"model": fields})
    with pytest.raises(ValueError, match=f"b.mat: {key} holds NaN"):
        load_bfm(tmp_path / "b.mat")
