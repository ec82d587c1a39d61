"""What the system draws, plans and refuses."""

import jax
import numpy as np
import pytest

from facejax.systems.disco.factors import Factors
from facejax.train.config import load_config
from facejax.train.runs import make_system, prerequisites


@pytest.fixture(scope="module")
def system():
    return make_system(load_config("disco:smoke"))


@pytest.fixture(scope="module")
def params(system):
    return system.init(0)[0]


def test_pairs_differ_in_expression_or_light_alone(system, params):
    index = np.arange(8, dtype=np.int32)
    rng = jax.random.key(3)
    drawn = system._drawn_pairs(params, rng, index)
    for first, names in ((0, {"exp"}), (2, {"gamma"}), (4, {"exp"}), (6, {"gamma"})):
        for name, x in drawn.factors._asdict().items():
            same = bool((x[first] == x[first + 1]).all())
            assert same == (name not in names), (first, name)
        np.testing.assert_array_equal(drawn.noise[first], drawn.noise[first + 1])
    bits = np.asarray(jax.vmap(jax.random.key_data)(drawn.keys))
    assert len(np.unique(bits, axis=0)) == 8  # noise maps are each picture's own
    # a device that has the second half of the batch draws the second half of the pairs
    half = system._drawn_pairs(params, rng, index[4:])
    for a, b in zip(half.factors, drawn.factors, strict=True):
        np.testing.assert_array_equal(a, b[4:])


def test_stages_follow_each_other(system):
    plans = [system.plan(i) for i in range(0, system.total_images, 16)]
    names = list(dict.fromkeys(p.stage.name for p in plans))
    assert names == ["vae", "parser", "8x8", "16x16", "16x16-contrast"]
    assert plans[-1].scalars["alpha"] == 0 and plans[-1].segment["gen"] == "contrast"
    assert plans[0].segment == {"vae": "vae"}  # the optimisers of other groups stay untouched
    grown = [p for p in plans if p.stage.name == "16x16"]
    alphas = [p.scalars["alpha"] for p in grown]
    assert alphas == sorted(alphas, reverse=True) and 0 < alphas[0] < 1


def test_a_run_of_the_second_stage_alone():
    config = load_config("disco:contrast")
    config.update_from_flattened_dict({"regression.run": "", "recognition.run": ""})
    system = make_system(config)
    assert system.plan(0).stage.name == "64x64-contrast"
    assert system.total_images == 16000
    with pytest.raises(ValueError, match="nothing gives the autoencoders of id, exp"):
        system.init(0)
    config.vae.kimg = 1.0
    with pytest.raises(ValueError, match="starts from a finished first one"):
        make_system(config).init(0)


def test_batches_that_hold_no_pairs_are_refused():
    config = load_config("disco:smoke")
    config.model.mbstd_group = 1
    config.schedule.minibatch = {"res16": 6}
    with pytest.raises(ValueError, match="divisible by 4 for the pairs"):
        make_system(config)


def test_prerequisites_train_on_the_same_face_model():
    config = load_config("disco")
    config.data.model_options.n_id = 7
    wanted = prerequisites(config)
    assert [p.name for p in wanted] == ["regression", "recognition"]
    assert all(p.overrides["data.model_options.n_id"] == 7 for p in wanted)
    assert prerequisites(load_config("disco:smoke")) == ()


def test_imported_networks_come_without_a_face_model():
    config = load_config("disco:smoke")
    config.data.model = "none"
    system = make_system(config)
    assert system.sizes.coefficients == Factors(160, 64, 3, 27) and system.frozen() == {}
    with pytest.raises(ValueError, match="data.model='none' is for imported networks"):
        system.source(system.plan(0).stage)
