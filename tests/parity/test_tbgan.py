"""Parity with the published TBGAN code: networks, losses, steps, schedule, files, metrics."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.image import color, filters, pyramid, sample
from facejax.image.resample import downsample2, upsample2
from facejax.io import images
from facejax.io.network_pickles import load_network_pickle
from facejax.io.tfrecord import read_records
from facejax.io.tfrecord_images import MultiResolutionTFRecords, write_multiresolution
from facejax.metrics import frechet, ssim, swd
from facejax.nn import equalized, latents
from facejax.systems.tbgan.importer import (
    config_from_static_kwargs,
    params_from_variables,
    variables_from_params,
)
from facejax.systems.tbgan.losses import (
    LossConfig,
    discriminator_loss,
    generator_loss,
)
from facejax.systems.tbgan.networks import (
    Discriminator,
    Generator,
    NetworkConfig,
    init_discriminator,
    init_generator,
)
from facejax.systems.tbgan.schedule import MAX_MINIBATCH, PUBLISHED
from facejax.train.optim import adam
from facejax.train.schedules import ProgressiveSchedule, tick_kimg
from tests.parity.golden import case_files

TFRECORDS = case_files("tbgan", "tfr_*_source.npz")
METRICS = case_files("tbgan", "metrics*.npz")
UTILITIES = case_files("tbgan", "utilities*.npz")
EXPRESSION_SCALE = (10, 10, 10, 10, 5, 3, 10)  # the release demo's


def nhwc(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def config(d) -> NetworkConfig:
    ch = int(d["cfg/num_channels"]) // 3
    return NetworkConfig(
        resolution=int(d["cfg/resolution"]),
        modalities=(("tex", ch), ("shp", ch), ("nor", ch)),
        label_size=int(d["cfg/label_size"]),
        lod_sep=int(d["cfg/lod_sep"]),
        fmap_base=int(d["cfg/fmap_base"]),
        fmap_max=int(d["cfg/fmap_max"]),
        mbstd_strided=True,
    )


def params(d, prefix):
    return params_from_variables({k[len(prefix) :]: d[k] for k in d.files if k.startswith(prefix)})


def flat(tree):
    return variables_from_params(jax.tree.map(np.asarray, tree))


def stage_of(cfg, lod):
    """(stage, alpha) of a level of detail."""
    return cfg.resolution_log2 - int(np.floor(lod)), np.float32(lod - np.floor(lod))


def grad_of(loss, static):
    """The jitted value and gradient of a loss with its static arguments bound."""
    return jax.jit(jax.value_and_grad(functools.partial(loss, **static), has_aux=True))


def softmax(x):
    return np.asarray(jax.nn.softmax(jnp.asarray(x), axis=-1))


@pytest.mark.parametrize("path", case_files("tbgan", "primitives*.npz"))
def test_primitives(path):
    d = np.load(path)
    x = nhwc(d["x"])
    tol = dict(rtol=1e-5, atol=1e-5)
    std = lambda w, gain: gain / np.sqrt(np.prod(w.shape[:-1]))  # noqa: E731
    w = d["conv3/weight"]
    got = equalized.conv2d(x, w * std(w, np.sqrt(2)))
    np.testing.assert_allclose(got, nhwc(d["conv3/y"]), **tol)
    w = d["conv1_gain1/weight"]
    got = equalized.conv2d(x, w * std(w, 1.0))
    np.testing.assert_allclose(got, nhwc(d["conv1_gain1/y"]), **tol)
    w = d["up_conv3/weight"][::-1, ::-1].transpose(0, 1, 3, 2)
    got = equalized.upscale_conv2d(x, w * std(w, np.sqrt(2)))
    np.testing.assert_allclose(got, nhwc(d["up_conv3/y"]), **tol)
    w = d["conv3_down/weight"]
    got = equalized.conv2d_downscale(x, w * std(w, np.sqrt(2)))
    np.testing.assert_allclose(got, nhwc(d["conv3_down/y"]), **tol)
    w = d["dense_g/weight"]
    got = d["x"].reshape(len(x), -1) @ (w * np.sqrt(2) / 4 / np.sqrt(len(w)))
    np.testing.assert_allclose(got, d["dense_g/y"], **tol)
    np.testing.assert_allclose(upsample2(x), nhwc(d["upscale2d"]), **tol)
    np.testing.assert_allclose(downsample2(x), nhwc(d["downscale2d"]), **tol)
    np.testing.assert_allclose(equalized.pixel_norm(x), nhwc(d["pixel_norm"]), **tol)
    np.testing.assert_allclose(equalized.leaky_relu(x), nhwc(d["leaky_relu"]), **tol)
    for group in (4, 16):
        got = equalized.minibatch_stddev(x, group, strided=True)[..., -1]
        np.testing.assert_allclose(got, d[f"mbstd_g{group}"], **tol)
    for key in (k for k in d.files if k.startswith("process_reals/u8_lod")):
        lod = float(key.removeprefix("process_reals/u8_lod"))
        reals = nhwc(d["process_reals/in"]).astype(np.float32) / 127.5 - 1
        got = equalized.fade_reals(reals, lod - np.floor(lod))
        for _ in range(int(lod)):
            got = upsample2(got)
        np.testing.assert_allclose(got, nhwc(d[key]), **tol)


@pytest.mark.parametrize("path", case_files("tbgan", "nets_*.npz"))
def test_networks(path):
    d = np.load(path)
    cfg = config(d)
    gen, disc = params(d, "G/"), params(d, "D/")
    for lod in d["lods"]:
        key = f"lod{lod:g}"
        stage, alpha = stage_of(cfg, lod)
        got = Generator(cfg).apply({"params": gen}, d["latents"], d["labels"], alpha, stage)
        err = np.abs(np.asarray(got) - nhwc(d[f"G_out/{key}"]))
        # Pixel norm multiplies the rounding of a pixel whose features are all near zero.
        assert np.mean(err >= 5e-4) <= 1e-4 and err.mean() < 5e-6, key
        images = nhwc(d["images"])
        for _ in range(int(np.floor(lod))):
            images = downsample2(images)
        score, logits = Discriminator(cfg).apply({"params": disc}, images, alpha, stage)
        np.testing.assert_allclose(score, d[f"D_scores/{key}"][:, 0], atol=1e-5)
        np.testing.assert_allclose(logits, d[f"D_labels/{key}"], atol=1e-5)


@pytest.mark.parametrize("path", case_files("tbgan", "losses_*.npz"))
def test_losses_and_gradients(path):
    d = np.load(path)
    nets = np.load(path.with_name(path.name.replace("losses_", "nets_")))
    cfg, loss_cfg = config(nets), LossConfig()
    gen, disc = params(nets, "G/"), params(nets, "D/")
    for key in sorted({k.split("/")[0] for k in d.files}):
        stage, alpha = stage_of(cfg, float(key.removeprefix("lod")))
        labels = softmax(d[f"{key}/label_logits"])
        small = f"{key}/reals_small"
        reals = equalized.fade_reals(nhwc(d[small] if small in d.files else nets["images"]), alpha)
        if f"{key}/reals_processed" in d.files:
            np.testing.assert_allclose(reals, nhwc(d[f"{key}/reals_processed"]), atol=1e-5)
        static = dict(stage=stage, net=cfg, cfg=loss_cfg)
        z, mix = d[f"{key}/latents"], d[f"{key}/mix"].reshape(-1)
        (g_loss, _), g_grad = grad_of(generator_loss, static)(gen, disc, z, labels, alpha)
        (d_loss, _), d_grad = grad_of(discriminator_loss, static)(
            disc, gen, reals, z, labels, mix, alpha
        )
        for name, loss, grads in (("G", g_loss, flat(g_grad)), ("D", d_loss, flat(d_grad))):
            np.testing.assert_allclose(loss, d[f"{key}/{name}_loss"].mean(), rtol=1e-4, atol=1e-4)
            for k in d.files:
                var = k.removeprefix(f"{key}/{name}_grad/")
                if var != k and var in grads:
                    scale = max(np.abs(d[k]).max(), 1e-6)
                    np.testing.assert_allclose(grads[var], d[k], atol=1e-3 * scale, err_msg=k)
                var = k.removeprefix(f"{key}/{name}_gradnorm/")
                if var != k and var in grads:
                    norm = np.linalg.norm(grads[var])
                    np.testing.assert_allclose(norm, d[k], rtol=1e-3, atol=1e-6, err_msg=k)


@pytest.mark.parametrize("path", case_files("tbgan", "train_steps_*.npz"))
def test_training_steps(path):
    d = np.load(path)
    cfg, loss_cfg = config(d), LossConfig()
    stage, alpha = stage_of(cfg, float(d["lod"]))
    static = dict(stage=stage, net=cfg, cfg=loss_cfg)
    lr, decay = float(d["lr"]), float(d["beta_ema"])
    gen, disc = params(d, "G0/"), params(d, "D0/")
    ema = jax.tree.map(np.zeros_like, gen)
    tx = adam(b1=0.0, b2=0.99, eps=1e-8)
    opt_g, opt_d = tx.init(gen), tx.init(disc)
    steps = len({k.split("/")[0] for k in d.files if k.startswith("step")})

    d_grad, g_grad = grad_of(discriminator_loss, static), grad_of(generator_loss, static)

    @jax.jit
    def update(p, opt, grads):
        updates, opt = tx.update(grads, opt, p)
        return optax.apply_updates(p, jax.tree.map(lambda u: -lr * u, updates)), opt

    def close(got, prefix):
        got = flat(got)
        err = [np.abs(got[k] - d[prefix + k]).reshape(-1) for k in got]
        err = np.concatenate(err)
        assert np.mean(err < 1e-4) > 0.999 and err.max() < 2e-3, (prefix, err.max())

    for i in range(steps):
        s = f"step{i}/"
        (loss, _), grads = d_grad(
            disc, gen, nhwc(d[s + "D_reals"]), d[s + "D_latents"], softmax(d[s + "D_logits"]),
            d[s + "D_mix"].reshape(-1), alpha,
        )  # fmt: skip
        np.testing.assert_allclose(loss, d[s + "D_loss_before"], rtol=2e-4)
        disc, opt_d = update(disc, opt_d, grads)
        ema = jax.tree.map(lambda e, p: p + (e - p) * decay, ema, gen)
        (loss, _), grads = g_grad(gen, disc, d[s + "G_latents"], softmax(d[s + "G_logits"]), alpha)
        np.testing.assert_allclose(loss, d[s + "G_loss_before"], rtol=1e-3)
        gen, opt_g = update(gen, opt_g, grads)
        if f"G_after{i + 1}/4x4/Conv/bias" in d.files:
            close(gen, f"G_after{i + 1}/")
            close(disc, f"D_after{i + 1}/")
    close(ema, f"Gs_after{steps}/")


@pytest.mark.parametrize("path", case_files("tbgan", "schedule*.json"))
def test_schedule(path):
    for name, table in json.loads(path.read_text()).items():
        preset, _, precision = name.partition("-fp")
        schedule = ProgressiveSchedule(
            resolution=2 ** table["resolution_log2"],
            max_minibatch_per_device=MAX_MINIBATCH[f"fp{precision}"] if precision else {},
            **PUBLISHED[preset],
        )
        assert schedule.num_devices == table["num_gpus"]
        assert schedule.total_kimg == table["total_kimg"]
        for row in table["rows"]:
            row = dict(zip(table["columns"], row, strict=True))
            images = row["cur_nimg"]
            resolution, _ = schedule.position(images)
            np.testing.assert_allclose(schedule.lod(images), row["lod"], atol=1e-9)
            assert resolution == row["resolution"]
            assert schedule.batch_size(resolution) == row["minibatch"]
            for key in ("G_lrate", "D_lrate"):
                np.testing.assert_allclose(schedule.learning_rate(images), row[key], atol=1e-9)
            assert tick_kimg(resolution) == row["tick_kimg"]


@pytest.mark.parametrize("path", case_files("tbgan", "network-*.pkl"))
def test_published_names_round_trip(path):
    """Every variable of a published checkpoint survives the way into our layout and back."""
    nets = load_network_pickle(path)
    assert [net["name"] for net in nets] == ["G", "D", "Gs"]
    for net in nets:
        variables = dict(net["variables"])
        cfg = config_from_static_kwargs(net["static_kwargs"])
        init = init_discriminator if net["name"] == "D" else init_generator
        shapes = jax.tree.map(np.shape, init(cfg, 0))
        assert jax.tree.map(np.shape, params_from_variables(variables)) == shapes
        lod = variables.pop("lod")
        assert np.ndim(lod) == 0
        back = variables_from_params(params_from_variables(variables))
        assert set(back) == set(variables)
        for name, value in variables.items():
            np.testing.assert_array_equal(back[name], value, err_msg=name)
    # a checkpoint is written after the training steps of the file with the same settings
    for steps in path.parent.glob("train_steps_*.npz"):
        d = np.load(steps)
        if config(d) != config_from_static_kwargs(nets[0]["static_kwargs"]):
            continue
        last = max(k.split("/")[0] for k in d.files if k.startswith("G_after"))[1:]
        for net, prefix in zip(nets, (f"G{last}/", f"D{last}/", f"Gs{last}/"), strict=True):
            for name, value in net["variables"].items():
                if name != "lod":
                    np.testing.assert_array_equal(value, d[prefix + name], err_msg=name)


def load_records(source_file):
    source = np.load(source_file)
    folder = source_file.with_name(source_file.name.removesuffix("_source.npz"))
    images = source["images"].transpose(0, 2, 3, 1)[source["order"]]
    return folder, images, source["labels"][source["order"]]


@pytest.mark.parametrize("source_file", TFRECORDS)
def test_reading_tfrecords(source_file):
    folder, images, labels = load_records(source_file)
    records = MultiResolutionTFRecords(folder)
    every = np.arange(len(records))
    assert len(records) == len(images)
    level = images.astype(np.float64)
    for resolution in sorted(records.resolutions, reverse=True):
        batch = records.batch(every, resolution=resolution)
        np.testing.assert_allclose(batch["maps"], level, atol=1e-6)
        np.testing.assert_allclose(batch["labels"], labels, atol=1e-6)
        half = level.shape[1] // 2
        level = level.reshape(len(images), half, 2, half, 2, -1).mean((2, 4))


@pytest.mark.parametrize("source_file", TFRECORDS)
def test_writing_tfrecords(source_file, tmp_path):
    folder, images, labels = load_records(source_file)
    ours = tmp_path / folder.name
    write_multiresolution(ours, images, labels)
    theirs = sorted(folder.glob("*.tfrecords"))
    assert [p.name for p in theirs] == sorted(p.name for p in ours.glob("*.tfrecords"))
    top = theirs[-1]
    assert len(list(read_records(ours / top.name))) == len(list(read_records(top)))
    a, b = MultiResolutionTFRecords(ours), MultiResolutionTFRecords(folder)
    for resolution in a.resolutions:
        np.testing.assert_allclose(
            a.batch(np.arange(len(a)), resolution)["maps"],
            b.batch(np.arange(len(b)), resolution)["maps"],
            atol=1e-6,
        )


def _last(x):
    """Channels last, of [..., C, H, W]."""
    return np.moveaxis(x, -3, -1)


def _draws(case, num_levels, sets):
    """The stored draws of reals against `sets`, 'reals' or 'fakes'."""
    patches = int(case["swd/nhoods_per_image"])

    def centers(name, level):
        xy = [case[f"swd/{name}_{axis}_level{level}"].reshape(-1, patches) for axis in "xy"]
        return np.stack(xy, axis=-1)

    def directions(level):
        repeats = range(int(case["swd/dir_repeats"]))
        return np.stack([case[f"swd/{sets}_dirs_level{level}_rep{r}"] for r in repeats])

    levels = range(num_levels)
    return swd.SWDDraws(
        tuple(centers("reals", k) for k in levels),
        tuple(centers(sets, k) for k in levels),
        tuple(directions(k) for k in levels),
    )


@pytest.mark.parametrize("path", METRICS)
def test_laplacian_pyramid(path):
    case = np.load(path)
    want = [case[k] for k in sorted(k for k in case if k.startswith("swd/pyramidA_"))]
    got = pyramid.laplacian_pyramid(jnp.asarray(_last(case["swd/A"]), jnp.float32), len(want))
    for level, stored in zip(got, want, strict=True):
        np.testing.assert_allclose(level, _last(stored), atol=1e-3)  # values up to 255


@pytest.mark.parametrize("path", METRICS)
def test_sliced_wasserstein(path):
    case = np.load(path)
    a, b = _last(case["swd/A"]), _last(case["swd/B"])
    levels = len(case["swd/result"]) - 1
    assert swd.num_levels(a.shape[1:3]) == levels
    got = swd.swd(a, b, _draws(case, levels, "fakes"))
    np.testing.assert_allclose(got, case["swd/result"], rtol=1e-4)
    floor = swd.swd(a, a, _draws(case, levels, "reals"))
    np.testing.assert_allclose(floor, case["swd/reals_vs_reals"], atol=1e-4)


@pytest.mark.parametrize("path", METRICS)
def test_ms_ssim(path):
    case = np.load(path)
    names = sorted({k.split("/")[0] for k in case if k.startswith("msssim")})
    assert names
    for name in names:
        a, b = (case[f"{name}/{k}"].astype(np.float32) for k in "ab")
        value = ssim.ms_ssim(a, b, 255.0).mean()
        np.testing.assert_allclose(value, case[f"{name}/value"], atol=1e-5)
        similarity, cs = ssim.ssim_and_cs(a, b, 255.0)
        np.testing.assert_allclose(similarity, case[f"{name}/ssim0"], atol=1e-5)
        np.testing.assert_allclose(cs, case[f"{name}/cs0"], atol=1e-5)


@pytest.mark.parametrize("path", METRICS)
def test_frechet_distance_and_inception_score(path):
    case = np.load(path)
    got = frechet.frechet_distance(case["fid/X"], case["fid/Y"])
    np.testing.assert_allclose(got, case["fid/value"], rtol=1e-4)
    mean, deviation = frechet.inception_score(case["is/preds"])
    np.testing.assert_allclose(mean, case["is/mean"], atol=1e-4)
    np.testing.assert_allclose(deviation, case["is/std"], atol=1e-4)


@pytest.mark.parametrize("path", UTILITIES)
def test_interpolation_path_and_labels(path):
    case = np.load(path)
    got = latents.smooth_latent_path(case["interp/raw"], float(case["interp/sigma_frames"]))
    np.testing.assert_allclose(got, case["interp/out"], atol=1e-5)
    logits = got[:, 0, int(case["interp/latent_size"]) :]
    labels = latents.softmax_labels(logits, EXPRESSION_SCALE)
    np.testing.assert_allclose(labels, case["interp/labels_in_G"], atol=1e-5)


@pytest.mark.parametrize("path", UTILITIES)
def test_grids_and_pixels(path):
    case = np.load(path)
    cells = _last(case["grid/images"])
    np.testing.assert_array_equal(images.image_grid(cells), _last(case["grid/auto"]))
    for key in (k for k in case if k.startswith("grid/") and "x" in k):
        columns = int(key.removeprefix("grid/").split("x")[0])  # stored as columns x rows
        np.testing.assert_array_equal(images.image_grid(cells, columns), _last(case[key]))
    got = images.to_uint8(cells[0, ..., :3], (-1, 1))
    np.testing.assert_array_equal(got, case["pil/rgb"])
    got = color.rescale(np.arange(256, dtype=np.float32), (0, 255), (-1, 1))
    np.testing.assert_allclose(got, case["drange/0_255_to_-1_1"], atol=1e-6)


@pytest.mark.parametrize("path", UTILITIES)
def test_vertices_from_maps_and_shape_smoothing(path):
    case = np.load(path)
    points = sample.sample_truncated(
        _last(case["uv2mesh/uv"]), case["uv2mesh/tcoords_pixel_scaled"]
    )
    np.testing.assert_array_equal(points, case["uv2mesh/points"])
    got = filters.gaussian_filter(_last(case["shape_smooth/in"]), 3.0)
    np.testing.assert_allclose(got, _last(case["shape_smooth/out"]), atol=1e-5)
