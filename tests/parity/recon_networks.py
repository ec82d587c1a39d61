"""The Deep3D family's networks against values computed by the original code (random weights)."""

import functools
import zlib

import jax
import numpy as np
import pytest

from facejax.systems.deep3d import importer, networks
from tests.parity.golden import case_files

TORCH = case_files("recon", "networks.npz")
TENSORFLOW = case_files("recon", "networks_tf.npz")


def torch_value(name, shape, draw):
    """Random weights of the reference run for a PyTorch name."""
    if name.endswith("running_mean"):
        return draw.randn(*shape) * 0.1
    if name.endswith("running_var"):
        return 0.5 + draw.rand(*shape)
    if name.endswith("bias"):
        return draw.randn(*shape) * 0.1
    if len(shape) == 1:
        return 0.2 + 0.4 * draw.rand(*shape)
    value = draw.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    return value * (0.3 if name.startswith("final_layers") else 1.0)


def tf_value(name, shape, draw):
    """Random weights of the reference run for a TensorFlow name."""
    if name.endswith("moving_variance"):
        return 0.5 + draw.rand(*shape)
    if name.endswith("gamma"):
        return 0.2 + 0.4 * draw.rand(*shape)
    if not name.endswith("weights"):
        return draw.randn(*shape) * 0.1
    value = draw.randn(*shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return value * (0.3 if name.startswith("fc-") else 1.0)


def stream(name):
    return np.random.RandomState((zlib.crc32(name.encode()) + 1) % 2**32)


def reference_variables(net, image_shape, form, value):
    """(variables as the reference run had them, number of trained parameters)."""
    wanted = importer.abstract_variables(net, image_shape)
    blank = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), wanted)
    arrays = {
        name: value(name, zeros.shape, stream(name)).astype(np.float32)
        for name, zeros in importer.to_published(blank, form).items()
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(wanted["params"]))
    return importer.from_published(arrays, wanted, form), count


@functools.cache
def load(path):
    return dict(np.load(path))


def close(got, want):
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("path", TORCH)
@pytest.mark.parametrize(("depth", "count"), [(18, 11_308_353), (50, 24_034_625)])
def test_rnet_of_the_pytorch_code(path, depth, count):
    case = {k.removeprefix(f"resnet{depth}/"): v for k, v in load(path).items()}
    image = case["input"].transpose(0, 2, 3, 1)
    net = networks.RNet(depth=depth)
    variables, found = reference_variables(net, image.shape, importer.RNET_TORCH, torch_value)
    assert found == count
    coeff, pool = net.apply(variables, image)
    close(coeff, case["coeff_eval"])
    close(pool, case["pool"])
    (coeff, _), state = net.apply(variables, image, train=True, mutable=["batch_stats"])
    close(coeff, case["coeff_train"])
    stats = state["batch_stats"]["backbone"]["bn1"]
    close(stats["mean"], case["bn1_running_mean_after"])
    close(stats["var"], case["bn1_running_var_after"])


@pytest.mark.parametrize("path", TENSORFLOW)
def test_rnet_of_the_tensorflow_code(path):
    case = {k.removeprefix("rnet_tf/"): v for k, v in load(path).items()}
    net = networks.RNet(variant="slim")
    variables, found = reference_variables(net, case["input"].shape, importer.RNET_TF, tf_value)
    assert found == 24_034_625
    (coeff, pool), state = net.apply(
        variables, case["input"], mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name == "layer1_2",
    )  # fmt: skip
    close(coeff, case["coeff"])
    close(pool, case["pool5"])
    block1 = state["intermediates"]["backbone"]["layer1_2"]["__call__"][0]
    assert block1.shape == tuple(case["block1_shape"])
    close(block1.mean(axis=(1, 2)), case["block1_out_mean_c"])
