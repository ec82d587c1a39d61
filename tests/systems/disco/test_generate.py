"""Pictures of subjects and their variations, in degrees, by name, and truncated."""

import types

import numpy as np
import pytest

from facejax.io.images import read_image, write_image
from facejax.systems.disco import edit, generate
from facejax.systems.disco.factors import from_recon, join_coefficients
from facejax.systems.disco.metrics import evaluate
from facejax.systems.disco.verbs import VERBS
from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.runs import make_system


@pytest.fixture(scope="module")
def run():
    """A smoke run before its first step."""
    system = make_system(load_config("disco:smoke"))
    params, aux = system.init(0)
    last = params["vae"]["rot"]["decoder"]["x_hat"]
    last["kernel"] *= 0.1 / np.abs(last["kernel"]).max()  # heads that turn by some degrees
    return types.SimpleNamespace(system=system, params=params | aux | frozen_trees(system))


@pytest.fixture(scope="module")
def maker(run):
    return generate.Generator(run.system, run.params)


def test_files_are_named_by_subject_and_variation(run, tmp_path):
    kwargs = dict(factor="rot", subjects=2, variations=3, seed=4)
    (sheet,) = generate.generate_faces(run, tmp_path / "a", **kwargs, rate=0.7)
    names = sorted(p.name for p in (tmp_path / "a").glob("0*.png"))
    assert names == ["000_00.png", "000_01.png", "000_02.png", "001_00.png", "001_01.png",
                     "001_02.png"]  # fmt: skip
    assert read_image(sheet).shape[0] > 32
    generate.generate_faces(run, tmp_path / "b", **kwargs, rate=1.0)
    assert (read_image(tmp_path / "a/000_00.png") != read_image(tmp_path / "b/000_00.png")).any()


def test_truncation_needs_the_average(maker, run):
    latents, noise = generate.draw_subjects(run.system.sizes, "all", 1, 2, 0)
    factors = maker.decode(latents)
    with pytest.raises(ValueError, match="needs the average identity"):
        maker.pictures(factors, noise, 0.7)
    average = maker.average_identity(300)
    assert average.shape == (1, run.system.net.dlatent_size) and np.isfinite(average).all()
    whole = maker.pictures(factors, noise)
    np.testing.assert_allclose(maker.pictures(factors, noise, 1.0, average), whole, atol=1e-6)


def test_degrees_and_names_set_coefficients_and_far_angles_warn(maker, run, caplog):
    latents, _ = generate.draw_subjects(run.system.sizes, "all", 2, 2, 0)
    factors = maker.decode(latents)
    turned = generate.with_pose(maker, factors, {"yaw": 0.0})
    assert not caplog.records and not turned.rot[..., 1].any()
    np.testing.assert_array_equal(turned.rot[..., 0], factors.rot[..., 0])
    generate.with_pose(maker, factors, {"pitch": 70.0})
    assert "pitch of 70 degrees: the generator was trained on" in caplog.text
    happy = generate.with_expression(maker, factors, "happy")
    assert happy.exp.shape == factors.exp.shape and (happy.exp == happy.exp[0, 0]).all()
    with pytest.raises(ValueError, match="unknown expression 'glad', wanted one of neutral, happy"):
        generate.with_expression(maker, factors, "glad")


def test_coefficients_of_a_file_are_shown(run, tmp_path):
    rows = join_coefficients(from_recon(run.system.held_out(3).coefficients(np.arange(3))))
    np.save(tmp_path / "rows.npy", rows)
    generate.generate_faces(run, tmp_path / "out", coefficients=str(tmp_path / "rows.npy"), rate=1)
    assert len(list((tmp_path / "out").glob("0*.png"))) == 3


def test_the_verb_knows_the_originals_numbers(run, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    VERBS["generate"].flags(parser)
    line = [
        f"--out={tmp_path}",
        "--factor=2",
        "--subject=1",
        "--variation=2",
        "--yaw=-10",
        "--rate=1",
    ]
    written = VERBS["generate"].run(run, parser.parse_args(line))
    assert written == [tmp_path / "sheet.png"]


@pytest.mark.slow
def test_figures_are_finite_and_beside_those_of_real_pictures(run):
    found = evaluate(run.system, run.params)
    for name in ("fake", "real"):
        assert set(found["agreement"][name]) == {"pitch_deg", "yaw_deg", "light_correlation"}
    assert set(found["disentanglement"]) == {"pairwise", "std"}
    scores = [*found["disentanglement"]["std"].values()]
    assert len(scores) == 4 and np.isfinite(scores).all()


@pytest.mark.slow
def test_a_picture_is_embedded_and_edited(run, tmp_path):
    image = np.asarray(run.system.held_out(1).batch(np.arange(1), resolution=16)["image"])[0]
    path = tmp_path / "face.png"
    write_image(path, (image + 1) / 2)
    (sheet,) = edit.edit_pictures(run, [path], tmp_path / "out", degrees={"yaw": 10.0}, steps=3)
    assert sheet.is_file() and read_image(tmp_path / "out/face.png").shape == (16, 16, 3)
    embedded = edit.embed(run, edit.read_picture(path, run)[None], steps=3)
    assert embedded.fit.losses[-1] < embedded.fit.losses[0]
    found = edit.measured(run, edit.read_picture(path, run)[None])
    same = edit.move(run, embedded.styles, found, found)
    np.testing.assert_allclose(same, embedded.styles, atol=1e-6)
    (sheet,) = edit.imitate(run, path, tmp_path / "like", subjects=3, rate=1.0, seed=0)
    assert len(list(sheet.parent.glob("00*.png"))) == 3
    with pytest.raises(ValueError, match="nothing to change"):
        edit.edit_pictures(run, [path], tmp_path / "out")
    write_image(path, np.zeros((20, 30, 3)))
    with pytest.raises(ValueError, match="found 30x20 pixels and no landmarks"):
        edit.read_picture(path, run)
