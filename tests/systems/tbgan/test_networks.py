import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.image.resample import upsample2
from facejax.systems.tbgan.networks import (
    Discriminator,
    Generator,
    NetworkConfig,
    abstract_parameters,
    active_parameters,
    init_discriminator,
    init_generator,
)

TINY = NetworkConfig(resolution=16, lod_sep=3, fmap_base=32, fmap_max=4, latent_size=8)

# (log2 resolution, lod_sep, fmap_base, fmap_max, labels): published counts of G and D
COUNTS = [
    ((9, 7, 8192, 512, 7), 206_959_464, 204_161_384),
    ((9, 9, 8192, 512, 7), 207_790_632, 207_486_056),
    ((8, 7, 8192, 512, 7), 206_876_031, 204_077_768),
    ((10, 7, 8192, 512, 7), 206_980_449, 204_182_456),
    ((9, 7, 8192, 512, 0), 206_787_432, 204_150_625),
    ((6, 5, 512, 64, 7), 2_547_453, 2_362_424),
    ((6, 4, 256, 32, 7), 602_421, 481_952),
    ((5, 4, 128, 16, 7), 152_844, 120_224),
]


@pytest.mark.parametrize("setting,gen_count,disc_count", COUNTS)
def test_parameter_counts_of_the_published_code(setting, gen_count, disc_count):
    r, sep, base, most, labels = setting
    cfg = NetworkConfig(
        resolution=2**r, lod_sep=sep, fmap_base=base, fmap_max=most, label_size=labels
    )
    trees = abstract_parameters(cfg)
    counts = {group: sum(x.size for x in jax.tree.leaves(t)) for group, t in trees.items()}
    assert counts == {"gen": gen_count, "disc": disc_count}


@pytest.fixture(scope="module")
def params():
    return init_generator(TINY, 0), init_discriminator(TINY, 1)


def test_parameters_depend_on_the_seed_alone(params):
    again = init_generator(TINY, 0)
    other = init_generator(TINY, 1)
    same = jax.tree.map(np.array_equal, params[0], again)
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(params[0]["4x4"]["Conv"]["weight"], other["4x4"]["Conv"]["weight"])


def test_a_stage_begins_where_the_one_before_ended(params):
    """At alpha = 1 the new stage shows the upscaled maps of the old one and scores them alike."""
    gen, disc = params
    z = np.random.default_rng(0).standard_normal((4, TINY.latents)).astype(np.float32)
    y = np.eye(7, dtype=np.float32)[:4]
    low = Generator(TINY).apply({"params": gen}, z, y, 0.0, 3)
    high = Generator(TINY).apply({"params": gen}, z, y, 1.0, 4)
    np.testing.assert_allclose(high, upsample2(low), atol=1e-6)
    low_score = Discriminator(TINY).apply({"params": disc}, low, 0.0, 3)
    high_score = Discriminator(TINY).apply({"params": disc}, high, 1.0, 4)
    for a, b in zip(low_score, high_score, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_bfloat16_stays_near_float32(params):
    import dataclasses

    z = np.random.default_rng(0).standard_normal((4, TINY.latents)).astype(np.float32)
    y = np.eye(7, dtype=np.float32)[:4]
    half = dataclasses.replace(TINY, dtype="bfloat16")
    want = Generator(TINY).apply({"params": params[0]}, z, y, 0.0, 3)
    got = Generator(half).apply({"params": params[0]}, z, y, 0.0, 3)
    assert got.dtype == jnp.float32
    assert 0 < np.abs(got - want).mean() < 0.05 * np.abs(want).mean() + 0.02


def test_branches_do_not_see_each_other(params):
    """Above the split a modality's maps depend on its own branch only."""
    gen, _ = params
    z = np.random.default_rng(0).standard_normal((4, TINY.latents)).astype(np.float32)
    y = np.eye(7, dtype=np.float32)[:4]
    before = Generator(TINY).apply({"params": gen}, z, y, 0.0, 4)
    changed = jax.tree.map(np.copy, gen)
    changed["16x16"]["shp"]["Conv1"]["bias"] += 1.0
    after = Generator(TINY).apply({"params": changed}, z, y, 0.0, 4)
    moved = np.abs(after - before).max(axis=(0, 1, 2)) > 0
    assert moved.tolist() == [False] * 3 + [True] * 3 + [False] * 3


def test_active_parameters_are_those_with_a_gradient(params):
    gen, _ = params
    z = np.ones((4, TINY.latents), np.float32)
    y = np.eye(7, dtype=np.float32)[:4]

    def loss(p):
        return jnp.sum(Generator(TINY).apply({"params": p}, z, y, 0.5, 3) ** 2)

    grads = jax.grad(loss)(gen)
    used = {k for k, v in grads.items() if any(np.abs(x).max() > 0 for x in jax.tree.leaves(v))}
    counted = sum(x.size for k in used for x in jax.tree.leaves(gen[k]))
    assert active_parameters(TINY, gen, 8) == counted


@pytest.mark.parametrize("resolution", [0, 3, 48])
def test_resolution_must_be_a_power_of_two(resolution):
    with pytest.raises(ValueError, match="power of two"):
        NetworkConfig(resolution=resolution)
