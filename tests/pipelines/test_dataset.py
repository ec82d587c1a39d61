import pathlib

import numpy as np
import pytest

from facejax import cli
from facejax.geometry.camera import Camera, project
from facejax.io.images import read_image
from facejax.morphable import decode_shape, landmarks, load_morphable
from facejax.pipelines.dataset import FaceMaker, Options, write_dataset
from facejax.systems.manifold import data, denoise


@pytest.fixture(scope="module")
def maker():
    sizes = dict(rows=32, cols=32, n_id=6, n_alb=4, draws=16, texture_size=8)
    return FaceMaker(load_morphable("procedural", **sizes), Options(size=32, seed=5))


def test_labels_agree_with_the_mesh(maker, tmp_path):
    assert write_dataset(maker, tmp_path, [3]) == {"written": 1, "kept": 0}
    d = np.load(tmp_path / "labels/000003.npz")
    image = read_image(tmp_path / "images/000003.png")
    camera = Camera.look_at(d["distance_mm"], *d["yaw_pitch_rad"])
    points = landmarks(maker.model, decode_shape(maker.model, d["id"], d["exp"]))
    np.testing.assert_allclose(d["landmarks68_mm"], points, atol=1e-3)
    pixels = project(camera, d["landmarks68_mm"], (32, 32))
    np.testing.assert_allclose(d["landmarks68_px"], pixels, atol=1e-3)
    assert image.shape == (32, 32, 3) and d["normal"].shape == (32, 32, 3)
    outside, inside = d["mask"] == 0, d["mask"] == 1
    assert outside.any() and inside.any()
    np.testing.assert_allclose(image[outside], np.broadcast_to(d["background"], (outside.sum(), 3)),
                               atol=0.003)  # fmt: skip
    depth = d["depth_mm"][inside]
    assert (np.abs(depth - d["distance_mm"]) < 250).all()
    np.testing.assert_allclose(np.linalg.norm(d["normal"][inside], axis=-1), 1, atol=1e-3)


def test_a_face_depends_on_seed_and_index_only(maker, tmp_path):
    write_dataset(maker, tmp_path / "a", [0, 1, 2])
    write_dataset(maker, tmp_path / "b", [2])
    assert write_dataset(maker, tmp_path / "b", [0, 2]) == {"written": 1, "kept": 1}
    for i in (0, 2):
        a, b = (np.load(tmp_path / f"{x}/labels/00000{i}.npz") for x in "ab")
        assert set(a) == set(b)
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    a = np.load(tmp_path / "a/labels/000000.npz")
    assert not np.array_equal(a["id"], np.load(tmp_path / "a/labels/000001.npz")["id"])
    assert (tmp_path / "a/contact_sheet.png").is_file()
    other = FaceMaker(maker.model, Options(size=32, seed=6))
    assert not np.array_equal(other.draw(0)["id"], a["id"])
    with pytest.raises(ValueError, match="seed 5, now 6"):
        write_dataset(other, tmp_path / "a", [0])


def test_bad_options(maker):
    with pytest.raises(ValueError, match="wanted one of"):
        Options(sampling="gauss")
    with pytest.raises(ValueError, match="size must be"):
        Options(size=4)
    with pytest.raises(ValueError, match="--workdir"):
        FaceMaker(maker.model, Options(sampling="manifold"))


def test_manifold_faces_are_denoised_uniform_ones():
    root = pathlib.Path(__file__).resolve().parents[2]
    config = cli.load_config(f"{root}/configs/manifold.py:smoke")
    system = cli.make_system(config)
    params, aux = system.init(0)
    run = denoise.Trained(config, system.nets, params, aux["scale"])
    model = data.load_model(config)
    found = {s: FaceMaker(model, Options(sampling=s), run).draw(4) for s in ("uniform", "manifold")}
    for target, key in denoise.KEYS.items():
        key = {"sp": "id", "ep": "exp"}[key]
        before = found["uniform"][key]
        np.testing.assert_array_equal(found["manifold"][f"{key}_before"], before)
        wanted = denoise.denoise(run, target, before[None])[0]
        np.testing.assert_allclose(found["manifold"][key], wanted, atol=1e-5)
        train = system.rows[target].train
        reach = 5 * train.std(axis=0)
        assert (np.abs(before - train.mean(axis=0)) <= reach + 1e-4).all()
    other = load_morphable("procedural", rows=32, cols=32, n_id=6, n_alb=4, draws=16,
                           texture_size=8)  # fmt: skip
    with pytest.raises(ValueError, match="20 shape coefficients, the face model 6"):
        FaceMaker(other, Options(sampling="uniform"), run)
