import dataclasses

import numpy as np
import pytest

from facejax.nn.equalized import fade_reals
from facejax.systems.tbgan.losses import (
    LossConfig,
    discriminator_loss,
)
from facejax.systems.tbgan.networks import NetworkConfig, init_discriminator, init_generator

NET = NetworkConfig(resolution=8, lod_sep=2, fmap_base=32, fmap_max=4, latent_size=8, mbstd_group=1)


@pytest.mark.slow
def test_penalty_on_every_second_example(rng):
    gen, disc = init_generator(NET, 0), init_discriminator(NET, 1)
    reals = rng.standard_normal((8, 8, 8, 9)).astype(np.float32)
    z = rng.standard_normal((8, 8)).astype(np.float32)
    y = np.eye(7, dtype=np.float32)[np.arange(8) % 7]
    mix = rng.uniform(size=8).astype(np.float32)

    def penalty(every, pick):
        cfg = dataclasses.replace(LossConfig(), gp_every=every)
        args = (reals[pick], z[pick], y[pick], mix[pick])
        _, metrics = discriminator_loss(disc, gen, *args, 0.3, stage=3, net=NET, cfg=cfg)
        return float(metrics["gradient_penalty"])

    assert penalty(2, slice(None)) == np.float32(penalty(1, slice(0, 8, 2)))
    assert penalty(2, slice(None)) != penalty(1, slice(None))


def test_faded_reals_keep_their_means(rng):
    maps = rng.standard_normal((2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(fade_reals(maps, 0.0), maps)
    full = np.asarray(fade_reals(maps, 1.0))
    np.testing.assert_allclose(full[:, ::2, ::2], full[:, 1::2, 1::2], atol=1e-6)
    np.testing.assert_allclose(full.mean((1, 2)), maps.mean((1, 2)), atol=1e-6)
