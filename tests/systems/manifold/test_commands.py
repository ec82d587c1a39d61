"""Pairs from files, a short training run on them, denoising with the run, evaluation."""

import json
import pathlib

import numpy as np
import pytest

from data_prep import make_manifold_data
from facejax.commands import denoise as command
from facejax.commands import evaluate as experiments
from facejax.commands.train import run as run_command
from facejax.io.images import read_image
from facejax.io.mat import read_parameters
from facejax.io.pandas_pickles import read_frame, write_frame
from facejax.morphable import decode_shape
from facejax.morphable.bfm import load_bfm
from facejax.systems.manifold import dataset, metrics
from facejax.systems.manifold.denoise import denoisers_of
from facejax.systems.manifold.losses import noise_power
from facejax.systems.manifold.networks import NetworkConfig
from facejax.train.config import load_config
from facejax.train.runs import load_run, make_system
from tests.oracles.mat_files import write_bfm, write_parameters

CONFIG = str(pathlib.Path(__file__).resolve().parents[3] / "configs/manifold.py")


def test_noise_of_the_files_is_sparse():
    noise = dataset.sparse_noise(np.random.default_rng(0), 5000, 12, 2.0)
    changed = (noise != 0).sum(axis=1)
    np.testing.assert_allclose(np.bincount(changed, minlength=13)[1:] / 5000, 1 / 12, atol=0.02)
    np.testing.assert_allclose((noise**2).mean(), noise_power(12, 2.0), rtol=0.05)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with parameter files, pairs made of them, and a run of a few steps on the pairs."""
    folder = tmp_path_factory.mktemp("manifold")
    rng = np.random.default_rng(0)
    (folder / "mat").mkdir()
    for i in range(12):
        write_parameters(folder / "mat" / f"{i:02d}.mat", rng, n_shape=24, n_exp=18)
    write_bfm(folder / "BFM.mat", rng, n_shape=24, n_exp=18)
    make = [f"-path={folder / 'mat'}", "-mode", "both", f"--out={folder}", "--num_test=4"]
    make += [f"-model={folder / 'BFM.mat'}", "--samples=1"]
    assert make_manifold_data.main([*make, "--repeats=3"]) == 0
    config = load_config(f"{CONFIG}:smoke")
    config.data.update(source="arrays", path=str(folder), model_path=str(folder / "BFM.mat"))
    config.data.shape_scale = "std"
    config.train.update(noise="stored", shape_sigma="5e5", expression_sigma="2")
    config.schedule.total_kimg = 0.032
    run_command(config, folder / "run")
    return folder, config


def test_pairs_have_the_layout_of_the_original(trained):
    folder, _ = trained
    for target, n in (("shape", 24), ("expression", 18)):
        clean = np.load(folder / f"dataset_{target}/train/labels.npy")
        noisy = np.load(folder / f"dataset_{target}/train/noisy.npy")
        assert clean.shape == noisy.shape == (24, n) and clean.dtype == np.float64
        assert len(np.unique(clean, axis=0)) == 8 and (clean[0] == clean[2]).all()
        assert len(np.unique(noisy, axis=0)) == 24
        assert np.load(folder / f"dataset_{target}/test/labels.npy").shape == (12, n)
        for kind in ("label", "noisy"):
            picture = read_image(folder / f"dataset_{target}/dataset_samples/1_{kind}.jpg")
            assert picture.std() > 0.01


def test_noise_of_the_files_may_follow_the_eigenvalues(trained, tmp_path):
    folder, _ = trained
    make = [f"-path={folder / 'mat'}", "-mode", "shape", f"--out={tmp_path}", "--num_test=4"]
    make += [f"-model={folder / 'BFM.mat'}", "--samples=0", "-sigma", "ev", "--repeats=400"]
    assert make_manifold_data.main(make) == 0
    parts = [np.load(tmp_path / f"dataset_shape/train/{k}.npy") for k in ("noisy", "labels")]
    found = np.square(parts[0] - parts[1]).mean(axis=0)
    wanted = noise_power(24, np.asarray(load_bfm(folder / "BFM.mat").id_std))
    np.testing.assert_allclose(found / wanted, 1.0, atol=0.2)


def test_figures_have_millimetres_of_the_given_model(trained):
    folder, config = trained
    found = run_command(config, folder / "run", "evaluate")
    assert found == {k: v for k, v in json.loads((folder / "run/evaluation.json").read_text())
                     .items() if k != "step"}  # fmt: skip
    assert "expression: mean squared error of 12 held-out" in (folder / "run/log.txt").read_text()
    for name in ("curves.png", "evaluation.png", "evaluation_faces.png", "evaluation_triples.png"):
        assert read_image(folder / "run" / name).std() > 0.05
    assert len((folder / "run/evaluation_settings.csv").read_text().splitlines()) == 1 + 2 * 2
    for target in ("shape", "expression"):
        chosen = [str(found[target]["varied"][k]) for k in ("strength", "times")]
        assert chosen[0] == "0.5" and chosen[1] in "12"
        sets = found[target]["trace"]
        assert set(sets) == {"real", "normal", "gaussian", "uniform", "manifold", "varied"}
    system, model = make_system(config), load_bfm(folder / "BFM.mat")
    for target in ("shape", "expression"):
        c = config.evaluate
        clean, noisy = metrics.corrupted(
            system.rows[target].test, system.sigma(target), c.repeats, c.seed
        )
        error = (noisy - clean).astype(np.float64)
        np.testing.assert_allclose(found[target]["mse"]["identity"], (error**2).mean(), rtol=1e-5)
        std = np.asarray(model.id_std if target == "shape" else model.exp_std)
        coeffs = [np.zeros((1, 24)), np.zeros((1, 18))]
        coeffs[target == "expression"] = error / std
        moved = np.asarray(decode_shape(model, *coeffs)) - np.asarray(model.mean_shape)[None]
        rms = np.sqrt((moved.astype(np.float64) ** 2).sum(-1).mean())
        np.testing.assert_allclose(found[target]["vertex_rms_mm"]["identity"], rms, rtol=1e-4)
        assert all(0 <= share <= 1 for share in found[target]["inside_p99"].values())


def test_denoise_file(trained, tmp_path, capsys):
    folder, _ = trained
    rng = np.random.default_rng(1)
    table = {"sp": 1e5 * rng.standard_normal((3, 24, 1)), "ep": rng.standard_normal((3, 18, 1))}
    np.savez(tmp_path / "in.npz", **table)
    base = [f"--workdir={folder / 'run'}", f"-path={tmp_path / 'in.npz'}"]
    assert command.main([*base, "-mode", "both", "-save_folder", str(tmp_path / "a")]) == 0
    both = np.load(tmp_path / "a/outputs.npz")
    assert both["sp"].shape == (3, 24) and both["ep"].shape == (3, 18)
    assert np.abs(both["sp"] - table["sp"][..., 0]).max() > 1e3
    assert command.main([*base, "--strength=0", "-visualize", "False", f"--out={tmp_path}"]) == 0
    kept = np.load(tmp_path / "outputs.npz")
    np.testing.assert_allclose(kept["sp"], table["sp"][..., 0], rtol=1e-6)
    np.testing.assert_array_equal(kept["ep"], table["ep"][..., 0])
    mat = str(folder / "mat/00.mat")
    assert command.main([base[0], f"--path={mat}", "--mode=exp", f"--out={tmp_path}"]) == 0
    assert np.load(tmp_path / "outputs.npz")["ep"].shape == (1, 18)
    capsys.readouterr()
    np.savez(tmp_path / "short.npz", sp=np.zeros((2, 7)))
    assert command.main([base[0], f"--path={tmp_path / 'short.npz'}", f"--out={tmp_path}"]) == 2
    assert "wanted [N, 24]" in capsys.readouterr().err
    # the original's table in and out, and pictures with the face model of the run
    write_frame(tmp_path / "in.pkl", {k: v.astype("f8") for k, v in table.items()})
    base[1] = f"-path={tmp_path / 'in.pkl'}"
    more = ["-visualize", "True", "-mode", "both", "--format=pkl", f"--out={tmp_path / 'b'}"]
    assert command.main([*base, *more]) == 0
    found = read_frame(tmp_path / "b/outputs.pkl")
    assert found["sp"].shape == (3, 24, 1) and found["sp"].dtype == np.float64
    np.testing.assert_allclose(found["sp"][..., 0], both["sp"], rtol=1e-4, atol=1.0)
    picture = read_image(tmp_path / "b/3.jpg")
    assert picture.shape == (48, 96, 3) and np.abs(picture[:, :48] - picture[:, 48:]).max() > 0.1
    (tmp_path / "bad.pkl").write_bytes(b"\x80\x02cos\nsystem\n.")
    capsys.readouterr()
    assert command.main([base[0], f"--path={tmp_path / 'bad.pkl'}", f"--out={tmp_path}"]) == 2
    assert "refused os.system" in capsys.readouterr().err
    assert command.main([base[0], f"--path={folder / 'BFM.mat'}", f"--out={tmp_path}"]) == 2
    assert "found a face3d-style BFM.mat" in capsys.readouterr().err


def test_experiments_of_the_original(trained, tmp_path, capsys):
    folder, config = trained
    base = ["-workdir", str(folder / "run"), "-out", str(tmp_path)]
    options = ["-mode", "both", "-size", "3", "-sigma_shape", "100000", "-sigma_exp", "1"]
    assert experiments.main(["test", *base, *options, "--format=pkl"]) == 0
    found = tmp_path / "output_on_test_data/shape_and_expression"
    assert {p.name for p in found.glob("*.jpg")} == {
        f"{i}_{kind}.jpg" for i in (1, 2, 3) for kind in ("gt", "input", "output")
    }
    printed = capsys.readouterr().out
    clean, noisy, out = (read_frame(found / f"{k}.pkl") for k in ("labels", "inputs", "outputs"))
    system = make_system(config)
    for target, key, sigma in (("shape", "sp", 1e5), ("expression", "ep", 1.0)):
        np.testing.assert_allclose(clean[key][..., 0], system.rows[target].test[:3], rtol=1e-6)
        noise = np.abs(noisy[key] - clean[key])
        assert 0.3 * sigma < noise.max() < 5 * sigma
        errors = [np.square(v[key] - clean[key]).mean() for v in (noisy, out)]
        line = next(x for x in printed.splitlines() if x.startswith(target))
        values = [float(x.rstrip(",")) for x in line.split()[2::2]]
        np.testing.assert_allclose(values, errors, rtol=1e-4)

    options = ["-mode", "both", "-size", "20", "-range", "10", "-visualize", "False"]
    assert experiments.main(["scatter", *base, *options]) == 0
    printed = capsys.readouterr().out
    found = tmp_path / "scatter_diagrams"
    before, after = (
        np.load(found / f"model_output_on_uniform/{k}.npz") for k in ("labels", "labels_out")
    )
    normal = np.load(found / "normal/labels.npz")
    for target, key in (("shape", "sp"), ("expression", "ep")):
        line = next(x for x in printed.splitlines() if x.startswith(target))
        values = [float(x.rstrip(",")) for x in line.split()[2::2]]
        wanted = [np.var(v[key], axis=0, ddof=1).sum() for v in (normal, after)]
        np.testing.assert_allclose([values[0], values[2]], wanted, rtol=1e-4)
        picture = read_image(found / target / "fig20.png")
        assert not np.array_equal(before[key], after[key])
        legacy = ["-mode", "exp" if key == "ep" else "shape", "-size", "20", "--legacy-scatter"]
        assert experiments.main(["scatter", *base, *legacy]) == 0
        assert "uniform" in capsys.readouterr().out
        assert not np.array_equal(read_image(found / target / "fig20.png"), picture)

    options = ["-size", "2", "-shape_range", "10", "-exp_range", "0.001"]
    assert experiments.main(["synthetic", *base, *options]) == 0
    raw = np.load(tmp_path / "synthetic_dataset/dataset/labels.npz")
    limit = 5 * np.asarray(load_bfm(folder / "BFM.mat").id_std)
    assert (np.abs(raw["sp"]) <= limit).all() and np.abs(raw["sp"] / limit).max() > 0.8
    assert np.abs(raw["ep"]).max() < 1e-3
    assert (tmp_path / "synthetic_dataset/network_output/2.jpg").is_file()
    assert np.load(tmp_path / "synthetic_dataset/network_output/outputs.npz")["tp"].shape == (2, 24)
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        experiments.main(["test", *base, "-size", "1"])
    assert caught.value.code == 2
    assert "found '1', wanted a whole number from 2" in capsys.readouterr().err


def test_published_recipe_on_files_of_both_sets(tmp_path, rng):
    """`:paper` on 300W-3D and AFLW2000-3D folders with all 199 + 29 coefficients."""
    for i in range(8):
        part = tmp_path / "mat" / ("AFLW2000" if i % 2 else "300W-3D/HELEN")
        part.mkdir(parents=True, exist_ok=True)
        write_parameters(part / f"image{i:05d}.mat", rng, kind="aflw2000" if i % 2 else "300w")
    write_parameters(tmp_path / "one.mat", rng)
    options = [f"--workdir={tmp_path / 'run'}", f"--path={tmp_path / 'one.mat'}"]
    for preset, target, n, scale in (
        ("paper_expression", "expression", 29, 1.0), ("paper_shape", "shape", 199, 1e4)
    ):  # fmt: skip
        config = load_config(f"{CONFIG}:{preset}")
        config.data.update(path=str(tmp_path / "mat"), num_test=2)
        config.schedule.update(batch_size=4, total_kimg=0.008)
        system = make_system(config)
        assert system.nets[target] == NetworkConfig("autoencoder4", n)
        assert (system.scales[target] == np.full(n, scale, np.float32)).all()
        rows = system.rows[target]
        assert rows.train.shape == (6, n) and rows.test.shape == (2, n)
    run_command(config, tmp_path / "run")
    assert (denoisers_of(load_run(tmp_path / "run")).scales["shape"] == 1e4).all()
    assert command.main([*options, "-mode", "shape", f"--out={tmp_path}"]) == 0
    found, given = np.load(tmp_path / "outputs.npz"), read_parameters(tmp_path / "one.mat")
    assert np.isfinite(found["sp"]).all() and not np.array_equal(
        found["sp"][0], given["Shape_Para"]
    )
    np.testing.assert_array_equal(found["ep"][0], given["Exp_Para"])
    assert command.main([*options, "--visualize", f"--out={tmp_path}"]) == 2  # no face model given
