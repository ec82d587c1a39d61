import pathlib

import jax
import numpy as np
import pytest

from facejax.systems.idnet import data, losses, metrics
from facejax.train.config import load_config
from facejax.train.runs import make_system

CONFIG = pathlib.Path(__file__).resolve().parents[3] / "configs/idnet.py"


@pytest.fixture(scope="module")
def system():
    return make_system(load_config(f"{CONFIG}:smoke"))


@pytest.fixture(scope="module")
def trees(system):
    params, aux = system.init(0)
    return {**params, **aux}


def test_the_loss_of_photos_at_their_centres(rng):
    classes = np.eye(3, 4, dtype=np.float32)
    labels = np.array([2, 0], np.int32)
    terms = losses.softmax_terms(5 * classes[:, labels].T, classes, labels, 0.25, 8.0, "cosface")
    want = np.log(np.exp(8 * 0.75) + 3) - 8 * 0.75  # three others at cosine 0, one of no length
    np.testing.assert_allclose(terms["loss"], want, rtol=1e-4)
    assert terms["accuracy"] == 1.0
    lost = losses.softmax_terms(-classes[:, labels].T, classes, labels, 0.0, 8.0, "arcface")
    assert lost["accuracy"] == 0.0 and lost["loss"] > 8


def test_held_out_people_are_others(system):
    train = data.make_source(system.config, system.model)
    other = data.held_out(system.config, system.model, 3, 2)
    assert len(other) == 6 and other.num_identities == 3
    assert not np.isin(other.draws(np.arange(3)).id, train.draws(np.arange(8)).id).any()


def test_embeddings_are_unit_vectors(system, trees):
    rows = metrics.embeddings(system, trees, data.held_out(system.config, system.model, 3, 1))
    assert rows.shape == (3, system.net.features)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_the_picture_of_people(system, trees):
    picture = system.samples(trees, system.plan(0), 0)["people"]
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert picture.shape[0] > 6 * 96 and picture.shape[1] > 6 * 96
    moved = jax.tree.map(lambda x: x + 0.1, trees)  # other cosines, the same crops
    other = system.samples(moved, system.plan(0), 0)["people"]
    assert 0 < (other != picture).any(-1).mean() < 0.1
