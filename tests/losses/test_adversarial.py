import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.losses import adversarial as adv


def test_losses_are_what_their_equations_say(rng):
    real, fake = rng.normal(size=(2, 3, 4)).astype(np.float32) * 3
    share = lambda x: 1 / (1 + np.exp(-np.float64(x)))  # noqa: E731
    wanted = {
        adv.logistic_generator: -np.log(share(fake)).mean(),
        adv.logistic_discriminator: (-np.log(share(real)) - np.log(1 - share(fake))).mean(),
        adv.wgan_generator: -fake.mean(),
        adv.wgan_discriminator: fake.mean() - real.mean(),
        adv.score_drift: (real**2).mean(),
        adv.least_squares_generator: ((fake - 1) ** 2).mean(),
        adv.least_squares_discriminator: ((real - 1) ** 2 + fake**2).mean(),
        adv.hinge_generator: -fake.mean(),
        adv.hinge_discriminator: (np.maximum(0, 1 - real) + np.maximum(0, 1 + fake)).mean(),
    }
    for loss, value in wanted.items():
        name = loss.__name__
        given = {"generator": (fake,), "discriminator": (real, fake), "drift": (real,)}
        found = loss(*given[name.split("_")[-1]])
        np.testing.assert_allclose(found, value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["logistic", "wgan", "least_squares", "hinge"])
def test_generators_raise_fakes_and_discriminators_part_the_two(kind):
    generator, discriminator = (
        getattr(adv, f"{kind}_{who}") for who in ("generator", "discriminator")
    )
    zero = jnp.zeros(3)
    assert (jax.grad(generator)(zero) < 0).all()
    up, down = jax.grad(discriminator, argnums=(0, 1))(zero, jnp.full(3, 0.1))
    assert (up < 0).all() and (down > 0).all()


def test_logistic_losses_are_finite_far_out():
    for score in (-1e4, 1e4):
        value, slope = jax.value_and_grad(adv.logistic_generator)(jnp.asarray([score]))
        assert np.isfinite(value) and np.isfinite(slope).all()


def test_r1_of_a_quadratic_score(rng):
    real = rng.normal(size=(5, 4, 4, 3)).astype(np.float32)
    found = adv.r1_penalty(lambda x: jnp.sum(x**2, axis=(1, 2, 3)), real)
    np.testing.assert_allclose(found, 4 * np.mean(np.sum(real**2, axis=(1, 2, 3))), rtol=1e-5)
    # scores of patches count as one sum
    patches = adv.r1_penalty(lambda x: jnp.sum(x**2, axis=-1), real)
    np.testing.assert_allclose(found, patches, rtol=1e-5)
    # and it trains: the gradient in the parameters is the second derivative
    slope = jax.grad(lambda w: adv.r1_penalty(lambda x: w * jnp.sum(x, axis=(1, 2, 3)), real))(3.0)
    np.testing.assert_allclose(slope, 2 * 3.0 * real[0].size, rtol=1e-5)


def test_the_penalty_of_a_linear_critic(rng):
    weight = jnp.asarray(rng.normal(size=(4, 4, 3)), jnp.float32)
    real, fake = rng.normal(size=(2, 5, 4, 4, 3)).astype(np.float32)
    mix = rng.uniform(size=5).astype(np.float32)
    found, slope = adv.gradient_penalty(
        lambda x: jnp.einsum("bhwc,hwc->b", x, weight), real, fake, mix
    )
    length = np.linalg.norm(weight)
    np.testing.assert_allclose(slope, length, rtol=1e-5)
    np.testing.assert_allclose(found, (length - 1) ** 2, rtol=1e-4)
    # a quadratic one has the slope 2 |x| at x: it is taken between the images, where `mix` says
    found, _ = adv.gradient_penalty(lambda x: jnp.sum(x**2, axis=(1, 2, 3)), real, fake, mix)
    points = (1 - mix)[:, None] * real.reshape(5, -1) + mix[:, None] * fake.reshape(5, -1)
    wanted = np.mean((2 * np.linalg.norm(points, axis=1) - 1) ** 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    _, slope = adv.gradient_penalty(lambda x: 0 * jnp.sum(x, axis=(1, 2, 3)), real, fake, mix)
    assert slope == 0
    bound, slope = adv.gradient_penalty(lambda x: 3 * x[:, 0, 0, 0], real, fake, mix, target=2.0)
    np.testing.assert_allclose([bound, slope], [0.25, 3.0], rtol=1e-6)
