import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.systems.manifold import networks


def _count(params):
    return sum(x.size for x in jax.tree.leaves(params))


def test_parameter_counts():
    for kind, length, count in (
        ("autoencoder4", 199, 16_353), ("autoencoder4", 29, 16_353), ("autoencoder3", 199, 61_953),
        ("gated", 80, (160 + 1) * 256 + 257 * 256 + 257 * 80 + 81 * 80),
        ("mlp", 45, 45 * 256 + 256 + 256 * 256 + 256 + 256 * 45 + 45),
    ):  # fmt: skip
        assert _count(networks.init(networks.NetworkConfig(kind, length), 0)) == count


def test_pool_takes_the_first_of_equals_and_unpool_puts_it_back():
    h = jnp.asarray([1.0, 1.0, 2.0, 5.0, -1.0, -2.0, 9.0]).reshape(1, 7, 1)
    values, switch = networks.pool(h)
    np.testing.assert_array_equal(values[0, :, 0], [1, 5, -1])
    np.testing.assert_array_equal(switch[0, :, 0], [False, True, False])
    np.testing.assert_array_equal(
        networks.unpool(values, switch, 7)[0, :, 0], [1, 0, 0, 5, -1, 0, 0]
    )


def _reference(net, params, x):
    """AutoEncoder by loops over positions, one vector."""
    pad = 1 if net.kind == "autoencoder4" else 0

    def conv(layer, h, pad):
        h = np.pad(h, ((pad, pad), (0, 0)))
        rows = [sum(h[i + k] @ layer["kernel"][k] for k in range(3)) for i in range(len(h) - 2)]
        return np.stack(rows) + layer["bias"]

    h, stack = np.asarray(x, np.float64)[:, None], []
    for i in range(len(networks.WIDTHS[net.kind])):
        h = conv(params[f"conv_{i + 1}"], h, pad)
        half = len(h) // 2
        pairs = h[: 2 * half].reshape(half, 2, -1)
        stack.append((len(h), pairs.argmax(axis=1)))
        h = pairs.max(axis=1)
    for i, (length, index) in enumerate(reversed(stack), 1):
        out = np.zeros((length, h.shape[1]))
        for p in range(len(h)):
            for c in range(h.shape[1]):
                out[2 * p + index[p, c], c] = h[p, c]
        h = conv(params[f"deconv_{i}"], out, 1 if net.kind == "autoencoder4" else 2)
    return h[:, 0]


@pytest.mark.parametrize("kind, length", [("autoencoder4", 29), ("autoencoder3", 45)])
def test_autoencoders_against_loops(kind, length, rng):
    net = networks.NetworkConfig(kind, length)
    params = networks.init(net, 3)
    x = rng.standard_normal((2, 3, length)).astype(np.float32)
    y = networks.apply(net, params, jnp.asarray(x))
    assert y.shape == x.shape
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(y[i], _reference(net, params, x[i]), atol=1e-5)
    one = networks.apply(net, params, jnp.asarray(x[1, 2]))
    np.testing.assert_allclose(one, y[1, 2], atol=1e-6)


def test_gated_network_believes_components_by_halves_at_first(rng):
    net = networks.NetworkConfig("gated", 10, hidden=16)
    params = networks.init(net, 0)
    x = rng.standard_normal((3, 10)).astype(np.float32)
    params["dense_3"] = {k: np.zeros_like(v) for k, v in params["dense_3"].items()}
    np.testing.assert_allclose(networks.apply(net, params, x), 0.25 * x, rtol=1e-6)
    params["dense_3"]["bias"][4] = -50.0  # this one is not believed, by no output
    params["linear"]["kernel"] = rng.standard_normal((10, 10)).astype(np.float32)
    moved = x.copy()
    moved[:, 4] += 9.0
    np.testing.assert_allclose(
        networks.apply(net, params, moved), networks.apply(net, params, x), atol=1e-5
    )


def test_gradient_against_differences(rng):
    net = networks.NetworkConfig("autoencoder4", 29)
    params = networks.init(net, 0)
    x = jnp.asarray(rng.standard_normal((4, 29)), jnp.float32)

    def loss(t):  # behind the pools: a switch that flips makes a jump, which has no gradient
        layer = params["deconv_3"]
        moved = params | {"deconv_3": layer | {"kernel": layer["kernel"] + t}}
        return jnp.sum(networks.apply(net, moved, x) ** 2)

    numeric = (loss(0.1) - loss(-0.1)) / 0.2
    np.testing.assert_allclose(jax.grad(loss)(0.0), numeric, rtol=1e-3)


def test_denoise_keeps_the_unit_and_the_strength(rng):
    net = networks.NetworkConfig("autoencoder4", 29)
    params = networks.init(net, 0)
    x = jnp.asarray(rng.standard_normal((2, 29)), jnp.float32)
    full = networks.denoise(net, params, jnp.full(29, 1e4), 1e4 * x)
    np.testing.assert_allclose(full, 1e4 * networks.apply(net, params, x), rtol=1e-4, atol=1e-2)
    half = networks.denoise(net, params, jnp.full(29, 1e4), 1e4 * x, strength=0.5)
    np.testing.assert_allclose(half, (full + 1e4 * x) / 2, rtol=1e-4, atol=1e-2)
    again = networks.denoise(net, params, jnp.full(29, 1e4), half, strength=0.5)
    twice = networks.denoise(net, params, jnp.full(29, 1e4), 1e4 * x, strength=0.5, times=2)
    np.testing.assert_allclose(twice, again, rtol=1e-4, atol=1e-2)


def test_bad_networks():
    with pytest.raises(ValueError, match="too few"):
        networks.NetworkConfig("autoencoder4", 15)
    with pytest.raises(ValueError, match="wanted one of"):
        networks.NetworkConfig("resnet", 29)
    net = networks.NetworkConfig("mlp", 20)
    with pytest.raises(ValueError, match="wanted 20"):
        networks.apply(net, networks.init(net, 0), jnp.zeros((2, 21)))
