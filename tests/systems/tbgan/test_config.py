import pathlib

import numpy as np
import pytest

from facejax.data.packed import write_packed
from facejax.data.uvmaps import UVCodec
from facejax.systems.tbgan import data
from facejax.systems.tbgan.networks import network_config
from facejax.systems.tbgan.system import make_system
from facejax.train.config import load_config
from facejax.train.describe import describe

CONFIG = str(pathlib.Path(__file__).resolve().parents[3] / "configs/tbgan.py")
PRESETS = (
    "default smoke paper v1-1gpu v2-1gpu v2-2gpus v2-4gpus v2-8gpus benchmark benchmark0"
).split()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_make_a_plan_from_start_to_end(preset):
    system = make_system(load_config(f"{CONFIG}:{preset}"))
    for images in np.linspace(0, system.total_images - 1, 20).astype(int):
        plan = system.plan(int(images))
        assert plan.stage.batch_size > 0
        assert set(plan.scalars) == {"lr/gen", "lr/disc", "ema_decay", "alpha"}
        assert 0 <= plan.scalars["alpha"] < 1 and 0 < plan.scalars["ema_decay"] < 1


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean .*smoke"):
        load_config(f"{CONFIG}:smok")


def test_paper_preset_is_the_published_configuration():
    config = load_config(f"{CONFIG}:paper")
    net = network_config(config.model)
    assert (net.resolution, net.lod_sep, net.latents, net.nf(1)) == (512, 7, 1536, 1536)
    loss = config.loss
    assert (loss.gp_weight, loss.drift_weight, loss.label_weight_fake) == (10.0, 0.001, 1.0)
    system = make_system(config)
    assert system.plan(0).stage.batch_size == 512
    assert system.plan(15_000_000).stage.name == "512x512"
    assert system.plan(0).scalars["ema_decay"] == 0.999


def packed(folder, resolution=16, labels=7):
    codec = UVCodec(encoding="absolute")
    batch = {
        "maps": np.zeros((4, resolution, resolution, 9), np.float32),
        "labels": np.zeros((4, labels), np.float32),
    }
    names = [f"l{k}" for k in range(labels)]
    write_packed(
        folder, [batch], codec=codec, label_names=names, num_examples=4, resolution=resolution
    )
    return str(folder)


def smoke(**overrides):
    config = load_config(f"{CONFIG}:smoke")
    for key, value in overrides.items():
        group, name = key.split("__")
        config[group][name] = value
    return config


@pytest.mark.parametrize(
    "overrides,message",
    [
        (dict(data__source="moddel"), "data.source must be one of"),
        (dict(data__source="packed"), "needs --config.data.path"),
        (dict(data__model="prozedural"), "procedural"),
        (dict(data__model_path="/nowhere/model.npz", data__model="ict"), "/nowhere/model.npz"),
    ],
)
def test_bad_data_settings(overrides, message):
    config = smoke(**overrides)
    with pytest.raises(ValueError, match=message):
        make_system(config).source()


def test_data_that_do_not_fit_the_networks(tmp_path):
    folder = packed(tmp_path / "set", labels=5)
    net = network_config(smoke().model)
    config = smoke(data__source="packed", data__path=folder)
    with pytest.raises(ValueError, match="5 label.*--config.model.label_size=5"):
        data.make_source(config, net)
    config = smoke(data__source="packed", data__path=folder, model__modalities="tex:3,shp:3")
    with pytest.raises(ValueError, match="9 channels, but the modalities"):
        data.make_source(config, network_config(config.model))
    config = smoke(data__source="packed", data__path=folder, model__resolution=32)
    with pytest.raises(ValueError, match="16 pixels, the networks end at 32"):
        data.make_source(config, network_config(config.model))
    with pytest.raises(ValueError, match="empty|meta.json"):
        (tmp_path / "none").mkdir()
        data.make_source(smoke(data__source="packed", data__path=str(tmp_path / "none")), net)


def test_batch_that_does_not_fit_the_stddev_groups():
    with pytest.raises(ValueError, match="batch of 6 at 8 pixels"):
        make_system(smoke(schedule__minibatch_base=6))


def test_resolution_that_is_no_power_of_two():
    with pytest.raises(ValueError, match="power of two"):
        make_system(smoke(model__resolution=24))


@pytest.mark.slow
def test_dry_run_of_the_full_size_counts_without_making_numbers(monkeypatch, tmp_path):
    config = load_config(f"{CONFIG}:paper")
    system = make_system(config)
    monkeypatch.setattr("numpy.random.default_rng", lambda *a: pytest.fail("numbers were made"))
    text = describe(config, system, tmp_path)
    assert "parameters: gen 206,959,464, disc 204,161,384" in text
