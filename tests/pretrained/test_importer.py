"""Files of the published layouts, with random weights of small networks, through the command."""

import hashlib
import json

import jax
import numpy as np
import pytest

from facejax.commands.import_weights import main
from facejax.geometry.hierarchy import build_hierarchy
from facejax.nn.arcface import IResNet
from facejax.nn.inception_resnet import InceptionResNetV1
from facejax.nn.resnet import ResNet
from facejax.nn.vgg import VGG19
from facejax.pretrained import importer, published
from facejax.recon.graph_net import GraphNet
from facejax.recon.rnet import RNet, head_sizes
from tests.geometry.test_hierarchy import bumpy_grid
from tests.oracles import tensorflow_files as tf
from tests.oracles import torch_files as torch

SIZES = head_sizes((3, 2, 4))


def random_variables(net, *inputs, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        published.abstract_variables(net, *inputs),
    )


def hierarchy():
    vertices, triangles = bumpy_grid(6)
    return build_hierarchy(vertices, triangles, 3, 2)


def torch_file(path, arrays):
    torch.write_zip(path, {k: torch.Tensor(v) for k, v in arrays.items()})


def torch_run(path, arrays):
    """As the trainer of the PyTorch code saves its state."""
    weights = {f"module.{k}": torch.Tensor(v) for k, v in arrays.items()}
    weights["module.backbone.bn1.num_batches_tracked"] = torch.Tensor(np.int64(5))
    optimiser = {"state": {0: {"exp_avg": torch.Tensor(np.zeros(3, np.float32))}}}
    torch.write_zip(path, {"net_recon": weights, "opt_00": optimiser})


def checkpoint(path, arrays):
    more = {f"{name}/Adam": value for name, value in arrays.items()}
    more["global_step"] = np.array(7, np.int64)
    tf.write_checkpoint(path, {k: np.ascontiguousarray(v) for k, v in (arrays | more).items()})


def frozen(path, arrays):
    tf.write_graph(path, {f"import/{k}": v for k, v in arrays.items()} | {"axis": np.int32(1)})


PHOTO = (1, 32, 32, 3)
CASES = {
    "rnet-torch": ("rnet", RNet(SIZES, 18, 2), (PHOTO,), published.RNET_TORCH, torch_run),
    "rnet-50": ("rnet", RNet(SIZES, 50, 2), (PHOTO,), published.RNET_TORCH, torch_file),
    "rnet-fc": (
        "rnet", RNet(depth=18, width=2, use_last_fc=True), (PHOTO,), published.RNET_TORCH,
        torch_file,
    ),
    "rnet-tf": ("rnet", RNet(SIZES, 50, 2, "slim"), (PHOTO,), published.RNET_TF, checkpoint),
    "rnet-graph": ("rnet", RNet(SIZES, 50, 2, "slim"), (PHOTO,), published.RNET_TF, frozen),
    "facenet": (
        "facenet", InceptionResNetV1(6, 4, (1, 2, 0)), ((1, 80, 80, 3),), published.FACENET_TF,
        checkpoint,
    ),
    "arcface": ("arcface", IResNet(18, 2, 5), (PHOTO,), published.arcface_format(16), torch_file),
    "vgg19": ("vgg19", VGG19(2), (PHOTO,), published.VGG_TORCH, torch_file),
    "imagenet": ("imagenet", ResNet(18, 2), (PHOTO,), published.IMAGENET_TORCH, torch_file),
    "imagenet-tf": (
        "imagenet", ResNet(50, 2, "slim"), (PHOTO,), published.IMAGENET_TF, checkpoint,
    ),
    "gcn": (
        "gcn", GraphNet(order=3), ((1, 7), (1, 37, 3), hierarchy()), published.GRAPH_TF, checkpoint,
    ),
    "gcn-albedo": (
        "gcn", GraphNet("albedo", "wide", 2), ((1, 7), (1, 37, 7), hierarchy()),
        published.GRAPH_ALBEDO_TF, checkpoint,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_round_trip(tmp_path, capsys, case):
    part, net, inputs, form, write = CASES[case]
    variables = random_variables(net, *inputs)
    arrays = published.to_published(variables, form)
    if part == "imagenet":  # the classifier, which is dropped
        arrays["resnet_v1_50/logits/weights" if "tf" in case else "fc.weight"] = np.zeros((9, 9))
    source, out = tmp_path / "published", tmp_path / "new/ours.npz"
    write(source, arrays)
    command = ["--system=deep3d", f"--part={part}", f"--input={source}", f"--out={out}"]
    assert main(command) == 0
    assert "Licence: imported weights" in capsys.readouterr().out
    got, tree, meta = importer.load_weights(out, part)
    assert got == net
    jax.tree.map(np.testing.assert_array_equal, tree, variables)
    assert meta["origin"] == "published" and meta["licence"] and meta["input"]
    if write is not checkpoint:
        assert meta["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert main(command) == 2  # does not overwrite
    assert "exists" in capsys.readouterr().err


def test_the_last_layer_of_arcface_reads_pixels_in_our_order():
    form = published.arcface_format(16)
    c, y, x = np.meshgrid(np.arange(16), np.arange(2), np.arange(2), indexing="ij")
    theirs = np.stack([c, y, x]).reshape(3, -1).astype(np.float32)  # three outputs
    ours = form.ours(("params", "fc", "kernel"), theirs, (64, 3))
    np.testing.assert_array_equal(ours.reshape(2, 2, 16, 3)[1, 0, 5], [5, 1, 0])


def tiny():
    """The arrays of a small R-Net of the PyTorch code."""
    net = RNet(SIZES, 18, 2)
    return published.to_published(random_variables(net, PHOTO), published.RNET_TORCH)


def without(arrays, name):
    return {k: v for k, v in arrays.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: without(a, "backbone.bn1.bias"), "1 missing: backbone.bn1.bias"),
        (lambda a: a | {"backbone.extra": np.zeros(2)}, "1 unknown: backbone.extra"),
        (
            lambda a: a | {"backbone.bn1.bias": np.zeros((3, 1))},
            r"1 misfits: backbone.bn1.bias has shape \(3, 1\), wanted \(2,\)",
        ),
        (lambda a: a | {"backbone.bn1.bias": np.full(2, np.nan)}, "NaN"),
        (lambda a: {"conv1.weight": a["backbone.conv1.weight"]}, "none called backbone.conv1"),
        (lambda a: without(a, "final_layers.3.weight"), "no array final_layers.3.weight"),
        (lambda a: a | {"backbone.conv1.weight": np.zeros(3)}, "wanted 4 axes"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        importer.convert(change(tiny()), "rnet")


def test_wrong_files_and_flags(tmp_path, capsys):
    source = tmp_path / "epoch_20.pth"
    torch_run(source, tiny())
    for flags, message in (
        ([f"--input={source}", "--part="], "wanted one of rnet, gcn"),
        ([f"--input={source}", "--part=facenet"], "none called InceptionResnetV1"),
        ([f"--input={source}", "--part=gcn"], "epoch_20.pth: not weights of the part 'gcn': found"),
        (["--input=/nowhere/model.ckpt", "--part=rnet"], "no such file"),
    ):
        assert main(["--system=deep3d", f"--out={tmp_path / 'a.npz'}", *flags]) != 0
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"\.npz"):
        importer.import_part(source, "rnet", tmp_path / "folder")
    assert not (tmp_path / "a.npz").exists()

    importer.import_part(source, "rnet", tmp_path / "a.npz")
    with pytest.raises(ValueError, match="found the part 'rnet', wanted facenet"):
        importer.load_weights(tmp_path / "a.npz", "facenet")
    np.savez(tmp_path / "b.npz", x=np.zeros(2), meta=np.array(json.dumps({"format": "other"})))
    with pytest.raises(ValueError, match="found the arrays"):
        importer.load_weights(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("part", "name"),
    [("facenet", "InceptionResnetV1/Repeat/block35_999999999/x/weights"),
     ("gcn", "gcn_mesh_generator/gcn_mesh_decoder/resblock999999999/filter1/weights")],
)  # fmt: skip
def test_names_of_blocks_that_nobody_has_are_refused_at_once(tmp_path, part, name):
    _, net, inputs, form, write = CASES[part]
    arrays = published.to_published(random_variables(net, *inputs), form)
    write(tmp_path / "net", arrays | {name: np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match="net: .*block number 999999999"):
        importer.import_part(tmp_path / "net", part, tmp_path / "out.npz")


def test_a_damaged_file_of_ours(tmp_path):
    source = tmp_path / "epoch_20.pth"
    torch_run(source, tiny())
    importer.import_part(source, "rnet", tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    name = next(k for k in arrays if k != "meta")
    meta = json.loads(str(arrays["meta"]))
    for change in (
        {name: np.full_like(arrays[name], np.nan)},
        {f"{name}/deeper": np.zeros(1, np.float32)},
        {"meta": np.array(json.dumps(meta | {"network": {"colour": 1}}))},
        {"meta": np.array(json.dumps(meta | {"part": "nose"}))},
        {"meta": np.array(json.dumps({k: v for k, v in meta.items() if k != "network"}))},
    ):
        np.savez(tmp_path / "b.npz", **(arrays | change))
        with pytest.raises(ValueError, match="b.npz: "):
            importer.load_weights(tmp_path / "b.npz")
