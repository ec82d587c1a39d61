"""Pairs from files, a short training run on them, denoising with the run, evaluation."""

import json
import pathlib

import numpy as np
import pytest

from data_prep import make_manifold_data
from facejax import cli
from facejax.morphable import decode_shape
from facejax.morphable.bfm import load_bfm
from facejax.systems.manifold import dataset, metrics
from facejax.systems.manifold.data import noise_power
from launch import denoise as command
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
    assert make_manifold_data.main([*make, "--repeats=3"]) == 0
    config = cli.load_config(f"{CONFIG}:smoke")
    config.data.update(source="arrays", path=str(folder), model_path=str(folder / "BFM.mat"))
    config.data.shape_scale = "std"
    config.train.update(noise="stored", shape_sigma=5e5, expression_sigma=2.0)
    config.schedule.total_kimg = 0.032
    cli.run(config, folder / "run")
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


def test_figures_have_millimetres_of_the_given_model(trained):
    folder, config = trained
    found = cli.run(config, folder / "run", "evaluate")
    assert found == {k: v for k, v in json.loads((folder / "run/evaluation.json").read_text())
                     .items() if k != "step"}  # fmt: skip
    assert (folder / "run/evaluation.png").is_file()
    system, model = cli.make_system(config), load_bfm(folder / "BFM.mat")
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
    assert command.main([*base, "--visualize", f"--out={tmp_path}"]) == 2
    assert "leave --visualize away" in capsys.readouterr().err
