"""Parity with the published VariTex code: networks, sampling, losses, both steps, names, data."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from facejax.geometry.mesh import MeshTopology
from facejax.host.hdf5 import read_hdf5
from facejax.morphable import decode_shape
from facejax.morphable.bfm17 import load_bfm17, read_layout
from facejax.nn.resnet import _Block as EncoderBlock
from facejax.nn.vgg import VGG19
from facejax.pretrained.published import Format, abstract_variables, from_published, leaves
from facejax.render import rasterize
from facejax.systems.varitex import (
    geometry,
    images,
    losses,
    networks,
    preprocess,
    published,
)
from facejax.systems.varitex.discriminator import Discriminator, PatchDiscriminator, halve
from tests.parity.golden import case_files

BLOCKS = case_files("varitex", "blocks*.npz")
NAMES = case_files("varitex", "checkpoint_names*.json")
OPTIONS = case_files("varitex", "pipeline_options*.json")


@functools.cache
def load(path):
    with np.load(path) as file:
        return dict(file)


def part(case, prefix):
    return {k.removeprefix(prefix): v for k, v in case.items() if k.startswith(prefix)}


def nhwc(x):
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def nchw(x):
    x = np.asarray(x)
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def close(got, want, rel=2e-5, name=""):
    """Within `rel` of the largest value."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, (name, got.shape, want.shape)
    np.testing.assert_allclose(got, want, rtol=rel, atol=rel * np.abs(want).max(), err_msg=name)


# --- building blocks -------------------------------------------------------------------------


def block_format(name_of):
    """Arrays of a single block, by a function from our path to their module's name."""
    whole = published.discriminator_format(Discriminator())
    ends = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean",
            "var": "running_var"}  # fmt: skip

    def name(path):
        if path[-1] in "uv" or f"{name_of(path[1:-1])}" == "spectral":
            return whole.name((path[0], "discriminator_0", *path[1:]))
        return f"{name_of(path[1:-1])}.{ends[path[-1]]}"

    return Format("a block", name, whole.ours, whole.theirs)


def discriminator_block(net):
    whole = published.discriminator_format(Discriminator(layers=net.layers))

    def name(path):
        full = whole.name((path[0], "discriminator_0", *path[1:]))
        return full.removeprefix("discriminator.discriminator_0.")

    return Format("a discriminator", name, whole.ours, whole.theirs)


class Conditioned(nn.Module):
    """A decoder block as module of one call signature."""

    features: int
    scale: int

    @nn.compact
    def __call__(self, x, condition=None, train=False):
        block = networks.DecoderBlock(self.features, self.scale, name="block")
        return block(x, train, condition)


class Encoding(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train=False):
        return EncoderBlock(self.features, self.stride, False, 0.9, name="block")(x, train)


class Scores(nn.Module):
    width: int
    layers: int

    @nn.compact
    def __call__(self, x, train=False):
        net = PatchDiscriminator(self.width, self.layers)
        nn.share_scope(self, net)
        return net(x, train)[-1]


def make_block(kind, case):
    """(module, format) of a block, its attributes read off the arrays."""
    names = part(case, "param/")
    if kind.startswith("nlayer"):
        layers = max(int(n.split(".")[0].removeprefix("model")) for n in names)
        return (net := Scores(len(names["model0.0.bias"]), layers)), discriminator_block(net)
    if kind.startswith("unet"):
        top = max(int(n.split(".")[1]) for n in names)
        levels = (top + 1) // 2
        bilinear = f"layers.{levels}.upsample.1.weight" in names
        features = len(names["layers.0.net.0.bias"])
        net = networks.UNet(len(names[f"layers.{top}.bias"]), features, levels, bilinear)

        def unet_name(parts):
            found = f"layers.{published.unet_parts(parts, levels)}"
            return f"{found}.1" if bilinear and parts[-1] == "upsample" else found

        return net, block_format(unet_name)
    features, width = len(case["eval"][0]), case["x0"].shape[2]
    if kind.startswith("encoder"):
        net = Encoding(features, -(-width // case["eval"].shape[2]))
        down = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
        return net, block_format(lambda parts: down.get(parts[1], parts[1]))
    scale = case["eval"].shape[2] // width
    net = Conditioned(features, scale)
    return net, block_format(lambda parts: published.block_parts(parts[1:], scale))


def blocks():
    """(file, block) of every block of every file."""
    out = []
    for param in BLOCKS:
        if param.values[0] is None:
            return [pytest.param(None, None, marks=param.marks, id="absent")]
        file = param.values[0]
        names = sorted({k.split("/")[0] for k in np.load(file).files} - {"d_downsample"})
        out += [pytest.param(file, name, id=f"{file.stem}-{name}") for name in names]
    return out


@pytest.mark.parametrize(("path", "kind"), blocks())
def test_building_blocks(path, kind):
    case = part(load(path), f"{kind}/")
    net, form = make_block(kind, case)
    inputs = [nhwc(case[k]) for k in ("x0", "x1") if k in case]
    wanted = abstract_variables(net, *(x.shape for x in inputs))
    variables = from_published(part(case, "param/"), wanted, form)
    close(nchw(jax.jit(net.apply)(variables, *inputs)), case["eval"])
    mutable = [k for k in variables if k != "params"]

    @jax.jit
    def run(params, inputs, cotangent):
        def f(params, inputs):
            state = {**variables, "params": params}
            return net.apply(state, *inputs, train=True, mutable=mutable)

        out, pull, new = jax.vjp(f, params, inputs, has_aux=True)
        return out, pull(cotangent), new

    out, (grads, input_grads), new = run(variables["params"], inputs, nhwc(case["cotangent"]))
    close(nchw(out), case["train"])
    for k, grad in enumerate(input_grads):
        close(nchw(grad), case[f"grad_x{k}"], 2e-4)
    checked = set()
    for tree, prefix, rel in (({"params": grads}, "grad/", 2e-4), (new, "after/", 2e-5)):
        for path, value in leaves(tree):
            key = prefix + form.name(path)
            checked.add(key)
            value, want = form.theirs(path, np.asarray(value)), case[key]
            # a bias in front of batch normalisation has no gradient: theirs is round-off
            floor = 1e-3 if prefix == "grad/" and np.abs(want).max() < 1e-4 else 0.0
            np.testing.assert_allclose(
                value, want, rtol=rel, atol=rel * np.abs(want).max() + floor, err_msg=key
            )
    assert checked == {k for k in case if k.startswith(("grad/", "after/"))}


@pytest.mark.parametrize("path", BLOCKS)
def test_the_next_scale_of_the_discriminator(path):
    case = load(path)
    close(nchw(halve(nhwc(case["d_downsample/x"]))), case["d_downsample/y"])


@pytest.mark.parametrize("path", case_files("varitex", "texture_sampling*.npz"))
def test_sampling_of_textures(path):
    case = load(path)
    for name in sorted({k.split("/")[0] for k in case}):
        c = part(case, f"{name}/")
        value = float(c["mask_value"])
        sample = jax.jit(functools.partial(networks.sample_texture, mask_value=value))
        out, pull, mask = jax.vjp(sample, nhwc(c["texture"]), c["uv"], has_aux=True)
        close(nchw(out), c["face_featureimage"], 1e-5)
        np.testing.assert_array_equal(nchw(mask), c["mask_uv"])
        grad_texture, grad_uv = pull(nhwc(c["cotangent"]))
        close(nchw(grad_texture), c["grad_texture"], 1e-4)
        # where the slope jumps, at texel centres, either side will do
        size = np.array([c["texture"].shape[3], c["texture"].shape[2]])
        place = np.clip(((c["uv"] + 1) * size - 1) / 2, 0, size - 1)
        smooth = np.abs(place - np.round(place)) > 1e-4
        wrong = np.abs(grad_uv - c["grad_uv"]) > 1e-4 * np.abs(c["grad_uv"]).max()
        assert not np.any(wrong & smooth)


# --- losses ----------------------------------------------------------------------------------

LOSSES = case_files("varitex", "losses*.npz")


@pytest.mark.parametrize("path", LOSSES)
def test_divergence_and_reconstruction(path):
    c = load(path)
    mu, std = c["kl/mu"], c["kl/std"]
    close(losses.kl_divergence(mu, std), c["kl/per_sample"], 1e-5)
    mean, grads = jax.value_and_grad(
        lambda *a: losses.kl_divergence(*a).mean(), argnums=(0, 1)
    )(mu, std)  # fmt: skip
    close(mean, c["kl/mean"], 1e-5)
    close(grads[0], c["kl/grad_mu"], 1e-4)
    close(grads[1], c["kl/grad_std"], 1e-4)
    value, grad = jax.value_and_grad(
        lambda p: losses.binary_cross_entropy(p, nhwc(c["bce/target"])).mean()
    )(nhwc(c["bce/p"]))
    close(value, c["bce/value"], 1e-5)
    close(nchw(grad), c["bce/grad_p"], 1e-4)


@pytest.mark.parametrize("path", LOSSES)
@pytest.mark.parametrize("mode", losses.GAN_MODES)
def test_adversarial_losses(path, mode):
    c = load(path)
    scores = [c[k] for k in sorted(c) if k.startswith("gan/pred")]
    # scores of the other sort at which their half of the loss is nothing
    perfect = {"ls": (1.0, 0.0), "hinge": (1.0, -1.0), "original": (200.0, -200.0), "w": (0, 0)}
    real, fake = ([np.full_like(s, v) for s in scores] for v in perfect[mode])
    cases = {
        "real1_forD1": lambda s: losses.gan_discriminator(s, fake, mode),
        "real0_forD1": lambda s: losses.gan_discriminator(real, s, mode),
        "real1_forD0": lambda s: losses.gan_generator(s, mode),
    }
    for name, loss in cases.items():
        value, grads = jax.value_and_grad(loss)(scores)
        close(np.atleast_1d(value), c[f"gan/{mode}/{name}"], 1e-5)
        for k, grad in enumerate(grads):
            close(grad, c[f"gan/{mode}/{name}/grad{k}"], 1e-4)


def fingerprint(x):
    flat = np.asarray(x, np.float64).reshape(-1)
    wave = np.cos(0.37 * np.arange(flat.size) + 0.1)
    return np.array([flat.sum(), np.sqrt((flat**2).sum()), (flat * wave).sum()])


def matches(x, stats, rel, floor=0.0, name=""):
    """Whether a tensor, in their layout, has a fingerprint; the norm sets the scale."""
    got = fingerprint(x)
    np.testing.assert_allclose(
        got, stats, rtol=rel, atol=rel * stats[1] * np.sqrt(np.size(x)) + floor, err_msg=name
    )


@pytest.mark.parametrize("path", LOSSES)
def test_features_of_vgg(path):
    c = load(path)
    net = VGG19(len(c["vgg/param/vgg.slice1.0.bias"]))
    arrays = {f"loss_vgg.{k}": v for k, v in part(c, "vgg/param/").items()}
    variables = from_published(arrays, published.wanted_variables(net), published.VGG_IN_CHECKPOINT)
    real = net.apply(variables, nhwc(c["vgg/real"]))

    @jax.jit
    def loss(fake):
        found = net.apply(variables, fake)
        return losses.vgg_distance(found, real), found

    (value, found), grad = jax.value_and_grad(loss, has_aux=True)(nhwc(c["vgg/fake"]))
    close(np.atleast_1d(value), c["vgg/value"], 1e-5)
    close(nchw(grad)[:, :, ::2, ::2], c["vgg/grad_fake"], 1e-4)
    for k, feature in enumerate(found):
        matches(nchw(feature), c[f"vgg/feat{k}__stats"], 1e-5)


# --- the whole model -------------------------------------------------------------------------


@pytest.mark.parametrize("path", NAMES)
def test_names_and_counts_of_the_published_model(path):
    """Every entry of the published checkpoint, name and shape; counts of its networks."""
    nets = networks.Generator(), Discriminator(), VGG19()
    wanted = [published.wanted_variables(net) for net in nets]
    blank = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), wanted)
    pairs = [x for pair in zip(nets, blank, strict=True) for x in pair]
    found = published.write_arrays(published.Checkpoint(*pairs))
    assert {k: list(v.shape) for k, v in found.items()} == json.loads(path.read_text())

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    parts = {k: count(v) for k, v in wanted[0]["params"].items()}
    assert parts == {
        "encoder": 11_168_832, "fc_mu": 131_328, "fc_var": 131_328, "decoder": 12_443_520,
        "decoder_exterior": 19_163_008, "texture2image": 31_060_420,
    }  # fmt: skip
    assert sum(parts.values()) == 74_098_436
    assert count(wanted[1]["params"]) == 5_527_682 and count(wanted[1]["spectral"]) == 16_128
    assert count(wanted[2]["params"]) == 12_944_960


def beside(options, name):
    """The file `name` that belongs to an options file, whatever follows its name."""
    suffix = options.stem.removeprefix("pipeline_options")
    return options.with_name(f"{name}{suffix}.npz")


@functools.cache
def pipeline(options):
    """(options, checkpoint) of a reference run."""
    opt = json.loads(options.read_text())
    arrays = load(beside(options, "pipeline_params"))
    return opt, published.read_arrays(arrays, opt["uv_mask_value"])


@pytest.mark.parametrize("path", OPTIONS)
def test_a_checkpoint_round_trips(path):
    opt, checkpoint = pipeline(path)
    net = checkpoint.generator
    assert (net.image_size, net.texture_size) == (opt["image_h"], opt["texture_dim"])
    assert (net.latent, net.texture_channels) == (opt["latent_dim"], opt["texture_nc"])
    assert net.unet_levels == opt["feature2image_num_layers"]
    disc = checkpoint.discriminator
    assert disc == Discriminator(
        opt["nc_discriminator"], opt["n_layers_discriminator"], opt["num_discriminator"]
    )
    arrays, back = load(beside(path, "pipeline_params")), published.write_arrays(checkpoint)
    assert {k for k in back if "num_batches" not in k} == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def inputs_of(case, opt, dtype):
    """Network images, UV map, mask and noise of a reference run, in our layout."""
    mean = np.float32([0.485, 0.456, 0.406])
    std = np.float32([0.229, 0.224, 0.225])

    def network(u8):
        return ((u8.astype(np.float32) / np.float32(255) - mean) / std).astype(dtype)

    batch = {
        "image_in_encode": network(case["in/image_in_encode_u8"]),
        "image_in": network(case["in/image_in_u8"]),
        "uv_rendered": case["in/uv_rendered"].astype(dtype),
        "segmentation_mask": nhwc(case["in/segmentation_mask"]).astype(dtype),
    }
    return batch, case["in/eps"].astype(dtype)


KEYS = tuple(f for f in networks.Generated.__dataclass_fields__ if f != "mask_uv")


@pytest.mark.parametrize("path", OPTIONS)
def test_the_generator_in_use(path):
    opt, checkpoint = pipeline(path)
    case = load(beside(path, "pipeline_eval"))
    net, variables = checkpoint.generator, checkpoint.generator_variables
    batch, eps = inputs_of(case, opt, np.float32)
    image, uv = batch["image_in_encode"], batch["uv_rendered"]
    run = jax.jit(functools.partial(net.apply, variables))
    for k in (0, 1, 2):
        out = run(image, uv, eps[0], np.float32(k))
        for key in KEYS:
            if f"std{k}/{key}" in case:
                got, want = nchw(getattr(out, key)), case[f"std{k}/{key}"]
                matches(got, case[f"std{k}/{key}__stats"], 2e-5, name=key)
                close(got[:, :, ::4, ::4] if got.ndim == 4 else got, want, name=key)
    assert sum(k.startswith("std1/") and "__" not in k for k in case) == len(KEYS)
    np.testing.assert_array_equal(nchw(out.mask_uv), case["mask_uv"])
    again = net.apply(
        variables, out.texture_person, out.latent_exterior, uv[::-1],
        method=networks.Generator.interior_to_image,
    )  # fmt: skip
    got = nchw(again["image_out"])[:, :, ::4, ::4]
    close(got, case["interior2image_swappeduv/image_out"])


class Holder:
    """What is added to the tensors on the way, and the tensors; hashed by identity."""

    def __init__(self, added):
        self.added, self.seen = added, {}

    def __call__(self, name, value):
        self.seen[name] = value + self.added[name] if name in self.added else value
        return self.seen[name]


class Watched(networks.Generator):
    """The generator's pass, part by part, with something added to every tensor on the way."""

    at: Holder | None = None

    def __call__(self, image, uv, noise, multiplier=1.0, train=False):
        at = self.at
        encoded = at("image_encoded", self.encode(image, train))
        mu, std = self.distribution(encoded)
        mu, std = at("style_latent_mu", mu), at("style_latent_std", std)
        code = at("style_latent", networks.sample_style(mu, std, noise, multiplier))
        interior, exterior = self.split(code)
        interior, exterior = at("latent_interior", interior), at("latent_exterior", exterior)
        texture = at("texture_person", self.texture(interior, train))
        face, at.seen["mask_uv"] = networks.sample_texture(texture, uv, self.mask_value)
        face = at("face_featureimage", face)
        additive = at("additive_featureimage", self.additive(exterior, face, train))
        full = at("full_featureimage", jnp.concatenate([face, additive], axis=-1))
        image, segmentation = self.render(full, train)
        at("image_out", image)
        at("segmentation_predicted", segmentation)
        return networks.Generated(**at.seen)


@pytest.mark.parametrize("path", OPTIONS)
def test_one_training_iteration(path):
    """Both steps in double precision: outputs, losses, gradients, buffers, parameters after."""
    with jax.enable_x64(True):
        check_training_iteration(path)


def check_training_iteration(path):
    opt, checkpoint = pipeline(path)
    case = load(beside(path, "pipeline_train"))
    batch, eps = inputs_of(load(beside(path, "pipeline_eval")), opt, np.float64)
    double = functools.partial(jax.tree.map, lambda x: np.asarray(x, np.float64))
    gen, disc = double(checkpoint.generator_variables), double(checkpoint.discriminator_variables)
    vgg = double(checkpoint.vgg_variables)
    net = checkpoint.generator
    nets = losses.Networks(net, checkpoint.discriminator, checkpoint.vgg)
    weights = {
        "gan": "gan", "gan_features": "discriminator_features", "l2": "l2", "kl": "kl",
        "vgg": "vgg", "segmentation": "segmentation", "rgb_texture": "rgb_texture",
    }  # fmt: skip
    cfg = losses.LossConfig(opt["gan_mode"], **{k: opt[f"lambda_{v}"] for k, v in weights.items()})
    params = {"gen": gen["params"], "disc": disc["params"]}
    aux = {"gen_stats": gen["batch_stats"], "disc_spectral": disc["spectral"]}
    gen_form = published.generator_format(net)
    disc_form = published.discriminator_format(checkpoint.discriminator)

    # the generator's step, with the gradients that reach the tensors on the way
    wanted = [k.removeprefix("G/grad/") for k in case if k.startswith("G/grad/")]
    wanted = [k for k in wanted if not k.endswith("__stats")]
    assert set(wanted) <= set(KEYS)
    attributes = {k: getattr(net, k) for k in networks.Generator.__dataclass_fields__
                  if k not in ("parent", "name")}  # fmt: skip

    def objective(gen_params, added):
        holder = Holder(added)
        watching = dataclasses.replace(nets, generator=Watched(**attributes, at=holder))
        loss, (terms, new) = losses.generator_loss(
            watching, cfg, {**params, "gen": gen_params}, aux, vgg, batch, eps[1]
        )
        return loss, (terms, new, holder.seen)

    shapes = jax.eval_shape(lambda: objective(params["gen"], {})[1][2])
    added = {k: np.zeros(shapes[k].shape) for k in wanted}
    step = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))
    (loss, (terms, new, out)), (grads, reached) = step(params["gen"], added)
    close(np.atleast_1d(loss), case["G/loss"], 1e-5)
    logged = {
        "gan": "generator", "gan_features": "gan_features", "l2": "reconstruction_l2", "kl": "kl",
        "vgg": "vgg_l1", "segmentation": "segmentation",
    }  # fmt: skip
    for name, theirs in logged.items():
        close(np.atleast_1d(terms[name]), case[f"G/log/train/{theirs}"], 1e-5, name)
    unweighted = sum(terms[name] for name in logged)
    close(np.atleast_1d(unweighted), case["G/log/train/loss"], 1e-5)

    for key in KEYS:
        got, want = nchw(out[key]), case[f"G/{key}"]
        matches(got, case[f"G/{key}__stats"], 1e-5, name=key)
        close(got[:, :, 3::8, 3::8] if got.ndim == 4 else got, want, 1e-5, key)
    for key in wanted:
        got, want = nchw(reached[key]), case[f"G/grad/{key}"]
        close(got[:, :, 3::8, 3::8] if got.ndim == 4 else got, want, 1e-4, key)
        if f"G/grad/{key}__stats" in case:
            matches(got, case[f"G/grad/{key}__stats"], 1e-4, name=key)

    def compare(tree, collection, form, stats, full, rel, floor=0.0):
        """Every array of a tree against the fingerprints, and the whole ones there are."""
        names = set()
        for at, value in leaves({collection: tree}):
            name = form.name(at)
            value = form.theirs(at, np.asarray(value))
            names.add(name)
            want = case[stats + name]
            if want.shape == (3,) and value.shape != (3,):
                matches(value, want, rel, floor, stats + name)
            elif stats == full:
                np.testing.assert_allclose(
                    value, want, rtol=rel, atol=rel * np.abs(want).max() + floor, err_msg=name
                )
            else:
                matches(value, want, rel, floor, stats + name)
            if full != stats and full + name in case:
                close(value, case[full + name], rel, full + name)
        prefix = "generator." if form is gen_form else "discriminator."
        assert names == {
            k.removeprefix(stats) for k in case if k.startswith(stats + prefix)
        }  # fmt: skip

    compare(grads, "params", gen_form, "G/gradstats/", "G/gradfull/", 1e-4, 1e-9)
    compare(new["gen_stats"], "batch_stats", gen_form, "G/bufstats/", "G/buffull/", 1e-4)
    compare(new["disc_spectral"], "spectral", disc_form, "G/Dbuf/", "G/Dbuf/", 1e-4)

    tx = optax.scale_by_adam()

    def updated(tree, grads, rate):
        ups, _ = tx.update(grads, tx.init(tree), tree)
        return jax.tree.map(lambda p, u: p - rate * u, tree, ups)

    params["gen"] = updated(params["gen"], grads, opt["lr"])
    # Adam makes +-lr of the round-off of gradients that are zero
    idle = [form_name for at, _ in leaves({"params": grads})
            if is_idle(form_name := gen_form.name(at))]  # fmt: skip
    check_params(case, "afterG/paramstats/", params["gen"], gen_form, opt["lr"], set(idle))

    # the discriminator's
    def disc_objective(disc_params):
        return losses.discriminator_loss(
            nets, cfg, {**params, "disc": disc_params}, new, batch, eps[2]
        )

    step = jax.jit(jax.value_and_grad(disc_objective, has_aux=True))
    (loss, (_, last)), grads = step(params["disc"])
    close(np.atleast_1d(loss), case["D/loss"], 1e-5)
    compare(grads, "params", disc_form, "D/grad/", "D/grad/", 1e-4)
    compare(last["gen_stats"], "batch_stats", gen_form, "afterD/bufstats/", "afterD/", 1e-4)
    compare(last["disc_spectral"], "spectral", disc_form, "afterD/Dbuf/", "afterD/Dbuf/", 1e-4)
    params["disc"] = updated(params["disc"], grads, opt["lr_discriminator"])
    check_params(case, "afterD/paramstats/", params["disc"], disc_form, 0.0, set())


def is_idle(name):
    """A bias of the U-Net's convolutions, each in front of batch normalisation."""
    return ".net." in name and name.endswith((".0.bias", ".3.bias"))


def check_params(case, prefix, tree, form, rate, idle):
    for at, value in leaves({"params": tree}):
        name = form.name(at)
        value = form.theirs(at, np.asarray(value))
        floor = 4 * rate * value.size if name in idle else 0.0
        matches(value, case[prefix + name], 1e-4, floor, prefix + name)


# --- geometry and pictures -------------------------------------------------------------------


@functools.cache
def tiny_bfm(path):
    """The model that a file of UV maps belongs to, and its arrays as they are."""
    suffix = path.stem.removeprefix("bfm_uv")
    file = path.with_name(f"bfm_tiny{suffix}.h5")
    layout = path.with_name(f"face12_tiny{suffix}.json")
    model = load_bfm17(file, uv=layout, reference=np.zeros((68, 3)))
    return model, read_hdf5(file), read_layout(layout)


@pytest.mark.parametrize("path", case_files("varitex", "bfm_uv*.npz"))
def test_faces_and_their_uv_maps(path):
    c = load(path)
    model, arrays, (uv, uv_triangles) = tiny_bfm(path)
    np.testing.assert_array_equal(c["faces"], arrays["shape/representer/cells"].T)
    coeffs = [c[k] / np.asarray(std) for k, std in (("sp", model.id_std), ("ep", model.exp_std))]
    vertices = decode_shape(model, *coeffs)
    close(vertices, c["vertices"], 1e-5)
    close(model.mean_shape, c["mean_vertices"], 1e-5)
    close(geometry.rotation_of(c["theta_deg"]), c["R"], 1e-5)
    posed = geometry.pose(c["vertices"], c["R"], c["t"], c["s"])
    close(posed, c["posed_vertices"], 1e-5)
    size = int(c["image_size"])
    # in the order of the file, whichever way round the model's triangles are
    mesh = MeshTopology(c["faces"], len(c["mean_vertices"]), uv=uv, uv_triangles=uv_triangles)
    posed = c["posed_vertices"]
    clip = np.asarray(geometry.clip_of(posed, size))
    ndc = clip[..., :2] / clip[..., 3:] * [-1, 1]  # theirs runs left
    close(ndc, c["verts_ndc"][..., :2], 1e-5)
    close(clip[..., 3], c["verts_ndc"][..., 2], 1e-5)
    fragments = rasterize(clip, mesh, (size, size))
    found = np.asarray(fragments.triangle_id)
    offset = len(mesh.triangles) * np.arange(len(found))[:, None, None]
    wanted = np.where(c["pix_to_face"] >= 0, c["pix_to_face"] - offset, -1)
    same = found == wanted
    assert np.mean(~same) <= 1e-3
    hit = same & (found >= 0)
    bary = np.asarray(fragments.barycentric)
    np.testing.assert_allclose(bary[hit], c["bary"][hit], atol=1e-4)
    maps = np.asarray(geometry.uv_map(posed, mesh, size, v_up=True))
    np.testing.assert_allclose(maps[same], c["uv_rendered"][same], atol=1e-4)
    np.testing.assert_array_equal(maps[found < 0], -1.0)


@pytest.mark.parametrize("path", case_files("varitex", "utils*.npz"))
def test_utilities(path):
    c = load(path)
    for name, correction in (("corrected", "published"), ("plain", "none")):
        for key in (k for k in c if k.startswith(f"interp/{name}")):
            count = int(key.removeprefix(f"interp/{name}"))
            got = images.interpolate_codes(c["interp/a"], c["interp/b"], count, correction)
            close(got, c[key], 1e-6)
    close(geometry.rotation_of(c["theta/deg"], False), c["theta/R_theta_all"], 1e-6)
    close(geometry.rotation_of(c["theta/deg"]), c["theta/R_named"], 1e-6)
    given = [c[f"rts/{k}"] for k in "vRts"]
    close(geometry.pose(*given), c["rts/centered"], 1e-6)
    close(geometry.pose(*given, centered=False), c["rts/plain"], 1e-6)
    picture = images.from_network(nhwc(c["unnorm/x"]))
    close(nchw(picture), c["unnorm/y"], 1e-6)
    close(nchw(255 * picture), c["unnorm/y255"], 1e-6)
    out, p = images.from_network(nhwc(c["mask/image_out"])), nhwc(c["mask/prob"])
    for grey in (0, 1):
        got = nchw(images.composite(out, p, float(grey)))[0]
        close(got, c[f"mask/tensor2image_white{grey}"], 1e-6)
    close(nchw(images.legacy_double_mask(out, p))[0], c["mask/inference_ffhq_chain"], 1e-6)


# --- data ------------------------------------------------------------------------------------

_SETTINGS = {  # of the reference run, by the first part of a name
    "noaug_black": dict(background="min"),
    "aug_black": dict(background="min"),
    "noaug_gray": dict(background="gray"),
    "keepbg": dict(background="keep"),
}


@pytest.mark.parametrize("path", case_files("varitex", "preprocess*.npz"))
def test_preprocessing(path):
    c = load(path)
    photos, uv, labels = c["images_u8"], c["uv"], c["segmentation"]
    published_way = dict(uv_resize="bilinear", mask_resize="bilinear", uv_quantize=True)
    size = c["noaug_black/0/uv_rendered"].shape[0]
    base = preprocess.Preprocess(size, photos.shape[1], **published_way)
    read = base.load(c["read/source_u8"]).astype(int)
    assert np.mean(np.abs(read - photos[0]) > 1) <= 1e-3
    checked = 0
    for name, setting in _SETTINGS.items():
        how = dataclasses.replace(base, **setting)
        drawn = c.get(f"{name}/affine_angle_tx_ty_scale_shx_shy_flip")
        for k in range(len(photos)):
            wanted = part(c, f"{name}/{k}/")
            affine = None
            if drawn is not None:
                angle, x, y, scale, _, _, flip = drawn[k]
                affine = preprocess.Affine(angle, (x, y), scale, bool(flip))
            found = how.view(photos[k], uv[k], labels[k], affine)
            found["image_in"] = found["image_in_encode"] = found["image"]
            for key, want in wanted.items():
                checked += 1
                got = found[key]
                got = np.moveaxis(got, -1, 0) if key != "uv_rendered" else got
                assert got.shape == want.shape and got.dtype == want.dtype
                if key.startswith("mask"):
                    np.testing.assert_array_equal(got, want, err_msg=f"{name}/{k}/{key}")
                elif key == "uv_rendered":
                    off = np.abs(got - want).max(-1)
                    assert np.mean(off > 1e-6) <= 0.02 and np.mean(off > 1e-5) <= 1e-3
                elif key == "segmentation_mask":
                    np.testing.assert_allclose(got, want, atol=1e-6)
                else:  # within a grey level
                    grey = 1.01 / (255 * images.STD)[:, None, None]
                    assert np.mean((np.abs(got - want) > grey).any(0)) <= 1e-3, (name, k)
    assert checked == sum("/" in k and k.split("/")[1].isdigit() for k in c)
