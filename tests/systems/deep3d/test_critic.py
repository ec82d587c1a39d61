import pathlib

import jax
import numpy as np
import pytest

from facejax.systems.deep3d.critic import ImageCritic, init_critic
from facejax.systems.deep3d.texture import painted
from facejax.train.config import load_config
from facejax.train.runs import make_system
from facejax.train.step import active_phases

# a test's time is that of the compiler
CONFIG = pathlib.Path(__file__).resolve().parents[3] / "configs/deep3d.py"


def test_only_layer_normalisation_treats_every_image_by_itself(rng):
    images = rng.uniform(-1, 1, (2, 2, 32, 32, 3)).astype(np.float32)
    images[1, 0] = images[0, 0]
    params = init_critic(ImageCritic(width=1), 0, 32)  # both norms have the same ones
    for norm in ("layer", "batch"):
        net = ImageCritic(width=1, norm=norm)
        score = jax.jit(net.score).lower(params, images[0]).compile()
        first, second = score(params, images[0]), score(params, images[1])
        assert np.isclose(first[0], second[0], rtol=1e-4, atol=1e-5) == (norm == "layer")
    with pytest.raises(ValueError, match="multiples of 32"):
        jax.eval_shape(net.score, params, np.zeros((1, 40, 40, 3), np.float32))


def test_the_published_critic_ends_in_seven_by_seven():
    params = jax.eval_shape(lambda: init_critic(ImageCritic(), 0, 224))
    assert params["conv0"]["kernel"].shape == (1, 1, 3, 16)
    assert params["conv5"]["kernel"].shape == (3, 3, 256, 512)
    assert params["score"]["kernel"].shape == (7 * 7 * 512, 1)


def test_the_critic_comes_in_with_the_photo():
    config = load_config(f"{CONFIG}:texture-gcn")
    config.adversarial.weight = 1e-3
    system = make_system(config)
    epoch = system.total_images // 50
    plans = [system.plan(round(epoch * k)) for k in (0, 0.99, 1.01, 2.5, 5.1, 49.9)]
    np.testing.assert_allclose([p.scalars["rendered"] for p in plans], [0, 0, 0.2, 0.4, 1, 1])
    assert [p.stage.name for p in plans] == ["graph"] * 2 + ["adversarial"] * 4
    assert {p.segment for p in plans} == {"graph"}
    assert "lr/critic" not in plans[1].scalars
    assert plans[2].scalars["lr/critic"] == plans[2].scalars["lr/graph"]
    (before,), (critic, graph) = system.phases(plans[1].stage), system.phases(plans[2].stage)
    assert (before.every, critic.groups, critic.every, graph.every) == (1, ("critic",), 1, 5)
    runs = [active_phases((critic, graph), k) for k in range(10)]
    assert sum("critic" in r for r in runs) == 10 and sum("graph" in r for r in runs) == 2
    plain = make_system(load_config(f"{CONFIG}:texture-gcn"))
    assert {plain.plan(round(epoch * k)).stage.name for k in (0, 5, 40)} == {"graph"}


def test_the_face_is_painted_over_the_skin_alone(rng):
    image, picture = rng.uniform(size=(2, 1, 2, 2, 3)).astype(np.float32)
    share = np.float32([[[0, 1], [0.5, 1]]])
    found = painted(image, picture, share)
    np.testing.assert_array_equal(found[0, 0, 0], image[0, 0, 0])
    np.testing.assert_allclose(found[0, :, 1], picture[0, :, 1], rtol=1e-6)
    np.testing.assert_allclose(found[0, 1, 0], (image + picture)[0, 1, 0] / 2, rtol=1e-6)
    grads = jax.grad(lambda p, s: painted(image, p, s).sum(), argnums=(0, 1))(picture, share)
    assert not grads[1].any() and grads[0].any()
