import jax
import numpy as np
import pytest

from facejax.recon.rnet import SIZES, RNet, head_sizes, init_rnet

SIZES_SMALL = head_sizes((5, 4, 3))


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


def test_heads_are_those_of_the_published_programs():
    names = ["id", "exp", "tex", "angles", "gamma", "trans_xy", "trans_z"]
    assert list(dict(SIZES)) == names and list(dict(SIZES).values()) == [80, 64, 80, 3, 27, 2, 1]
