import jax
import numpy as np

from facejax.systems.deep3d.networks import RNet, coefficient_sizes, init_rnet

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


def test_one_head_for_the_whole_vector():
    net = RNet(dict(SIZES_SMALL), depth=18, width=4, use_last_fc=True)
    params = init_rnet(net, seed=0)["params"]
    assert params["head"]["kernel"].shape == (32, 45)
    assert set(params) == {"backbone", "head"}
