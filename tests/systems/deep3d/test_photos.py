"""Training on prepared photos: what happens between the folder and the losses."""

import json
import pathlib

import jax
import numpy as np
import pytest

from facejax.data.alignment import STANDARD_POINTS_DM, align_photo
from facejax.data.photo_folders import PhotoFolder, write_crop
from facejax.image.skin import skin_mask
from facejax.io.checkpoints import Checkpoints
from facejax.metrics.reconstruction import nme
from facejax.recon.decoder import decode, split
from facejax.systems.deep3d.metrics import evaluate
from facejax.systems.deep3d.validation import Validation
from facejax.train.config import load_config
from facejax.train.frozen import describe_frozen, frozen_trees
from facejax.train.loop import restore_state, train
from facejax.train.runs import make_system
from facejax.train.state import init_state
from facejax.train.step import traced_scalars
from tests.systems.stepping import make_step

CONFIG = pathlib.Path(__file__).resolve().parents[3] / "configs/deep3d.py"


def write_faces(folder, rng, num):
    """A folder of crops: skin-coloured noise with random landmarks around an upright five."""
    for k in range(num):
        image = rng.integers(0, 60, (160, 170, 3), dtype=np.uint8) + np.uint8([190, 130, 100])
        five = STANDARD_POINTS_DM[:, :2] * [55, -55] + [85, 80] + rng.uniform(-2, 2, (5, 2))
        points = five.mean(axis=0) + rng.uniform(-35, 35, (68, 2))
        points[[36, 39]], points[[42, 45]], points[[30, 48, 54]] = five[:1], five[1:2], five[2:]
        photo = align_photo(image, points)
        write_crop(folder, f"{k}", photo, skin_mask(photo.crop))


@pytest.fixture
def config(tmp_path, rng):
    """A run of four steps on a folder, with another one to validate on."""
    write_faces(tmp_path / "train", rng, 5)
    write_faces(tmp_path / "val", rng, 3)
    config = load_config(f"{CONFIG}:smoke")
    config.data.update(source="folder", augment=True)
    config.data.update(path=str(tmp_path / "train"), val_path=str(tmp_path / "val"))
    config.schedule.update(warmup_kimg=0.016, rnet_kimg=0.0, graph_kimg=0.0, batch_size=4)
    config.sample_kimg = config.checkpoint_kimg = 0.008
    config.evaluate.num_faces = 0
    config.gallery.num = 1
    return config


def test_a_step_and_the_validation_take_a_batch_of_a_folder(config):
    system = make_system(config)
    state, plan = init_state(system, 0), system.plan(0)
    batch = dict(system.source().batch(np.arange(4)), index=np.arange(4, dtype=np.int32))
    step, frozen = make_step(system, plan.stage), frozen_trees(system)
    scalars = traced_scalars(plan.scalars, 0)
    _, metrics = jax.eval_shape(step, state, frozen, batch, scalars)
    assert metrics["rnet/nme"].shape == ()
    params = state.as_used() | frozen
    terms = jax.eval_shape(Validation(system).terms, params, batch)
    assert terms["rnet/photo"].shape == terms["rnet/loss"].shape == ()
    config.loss.update(photo=0.0, fit=0.0)  # what they compile runs in other tests
    system = make_system(config)
    found = system.validation(params)
    photos = PhotoFolder(config.data.val_path, 32).batch(np.arange(3))
    face = decode(system.model, split(np.zeros(system.rnet_size), system.model), system.camera)
    errors = nme(np.broadcast_to(face.landmarks_px, (3, 68, 2)), photos["landmarks"])
    assert found["rnet/nme"] == pytest.approx(100 * errors.mean(), rel=1e-4)  # zero heads: the mean
    assert found["rnet/loss"] > 0 and "rnet/photo" not in found


@pytest.mark.slow
def test_a_run_on_a_folder_is_augmented_validated_and_measured(config, tmp_path):
    system = make_system(config)
    train(system, config, tmp_path / "run", show_progress=False)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    validated = [x for x in lines if "val/rnet/nme" in x]
    assert [x["kimg"] for x in validated] == [0.008, 0.016]
    assert all(0 < x["val/rnet/photo"] < 2 and np.isfinite(x["val/rnet/loss"]) for x in validated)
    like = init_state(system, 0)
    checkpoints = Checkpoints(tmp_path / "run/checkpoints", 1)
    state, _ = restore_state(checkpoints, like, describe_frozen(system))
    found = evaluate(system, state.as_used() | frozen_trees(system), tmp_path)["photos"]
    assert found["num_faces"] == 3
    np.testing.assert_allclose(
        found["nme_percent"]["rnet"]["mean"], validated[-1]["val/rnet/nme"], rtol=1e-3
    )


def test_wrong_folders_are_named(config, tmp_path):
    config.data.val_path = str(tmp_path / "absent")
    with pytest.raises(ValueError, match="absent: no such folder"):
        make_system(config).source()
    config.data.update(val_path="", path="")
    with pytest.raises(ValueError, match="needs --config.data.path"):
        make_system(config).source()
    config.data.update(source="synthetic", path="x")
    with pytest.raises(ValueError, match="data.path is set, but"):
        make_system(config).source()
