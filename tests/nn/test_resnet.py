import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.nn.blocks import BatchNorm, Conv, initial_batch_stats, max_pool3
from facejax.nn.init import init_params
from facejax.nn.resnet import ResNet, num_features, resnet_rule


def test_batch_norm_takes_the_unbiased_variance_and_is_a_function_of_the_running_values(rng):
    norm = BatchNorm(momentum=0.75)
    x = (3.0 + 2.0 * rng.normal(size=(2, 3, 3, 4))).astype(np.float32)
    variables = {
        "params": {"scale": np.full(4, 2, np.float32), "bias": np.full(4, 1, np.float32)},
        "batch_stats": initial_batch_stats(norm.init, x),
    }
    y, state = norm.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), 2.0, atol=1e-4)
    stats = state["batch_stats"]
    flat = x.reshape(-1, 4)
    np.testing.assert_allclose(stats["mean"], 0.25 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.75 + 0.25 * flat.var(0, ddof=1), rtol=1e-5)
    y = norm.apply({"params": variables["params"], **state}, x)
    want = (
        2
        * (x - stats["mean"].reshape(1, 1, 1, 4))
        / np.sqrt(stats["var"].reshape(1, 1, 1, 4) + 1e-5)
    )
    np.testing.assert_allclose(y, want + 1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("padding", ["SAME", "VALID", (1, 1)])
def test_max_pool_is_the_windowed_maximum(rng, size, padding):
    x = rng.normal(size=(1, size, size, 2)).astype(np.float32)
    pads = padding if isinstance(padding, str) else ((0, 0), padding, padding, (0, 0))
    want = jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    np.testing.assert_array_equal(max_pool3(jnp.asarray(x), padding), want)


def test_a_strided_1x1_convolution_is_the_general_one(rng):
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    conv = Conv(4, (1, 1), 2, use_bias=True)
    params = {
        "kernel": rng.normal(size=(1, 1, 3, 4)).astype(np.float32),
        "bias": np.arange(4, dtype=np.float32),
    }
    want = jax.lax.conv_general_dilated(
        x, params["kernel"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    got = conv.apply({"params": params}, x)
    np.testing.assert_allclose(got, want + params["bias"].reshape(1, 1, 1, 4), atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "variant"), [(18, "torch"), (50, "torch"), (50, "slim")], ids=str
)
def test_shapes_of_reduced_networks(depth, variant):
    net = ResNet(depth, 4, variant)
    image = jax.ShapeDtypeStruct((2, 33, 40, 3), jnp.bfloat16)
    params = init_params(net.init, 0, resnet_rule, image)
    stats = initial_batch_stats(net.init, image)
    variables = {"params": params, "batch_stats": stats}
    out, state = jax.eval_shape(
        lambda v, x: net.apply(v, x, True, mutable=["batch_stats"]), variables, image
    )
    assert out.shape == (2, num_features(depth, 4))
    assert out.dtype == jnp.bfloat16  # computed in the type of the image
    assert jax.tree.map(np.shape, state["batch_stats"]) == jax.tree.map(np.shape, stats)
    kernel = params["layer3_0"]["conv2"]["kernel"]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * kernel.shape[-1])), rel=0.1)


@pytest.mark.parametrize(("depth", "variant"), [(34, "torch"), (18, "slim"), (50, "tf")], ids=str)
def test_unknown_forms_are_refused(depth, variant):
    with pytest.raises(ValueError, match="depth"):
        jax.eval_shape(ResNet(depth, 4, variant).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
