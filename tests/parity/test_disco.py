"""Parity with the published DiscoFaceGAN code: networks, losses, schedule, files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.data.alignment import pos
from facejax.image import filters, warp
from facejax.image.resample import downsample2, resize_legacy, upsample2
from facejax.io.network_pickles import load_network_pickle
from facejax.io.tfrecord_images import MultiResolutionTFRecords, write_multiresolution
from facejax.losses.adversarial import logistic_generator
from facejax.morphable import load_morphable
from facejax.nn import equalized
from facejax.recon import decoder
from facejax.systems.disco import alignment, factors, losses, networks, render, vae
from facejax.systems.disco.importer import (
    config_from_static_kwargs,
    params_from_variables,
    vae_params,
    variables_from_params,
)
from facejax.systems.disco.schedule import PUBLISHED
from facejax.train.optim import adam
from facejax.train.schedules import ProgressiveSchedule, tick_kimg
from tests.parity.golden import case_files

STYLEGAN = case_files("disco", "stylegan*.npz")
PICKLES = case_files("disco", "tiny_network*.pkl")
VAES = case_files("disco", "vae*.npz")
RELEASED = case_files("disco", "released_vae*.npz")
DECODERS = case_files("disco", "face_decoder*.npz")
LOSSES = case_files("disco", "losses*.npz")
TRUNCATIONS = case_files("disco", "truncation*.npz")
SCHEDULES = case_files("disco", "schedule*.npz")
PREPROCESS = case_files("disco", "preprocess*.npz")
SETS = case_files("disco", "*_images.npz")
R1_GAMMA = 10.0


def nhwc(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def nchw(a):
    return np.moveaxis(np.asarray(a), -1, 1)


def close(got, want, atol, outside=1e-4):
    """All but a share of the values within a bound: instance norm amplifies rounding."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.mean(np.abs(got - want) >= atol) <= outside


def config(d) -> networks.NetworkConfig:
    """The networks that the arrays of a file belong to."""
    dense = [k for k in d.files if k.startswith("G/G_mapping/") and k.endswith("/weight")]
    first, finest = d["G/G_mapping/Dense0/weight"], d["D/FromRGB_lod0/weight"]
    resolution = d["in/images"].shape[-1]
    fmap_base = finest.shape[-1] * resolution // 2
    return networks.NetworkConfig(
        resolution=resolution,
        latent_size=len(first),
        dlatent_size=d["out/dlatents"].shape[-1],
        mapping_layers=len(dense),
        mapping_fmaps=first.shape[1],
        fmap_base=fmap_base,
        fmap_max=d["G/G_synthesis/4x4/Const/bias"].size,
        mbstd_strided=True,
    )


def parts(d, prefix, fused=False):
    """(parameters, noise maps) of a network of a file."""
    named = {k[len(prefix) :]: d[k] for k in d.files if k.startswith(prefix)}
    return params_from_variables(named, fused)


def stage_of(cfg, lod):
    """(stage, alpha) of a level of detail."""
    return cfg.resolution_log2 - int(lod), np.float32(lod - int(lod))


def enlarged(x, times):
    for _ in range(times):
        x = upsample2(x)
    return x


def reduced(x, times):
    for _ in range(times):
        x = downsample2(x)
    return x


def lods(d, prefix):
    """{lod: {'fused', 'unfused'}} of the arrays PREFIX<lod>_<form>."""
    found = {}
    for key in (k.removeprefix(prefix) for k in d.files if k.startswith(prefix)):
        lod, form = key.split("_")
        found.setdefault(float(lod), set()).add(form)
    return found


@pytest.mark.parametrize("path", STYLEGAN)
def test_primitives(path):
    d = np.load(path)
    x = nhwc(d["prim/x"])
    for got, key in (
        (networks.blur(x), "blur"),
        (upsample2(x), "up"),
        (downsample2(x), "down"),
        (networks.instance_norm(x), "instance_norm"),
    ):
        np.testing.assert_allclose(nchw(got), d[f"prim/{key}"], atol=1e-5, err_msg=key)
    for key in (k for k in d.files if k.startswith("prim/mbstd_in")):
        got = equalized.minibatch_stddev(nhwc(d[key]), 4, strided=True)
        want = d[key.replace("_in", "_out")]
        np.testing.assert_allclose(nchw(got), want, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("path", STYLEGAN)
def test_generator(path):
    d = np.load(path)
    cfg = config(d)
    for form in ("unfused", "fused"):
        gen, noise = parts(d, "G/", form == "fused")
        styles = networks.styles_of(cfg, gen, d["in/lambda"])
        np.testing.assert_allclose(styles, d["out/dlatents"], atol=1e-5)
        for lod, forms in lods(d, "out/images_lod").items():
            if form in forms:
                stage, alpha = stage_of(cfg, lod)
                got = networks.pictures_of(cfg, gen, styles, noise, alpha, stage)
                want = d[f"out/images_lod{lod:g}_{form}"]
                close(nchw(enlarged(got, int(lod))), want, 1e-4)


@pytest.mark.parametrize("path", STYLEGAN)
def test_discriminator(path):
    d = np.load(path)
    cfg = config(d)
    images = nhwc(d["in/images"])
    disc, _ = parts(d, "D/")
    for lod, forms in lods(d, "out/scores_lod").items():
        stage, alpha = stage_of(cfg, lod)
        got = networks.scores_of(cfg, disc, reduced(images, int(lod)), alpha, stage)
        for form in forms:
            want = d[f"out/scores_lod{lod:g}_{form}"]
            np.testing.assert_allclose(got, want[:, 0], atol=1e-5)


@pytest.mark.parametrize("path", STYLEGAN)
def test_adversarial_losses_and_gradients(path):
    d = np.load(path)
    cfg = config(d)
    gen, noise = parts(d, "G/")
    disc, _ = parts(d, "D/")
    reals = nhwc(d["in/images"])
    for case in sorted({k.split("/")[0] for k in d.files if k.startswith("loss_lod")}):
        key = f"{case}/"
        stage, alpha = stage_of(cfg, float(case.removeprefix("loss_lod")))
        score = functools.partial(networks.scores_of, cfg, alpha=alpha, stage=stage)
        static = dict(cfg=cfg, stage=stage, r1_gamma=R1_GAMMA)

        def pictures(synthesis, styles, stage=stage, alpha=alpha):
            gen = {"synthesis": synthesis}
            return networks.pictures_of(cfg, gen, styles, noise, alpha, stage)

        @jax.jit
        def of_generator(synthesis, styles, pictures=pictures, score=score):
            def total(synthesis, styles):
                scores = score(disc, pictures(synthesis, styles))
                return logistic_generator(scores), scores

            return jax.value_and_grad(total, (0, 1), has_aux=True)(synthesis, styles)

        @jax.jit
        def of_discriminator(disc, fakes, alpha=alpha, static=static):
            def total(disc):
                return losses.discriminator(disc, reals, [fakes], alpha, **static)

            return jax.value_and_grad(total, has_aux=True)(disc)

        (g_total, scores), (of_synthesis, of_styles) = of_generator(
            gen["synthesis"], d["out/dlatents"]
        )
        np.testing.assert_allclose(scores, d[key + "fake_scores"][:, 0], atol=1e-5)
        np.testing.assert_allclose(g_total, d[key + "g_total"], rtol=1e-5)
        scale = np.abs(d[key + "grad_dlatents"]).max()
        close(of_styles, d[key + "grad_dlatents"], 1e-4 * scale)
        fakes = pictures(gen["synthesis"], d["out/dlatents"])
        (d_total, terms), of_disc = of_discriminator(disc, fakes)
        np.testing.assert_allclose(score(disc, reals), d[key + "real_scores"][:, 0], atol=1e-5)
        np.testing.assert_allclose(terms["r1"], d[key + "r1"].mean(), rtol=1e-4)
        np.testing.assert_allclose(d_total, d[key + "d_total"], rtol=1e-5)
        slopes = jax.grad(lambda x, score=score: jnp.sum(score(disc, x)))(reals)
        wanted = d[key + "real_grads"]
        close(nchw(slopes), wanted, 1e-4 * np.abs(wanted).max())
        for prefix, tree in (("gradD/", of_disc), ("gradG/", of_synthesis)):
            named = variables_from_params(jax.tree.map(np.asarray, tree), fused=False)
            for name in (k for k in d.files if k.startswith(key + prefix)):
                got, want = named[name.removeprefix(key + prefix)], d[name]
                atol = 1e-4 * max(np.abs(want).max(), 1e-6)
                np.testing.assert_allclose(got, want, atol=atol, err_msg=name)


@pytest.mark.parametrize("path", PICKLES)
def test_published_pickles(path):
    """Networks of a pickle give the pictures and scores of the original, and survive both ways."""
    d = np.load(path.with_name(path.stem + "_io.npz"))
    networks_in_file = load_network_pickle(path)
    assert [net["name"] for net in networks_in_file] == ["G", "D", "Gs"]
    g, disc, average = networks_in_file
    cfg = config_from_static_kwargs(g["static_kwargs"], disc["static_kwargs"])
    wanted = networks.abstract_parameters(cfg)
    for net, group in ((g, "gen"), (disc, "disc"), (average, "gen")):
        fused = net["static_kwargs"].get("fused_scale", "auto")
        params, noise = params_from_variables(net["variables"], fused)
        assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, wanted[group])
        back = variables_from_params(params, noise, fused)
        kept = {k for k in net["variables"] if k.split("/")[-1] not in ("lod", "dlatent_avg")}
        assert set(back) == kept
        for name, value in back.items():
            np.testing.assert_array_equal(value, net["variables"][name], err_msg=name)
    gen, noise = params_from_variables(average["variables"])
    stage = cfg.resolution_log2
    styles = networks.styles_of(cfg, gen, d["in/lambda"])
    images = networks.pictures_of(cfg, gen, styles, noise, 0.0, stage)
    close(nchw(images), d["out/images"], 1e-4)
    params, _ = params_from_variables(disc["variables"])
    scores = networks.scores_of(cfg, params, nhwc(d["out/images"]), 0.0, stage)
    np.testing.assert_allclose(scores, d["out/scores"][:, 0], rtol=1e-4)


def vae_config(named) -> vae.VAEConfig:
    """Sizes of the autoencoder with published variables."""
    kernel, last = named["decoder/fc0/kernel"], named["decoder/x_hat/kernel"]
    return vae.VAEConfig(last.shape[1], *kernel.shape)


def scoped(d, prefix):
    """Published variables without their scopes: {'encoder/fc0/kernel': array, ...}."""
    return {
        k.split("/stage1/")[1]: d[k] for k in d.files if k.startswith(prefix) and "/stage1/" in k
    }


@pytest.mark.parametrize("path", VAES)
def test_vae_losses_gradients_and_steps(path):
    d = np.load(path)
    named = scoped(d, "param/")
    cfg, params = vae_config(named), vae_params(named)
    x, eps = d["in/x"], d["in/eps"]
    mean, log_sd = vae.encode(cfg, params, x[0])
    np.testing.assert_allclose(mean, d["out/mu"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_sd, d["out/logsd"], rtol=1e-5, atol=1e-6)
    got = vae.decode(cfg, params, d["out/z"])
    np.testing.assert_allclose(got, d["out/xhat"], rtol=1e-5, atol=1e-5)
    run = jax.jit(jax.value_and_grad(functools.partial(vae.vae_loss, cfg), has_aux=True))
    (loss, terms), gradient = run(params, x[0], eps[0])
    np.testing.assert_allclose(loss, d["out/loss"], rtol=1e-5)
    np.testing.assert_allclose(terms["kl"], d["out/kl"], rtol=1e-5)
    np.testing.assert_allclose(terms["gen"], d["out/gen"], rtol=1e-5)
    wanted = vae_params(scoped(d, "grad/"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, wanted
    )
    tx = adam(0.9, 0.999, 1e-8)
    state = tx.init(params)
    for key in sorted(k for k in d.files if k.startswith("adam5/losses_lr")):
        rate = float(key.removeprefix("adam5/losses_lr"))
        for i, want in enumerate(d[key]):
            (loss, _), gradient = run(params, x[i], eps[i])
            np.testing.assert_allclose(loss, want, rtol=1e-4)
            updates, state = tx.update(gradient, state)
            params = jax.tree.map(lambda p, u, rate=rate: p - rate * u, params, updates)
    wanted = vae_params(scoped(d, "adam5/param/"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), params, wanted)


@pytest.mark.parametrize("path", RELEASED)
def test_released_vaes_decode(path):
    d = np.load(path)
    for factor in sorted({k.split("/")[1] for k in d.files if k.startswith("io/")}):
        named = scoped(d, f"{factor}/")
        got = vae.decode(vae_config(named), vae_params(named), d[f"io/{factor}/z"])
        np.testing.assert_allclose(got, d[f"io/{factor}/x_hat"], atol=1e-5)


@pytest.fixture(scope="module")
def face_models(tmp_path_factory):
    """The face model of a file, read as its .mat would be."""
    from scipy.io import savemat

    def load(path):
        d = np.load(path)
        file = tmp_path_factory.mktemp("model") / "BFM_model_front_gan.mat"
        savemat(file, {k.split("/")[1]: d[k] for k in d.files if k.startswith("model/")})
        return load_morphable(file)

    return functools.cache(load)


def sizes_of(model) -> factors.FactorSizes:
    return factors.FactorSizes.of_model(model)


def by_factor(vector, model) -> factors.Factors:
    """Factors of coefficients with a translation, in the program's order."""
    vector = jnp.asarray(vector)
    return factors.split_coefficients(vector[..., :-3], sizes_of(model))


def decoded(vector, model, camera):
    """The face of such coefficients, translation included."""
    coeffs = factors.to_recon(by_factor(vector, model), sizes_of(model))
    coeffs = coeffs.replace(trans=jnp.asarray(vector)[..., -3:])
    return decoder.decode(model, coeffs, camera)


@pytest.mark.parametrize("path", DECODERS)
def test_face_decoder(path, face_models):
    d, model = np.load(path), face_models(path)
    camera = render.camera_of(256)
    vector = d["in/coeff"]
    face = decoded(vector, model, camera)
    angles = by_factor(vector, model).rot
    for got, name, atol in (
        (face.shape, "shape", 1e-5),
        (255 * face.albedo, "texture", 1e-3),
        (decoder.rotation(angles), "rotation_T", 1e-6),
        (face.normals, "normals", 1e-5),
        (face.normals_posed, "normals_rot", 1e-5),
        (face.vertices, "shape_t", 1e-5),
        (255 * face.color, "color", 1e-3),
        (face.pixels, "proj256", 2e-3),
        (face.landmarks_px, "landmarks256", 2e-3),
        (decoded(vector, model, decoder.Deep3DCamera()).landmarks_px, "landmarks224", 2e-3),
    ):
        want = d[f"out/{name}"]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=atol, err_msg=name)

    def lit(vector):
        return jnp.sum(255 * decoded(vector, model, camera).color * d["in/w_color"])

    def marks(vector):
        coeffs = factors.to_recon(by_factor(vector, model), sizes_of(model))
        coeffs = coeffs.replace(trans=vector[..., -3:])
        return jnp.sum(decoder.decode_landmarks(model, coeffs) * d["in/w_lm"])

    for scalar, key in ((lit, "color"), (marks, "lm224")):
        want = d[f"grad/coeff_from_{key}"]
        got = jax.jit(jax.grad(scalar))(jnp.asarray(vector))
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("path", DECODERS)
def test_renders_and_flow(path, face_models):
    d, model = np.load(path), face_models(path)
    sizes = sizes_of(model)
    vector = jnp.asarray(d["in/coeff"])
    for key in (k for k in d.files if k.startswith("render") and k.endswith("/mask")):
        size = int(key.removeprefix("render").removesuffix("/mask"))
        face = decoded(vector, model, render.camera_of(size))
        rgb, mask = decoder.render_face(model, face, render.camera_of(size), front_only=True)
        different = np.asarray(mask) != d[key][..., 0]
        assert different.mean() <= 0.005
        inside = ~different
        want = d[key.replace("mask", "rgb")]
        np.testing.assert_allclose((255 * rgb)[inside], want[inside], atol=1e-2)
        # what the generator imitates stands at the centre: the translation of a photo is dropped
        still = by_factor(vector, model)
        targets = render.render_targets(model, still, sizes, render.camera_of(size))
        centred = decoder.decode(model, factors.to_recon(still, sizes), render.camera_of(size))
        np.testing.assert_allclose(targets.landmarks_px, centred.landmarks_px)
    for key in (k for k in d.files if k.startswith("flow")):
        size = int(key.removeprefix("flow"))
        camera = render.camera_of(size)
        first, second = (decoded(vector[k : k + 1], model, camera) for k in (0, 1))
        flow, _, _ = render.render_flow(model, first, second, camera)
        scaled = np.asarray(flow) * (256 / size)  # the file has pixels of 256 at every size
        off = np.abs(scaled - d[key]).max(axis=-1) > 1e-2
        assert off.mean() <= 0.005


def picture(d, name):
    """A [B, 256, 256, 3] picture of a file that stores it sixteen times smaller."""
    return enlarged(jnp.asarray(nhwc(d[name])), 4)


def block_sums(gradient):
    """[B, 16, 16, C] sums over blocks."""
    b, h, w, c = gradient.shape
    return np.asarray(gradient).reshape(b, 16, h // 16, 16, w // 16, c).sum((2, 4))


def toy_regressor(d, model):
    """(landmarks in pixels of 224, light) of pictures in [-1, 1]."""

    def regress(image):
        bgr = 255 * resize_legacy(losses.unit_range(image), (224, 224))[..., ::-1]
        pooled = bgr.reshape(-1, 4, 56, 4, 56, 3).mean((2, 4)) / 255 - 0.5
        vector = jnp.matmul(pooled.reshape(-1, 48), d["toy/W_recon"], precision="highest")
        coeffs = factors.to_recon(by_factor(vector, model), sizes_of(model))
        coeffs = coeffs.replace(trans=vector[..., -3:])
        return decoder.decode_landmarks(model, coeffs), coeffs.gamma

    return regress


def toy_identity(d):
    def embed(image):
        rgb = 255 * resize_legacy(losses.unit_range(image), (160, 160))
        scaled = (rgb - 127.5) / 128
        pooled = scaled.reshape(-1, 4, 40, 4, 40, 3).mean((2, 4))
        return jnp.matmul(pooled.reshape(-1, 48), d["toy/W_id"], precision="highest")

    return embed


def toy_hair(image):
    return jax.nn.softmax(255 * losses.unit_range(image) / 64, axis=-1)[..., 2]


@pytest.mark.parametrize("path", LOSSES)
def test_imitative_losses(path, face_models):
    d = np.load(path)
    model = face_models(path.with_name(path.name.replace("losses", "face_decoder")))
    regress, embed = toy_regressor(d, model), toy_identity(d)
    fake, target = picture(d, "in/fake16"), picture(d, "in/render16")
    mask = enlarged(d["in/mask32"][..., None], 3)[..., 0]
    gamma = by_factor(d["in/coeff_label"], model).gamma
    wanted_marks = d["in/landmark_label256"] * np.float32(224 / 256)

    terms = {
        "l1": lambda x: losses.color_distance(x, target, mask),
        "skin": lambda x: losses.skin_color(x, target, mask),
        "lm": lambda x: losses.landmarks(regress(x)[0], wanted_marks, 224),
        "gamma": lambda x: losses.light(regress(x)[1], gamma),
        "id": lambda x: losses.identity(embed(masked(x, mask)), embed(target)),
    }
    run = jax.jit(lambda x: {name: jax.value_and_grad(term)(x) for name, term in terms.items()})
    for name, (value, gradient) in run(fake).items():
        np.testing.assert_allclose(value, d[f"out/{name}"], rtol=1e-4, err_msg=name)
        want = nhwc(d[f"gradsum16/{name}"])
        scale = np.abs(want).max()
        np.testing.assert_allclose(block_sums(gradient), want, atol=1e-4 * scale, err_msg=name)


def masked(image, mask):
    """The picture in [0, 255] times a mask, in [-1, 1] again."""
    return 2 * losses.unit_range(image) * mask[..., None] - 1


@pytest.mark.parametrize("path", LOSSES)
def test_contrastive_losses(path, face_models):
    d = np.load(path)
    model = face_models(path.with_name(path.name.replace("losses", "face_decoder")))
    regress, embed = toy_regressor(d, model), toy_identity(d)
    first, second = jnp.split(picture(d, "in/fake16"), 2)
    camera = render.camera_of(256)
    pair = [decoded(d["in/pair_coeff"][k : k + 1], model, camera) for k in (0, 1)]
    flow, mask_first, mask_second = render.render_flow(model, *pair, camera)
    np.testing.assert_array_equal(mask_first, d["out/pair_mask1"])
    np.testing.assert_array_equal(mask_second, d["out/pair_mask2"])
    np.testing.assert_allclose(flow[:, ::8, ::8], d["out/flow_stride8"], atol=1e-2)
    term = functools.partial(
        losses.expression_change, flow=flow, mask_first=mask_first, mask_second=mask_second
    )
    value, gradients = jax.value_and_grad(term, (0, 1))(first, second)
    np.testing.assert_allclose(value, d["out/exp_warp"], rtol=1e-4)
    for gradient, name in zip(gradients, ("fake1", "fake2"), strict=True):
        want = d[f"gradsum16/exp_warp_{name}"]
        atol = 1e-3 * np.abs(want).max()
        np.testing.assert_allclose(block_sums(gradient)[0], want, atol=atol, err_msg=name)

    marks = [regress(x)[0] for x in (first, second)]
    terms = {
        "hair": losses.same_hair(toy_hair(first), toy_hair(second)),
        "same_identity": losses.same_identity(embed(first), embed(second)),
        "same_landmarks": losses.same_landmarks(*marks, 224, 256),
    }
    np.testing.assert_allclose(terms["hair"], d["out/hair"], rtol=1e-4)
    np.testing.assert_allclose(terms["same_identity"], d["out/id_consistent"], rtol=1e-4)
    total = losses.light_change(terms, losses.LossConfig())
    np.testing.assert_allclose(total, d["out/gamma_change"], rtol=1e-4)


@pytest.mark.parametrize("path", LOSSES)
def test_image_primitives(path):
    d = np.load(path)
    taps = filters.gaussian_kernel(2.0, 1.0)
    np.testing.assert_allclose(np.outer(taps, taps), d["prim/gauss_kernel"], atol=1e-6)
    got = filters.gaussian_filter(d["prim/blur_in"], 2.0, "constant", 1.0)
    np.testing.assert_allclose(got, d["prim/blur_out"], rtol=1e-5, atol=1e-5)
    for key in (k for k in d.files if k.startswith("prim/resize") and k != "prim/resize_in"):
        got = resize_legacy(d["prim/resize_in"], d[key].shape[1:3])
        np.testing.assert_allclose(got, d[key], rtol=1e-5, atol=1e-5)
    got = warp.dense_warp(jnp.asarray(d["prim/warp_img"]), -jnp.asarray(d["prim/warp_flow"]))
    want = d["prim/warp_out_rederived"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
    for key in (k for k in d.files if k.startswith("prim/process_lod")):
        lod = float(key.removeprefix("prim/process_lod"))
        reals = nhwc(d["prim/process_in"]) / np.float32(127.5) - 1
        got = enlarged(equalized.fade_reals(reals, np.float32(lod - int(lod))), int(lod))
        np.testing.assert_allclose(nchw(got), d[key], atol=1e-5)


@pytest.mark.parametrize("path", TRUNCATIONS)
def test_truncation_of_identity(path):
    d = np.load(path)
    got = networks.truncate_identity(d["w"], d["w_id"], d["avg_w_id"], float(d["rate"]))
    np.testing.assert_allclose(got, d["out"], atol=1e-6)
    np.testing.assert_array_equal(
        networks.truncate_identity(d["w"], d["w_id"], d["avg_w_id"], 1.0), d["w"]
    )


@pytest.mark.parametrize("path", SCHEDULES)
def test_schedule(path):
    d = np.load(path)
    schedule = ProgressiveSchedule(resolution=256, **PUBLISHED)
    for row in d["rows"]:
        row = dict(zip(d["columns"].tolist(), row, strict=True))
        images = round(1000 * row["kimg"])
        resolution, _ = schedule.position(images)
        np.testing.assert_allclose(schedule.lod(images), row["lod"], atol=1e-9)
        assert resolution == row["resolution"]
        assert schedule.batch_size(resolution) == row["minibatch"]
        for key in ("G_lrate", "D_lrate"):
            assert schedule.learning_rate(images) == pytest.approx(row[key], abs=1e-12)
        assert tick_kimg(resolution) == row["tick_kimg"]


@pytest.mark.parametrize("path", PREPROCESS)
def test_training_pictures(path):
    d = np.load(path)
    image, points = d["image"], d["lm5p"]
    standard = np.stack([points[:, 0], image.shape[0] - 1 - points[:, 1]], axis=1)
    place, scale = pos(standard, d["lm3D"])
    np.testing.assert_allclose(place, d["pos_t"], rtol=1e-5)
    np.testing.assert_allclose(scale, d["pos_s"], rtol=1e-5)
    aligned = alignment.cut_crop(image, points)
    transform = aligned.transform
    np.testing.assert_array_equal(transform.resized, d["resized_wh"])
    left, up = transform.corner
    np.testing.assert_array_equal([left, up, left + 512, up + 512], d["crop_box"])
    found = [transform.width, transform.height, transform.scale, transform.x, transform.y]
    np.testing.assert_allclose(found, d["trans_params"], atol=1e-3)
    y_down = aligned.landmarks * [1, -1] + [0, 512]
    np.testing.assert_allclose(y_down, d["lm_new512"], atol=1e-3)

    def near(got, want):
        assert got.dtype == np.uint8
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 2

    crop = aligned.crop
    near(crop[::8, ::8], d["aligned512_stride8"])
    np.testing.assert_allclose(crop.mean((0, 1)), d["aligned_mean"], atol=0.1)
    small = alignment.regressor_input(crop)
    near(small[::8, ::8, ::-1], d["recon_input224_stride8_bgr"])
    picture = alignment.training_picture(crop, d["coeff_t"])
    near(picture[::4, ::4], d["gan256_stride4"])
    np.testing.assert_allclose(picture.mean((0, 1)), d["gan256_mean"], atol=0.05)


@pytest.mark.parametrize("path", SETS)
def test_tfrecords(path, tmp_path):
    images = np.load(path)["images"].transpose(0, 2, 3, 1)
    folder = path.with_name(path.stem.removesuffix("_images"))
    theirs = MultiResolutionTFRecords(folder)
    write_multiresolution(tmp_path / folder.name, images)
    every = np.arange(len(images))
    top = theirs.batch(every)["maps"]
    found = np.rint((top + 1) * 127.5).astype(np.uint8)
    order = [int(np.flatnonzero((images == f).all((1, 2, 3)))[0]) for f in found]
    ours = MultiResolutionTFRecords(tmp_path / folder.name)
    assert ours.resolutions == theirs.resolutions
    for resolution in ours.resolutions:
        np.testing.assert_array_equal(
            ours.batch(np.array(order), resolution)["maps"], theirs.batch(every, resolution)["maps"]
        )
