import jax
import numpy as np
import pytest

from facejax.geometry.hierarchy import build_hierarchy
from facejax.recon.graph_net import GraphNet, init_graph_net
from tests.geometry.test_hierarchy import bumpy_grid


@pytest.fixture(scope="module")
def hierarchy():
    vertices, triangles = bumpy_grid(5)
    return build_hierarchy(vertices[:-1], triangles, 3, 2)


@pytest.mark.parametrize(
    ("variant", "target", "channels"),
    [("normal", "albedo", 7), ("resnet", "shape", 3), ("wide", "albedo", 7)],
)
def test_graph_nets(hierarchy, variant, target, channels):
    net = GraphNet(target, variant, order=2)
    variables = init_graph_net(net, 0, hierarchy, 8, channels)
    inputs = (
        jax.ShapeDtypeStruct((2, 8), np.float32),
        jax.ShapeDtypeStruct((2, 25, channels), np.float32),
    )
    out = jax.eval_shape(net.apply, variables, *inputs, hierarchy)
    assert out.shape == (2, 25, 3)
    params = variables["params"]
    assert params["combine"]["kernel"].shape == (2, 6, 3)
    decoder = {"normal": "conv1", "resnet": "block1", "wide": "block1"}[variant]
    first = params["decoder"][decoder]
    kernel = first["kernel"] if variant == "normal" else first["conv1"]["kernel"]
    assert kernel.shape == (2, 32, 64 if variant == "wide" else 16)
    if target == "shape":  # truncated at two standard deviations of 0.1
        assert 0.15 < np.abs(kernel).max() <= 0.2
        assert params["decoder"]["fc"]["bias"].min() == np.float32(0.1)
    else:
        assert kernel.std() == pytest.approx(np.sqrt(2 / (2 * 32)), rel=0.1)
        assert not params["decoder"]["fc"]["bias"].any()


def test_an_untrained_residual_graph_net_returns_the_mesh_and_others_stay_within_the_scale(
    hierarchy, rng
):
    mesh = rng.normal(size=(1, 25, 3)).astype(np.float32)
    embedding = rng.normal(size=(1, 8)).astype(np.float32)
    for net in (GraphNet(order=1, residual=True), GraphNet(order=1, scale=3.0)):
        variables = init_graph_net(net, 0, hierarchy, 8)
        out = np.asarray(jax.jit(net.apply)(variables, embedding, mesh, hierarchy))
        if net.residual:
            np.testing.assert_array_equal(out, mesh)
        else:
            assert 0 < np.abs(out).max() < 3.0


def test_graph_nets_that_do_not_exist(hierarchy):
    inputs = np.zeros((1, 8), np.float32), np.zeros((1, 24, 3), np.float32)
    for net, message in ((GraphNet("pose"), "target 'pose'"), (GraphNet(), "24 vertices")):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(net.init, jax.random.key(0), *inputs, hierarchy)
