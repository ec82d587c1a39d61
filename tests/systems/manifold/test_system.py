"""What the contract tests do not see: kinds of noise, the moving average, settings, pictures."""

import pathlib

import jax
import numpy as np
import pytest

from facejax.io.images import read_image
from facejax.morphable import load_morphable
from facejax.systems.manifold import gallery
from facejax.train.config import load_config
from facejax.train.runs import make_system

CONFIG = str(pathlib.Path(__file__).resolve().parents[3] / "configs/manifold.py")


def _system(**overrides):
    config = load_config(f"{CONFIG}:smoke")
    config.update_from_flattened_dict(overrides)
    return make_system(config)


def test_fresh_noise_follows_the_step_and_fixed_noise_the_row():
    batch = _system().source().batch(np.array([3, 5])) | {"index": np.arange(2, dtype=np.int32)}
    swapped = {k: v if k == "index" else v[::-1] for k, v in batch.items()}
    keys = jax.random.split(jax.random.key(0))
    for kind, same in (("fresh", False), ("fixed", True)):
        system = _system(**{"train.noise": kind})
        first, again = (np.asarray(system._noisy("shape", batch, k)) for k in keys)
        assert np.array_equal(first, again) == same
        moved = np.asarray(system._noisy("shape", swapped, keys[0]))
        assert np.array_equal(moved[::-1], first) == same
        assert (first != batch["shape"]).any(axis=1).all()


def test_plan_decays_the_learning_rate_and_forgets_the_first_steps():
    system = _system()
    start, end = system.plan(0), system.plan(system.total_images)
    assert start.scalars["ema_decay"] == 0.0
    assert start.scalars["lr/shape"] == system.config.schedule.lr > end.scalars["lr/shape"]
    assert abs(end.scalars["lr/expression"]) < 1e-9
    assert _system(**{"schedule.lr_decay": "constant"}).plan(96).scalars["lr/shape"] == 0.003


def test_published_presets():
    for name, batch, kimg in (("paper", 128, 10_474.0), ("paper_expression", 512, 5_237.0)):
        config = load_config(f"{CONFIG}:{name}")
        assert config.schedule.batch_size == batch
        assert config.schedule.total_kimg == pytest.approx(kimg)
        with pytest.raises(ValueError, match="config.data.path"):
            make_system(config).source()


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("model.targets", "shape,pose", "wanted one or both of"),
        ("model.targets", "shape,shape", "wanted one or both of"),
        ("schedule.lr_decay", "linear", "constant"),
        ("train.noise", "old", "fresh"),
    ],
)
def test_wrong_settings(key, value, message):
    with pytest.raises(ValueError, match=message):
        _system(**{key: value})


def test_faces_of_populations_are_drawn(tmp_path):
    config = load_config(f"{CONFIG}:smoke")
    model = load_morphable("procedural", **dict(config.data.model_options))
    rng = np.random.default_rng(0)
    names = ("uniform", "normal", "real", "manifold")
    sets = {"shape": {n: s * rng.standard_normal((2, 20)) for s, n in enumerate(names)}}
    painter = gallery.Painter(config, model, pixels=32)
    image = read_image(painter.write_rows(tmp_path / "faces.png", sets, names, num=6))
    assert image.shape[0] == 4 * 32 + 3 * 4 and image.shape[1] > 2 * 32 + 4
    cells = image[:, -68:].reshape(-1, 68, 3)
    assert np.abs(cells[:32, :32] - cells[:32, 36:]).max() == 0  # uniform is scaled by 0 here
    assert np.abs(cells[36:68, :32] - cells[36:68, 36:]).max() > 0.05
    with pytest.raises(ValueError, match="wants"):
        painter.faces({"shape": np.zeros((2, 21))})
