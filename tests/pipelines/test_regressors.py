import pathlib

import jax
import numpy as np
import pytest
from scipy.io import loadmat

from facejax.commands.import_weights import main as import_weights
from facejax.io.checkpoints import Checkpoints
from facejax.morphable.bfm09 import front_from_model, write_bfm_front
from facejax.pipelines.regressors import load_regressor
from facejax.pretrained import published
from facejax.recon import decoder
from facejax.recon.rnet import RNet, head_sizes
from facejax.train.config import load_config
from facejax.train.run_folder import write_config
from facejax.train.runs import make_system
from tests.pipelines.photos import command, message
from tests.pretrained.test_importer import torch_run

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "deep3d.py"


def test_published_weights_and_a_basel_file(model, folder, tmp_path):
    topology = model.topology
    front = decoder.front_weights(topology)
    write_bfm_front(tmp_path / "front.mat", front_from_model(model, front, front))
    net = RNet(head_sizes((6, model.num_exp, 4)), 18, 2)
    rng = np.random.default_rng(0)

    def draw_weights(leaf):
        if len(leaf.shape) < 2:  # variances among them
            return rng.uniform(0.5, 1.0, leaf.shape).astype(np.float32)
        spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    variables = jax.tree.map(draw_weights, published.abstract_variables(net, (1, 32, 32, 3)))
    arrays = published.to_published(variables, published.RNET_TORCH)
    torch_run(tmp_path / "epoch_20.pth", arrays)
    assert import_weights([
        "--system=deep3d", "--part=rnet", f"--input={tmp_path / 'epoch_20.pth'}",
        f"--out={tmp_path / 'rnet.npz'}",
    ]) == 0  # fmt: skip
    assert command(
        f"--weights={tmp_path / 'rnet.npz'}", f"--model={tmp_path / 'front.mat'}",
        f"--input={folder / 'photos' / 'a.png'}", f"--out={tmp_path / 'out'}", "--outputs=mat,obj",
    ) == 0  # fmt: skip
    mat = loadmat(tmp_path / "out" / "a.mat")
    image = np.float32(mat["cropped_img"])[None] / 255
    apply = jax.jit(lambda image: net.apply(variables, image)[0])
    wanted, swapped = np.asarray(apply(image)), np.asarray(apply(image[..., ::-1]))
    scale = np.abs(wanted).max()
    assert np.abs(swapped - wanted).max() > 1e-2 * scale
    np.testing.assert_allclose(mat["coeff"], wanted, rtol=1e-4, atol=1e-5 * scale)
    assert mat["face_shape"].shape == (model.num_vertices, 3)


def test_a_run_folder(tmp_path):
    """Of the default's network, whose empty running statistics a checkpoint does not hold."""
    config = load_config(f"{CONFIG}:smoke")
    config.schedule.graph_kimg = 0.0
    system = make_system(config)
    params, aux = system.init(0)
    write_config(tmp_path, config)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(3, {"params": params, "ema": {}, "aux": aux}, {"step": 3})
    regressor = load_regressor(tmp_path)
    assert regressor.size == config.data.image_size
    assert regressor.model.topology.digest == system.model.topology.digest
    image = np.full((1, regressor.size, regressor.size, 3), 0.5, np.float32)
    found = regressor.predict(image).coeffs
    assert found.shape == (1, decoder.num_coefficients(system.model)) and np.isfinite(found).all()
    with pytest.raises(ValueError, match="trained for the face model"):
        load_regressor(tmp_path, "procedural")


def test_weights_of_another_face_model(folder, tmp_path, capsys, monkeypatch):
    net = type("Net", (), dict(sizes=(("id", 80), ("exp", 64), ("tex", 80)), variant="torch"))
    from facejax.pretrained import importer

    (tmp_path / "rnet.npz").touch()
    monkeypatch.setattr(importer, "load_weights", lambda path, part: (net, {}, {}))
    base = (f"--input={folder / 'photos'}", f"--out={tmp_path}")
    argv = (f"--weights={tmp_path / 'rnet.npz'}", *base)
    text = message(capsys, *argv, f"--model={folder / 'model.npz'}")
    assert "found (80, 64, 80)" in text and "(6, 45, 4)" in text
    assert "need the face model" in message(capsys, *argv)
    monkeypatch.undo()
    np.savez(tmp_path / "rnet.npz", x=np.ones(3))
    assert "wanted rnet" in message(capsys, *argv, f"--model={folder / 'model.npz'}")
    (tmp_path / "run").mkdir()
    assert "holds no run" in message(capsys, f"--weights={tmp_path / 'run'}", *base)
