import pathlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from facejax.data.photographs import diffuse_harmonics
from facejax.io.images import write_image
from facejax.morphable import load_morphable
from facejax.pipelines.dataset.backgrounds import Backgrounds
from facejax.pipelines.dataset.draw import Drawer
from facejax.pipelines.dataset.options import Options
from facejax.pipelines.dataset.render import denoised, model_denoisers
from facejax.systems.manifold import data, denoise, networks
from facejax.train.config import load_config
from facejax.train.runs import make_system
from tests.oracles.mat_files import write_bfm

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_a_face_depends_on_seed_and_index_only(model):
    options = Options(look="head", size=16, seed=5)
    drawer = Drawer(model, options)
    first = drawer(3)
    for _ in range(2):
        drawer(int(np.random.default_rng().integers(99)))
    for again in (drawer(3), Drawer(model, options)(3)):
        assert set(again) == set(first)
        jax.tree.map(np.testing.assert_array_equal, again, first)
    for other in (drawer(4), Drawer(model, Options(look="head", size=16, seed=6))(3)):
        assert not np.array_equal(other["id"], first["id"])


def test_ranges(model):
    options = Options(look="head", size=16, yaw_deg=30, pitch_deg=10, roll_deg=5, shift_mm=7)
    faces = [Drawer(model, options)(i) for i in range(100)]
    for key, limit in (("yaw", 30), ("pitch", 10), ("roll", 5)):
        angles = np.degrees([f[f"{key}_rad"] for f in faces])
        assert 0.8 * limit < np.abs(angles).max() <= limit + 1e-4
    assert all(500 <= f["distance_mm"] <= 1500 and 260 <= f["frame_mm"] <= 380 for f in faces)
    assert 5 < np.abs([f["target_mm"] for f in faces]).max() <= 7


def test_lights_are_labels_as_exposed(model):
    face = Drawer(model, Options(look="head", size=16))(3)
    picture = face["picture"]
    np.testing.assert_allclose(face["lamp_colors"], picture["lamp_colors"] * picture["gain"])
    np.testing.assert_allclose(face["sky_light"], picture["sky"] * picture["gain"])
    np.testing.assert_allclose(face["sh_light"], diffuse_harmonics(picture) * picture["gain"])
    assert "background" not in face and face["background_image"] == -1
    ideal = Drawer(model, Options(look="head", size=16, camera="ideal"))(3)["picture"]
    assert not ideal["noise"] and not ideal["quality"]


def test_uniform_sampling_without_a_run(model):
    normal, wide = (
        Drawer(model, Options(look="head", size=16, sampling=s)) for s in ("normal", "uniform")
    )
    values = {
        s: np.stack([d(i)["id"] for i in range(200)]) for s, d in (("n", normal), ("u", wide))
    }
    assert 4 < np.abs(values["u"]).max() < 5.3 and np.abs(values["n"]).max() <= 2.5
    only = Drawer(
        model, Options(look="head", size=16, sampling="uniform", mode="exp", exp_range=4.0)
    )
    np.testing.assert_array_equal(only(7)["id"], normal(7)["id"])
    assert not np.array_equal(only(7)["exp"], normal(7)["exp"])


def test_manifold_faces_are_denoised_uniform_ones():
    config = load_config(f"{ROOT}/configs/manifold.py:smoke")
    system = make_system(config)
    params, aux = system.init(0)
    run = denoise.Denoisers(config, system.nets, params, aux["scale"])
    model = data.load_model(config)
    options = Options(look="head", size=16, sampling="manifold")
    uniform = Drawer(model, Options(look="head", size=16, sampling="uniform"), run)(4)
    drawn = Drawer(model, options, run)(4)
    nets, denoisers = model_denoisers(model, options, run)
    found = denoised(nets, denoisers, drawn)
    for key, target in (("id", "shape"), ("exp", "expression")):
        np.testing.assert_array_equal(found[f"{key}_before"], uniform[key])
        strength, times = config.sampling[target]
        wanted = denoise.denoise(run, target, uniform[key][None], strength, times)[0]
        np.testing.assert_allclose(found[key], wanted, atol=1e-5)
        train = system.rows[target].train
        reach = 5 * train.std(axis=0)
        assert (np.abs(uniform[key] - train.mean(axis=0)) <= reach + 1e-4).all()
    sizes = dict(rows=32, cols=32, n_id=6, n_alb=4, draws=16, texture_size=8)
    with pytest.raises(ValueError, match="20 shape coefficients, the face model 6"):
        Drawer(load_morphable("procedural", **sizes), options, run)
    with pytest.raises(ValueError, match="give --workdir"):
        Drawer(model, options)


def test_runs_on_raw_basel_coefficients(tmp_path, rng):
    """Of a run on 300W-3D files, for the unit-variance coefficients of a loaded BFM.mat."""
    fields = write_bfm(tmp_path / "BFM.mat", rng, n_shape=16, n_exp=16)
    model = load_morphable(tmp_path / "BFM.mat")
    nets = {t: networks.NetworkConfig("autoencoder4", 16) for t in ("shape", "expression")}
    params = {t: networks.init(net, 1) for t, net in nets.items()}
    scales = {"shape": np.full(16, 1e4, np.float32), "expression": np.ones(16, np.float32)}
    config = ConfigDict({"data": {"source": "mat"}})
    run = denoise.Denoisers(config, nets, params, scales)
    options = Options(look="head", size=16, sampling="manifold")
    coefficients = {k: rng.normal(size=16).astype(np.float32) for k in ("id", "exp")}
    found = denoised(*model_denoisers(model, options, run), coefficients)
    for key, target, field in (("id", "shape", "shapeEV"), ("exp", "expression", "expEV")):
        std = fields[field].reshape(-1)
        raw = (coefficients[key] * std).astype(np.float32)
        wanted = denoise.denoise(run, target, raw[None])[0] / std
        np.testing.assert_allclose(found[key], wanted, rtol=1e-3, atol=1e-3)


def test_backgrounds(tmp_path, rng):
    assert Backgrounds("scene", 20).draw(rng) == (None, -1)
    plain, _ = Backgrounds("plain", 20).draw(rng)
    assert plain.shape == (20, 20, 3) and (plain == plain[0, 0]).all()
    gradient, number = Backgrounds("gradient", 20).draw(rng)
    assert number == -1 and np.ptp(gradient.astype(int), axis=(0, 1)).max() > 10
    with pytest.raises(ValueError, match="no such folder"):
        Backgrounds(str(tmp_path / "none"), 20)
    with pytest.raises(ValueError, match="no image in this folder"):
        Backgrounds(str(tmp_path), 20)
    ramp = np.linspace(0, 1, 60)[None, :, None] * np.ones((40, 1, 3))
    write_image(tmp_path / "a/ramp.png", ramp)
    write_image(tmp_path / "b.png", np.ones((30, 30, 3)))
    images = Backgrounds(str(tmp_path), 20)
    assert images.names == ["a/ramp.png", "b.png"]
    drawn = [images.draw(np.random.default_rng(k)) for k in range(30)]
    assert {number for _, number in drawn} == {0, 1}
    for picture, number in drawn:
        assert picture.shape == (20, 20, 3) and picture.dtype == np.uint8
        steps = np.diff(picture[10, :, 0].astype(int))
        assert (picture == 255).all() if number else (steps >= 0).all() or (steps <= 0).all()
    digest = images.digest
    (tmp_path / "b.png").write_bytes(b"no image")
    assert Backgrounds(str(tmp_path), 20).digest != digest
    with pytest.raises(ValueError, match="b.png: not a readable image"):
        for k in range(30):
            images.draw(np.random.default_rng(k))


@pytest.fixture
def pictures(tmp_path):
    """A folder of three images of one colour each and one that is damaged."""
    folder = tmp_path / "pictures"
    for name, value in (("a", 0.1), ("b", 0.5), ("c", 0.9)):
        write_image(folder / f"{name}.png", np.full((30, 30, 3), value))
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def drawn(backgrounds, count=40):
    return [backgrounds.draw(np.random.default_rng(k)) for k in range(count)]


def test_bad_backgrounds_are_found_before_the_first_face(pictures):
    images = Backgrounds(str(pictures), 20)
    with pytest.raises(ValueError, match=r"1 of 4 .*\(bad.png\): .*--skip_bad"):
        images.begin(skip_bad=False)
    images.begin(skip_bad=True, threads=2)
    assert images.names == ["a.png", "b.png", "c.png"] and set(images.left_out) == {"bad.png"}
    found = drawn(images)
    assert {number for _, number in found} == {0, 1, 2}
    (pictures / "bad.png").unlink()  # a set begun without it is the same
    without = Backgrounds(str(pictures), 20)
    without.begin(skip_bad=False)
    assert without.digest == images.digest and not without.left_out
    for (picture, number), (other, same) in zip(found, drawn(without), strict=True):
        assert number == same and (picture == other).all()


def test_a_set_that_goes_on_keeps_its_list_whatever_became_of_the_folder(pictures):
    (pictures / "bad.png").unlink()
    first = Backgrounds(str(pictures), 20)
    first.begin(skip_bad=False)
    wanted = drawn(first)
    (pictures / "b.png").unlink()
    write_image(pictures / "0_new.png", np.ones((30, 30, 3)))
    again = Backgrounds(str(pictures), 20)
    again.resume(first.names, first.sizes, first.digest)
    assert again.names == first.names and again.digest == first.digest
    with pytest.raises(ValueError, match="b.png is not there any more. Faces that are done are"):
        again.check_resumed(skip_bad=False)
    again.check_resumed(skip_bad=True)
    for (picture, number), (other, new) in zip(wanted, drawn(again), strict=True):
        assert new != 1 and (number == 1 or (new == number and (other == picture).all()))
    write_image(pictures / "a.png", np.zeros((99, 30, 3)))
    with pytest.raises(ValueError, match="2 of 3 .*a.png has changed since the set was begun"):
        again.check_resumed(skip_bad=False)
    (pictures / "c.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="3 of 3 .*Put the images back$"):
        again.check_resumed(skip_bad=True)


def test_a_set_of_an_older_version_kept_no_sizes(pictures):
    (pictures / "bad.png").unlink()
    first = Backgrounds(str(pictures), 20)
    again = Backgrounds(str(pictures), 20)
    again.resume(first.names, None, first.digest)
    assert again.digest == first.digest
    write_image(pictures / "a.png", np.zeros((99, 30, 3)))
    again.resume(first.names, None, first.digest)
    assert again.digest != first.digest  # other settings, as before
    (pictures / "a.png").unlink()
    again.resume(first.names, None, first.digest)
    assert again.digest == first.digest
    again.check_resumed(skip_bad=True)
    assert set(again.left_out) == {"a.png"}


@pytest.mark.parametrize(
    "wrong",
    [
        dict(sampling="gauss"), dict(mode="all"), dict(size=4), dict(yaw_deg=200), dict(seed=-1),
        dict(distance_mm=(900, 800)), dict(distance_mm=(100, 800)), dict(supersample=0),
        dict(background=""), dict(shape_range=0.0), dict(camera="phone"),
    ],
)  # fmt: skip
def test_bad_options(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name} is .*, wanted"):
        Options(**wrong)
