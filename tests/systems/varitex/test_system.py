"""The system around the networks: figures, pictures and verbs of an untrained run."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.io.images import read_image
from facejax.systems.varitex import generate, metrics
from facejax.systems.varitex.gallery import texture_tiles
from facejax.train.config import load_config
from facejax.train.runs import Run, make_system


@pytest.fixture(scope="module")
def run():
    config = load_config("varitex:smoke")
    system = make_system(config)
    params, aux = system.init(0)
    return Run(pathlib.Path("untrained"), config, system, {**params, **aux}, {"step": 0})


def test_figures_of_held_out_heads(run):
    found = metrics.evaluate(run.system, run.params)
    assert found.pop("heads") == 8
    assert set(found) == {
        "reconstruction", "front", "reposed left", "reposed right", "reposed expression"
    }  # fmt: skip
    for figures in found.values():
        assert all(np.isfinite(v) for v in figures.values())
        # an untrained network is worse than the mean picture
        assert figures["psnr"] < figures["psnr_mean"] and 0 <= figures["iou"] <= 1
    assert "psnr_copy" not in found["reconstruction"]
    # nothing has moved there, so that a copy of the input is the truth
    assert found["front"]["psnr_copy"] == pytest.approx(100)
    assert found["reposed left"]["psnr_copy"] < 40


def test_psnr_and_overlap_count_the_head_alone(rng):
    a = rng.random((2, 8, 8, 3))
    mask = np.zeros((2, 8, 8, 1))
    mask[:, :4] = 1
    b = a + 0.1 * mask
    np.testing.assert_allclose(metrics.psnr(a, b, mask), 20.0)
    np.testing.assert_allclose(metrics.psnr(a, b + (1 - mask), mask), 20.0)
    half = mask.copy()
    half[:, 2:4] = 0
    np.testing.assert_allclose(metrics.overlap(half, mask), 0.5)


def test_pictures_of_progress(run):
    plan = run.system.plan(0)
    pictures = run.system.samples(run.params, plan, 0)
    assert set(pictures) == {"heads", "yaws", "samples", "texture"}
    assert all(p.dtype == np.uint8 and p.ndim == 3 for p in pictures.values())
    figures = run.system.validation(run.params)
    assert set(figures) == {"psnr", "iou"} and np.isfinite(list(figures.values())).all()
    tiles = texture_tiles(np.linspace(-3, 5, 4 * 4 * 9).reshape(4, 4, 9))
    assert tiles.min() == 0 and tiles.max() == 1


def test_strips_of_new_people(run, tmp_path):
    written = generate.generate(run, tmp_path, num=2, yaws_deg=(-20.0, 20.0))
    assert [p.name for p in written] == [
        "yaw.png", "expression.png", "interpolation.png", "exterior.png"
    ]  # fmt: skip
    assert read_image(tmp_path / "face_001.png").shape == (32, 32, 3)
    again = generate.generate(run, tmp_path / "more", num=1, yaws_deg=(0.0,))
    a, b = (read_image(p / "face_000.png") for p in (tmp_path, again[0].parent))
    np.testing.assert_array_equal(a, b)  # of the person's number alone


def test_a_code_of_a_picture(run):
    model, rng = run.system.model, np.random.default_rng(0)
    uv = generate.Demo(run).uv_maps(
        np.zeros((1, model.num_id)), np.zeros((1, model.num_exp)), np.zeros((1, 3))
    )
    code = rng.standard_normal((1, run.system.generator.latent)).astype(np.float32)

    @jax.jit
    def there_and_back(trees, code, uv):
        found = run.system.predict(trees, code, uv)
        return found, run.system.encode(trees, jnp.clip(found.image, 0, 1))

    found, (mean, std) = there_and_back(run.params, code, uv)
    assert mean.shape == std.shape == code.shape and np.all(std > 0)
    assert found.image.shape == (1, 32, 32, 3) and found.texture.shape == (1, 32, 32, 3)
