"""Analysis commands on a run folder with random weights and packed maps without a face model."""

import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.commands import analyze
from facejax.data.packed import write_packed
from facejax.data.uvmaps import UVCodec
from facejax.io.checkpoints import Checkpoints
from facejax.io.images import read_image, write_image
from facejax.systems.tbgan import analysis, benchmark, control, inversion, reports
from facejax.systems.tbgan.generate import gallery_of
from facejax.systems.tbgan.system import make_system
from facejax.train.config import load_config
from facejax.train.run_folder import write_config
from facejax.train.runs import load_run

CONFIG = str(pathlib.Path(__file__).resolve().parents[3] / "configs/tbgan.py")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Two checkpoints, at 8 and at 16 pixels."""
    folder = tmp_path_factory.mktemp("run")
    maps = np.random.default_rng(0).uniform(-1, 1, (16, 16, 16, 9)).astype(np.float32)
    mask = np.ones((16, 16), bool)
    mask[:2] = False
    write_packed(
        folder / "set", [{"maps": maps * mask[..., None], "labels": np.eye(7)[np.arange(16) % 7]}],
        codec=UVCodec(encoding="absolute", masks={16: mask, 8: mask[::2, ::2], 4: mask[::4, ::4]}),
        label_names=[f"l{k}" for k in range(7)], num_examples=16, resolution=16,
    )  # fmt: skip
    config = load_config(f"{CONFIG}:smoke")
    config.data.update(source="packed", path=str(folder / "set"))
    config.model.update(fmap_base=32, fmap_max=4, latent_size=6)
    config.evaluate.num_faces = 4
    config.checkpoint_kimg = 0.016
    system = make_system(config)
    params, _ = system.init(0)
    write_config(folder, config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step, images in ((2, 32), (12, 192)):
            tree = {"params": params, "ema": {"gen": params["gen"]}}
            checkpoints.save(step, tree, {"images": images})
    return folder


@pytest.fixture(scope="module")
def run(workdir):
    return load_run(workdir)


def test_sampler_is_differentiable(run):
    sampler = inversion.make_sampler(run)
    z, y = jnp.ones((1, 6)).at[0, 2].set(-0.5), jnp.eye(7)[:1]
    np.testing.assert_allclose(
        sampler(z, y), gallery_of(run).maps(run.params["gen"], z, y), atol=1e-3
    )
    value = jax.jit(lambda z: jnp.sum(sampler(z, y) ** 2))
    direction = jnp.arange(6.0).reshape(1, 6) / 10
    slope = jnp.sum(jax.grad(value)(z) * direction)
    h = 3e-3  # the derivative jumps where a unit changes sign
    central = (value(z + h * direction) - value(z - h * direction)) / (2 * h)
    np.testing.assert_allclose(slope, central, rtol=0.05)


def test_grids(run):
    gallery = gallery_of(run)
    rows = analysis.sample_grids(run, (7, 2), "row_per_class", seed=3)
    assert set(rows) == {"texture", "shape", "normals"}
    assert rows["texture"].shape == (7 * 16, 2 * 16, 3)
    one = gallery.maps(
        run.params["gen"], gallery.latents(14, 3)[9:10], np.eye(7, dtype=np.float32)[4:5]
    )
    expected = np.rint(np.asarray(gallery.map_pictures(one, 16)[0][0]) * 255)
    np.testing.assert_allclose(rows["texture"][64:80, 16:32], expected, atol=1)
    shape = analysis.sample_grids(run, (1, 3))["shape"].shape
    assert shape == (16, 48, 3)
    with pytest.raises(ValueError, match="layout"):
        analysis.sample_grids(run, layout="columns")


def test_sweep_moves_one_component_only(run, monkeypatch):
    seen = {}
    gallery = gallery_of(run)
    real = gallery.pictures_of

    def spy(gen, latents, labels, turn, size):
        seen.update(latents=latents, labels=labels)
        return real(gen, latents, labels, turn, size)

    monkeypatch.setattr(gallery, "pictures_of", spy)
    frames = list(analysis.dimension_sweep(run, 3, 9, expression="l2", size=16))
    assert len(frames) == 9 and frames[0].shape == (16, 48, 3)
    assert np.ptp(seen["latents"], axis=0)[[0, 1, 2, 4, 5]].max() == 0
    np.testing.assert_allclose(np.mean(seen["latents"] ** 2), 1, atol=1e-5)
    assert (seen["labels"].argmax(1) == 2).all()
    with pytest.raises(ValueError, match="0 .. 5, found 6"):
        analysis.dimension_sweep(run, 6)


@pytest.mark.slow
def test_fit_recovers_generated_maps_and_faces_are_independent(run):
    gallery = gallery_of(run)
    labels = np.eye(7, dtype=np.float32)[[3] * 8]
    targets = gallery.maps(run.params["gen"], gallery.latents(1, 7).repeat(8, 0), labels)
    fit = inversion.fit_latents(run, targets, labels, steps=60, rates=(0.1, 0.03))
    assert fit.losses.shape == (120, 8) and fit.samples.shape == targets.shape
    assert (fit.losses[-1] < fit.losses[0]).all()
    assert fit.losses[-1].min() < 0.02 * fit.losses[0].min()  # a random net has local minima too
    start = inversion.fit_latents(run, targets[:1], labels[:1], steps=1, rates=(0.1,), seed=7)
    assert start.losses[0, 0] < 1e-6 * fit.losses[0].min()  # the true latent costs nothing
    alone = inversion.fit_latents(run, targets[:1], labels[:1], steps=60, rates=(0.1, 0.03))
    np.testing.assert_allclose(alone.losses[:5, 0], fit.losses[:5, 0], rtol=1e-3)
    spoiled = targets.copy()
    spoiled[:, :2] = np.nan  # outside the mask: counts for nothing
    other = inversion.fit_latents(run, spoiled, labels, steps=3, rates=(0.1,))
    np.testing.assert_allclose(other.losses, fit.losses[:3], rtol=1e-4)
    with pytest.raises(ValueError, match="this run makes maps"):
        inversion.fit_latents(run, targets[:, ::2, ::2], labels)
    with pytest.raises(ValueError, match="samples to be fitted: number 1 "):
        inversion.fit_latents(
            run, targets * np.where(np.arange(8) == 1, np.nan, 1)[:, None, None, None], labels
        )


def test_meshes_need_a_face_model_and_number_their_files(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="face model"):
        analysis.write_mesh_sequence(run, tmp_path, 2)
    gallery = gallery_of(run)
    vertices = types.SimpleNamespace(seen=[])

    def maker(maps):
        vertices.seen.append(maps)
        return {"vertices": maps.mean((1, 2))}

    written = {}
    monkeypatch.setattr(gallery, "maker", maker)
    monkeypatch.setattr(
        "facejax.io.meshes.save_mesh", lambda path, mesh: written.update({path: mesh}) or path
    )
    files = analysis.write_mesh_sequence(run, tmp_path, 10, suffix="glb")
    assert [p.name for p in files] == [f"{k:06d}.glb" for k in range(10)]  # none is dropped
    z, y = analysis.interpolation_path(run, 10)
    expected = gallery.maps(run.params["gen"], z, y).mean((1, 2))
    found = np.stack([written[p]["vertices"] for p in files])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_training_frames_are_warped_in_time(tmp_path):
    for kimg in range(5):
        size = 32 if kimg else 16
        picture = np.full((size, size, 3), kimg / 4)
        write_image(tmp_path / f"samples/fakes-{kimg:06d}.png", picture)
    frames = list(analysis.training_frames(tmp_path, 100, time_warp=2.0))
    assert len({f.shape for f in frames}) == 1 and len(frames) == 100
    values = np.array([f[-1, -1, 0] for f in frames])
    assert (np.diff(values.astype(int)) >= 0).all() and values[0] == 0 and values[-1] == 255
    assert (values == 0).sum() == 50  # half the time for the first quarter
    with pytest.raises(ValueError, match="holds no reals"):
        next(analysis.training_frames(tmp_path, name="reals"))


def test_every_command(workdir, tmp_path, capsys):
    def do(command, *more):
        return analyze.main([command, f"--workdir={workdir}", *more])

    out = f"--out={tmp_path / 'out'}"
    assert do("grid", out, "--size=2x3") == 0
    assert do("sweep", out, "--frames=3", "--pixels=16", "--dim=0") == 0
    assert do("fit", out, "--index=0,2", "--steps=2") == 0
    assert do("fit", out, "--index=99") == 2
    assert "outside a set of 16" in capsys.readouterr().err
    write_image(workdir / "samples/fakes-000000.png", np.zeros((16, 16, 3)))
    assert do("progress", out, "--seconds=0.5", "--fps=4") == 0
    assert do("grid", out, "--size=7") == 2
    assert "ROWSxCOLUMNS" in capsys.readouterr().err
    names = {p.stem for p in (tmp_path / "out").iterdir()}
    assert {"grid_texture", "dimension_0000", "fit", "loss", "training_fakes"} <= names
    np.save(tmp_path / "maps.npy", np.load(tmp_path / "out/fit.npz")["network"])
    assert do("fit", out, f"--maps={tmp_path / 'maps.npy'}", "--steps=1", "--expression=l1") == 0
    assert np.load(tmp_path / "out/fit.npz")["labels"].argmax(1).tolist() == [1, 1]


def test_every_checkpoint_is_measured_at_its_own_stage(workdir, capsys):
    arguments = ["evaluate_all", f"--workdir={workdir}", "--metrics=ms_ssim,energy"]
    assert analyze.main(arguments) == 0
    assert "1 checkpoint(s) that were written but not kept, 0.016 th" in capsys.readouterr().err
    lines = (workdir / "metric-ms_ssim.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["step"] for r in rows] == [2, 12] and [r["kimg"] for r in rows] == [0.032, 0.192]
    assert [r["resolution"] for r in rows] == [8, 16]
    assert set(rows[0]) - {"step", "kimg", "resolution"} == {
        f"modalities/{m}/ms_ssim/{w}"
        for m in ("texture", "shape", "normals")
        for w in ("fake", "real")
    }
    assert (workdir / "metric-energy.jsonl").is_file()
    assert not (workdir / "metric-swd.jsonl").exists()
    assert read_image(workdir / "metrics.png").shape[1] > 800
    assert analyze.main([*arguments[:2], "--metrics=frechet", "--inception=absent.npz"]) == 2
    assert "absent.npz: no such file" in capsys.readouterr().err
    assert analyze.main([*arguments[:2], "--metrics=inception"]) == 2
    assert "defined on Inception-v3: give its weights" in capsys.readouterr().err
    assert analyze.main(arguments[:2] + ["--metrics=fid"]) == 2
    assert "wanted some of swd" in capsys.readouterr().err


def test_control_needs_a_face_model(run):
    with pytest.raises(ValueError, match="wanted a run with labels and with data of a face model"):
        control.measure_control(run)


def test_speed_table(tmp_path):
    lines = [
        {"step": 1, "kimg": 1.0, "stage": "4x4", "sec/kimg": 2.0},
        {"step": 2, "kimg": 4.0, "stage": "4x4", "sec/kimg": 4.0},
        {"step": 3, "kimg": 4.0, "stage": "8x8"},
        {"step": 4, "kimg": 5.0, "stage": "8x8", "sec/kimg": 8.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    table = benchmark.speed_table(tmp_path)
    assert "3.5" in table and (tmp_path / "benchmark.txt").read_text() == table + "\n"
    stages = json.loads((tmp_path / "benchmark.json").read_text())["stages"]
    assert [(s["stage"], s["sec/kimg"]) for s in stages] == [("4x4", 3.5), ("8x8", 8.0)]
    assert stages[1]["images/s"] == 125
    config = load_config(f"{CONFIG}:benchmark")
    assert make_system(config).closing_lines(tmp_path)[0] == table
    with pytest.raises(ValueError, match="no measured steps"):
        benchmark.speed_table(tmp_path / "absent")


def test_figures_belong_to_metrics_by_their_first_words():
    assert reports.metric_of("modalities/texture/inception_score/fake") == "inception"
    assert reports.metric_of("modalities/texture/kernel_inception-v3-0/fake") == "kernel"
