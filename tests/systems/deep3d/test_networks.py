import jax
import numpy as np
import pytest

from facejax.geometry.hierarchy import build_hierarchy
from facejax.systems.deep3d.networks import (
    GraphNet,
    RNet,
    coefficient_sizes,
    init_graph_net,
    init_rnet,
)
from tests.geometry.test_hierarchy import bumpy_grid

SIZES_SMALL = coefficient_sizes(5, 4, 3)


def test_an_untrained_rnet_predicts_the_mean_face(rng):
    net = RNet(SIZES_SMALL, depth=18, width=4)
    variables = init_rnet(net, seed=0)
    images = rng.uniform(size=(2, 1, 32, 32, 3)).astype(np.float32)
    vector, features = jax.jit(net.apply)(variables, images)
    assert vector.shape == (2, 1, 5 + 4 + 3 + 3 + 27 + 2 + 1)
    assert features.shape == (2, 1, 32)
    np.testing.assert_array_equal(vector, 0.0)
    assert np.abs(features[0] - features[1]).max() > 0
    shapes = {name: variables["params"][f"head_{name}"]["kernel"].shape for name, _ in SIZES_SMALL}
    assert shapes == {name: (32, count) for name, count in SIZES_SMALL}


def test_a_compact_rnet_sees_where_things_are():
    net = RNet(SIZES_SMALL, depth=0, width=2, variant="compact", pose_scale=0.5)
    variables = init_rnet(net, seed=0, size=16)
    image = np.zeros((2, 16, 16, 3), np.float32)
    image[0, 2:6, 2:6] = image[1, 10:14, 10:14] = 1  # whole steps apart: equal after pooling
    vector, features = net.apply(variables, image)
    assert not variables["batch_stats"] and not np.any(vector)
    assert features.shape == (2, net.num_features) and net.num_features == 32
    assert np.abs(features[0] - features[1]).max() > 1e-3
    for head in (h for name, h in variables["params"].items() if name.startswith("head")):
        head["bias"][:] = 1.0
    vector, _ = net.apply(variables, image)
    want = np.repeat([1.0, 0.5, 1.0, 0.5], [12, 3, 27, 3])
    np.testing.assert_array_equal(vector[0], want)
    with pytest.raises(ValueError, match="depth 18 .* wanted 0"):
        init_rnet(RNet(SIZES_SMALL, depth=18, variant="compact"), seed=0)


def test_one_head_for_the_whole_vector():
    net = RNet(dict(SIZES_SMALL), depth=18, width=4, use_last_fc=True)
    params = init_rnet(net, seed=0)["params"]
    assert params["head"]["kernel"].shape == (32, 45)
    assert set(params) == {"backbone", "head"}


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
