"""Structure of Inception-v3 against known counts, names and a plain numpy forward of its parts."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import interpn
from scipy.ndimage import maximum_filter, uniform_filter
from scipy.signal import correlate

from facejax.metrics.inception import (
    InceptionFeatures,
    InceptionV3,
    _average,
    _Conv,
    _graph_scopes,
    _Mixed,
    _resize_as_graph,
    abstract_params,
    params_from_graph,
    params_from_state_dict,
)
from tests.oracles.torch_files import Tensor, write_zip

TO_TORCH = {
    "kernel": "conv.weight", "scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean",
    "var": "bn.running_var",
}  # fmt: skip


def random_state(num_classes):
    """A state dict with the names and layouts of torchvision's; every entry has its own stream."""
    state = {}

    def walk(tree, prefix):
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
                continue
            shape = value.shape
            entry = {"kernel": "weight"}.get(key, key) if prefix == "fc." else TO_TORCH[key]
            if key == "kernel":
                shape = shape[::-1] if prefix == "fc." else (shape[3], shape[2], *shape[:2])
            low, high = (0.5, 1.5) if key in ("scale", "var") else (-0.1, 0.1)
            if key == "kernel":
                high = np.sqrt(6 / np.prod(shape[1:]))
                low = -high
            stream = np.random.default_rng(zlib.crc32((prefix + entry).encode()))
            state[prefix + entry] = stream.uniform(low, high, shape).astype(np.float32)

    walk(abstract_params(num_classes), "")
    return state


def test_parameters_are_those_of_the_published_network():
    leaves = jax.tree_util.tree_flatten_with_path(abstract_params(1000))[0]
    names = {jax.tree_util.keystr(k, simple=True, separator="."): v.shape for k, v in leaves}
    trained = sum(
        np.prod(shape)
        for name, shape in names.items()
        if name.split(".")[-1] not in ("mean", "var")
    )
    assert trained == 27_161_264 - 3_326_696  # torchvision's, less the auxiliary head
    assert sum(name.endswith("kernel") for name in names) == 95
    assert names["Mixed_6c.branch7x7dbl_3.kernel"] == (1, 7, 160, 160)
    assert names["Mixed_7c.branch3x3dbl_3b.kernel"] == (3, 1, 384, 384)
    assert names["Mixed_7b.branch_pool.kernel"] == (1, 1, 1280, 192)
    assert names["Mixed_5c.branch5x5_2.kernel"] == (5, 5, 48, 64)


def test_layer_against_scipy(rng):
    x = rng.normal(size=(1, 9, 9, 2)).astype(np.float32)
    for same, stride in ((True, 1), (False, 2)):
        layer = _Conv(1, (3, 3), stride, same)
        params = layer.init(jax.random.key(0), x)["params"]
        params |= {"scale": jnp.full(1, 2.0), "bias": jnp.full(1, 0.1)}
        params |= {"mean": jnp.full(1, 0.3), "var": jnp.full(1, 4.0)}
        kernel = np.asarray(params["kernel"])[..., 0]
        y = sum(
            correlate(x[0, ..., c], kernel[..., c], "same" if same else "valid") for c in range(2)
        )
        expected = np.maximum((y[::stride, ::stride] - 0.3) / np.sqrt(4.001) * 2 + 0.1, 0)
        found = layer.apply({"params": params}, x)[0, ..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(_average(np.ones((1, 4, 4, 1))), 1)  # padding does not count


def plain_conv(x, p, stride=1, valid=False):
    """A layer by scipy, in float64: [H, W, C] to [H', W', D]."""
    kernel = np.asarray(p["kernel"], np.float64)
    y = [
        sum(
            correlate(x[..., c], kernel[..., c, d], "valid" if valid else "same")
            for c in range(x.shape[-1])
        )[::stride, ::stride]
        for d in range(kernel.shape[-1])
    ]
    y = (np.stack(y, -1) - p["mean"]) / np.sqrt(np.asarray(p["var"], np.float64) + 1e-3)
    return np.maximum(y * p["scale"] + p["bias"], 0)


@pytest.mark.parametrize("kind", ["average", "counted", "max", "reduce"])
def test_block_against_scipy(rng, kind):
    x = rng.normal(size=(1, 7, 6, 3)).astype(np.float32)
    branches = (
        (("one", 2, (1, 1)),) if kind != "reduce" else (("one", 2, (3, 3)),),
        (("a", 2, (1, 1)), ("b", 2, (3, 3))),
        (("c", 2, (1, 1)), (("d", 2, (1, 3)), ("e", 2, (3, 1)))),
    )[: 2 if kind == "reduce" else 3]
    block = _Mixed(branches, 0 if kind == "reduce" else 2, kind == "max", kind == "counted")
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
    draw = lambda a: rng.uniform(0.2, 1, a.shape) * rng.choice([-1, 1], a.shape)  # noqa: E731
    params = {
        name: {k: np.abs(draw(v)) if k == "var" else draw(v) for k, v in layer.items()}
        for name, layer in shapes.items()
    }
    found = np.asarray(block.apply({"params": params}, x)[0])
    x = x[0].astype(np.float64)
    if kind == "reduce":
        parts = [
            plain_conv(x, params["one"], 2, True),
            plain_conv(plain_conv(x, params["a"]), params["b"], 2, True),
            maximum_filter(x, (3, 3, 1))[1:-1:2, 1:-1:2],
        ]
    else:
        pooled = {
            "max": maximum_filter(x, (3, 3, 1), mode="constant", cval=-np.inf),
            "counted": uniform_filter(x, (3, 3, 0), mode="constant"),
            "average": uniform_filter(x, (3, 3, 0), mode="constant")
            / uniform_filter(np.ones_like(x), (3, 3, 0), mode="constant"),
        }[kind]
        c = plain_conv(x, params["c"])
        parts = [
            plain_conv(x, params["one"]),
            plain_conv(plain_conv(x, params["a"]), params["b"]),
            plain_conv(c, params["d"]),
            plain_conv(c, params["e"]),
            plain_conv(pooled, params["branch_pool"]),
        ]
    np.testing.assert_allclose(found, np.concatenate(parts, -1), rtol=1e-4, atol=1e-4)


def test_graph_names_of_2015(tmp_path):
    scopes = _graph_scopes()
    known = {
        "conv_3": "Conv2d_3b_1x1",
        "mixed/tower/conv_1": "Mixed_5b.branch5x5_2",
        "mixed_2/tower_2/conv": "Mixed_5d.branch_pool",
        "mixed_3/conv": "Mixed_6a.branch3x3",
        "mixed_3/tower/conv_2": "Mixed_6a.branch3x3dbl_3",
        "mixed_4/tower/conv_2": "Mixed_6b.branch7x7_3",
        "mixed_7/tower_1/conv_4": "Mixed_6e.branch7x7dbl_5",
        "mixed_8/tower/conv_1": "Mixed_7a.branch3x3_2",
        "mixed_8/tower_1/conv_3": "Mixed_7a.branch7x7x3_4",
        "mixed_9/tower/mixed/conv_1": "Mixed_7b.branch3x3_2b",
        "mixed_10/tower_1/mixed/conv": "Mixed_7c.branch3x3dbl_3a",
        "mixed_10/tower_2/conv": "Mixed_7c.branch_pool",
    }
    assert {k: ".".join(scopes[k]) for k in known} == known and len(scopes) == 94
    wanted = abstract_params()
    tree = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), wanted)
    constants = {"pool_3/_reshape/shape": np.array([-1, 2048])}
    for scope, path in scopes.items():
        node = tree
        for part in path:
            node = node[part]
        node["mean"] += len(constants)
        constants[f"{scope}/conv2d_params"] = node["kernel"]
        constants |= {
            f"{scope}/batchnorm/{k}": node[v]
            for k, v in (("gamma", "scale"), ("beta", "bias"), ("moving_mean", "mean"),
                         ("moving_variance", "var"))
        }  # fmt: skip
    constants |= {"softmax/weights": tree["fc"]["kernel"], "softmax/biases": tree["fc"]["bias"]}
    found = params_from_graph(constants)
    jax.tree.map(np.testing.assert_array_equal, found, tree)
    del constants["mixed_5/conv/batchnorm/beta"]
    with pytest.raises(ValueError, match="1 constants are missing, such as 'mixed_5/conv/batchno"):
        params_from_graph(constants)


def test_resize_of_the_graph(rng):
    image = rng.uniform(size=(1, 5, 7, 1))
    found = np.asarray(_resize_as_graph(image))
    assert found.shape == (1, 299, 299, 1)
    y, x = 200 * 5 / 299, 17 * 7 / 299
    expected = interpn((range(5), range(7)), image[0, ..., 0], [y, x])
    np.testing.assert_allclose(found[0, 200, 17, 0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[0, -1, 0, 0], image[0, -1, 0, 0], atol=1e-6)  # not beyond


def test_state_dict_goes_in_and_errors_name_the_entry(tmp_path):
    state = random_state(1008)
    state["AuxLogits.fc.weight"] = np.zeros((2, 2), np.float32)
    state["Conv2d_1a_3x3.bn.num_batches_tracked"] = np.zeros(1)
    params = params_from_state_dict(state)
    kernel = state["Mixed_6b.branch7x7_2.conv.weight"]
    np.testing.assert_array_equal(
        params["Mixed_6b"]["branch7x7_2"]["kernel"][0, 5, 3, 7], kernel[7, 3, 0, 5]
    )
    y, x = np.mgrid[:75, :75] / 75.0
    image = np.stack([np.sin(6 * x + 2 * y), np.cos(5 * y * x), x - y], -1)[None]
    features, logits = jax.jit(InceptionV3().apply)({"params": params}, image.astype(np.float32))
    # by PyTorch 2.15 and torchvision 0.29, pooling as the public port of the graph does
    found = [*np.asarray(features)[0, ::256], features.mean(), features.std()]
    expected = [1.4638177, 0.52863747, 2.6081078, 1.4330555, 0, 0, 0, 0.22967821]
    expected += [0.29315442, 0.53997225]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    expected = [0.23819408, -1.567155, -0.64164245, 0.89731425, -0.8024324, 1.2441847]
    np.testing.assert_allclose(logits[0, ::200], expected, rtol=1e-3, atol=1e-4)
    np.savez(tmp_path / "w.npz", **state)
    write_zip(tmp_path / "w.pth", {k: Tensor(v) for k, v in state.items()})
    for name in ("w.npz", "w.pth"):
        extractor = InceptionFeatures(tmp_path / name)
        assert extractor.name.startswith("inception-v3-") and extractor.dim == 2048
        jax.tree.map(np.testing.assert_array_equal, extractor.params, params)
    missing = {k: v for k, v in state.items() if k != "Mixed_7a.branch3x3_2.bn.bias"}
    with pytest.raises(ValueError, match="Mixed_7a/branch3x3_2/bias None wanted"):
        params_from_state_dict(missing)
    with pytest.raises(ValueError, match="unknown entry 'layer.odd'"):
        params_from_state_dict(state | {"layer.odd": np.zeros(1)})
    with pytest.raises(ValueError, match="fc.weight"):
        params_from_state_dict({"a": np.zeros(1)})
    with pytest.raises(ValueError, match="no such file"):
        InceptionFeatures(tmp_path / "absent.npz")
