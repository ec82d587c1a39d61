"""Which numbers of a latent or coefficient vector belong to which factor."""

import numpy as np
import pytest

from facejax.recon.decoder import join, split
from facejax.systems.disco import factors, generate

PUBLISHED = factors.FactorSizes()


def test_the_published_orders_and_lengths():
    assert (PUBLISHED.num_latents, PUBLISHED.num_coefficients, PUBLISHED.num_inputs) == (
        179, 254, 286,
    )  # fmt: skip
    z = factors.split_latents(np.arange(179.0), PUBLISHED)
    assert [x[0] for x in z] == [0, 128, 176, 160]  # id, exp, rot, gamma
    c = factors.split_coefficients(np.arange(254.0), PUBLISHED)
    assert [x[0] for x in c] == [0, 160, 224, 227]
    np.testing.assert_array_equal(factors.join_latents(z), np.arange(179.0))
    np.testing.assert_array_equal(factors.join_coefficients(c), np.arange(254.0))


def test_coefficients_of_reconstruction_have_another_order(rng):
    sizes = factors.FactorSizes(shape=4, exp=3, albedo=2)
    vector = rng.normal(size=(5, 9 + 30)).astype(np.float32)
    wanted = factors.split_coefficients(vector, sizes)
    recon = factors.to_recon(wanted, sizes)
    np.testing.assert_array_equal(recon.id, vector[:, :4])
    np.testing.assert_array_equal(recon.alb, vector[:, 4:6])
    again = factors.from_recon(split(join(recon), (4, 3, 2)))
    for a, b in zip(again, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "length,words",
    [(257, "with the translation"), (286, "with the generator's noise"), (250, "160 id")],
)
def test_another_length_is_named(length, words):
    with pytest.raises(ValueError, match=words):
        factors.split_coefficients(np.zeros((2, length)), PUBLISHED)


@pytest.mark.parametrize("factor", ["all", "exp", "rot", "gamma", "id"])
def test_a_factor_changes_its_own_numbers_only(factor):
    latents, noise = generate.draw_subjects(PUBLISHED, factor, 3, 4, 0)
    for name, x in latents._asdict().items():
        same = (x == x[:, :1]).all()
        assert same == (name not in generate.VARIED[factor])
        assert not (x[0] == x[1]).any()  # subjects differ in everything
    assert (noise == noise[:, :1]).all() and noise.shape == (3, 4, 32)


def test_an_unknown_factor_is_refused():
    with pytest.raises(ValueError, match="unknown factor 'smile', wanted one of all, exp"):
        generate.draw_subjects(PUBLISHED, "smile", 1, 1, 0)
