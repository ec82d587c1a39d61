"""Sizes of the published networks, growing, and truncation."""

import math

import jax
import numpy as np
import pytest

from facejax.systems.disco import networks, vae
from facejax.systems.disco.factors import Factors, FactorSizes

TINY = networks.NetworkConfig(
    resolution=16, latent_size=6, dlatent_size=8, mapping_layers=2, mapping_fmaps=8, fmap_base=64,
    fmap_max=8,
)  # fmt: skip


def count(tree):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def test_the_published_numbers_of_parameters():
    cfg = networks.NetworkConfig()
    params = networks.abstract_parameters(cfg)
    assert count(params["gen"]["mapping"]) == 1_985_536
    assert count(params["gen"]["synthesis"]) == 23_984_981
    assert count(params["disc"]) == 23_052_353
    vaes = vae.vae_configs(FactorSizes(), Factors(512, 256, 32, 128))
    found = Factors(*(count(vae.init_vae(cfg, 0)) for cfg in vaes))
    assert found == Factors(id=1_412_513, exp=321_153, rot=4_778, gamma=79_420)


@pytest.fixture(scope="module")
def tiny():
    gen = networks.init_generator(TINY, 0)
    gen["synthesis"]["16x16"]["Conv1"]["Noise"]["weight"] += 1.0
    return gen, networks.init_discriminator(TINY, 1), networks.init_noise(TINY, 0)


def test_a_new_resolution_begins_as_the_old_one_enlarged(tiny, rng):
    gen, disc, noise = tiny
    styles = networks.styles_of(TINY, gen, rng.normal(size=(4, 6)).astype(np.float32))
    assert styles.shape == (4, 6, 8)
    before = networks.pictures_of(TINY, gen, styles, noise, 0.0, 3)
    start = networks.pictures_of(TINY, gen, styles, noise, 1.0, 4)
    np.testing.assert_allclose(start, np.repeat(np.repeat(before, 2, 1), 2, 2), atol=1e-5)
    score = networks.scores_of(TINY, disc, before, 0.0, 3)
    np.testing.assert_allclose(networks.scores_of(TINY, disc, start, 1.0, 4), score, atol=1e-5)


def test_noise_maps_matter_and_examples_have_their_own(tiny, rng):
    gen, _, noise = tiny
    styles = networks.styles_of(TINY, gen, np.zeros((2, 6), np.float32))
    stored = networks.pictures_of(TINY, gen, styles, noise, 0.0, 4)
    np.testing.assert_allclose(stored[0], stored[1], atol=1e-6)
    keys = jax.random.split(jax.random.key(0), 2)
    fresh = networks.example_noise(keys, 4)
    assert [x.shape for x in fresh] == [(2, n, n, 1) for n in networks.noise_sizes(4)]
    found = networks.pictures_of(TINY, gen, styles, fresh, 0.0, 4)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_truncation_moves_coarse_layers_alone(rng):
    w, alone = rng.normal(size=(2, 3, 14, 4)).astype(np.float32)
    average = rng.normal(size=(1, 14, 4)).astype(np.float32)
    moved = networks.truncate_identity(w, alone, average, 0.7)
    np.testing.assert_array_equal(moved[:, 8:], w[:, 8:])
    assert (np.abs(moved[:, :8] - w[:, :8]) > 1e-6).all()
    people = networks.truncate_identity(alone, alone, average, 0.0)[:, :8]
    np.testing.assert_allclose(people, np.broadcast_to(average[:, :8], people.shape), atol=1e-5)


def test_a_resolution_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="the nearest are 32 and 64"):
        networks.NetworkConfig(resolution=48)
