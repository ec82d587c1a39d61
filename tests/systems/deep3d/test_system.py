import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.recon.decoder import decode, split
from facejax.recon.rnet import RNet
from facejax.systems.deep3d import losses, texture
from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.optim import clip_each_norm
from facejax.train.runs import make_system
from facejax.train.state import init_state
from facejax.train.step import traced_scalars
from tests.systems.stepping import make_step

CONFIG = pathlib.Path(__file__).resolve().parents[3] / "configs/deep3d.py"
# a test's time is that of the compiler


@functools.cache
def smoke():
    return make_system(load_config(f"{CONFIG}:smoke"))


def photos(system, num=4):
    batch = dict(system.held_out(num).batch(np.arange(num)))
    return batch | {"index": np.arange(num, dtype=np.int32)}


def drawn(system, num=2):
    """Photos of nothing: cheaper than rendered ones where only shapes matter."""
    rng, size = np.random.default_rng(0), system.camera.size
    return {
        "image": rng.uniform(size=(num, size, size, 3)).astype(np.float32),
        "landmarks": rng.uniform(0.2 * size, 0.8 * size, (num, 68, 2)).astype(np.float32),
        "mask": np.ones((num, size, size), np.float32),
        "index": np.arange(num, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def seen():
    """What is compiled once: terms of R-Net's loss, masks and colours of true and mean faces."""
    config = load_config(f"{CONFIG}:smoke")
    config.data.ranges.update(brightness=0.1, contrast=0.2, covered=0.0)  # nothing cut off at white
    system = make_system(config)
    batch = photos(system, 2)
    size = system.camera.size
    rows, columns = np.indices((size, size), np.float32) / size
    ramp = np.broadcast_to(np.stack([columns, rows, 0 * rows], axis=-1), (2, size, size, 3))

    @jax.jit
    def look(vector, batch):
        coeffs = split(vector, system.model)
        face = decode(system.model, coeffs, system.camera)
        kinds = {k: losses.LossConfig(inner_face=k) for k in ("separate", "visible")}
        drawn = {
            k: losses.render_with_inner(system.model, face, system.camera, cfg)
            for k, cfg in kinds.items()
        }
        out = {f"{k}_mask": mask for k, (_, mask) in drawn.items()}
        picture, mask = drawn["visible"]
        out |= losses.landmark_terms(face, batch["landmarks"], size)
        marks, cfg = batch["landmarks"], system.loss
        out |= losses.fit_terms(system.model, face, coeffs, marks, size, cfg, 1.0)
        out["photo"] = losses.photo_term(picture, batch["image"], batch["mask"], mask, system.loss)
        out["colors"] = texture.visible_colors(ramp, face, size, jnp.ones((2, size, size)))
        return out | {"pixels": face.pixels, "normals": face.normals_posed}

    compiled = look.lower(batch["coeffs"], batch).compile()
    found = compiled(batch["coeffs"], batch), compiled(0 * batch["coeffs"], batch)
    return jax.tree.map(np.asarray, found)


def test_the_truth_costs_nothing_but_noise(seen):
    truth, mean = seen
    assert truth["landmark"] < 1e-4 and truth["nme"] < 1e-2
    assert truth["photo"] < 0.03 < 0.1 < mean["photo"]
    assert mean["nme"] > 4


def test_landmarks_ask_for_the_true_shape(seen):
    truth, mean = seen
    # one step from the mean face in a wrong pose finds that the shape is wrong
    assert 10 * truth["fit"] < mean["fit"] < 100


def test_both_masks_of_the_inner_face_agree_on_a_frontal_face(seen):
    separate, visible = (seen[1][f"{k}_mask"] for k in ("separate", "visible"))
    assert separate.sum() > 100
    assert (separate == visible).mean() > 0.98


def test_colours_are_read_where_a_vertex_is_seen(seen):
    size = smoke().camera.size
    for found in seen:
        color, (x, y) = found["colors"][0], found["pixels"][0].T
        inside = (x > 0) & (x < size) & (y > 0) & (y < size)
        toward = found["normals"][0, :, 2] > 0
        np.testing.assert_array_equal(color[:, 3] > 0, inside & toward)
        shown = color[:, 3] > 0
        np.testing.assert_allclose((color[shown, 0] + 1) / 2 * size, x[shown], atol=1.01)
        np.testing.assert_allclose((color[shown, 1] + 1) / 2 * size, size - y[shown], atol=1.01)
        assert not color[~shown].any()


def test_weights_choose_the_terms():
    cfg = losses.LossConfig(graph_shape=7.0)
    terms = {"landmark": jnp.array(1000.0), "nme": jnp.array(5.0), "shape": jnp.array(2.0)}
    np.testing.assert_allclose(losses.weighted_sum(terms, cfg), 1.6)
    np.testing.assert_allclose(losses.weighted_sum(terms, cfg, "graph_"), 1.6 + 14.0)


def test_an_untrained_graph_net_returns_the_mesh_of_the_linear_model():
    system = smoke()
    params, aux = system.init(0)
    arguments = ({**params, **aux, **frozen_trees(system)}, drawn(system)["image"])
    out = jax.jit(system.predict).lower(*arguments).compile()(*arguments)
    np.testing.assert_allclose(out.refined.shape, out.face.shape, atol=1e-6)
    np.testing.assert_array_equal(out.coeffs, 0)  # zero heads: the frontal mean face


def test_the_plan_goes_through_the_stages():
    system = smoke()
    names = [system.plan(i).stage.name for i in range(0, system.total_images, 8)]
    assert names == ["warmup"] * 2 + ["rnet"] * 2 + ["graph"] * 2
    assert system.plan(16).segment == "rnet" and set(system.plan(40).scalars) == {"lr/graph"}
    step = make_system(load_config(f"{CONFIG}:paper-tf"))
    rates = [step.plan(i).scalars["lr/rnet"] for i in (0, 1_599_984, 1_600_000)]
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 2e-5])


@pytest.mark.parametrize("preset", ["paper-tf", "paper-pytorch", "gcn", "texture-gcn"])
def test_published_recipes_have_the_published_numbers(preset):
    config = load_config(f"{CONFIG}:{preset}")
    wanted = dict(
        photo=1.92, landmark=1.6e-3, landmark_focus=20.0, coefficients=3e-4, id=1.0, exp=0.8,
        tex=0.017, gamma=10.0, reflectance=5.0, inner_face="separate", fit=0.0,
        perceptual=0.2 if preset.startswith("paper") else 0.0,
        form="pytorch" if preset == "paper-pytorch" else "tensorflow",
        graph_landmark=1.6e-3, graph_shape=100.0, graph_normal=100.0, graph_fit=0.0,
        graph_photo=0.0, graph_perceptual=0.0, graph_smooth=0.0,
    )  # fmt: skip
    assert config.loss.to_dict() == wanted
    assert config.optim.to_dict() == dict(
        b1=0.9, b2=0.999, eps=1e-8, clip_norm=5.0 if preset == "texture-gcn" else 0.0
    )
    assert config.texture.to_dict() == dict(
        hidden=0.3, identity=0.2, symmetry=0.5, variance=0.01, decay=5e-4
    )
    assert (config.graph.order, config.graph.levels, config.graph.factor) == (6, 4, 4)
    assert not config.graph.residual and config.graph.scale == 1.0


REDUCED = dict(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)


def reduced(preset, **adversarial):
    """A published recipe on small networks, pictures and meshes, otherwise as it is."""
    config = load_config(f"{CONFIG}:{preset}")
    config.data.update(source="synthetic", image_size=32, num_examples=8)
    config.data.model_options.update(**REDUCED)
    config.model.update(width=2, depth=10, variant="torch")
    config.recognition.update(kind="idnet", size=32, width=2, features=4, depth=10)
    config.graph.update(levels=2, order=2)
    config.schedule.update(batch_size=2, graph_batch_size=2)
    config.adversarial.update(adversarial)
    return make_system(config)


def step_of(preset, **adversarial):
    """(system, state before, arguments of the step that ends the run, the step)."""
    system = reduced(preset, **adversarial)
    plan = system.plan(system.total_images - 16)
    scalars = traced_scalars(plan.scalars, 0)
    arguments = (init_state(system, 0), frozen_trees(system), drawn(system), scalars)
    return system, arguments, make_step(system, plan.stage)


def changed(before, after):
    """Names of the parameter groups that a step moved."""
    return {
        name
        for name, tree in before.params.items()
        if any(
            (np.asarray(a) != np.asarray(b)).any()
            for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(after.params[name]), strict=True)
        )
    }


@pytest.mark.parametrize(
    "preset", ["paper-tf", pytest.param("paper-pytorch", marks=pytest.mark.slow), "gcn"]
)
def test_a_step_of_every_published_recipe(preset):
    _, arguments, step = step_of(preset)
    state = arguments[0]
    (group,) = (name.split("/")[1] for name in arguments[3] if name.startswith("lr/"))
    if preset == "paper-tf":  # what differs from paper-pytorch here are forms of losses
        _, metrics = jax.eval_shape(step, *arguments)
        assert f"{group}/landmark_px" in metrics
        return
    new, metrics = jax.jit(step).lower(*arguments).compile()(*arguments)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    assert metrics[f"{group}/grad_norm"] > 0 and metrics[f"{group}/skipped"] == 0
    root, mean = metrics[f"{group}/landmark_px"], metrics[f"{group}/landmark"]
    assert 0.9 * mean < root**2 < 1.00001 * mean  # a mean of roots is below the root of the mean
    assert changed(state, new) == {group}  # a frozen R-Net stays


@pytest.mark.slow
def test_the_adversarial_variant_of_the_albedo():
    system, (state, frozen, batch, scalars), step = step_of("texture-gcn", weight=1e-3, width=1)
    compiled = jax.jit(step).lower(state, frozen, batch, scalars).compile()
    new, metrics = compiled(state, frozen, batch, scalars)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    assert changed(state, new) == {"critic", "graph"}
    wanted = 10 * metrics["critic/gradient_penalty"] - metrics["critic/wasserstein"]
    np.testing.assert_allclose(metrics["critic/loss"], wanted, rtol=1e-5)
    assert metrics["graph/perceptual"] > 0
    scalars |= {"lr/graph": np.float32(0), "lr/critic": np.float32(1e-2)}
    now, losses_seen = state, []
    for _ in range(12):  # the same photos and fakes: it learns to tell them
        now, metrics = compiled(now, frozen, batch, scalars)
        losses_seen.append(float(metrics["critic/loss"]))
    assert np.mean(losses_seen[-3:]) < losses_seen[0] - 0.1 * abs(losses_seen[0])
    assert changed(state, now) == {"critic"}
    assert system.optimizer("critic").init(state.params["critic"]).mu == ()  # no momentum


def test_the_tensorflow_variant_sees_bgr_bytes():
    system = make_system(load_config(f"{CONFIG}:paper-tf"))
    system.rnet = RNet(variant="slim")
    np.testing.assert_allclose(
        system.network_image(jnp.array([[[0.2, 0.4, 1.0]]])), [[[255, 102, 51]]]
    )


def test_the_mirror_of_the_mirror():
    mirror = texture.mirror_pairs(smoke().model)
    assert (mirror[mirror] == np.arange(len(mirror))).mean() > 0.9


def test_every_array_is_clipped_by_itself():
    tx = clip_each_norm(5.0)
    grads = {"a": jnp.full((2, 2, 4), 10.0), "b": jnp.ones(4)}
    clipped, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_allclose(np.linalg.norm(clipped["a"]), 5.0, rtol=1e-5)
    np.testing.assert_allclose(clipped["b"], 1.0)


@pytest.mark.parametrize(
    "key,value,message",
    [
        ("loss.perceptual", 0.5, "recogniser"),
        ("schedule.lr_decay", "plateau", "function of the images seen"),
        ("adversarial.weight", 1e-3, "albedo"),
        ("adversarial.norm", "instance", "layer"),
    ],
)
def test_settings_that_contradict_each_other(key, value, message):
    config = load_config(f"{CONFIG}:smoke")
    group, name = key.split(".")
    config[group][name] = value
    with pytest.raises(ValueError, match=message):
        make_system(config)


def test_a_folder_needs_a_path():
    config = load_config(f"{CONFIG}:smoke")
    config.data.source = "folder"
    with pytest.raises(ValueError, match="preprocess_images"):
        make_system(config).source()
