"""Checkpoints of the published layout through the command, and what belongs to them."""

import json

import jax
import numpy as np
import pytest

from facejax import readers
from facejax.commands.import_weights import main
from facejax.nn.vgg import VGG19
from facejax.systems.varitex import importer, published
from facejax.systems.varitex.discriminator import Discriminator
from facejax.systems.varitex.networks import Generator
from facejax.train.runs import load_run
from tests.oracles import torch_files as torch

NETS = (
    Generator(32, 64, 3, 8, 2, 2, 3, 3),
    Discriminator(width=2, layers=3, scales=2),
    VGG19(2),
)


@pytest.fixture(scope="module")
def checkpoint():
    rng = np.random.default_rng(0)

    def draw(leaf):
        return rng.normal(size=leaf.shape).astype(np.float32)

    values = [jax.tree.map(draw, published.wanted_variables(net)) for net in NETS]
    return published.Checkpoint(*(x for pair in zip(NETS, values, strict=True) for x in pair))


def write(path, arrays):
    """As Lightning saves: the state among other things."""
    state = {k: torch.Tensor(v) for k, v in arrays.items()}
    state["metric_lpips.metric.lin0.model.1.weight"] = torch.Tensor(np.ones(3, np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.write_zip(path, {"epoch": 3, "global_step": 40, "state_dict": state})


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_checkpoint_becomes_a_run(checkpoint, tmp_path, capsys):
    path = tmp_path / "run" / "checkpoints" / "epoch=3.ckpt"
    write(path, published.write_arrays(checkpoint))
    options = dict(lr=0.002, lambda_kl=0.5, batch_size=4, uv_mask_value=0.25, gan_mode="hinge",
                   semantic_regions=[1, 2], keep_background=False, bg_color="white",
                   transform_mode="ds", dataset_split="all")  # fmt: skip
    (tmp_path / "run" / "opt.json").write_text(json.dumps(options))
    (found,) = readers.recognise(path)
    assert found.reader == "varitex"
    out = tmp_path / "imported"
    assert main(["--system=varitex", f"--input={path}", f"--out={out}"]) == 0
    assert "SHA-256" in capsys.readouterr().out
    run = load_run(out, "varitex")
    equal(run.params["gen"], checkpoint.generator_variables["params"])
    equal(run.params["gen_stats"], checkpoint.generator_variables["batch_stats"])
    equal(run.params["disc"], checkpoint.discriminator_variables["params"])
    equal(run.params["disc_spectral"], checkpoint.discriminator_variables["spectral"])
    assert run.meta["images"] == 20 * 4
    c = run.config
    assert (c.schedule.lr, c.loss.kl, c.model.mask_value) == (0.002, 0.5, 0.25)
    assert (c.loss.gan_mode, c.data.background, c.data.transforms) == ("hinge", "gray", "ds")
    assert tuple(c.data.regions) == (1, 2) and c.data.split == "all"
    assert run.system.generator == Generator(32, 64, 3, 8, 2, 2, 3, 3, 0.25)


def test_the_features_of_a_checkpoint(checkpoint, tmp_path):
    path, out = tmp_path / "c" / "x.ckpt", tmp_path / "vgg.npz"
    arrays = published.write_arrays(checkpoint)
    write(path, {k: v for k, v in arrays.items() if k.startswith("loss_vgg")})
    assert main(["--system=deep3d", "--part=vgg19", f"--input={path}", f"--out={out}"]) == 0
    from facejax.pretrained.features import vgg_weights

    equal(vgg_weights(VGG19(2), str(out), 0).tree, checkpoint.vgg_variables)
    with pytest.raises(ValueError, match="a VGG19 of width 2, but vgg.width is 4"):
        vgg_weights(VGG19(4), str(out), 0)


def test_wrong_checkpoints_are_named(checkpoint, tmp_path):
    arrays = published.write_arrays(checkpoint)

    def load(changed):
        write(tmp_path / "x.ckpt", changed)
        return importer.load_checkpoint(tmp_path / "x.ckpt")

    name = "generator.decoder.decoder.layer2.1.conv1.weight"
    with pytest.raises(ValueError, match=f"1 missing: {name}"):
        load({k: v for k, v in arrays.items() if k != name})
    with pytest.raises(ValueError, match="1 unknown: generator.more"):
        load(arrays | {"generator.more": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match=f"{name} has shape .3, 3., wanted"):
        load(arrays | {name: np.ones((3, 3), np.float32)})
    with pytest.raises(ValueError, match="this is no checkpoint of VariTex"):
        load({"conv1.weight": np.ones((4, 3, 3, 3), np.float32)})


def test_options_and_codes(tmp_path, rng):
    path = tmp_path / "opt.json"
    for content, words in (
        ([], "wanted a table of options"), ({"lr": "fast"}, "lr is 'fast', wanted a number"),
        ({"gan_mode": "best"}, "gan_mode is 'best', wanted one of ls"),
        ({"semantic_regions": 3}, "wanted a list of numbers"),
    ):  # fmt: skip
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"opt.json: .*{words}"):
            importer.read_options(path)
    codes = rng.normal(size=(5, 2, 8)).astype(np.float32)
    np.save(tmp_path / "latents.npy", codes)
    mean, std = importer.read_latents(tmp_path / "latents.npy", 8)
    np.testing.assert_array_equal(np.stack([mean, std], 1), codes)
    assert readers.recognise(tmp_path / "latents.npy")[0].what == "5 codes of length 8"
    with pytest.raises(ValueError, match="found float32 .5, 2, 8., wanted float .N, 2, 16."):
        importer.read_latents(tmp_path / "latents.npy", 16)
