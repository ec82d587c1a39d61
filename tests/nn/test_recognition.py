import jax
import numpy as np
import pytest

from facejax.nn.arcface import IResNet
from facejax.nn.blocks import PRelu
from facejax.nn.inception_resnet import InceptionResNetV1


def shapes(net, *size):
    image = jax.ShapeDtypeStruct((2, *size, 3), np.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    return variables, jax.eval_shape(net.apply, variables, image)


def test_iresnet():
    variables, embedding = shapes(IResNet(50), 112, 112)
    assert embedding.shape == (2, 512)
    params = variables["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == 43_590_848
    assert params["fc"]["kernel"].shape == (7 * 7 * 512, 512)
    assert sum(name.startswith("layer3") for name in params) == 14
    with pytest.raises(ValueError, match="depth"):
        shapes(IResNet(34), 112, 112)


def test_inception_resnet():
    variables, (embedding, pooled) = shapes(InceptionResNetV1(), 160, 160)
    assert embedding.shape == (2, 128) and pooled.shape == (2, 1792)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 22_779_312
    assert sum(x.size for x in jax.tree.leaves(variables)) == 22_808_144
    _, (embedding, pooled) = shapes(InceptionResNetV1(6, width=4, blocks=(1, 0, 1)), 75, 80)
    assert embedding.shape == (2, 6) and pooled.shape == (2, 1792 // 8)


def test_prelu_has_a_slope_per_channel():
    x = np.float32([[-2.0, -2.0], [3.0, 3.0]])
    got = PRelu().apply({"params": {"slope": np.float32([0.5, 0.1])}}, x)
    np.testing.assert_allclose(got, [[-1.0, -0.2], [3.0, 3.0]])
