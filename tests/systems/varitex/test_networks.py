"""Networks of VariTex by their definitions; values of the published program: tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.nn.init import init_torch
from facejax.systems.varitex import images, networks
from facejax.systems.varitex.discriminator import (
    Discriminator,
    SpectralConv,
    init_discriminator,
)

SMALL = networks.Generator(32, 32, 3, 8, 2, 1, 2, 3)


@pytest.fixture(scope="module")
def variables():
    return networks.init_generator(SMALL, 0)


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    uv = rng.uniform(-0.9, 0.9, (2, 32, 32, 2)).astype(np.float32)
    uv[:, :6] = -1.0
    return uv


def test_sampling_is_bilinear_between_texel_centres(rng):
    texture = rng.normal(size=(1, 4, 6, 2)).astype(np.float32)
    uv = rng.uniform(-1, 1, (1, 5, 5, 2)).astype(np.float32)
    uv[0, 0, 0] = -1.0
    uv[0, 0, 1] = (-1.0, 0.3)  # one of the two: a point of the face
    out, mask = networks.sample_texture(texture, uv, 0.5)
    for i, j in np.ndindex(5, 5):
        if (i, j) == (0, 0):
            np.testing.assert_array_equal(out[0, i, j], 0.5)
            assert not mask[0, i, j, 0]
            continue
        x = np.clip(((uv[0, i, j, 0] + 1) * 6 - 1) / 2, 0, 5)
        y = np.clip(((uv[0, i, j, 1] + 1) * 4 - 1) / 2, 0, 3)
        x0, y0 = min(int(x), 4), min(int(y), 2)
        a, b = x - x0, y - y0
        top, low = texture[0, y0], texture[0, y0 + 1]
        want = (1 - b) * ((1 - a) * top[x0] + a * top[x0 + 1])
        want += b * ((1 - a) * low[x0] + a * low[x0 + 1])
        np.testing.assert_allclose(out[0, i, j], want, atol=1e-5)
        assert mask[0, i, j, 0]


def test_parts_put_together_are_the_whole(variables, maps, rng):
    photo = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    noise = rng.normal(size=(2, 8)).astype(np.float32)

    @jax.jit
    def run(photo, maps, noise):
        part = functools.partial(SMALL.apply, variables)
        whole = part(photo, maps, noise, 0.5)
        encoded = part(photo, method=networks.Generator.encode)
        mu, std = part(encoded, method=networks.Generator.distribution)
        code = networks.sample_style(mu, std, noise, 0.5)
        again = part(code, maps, method=networks.Generator.latent_to_image)
        kept = part(
            whole.texture_person, whole.latent_exterior, maps,
            method=networks.Generator.interior_to_image,
        )  # fmt: skip
        return whole, again, kept

    whole, again, kept = run(photo, maps, noise)
    np.testing.assert_allclose(again["image_out"], whole.image_out, atol=1e-4)
    np.testing.assert_allclose(kept["image_out"], whole.image_out, atol=1e-4)
    assert whole.full_featureimage.shape == (2, 32, 32, 6)
    assert not np.any(np.asarray(whole.face_featureimage)[:, :6])
    assert np.all((whole.segmentation_predicted > 0) & (whole.segmentation_predicted < 1))


def test_no_gradient_reaches_the_texture_through_the_additive_features(variables, maps):
    texture = np.ones((2, 32, 32, 3), np.float32)

    def additive(texture):
        found = SMALL.apply(
            variables, texture, np.ones((2, 4), np.float32), maps,
            method=networks.Generator.interior_to_image,
        )  # fmt: skip
        return jnp.sum(found["additive_featureimage"])

    assert not np.any(jax.jit(jax.grad(additive))(texture))


@pytest.mark.parametrize("size", networks.SIZES)
def test_decoders_of_every_size(size):
    texture = networks.TextureDecoder(size, 3, 2)
    additive = networks.AdditiveDecoder(size, 3, 2)
    code = jax.ShapeDtypeStruct((1, 4), jnp.float32)
    face = jax.ShapeDtypeStruct((1, size, size, 5), jnp.float32)
    for net, inputs in ((texture, (code,)), (additive, (code, face))):
        out, _ = jax.eval_shape(
            lambda *a, net=net: net.init_with_output(jax.random.key(0), *a), *inputs
        )
        assert out.shape == (1, size, size, 3)
    with pytest.raises(ValueError, match="sides of 32, 64, 128, 256; found 48"):
        networks.decoder_stages(48)
    with pytest.raises(ValueError, match="latent must be even"):
        networks.init_generator(networks.Generator(32, 32, latent=7), 0)


def test_spectral_norm_finds_the_largest_singular_value(rng):
    net = SpectralConv(5, size=3, padding=1)
    x = rng.normal(size=(1, 6, 6, 4)).astype(np.float32)
    params = init_torch(lambda key, x: net.init(key, x, False), 0, x)
    state = {"u": np.eye(5, dtype=np.float32)[0], "v": np.zeros((3, 3, 4), np.float32)}
    step = jax.jit(lambda s: net.apply({"params": params, "spectral": s}, x, True,
                                       mutable=["spectral"])[1]["spectral"])  # fmt: skip
    for _ in range(60):
        state = step(state)
    matrix = params["kernel"].reshape(-1, 5)
    sigma = np.asarray(state["v"]).reshape(-1) @ matrix @ np.asarray(state["u"])
    np.testing.assert_allclose(sigma, np.linalg.svd(matrix)[1][0], rtol=1e-3)
    still = net.apply({"params": params, "spectral": state}, x, False)
    moved = net.apply({"params": params, "spectral": state}, x, True, mutable=["spectral"])[0]
    np.testing.assert_allclose(still, moved, atol=1e-4)


def test_the_discriminator_judges_images_one_by_one(rng):
    net = Discriminator(2, 3, 2)
    variables = init_discriminator(net, 0, 32)
    x = rng.normal(size=(3, 32, 32, 3)).astype(np.float32)
    apply = jax.jit(functools.partial(net.apply, variables))
    found, alone = apply(x), apply(x[1:2])
    assert [len(scale) for scale in found] == [4, 4] and found[0][-1].shape[-1] == 1
    assert found[1][-1].shape[1] < found[0][-1].shape[1]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-4)
    norms = [np.linalg.norm(leaf) for leaf in jax.tree.leaves(variables["spectral"])]
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)


def test_pictures_over_a_plain_colour(rng):
    picture = rng.random((2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(images.from_network(images.to_network(picture)), picture, atol=1e-5)
    p = np.full((2, 4, 4, 1), 0.9, np.float32)
    p[0] = 0.5
    soft, hard = (np.asarray(images.composite(picture, p, 1.0, soft)) for soft in (True, False))
    np.testing.assert_array_equal(soft[0], 1.0)
    np.testing.assert_allclose(hard[1], picture[1])
    np.testing.assert_allclose(soft[1], 0.9 * picture[1], rtol=1e-6)
    a, b = rng.normal(size=(2, 6))
    for correction in ("none", "published", "spherical"):
        row = images.interpolate_codes(a, b, 5, correction)
        np.testing.assert_allclose(np.asarray(row)[[0, -1]], [a, b], atol=1e-6)
    with pytest.raises(ValueError, match="correction is 'some'"):
        images.interpolate_codes(a, b, 5, "some")
