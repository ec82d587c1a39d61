"""The Basel models of 2017 and 2019, by files with their layout."""

import json

import numpy as np
import pytest

from facejax.geometry.mesh import triangle_normals
from facejax.morphable import decode_albedo, decode_shape, load_morphable
from facejax.morphable.bfm17 import load_bfm17
from tests.oracles.hdf5_files import layout_of, write_bfm17, write_hdf5

REFERENCE = np.zeros((68, 3), np.float32)


def raw_vertices(arrays, sp, ep, version):
    """mean + B sp + B ep of raw coefficients, by the definition of the format."""
    total = arrays["shape/model/mean"].astype(float)
    for part, raw in (("shape", sp), ("expression", ep)):
        basis = arrays[f"{part}/model/pcaBasis"].astype(float)
        if version == 8:
            basis = basis / np.sqrt(arrays[f"{part}/model/pcaVariance"])
        total = total + basis @ raw
    return total.reshape(-1, 3)


@pytest.mark.parametrize("version", [8, 9])
@pytest.mark.parametrize("told", [True, False])
def test_vertices_and_colours_are_those_of_the_file(tmp_path, rng, version, told):
    path = tmp_path / "m.h5"
    arrays = write_bfm17(path, rng, version)
    if not told:  # the version then shows in the lengths of the columns
        arrays = {k: v for k, v in arrays.items() if "ersion/" not in k}
        write_hdf5(path, arrays)
    model = load_bfm17(path, reference=REFERENCE)
    sp, ep, tp = (20 * rng.standard_normal(n) for n in (7, 4, 5))
    coeffs = [raw / np.asarray(std) for raw, std in ((sp, model.id_std), (ep, model.exp_std))]
    found = decode_shape(model, *(c.astype(np.float32) for c in coeffs))
    np.testing.assert_allclose(found, raw_vertices(arrays, sp, ep, version), atol=1e-3)
    alb = (tp / np.asarray(model.alb_std)).astype(np.float32)
    basis = arrays["color/model/pcaBasis"]
    basis = basis / np.sqrt(arrays["color/model/pcaVariance"]) if version == 8 else basis
    colors = arrays["color/model/mean"] + basis @ tp
    np.testing.assert_allclose(decode_albedo(model, alb), colors.reshape(-1, 3), atol=1e-4)
    assert (np.asarray(triangle_normals(model.mean_shape, model.topology.mesh))[:, 2] > 0).all()


def test_the_mean_of_the_expressions_is_an_option(tmp_path, rng):
    arrays = write_bfm17(tmp_path / "m.h5", rng)
    plain, added = (
        load_bfm17(tmp_path / "m.h5", expression_mean=on, reference=REFERENCE)
        for on in (False, True)
    )
    offset = arrays["expression/model/mean"].reshape(-1, 3)
    np.testing.assert_allclose(added.mean_shape - plain.mean_shape, offset, atol=1e-4)


def test_the_layout_beside_the_model(tmp_path, rng):
    arrays = write_bfm17(tmp_path / "m.h5", rng)
    layout = layout_of(arrays)
    (tmp_path / "face12.json").write_text(json.dumps(layout))
    mesh = load_morphable(tmp_path / "m.h5").topology.mesh
    given = np.array(layout["textureMapping"]["pointData"])
    np.testing.assert_allclose(mesh.uv[:, 0], given[:, 0], atol=1e-6)
    np.testing.assert_allclose(1 - mesh.uv[:, 1], given[:, 1], atol=1e-6)  # ours runs down
    assert mesh.uv_vertex[len(given) - 1] == 0  # the doubled vertex of the seam
    assert load_morphable(tmp_path / "m.h5", uv="").topology.mesh.uv is None
    short = dict(layout, textureMapping=dict(layout["textureMapping"], triangles=[[0, 1, 2]]))
    (tmp_path / "face12.json").write_text(json.dumps(short))  # of another mesh
    assert load_morphable(tmp_path / "m.h5").topology.mesh.uv is None
    with pytest.raises(ValueError, match="face12.json has 1 triangles and the mesh 40"):
        load_morphable(tmp_path / "m.h5", uv=tmp_path / "face12.json")
    (tmp_path / "face12.json").write_text("{}")
    with pytest.raises(ValueError, match="face12.json: wanted a 'textureMapping'"):
        load_morphable(tmp_path / "m.h5")


def test_landmarks_of_a_file_or_the_nearest(tmp_path, rng):
    write_bfm17(tmp_path / "m.h5", rng)
    ids = rng.integers(0, 30, 68)
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
    model = load_morphable("bfm17", path=tmp_path / "m.h5", landmarks=tmp_path / "ids.txt")
    np.testing.assert_array_equal(model.topology.landmarks68, ids)
    model = load_morphable(tmp_path / "m.h5", num_id=3, num_exp=2, num_alb=1)
    assert (model.num_id, model.num_exp, model.num_alb) == (3, 2, 1)
    found = model.mean_shape[model.topology.landmarks68]
    assert found[36:42, 0].mean() < found[42:48, 0].mean()  # image left is the subject's right
    assert found[36:48, 1].mean() > found[48:60, 1].mean()  # eyes above the mouth
    (tmp_path / "ids.txt").write_text("1 2 30")
    with pytest.raises(ValueError, match="other points than 0 .. 29"):
        load_morphable(tmp_path / "m.h5", landmarks=tmp_path / "ids.txt")
    with pytest.raises(ValueError, match="options \\['rows'\\] for the model 'bfm17'"):
        load_morphable(tmp_path / "m.h5", rows=3)


def test_wrong_files_are_named(tmp_path, rng):
    arrays = write_bfm17(tmp_path / "m.h5", rng)
    for name, change, words in (
        ("cells", {"shape/representer/cells": arrays["shape/representer/cells"] + 1}, "name other"),
        ("mean", {"color/model/mean": arrays["color/model/mean"][:-3]}, "color: the mean has 87"),
        ("nan", {"shape/model/mean": np.float32(np.nan) * arrays["shape/model/mean"]}, "NaN"),
        ("unit", {"shape/model/mean": 1000 * arrays["shape/model/mean"]}, "wanted millimetres"),
    ):
        write_hdf5(tmp_path / f"{name}.h5", arrays | change)
        with pytest.raises(ValueError, match=f"{name}.h5: .*{words}"):
            load_bfm17(tmp_path / f"{name}.h5", reference=REFERENCE)
    part = {k: v for k, v in arrays.items() if not k.startswith("expression")}
    write_hdf5(tmp_path / "part.h5", part)
    with pytest.raises(ValueError, match="found no expression/model/mean .3 of 10"):
        load_bfm17(tmp_path / "part.h5", reference=REFERENCE)
    with pytest.raises(ValueError, match="part.h5: found a statistical model in HDF5"):
        load_morphable(tmp_path / "part.h5")
