"""Published weights of the Deep3D family as files of ours: read, checked, converted, recorded.

A file of ours is an .npz of arrays named 'params/backbone/conv1/kernel' and a 'meta' text (JSON):
format, part, network (the module's attributes), origin, sha256, licence, input.
"""

import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from facejax.geometry.hierarchy import MeshHierarchy
from facejax.host.arrays import read_npz
from facejax.host.files import list_files, reading
from facejax.host.shell import command_line
from facejax.io.tensorflow_files import load_checkpoint, load_frozen_graph
from facejax.io.torch_files import load_state_dict
from facejax.morphable.storage import write_arrays
from facejax.nn.arcface import BLOCKS, IResNet
from facejax.nn.inception_resnet import InceptionResNetV1
from facejax.nn.resnet import ResNet
from facejax.nn.vgg import VGG19
from facejax.pretrained import published as pub
from facejax.recon.graph_net import WIDTHS, GraphNet
from facejax.recon.rnet import SIZES, RNet, init_rnet

FORMAT = "facejax-deep3d-weights-1"
LICENCE = "imported weights: they stay under the licence of whoever published them."
_NOTES = {
    "rnet": " Their coefficients belong to the Basel Face Model 2009, which needs its own licence.",
    "gcn": " Their mesh belongs to the Basel Face Model 2009, which needs its own licence.",
    "arcface": " InsightFace gives its trained models out for non-commercial research only.",
    "facenet": "",
    "imagenet": "",
    "vgg19": "",
}
PARTS = tuple(_NOTES)
_NETWORKS = {
    "rnet": RNet, "imagenet": ResNet, "facenet": InceptionResNetV1, "arcface": IResNet,
    "gcn": GraphNet, "vgg19": VGG19,
}  # fmt: skip
_MEANINGS = {
    "RNet/torch": "RGB in [0, 1]",
    "RNet/slim": "BGR in [0, 255]",
    "ResNet/torch": "RGB in [0, 1]",
    "ResNet/slim": "BGR in [0, 255]",
    "InceptionResNetV1": "RGB, (value - 127.5) / 128 of 0..255, 160 pixels",
    "IResNet": "RGB in [-1, 1], 112 pixels, aligned by arcface_similarity",
    "VGG19": "RGB in [0, 1], less ImageNet's mean, divided by its deviation",
    "GraphNet/shape": "vertices in decimetres, centred",
    "GraphNet/albedo": "colours in [-1, 1]",
}


def import_part(path: str | os.PathLike, part: str, out: str | os.PathLike) -> dict[str, Any]:
    """Writes one network of a published file as a file of ours.

    Args:
      path: of a PyTorch file, a TensorFlow checkpoint (prefix, .index or folder) or a frozen graph.
      part: 'rnet', 'facenet', 'arcface', 'imagenet' (a ResNet to start R-Net from), 'gcn' or
        'vgg19' (features of perceptual losses).
      out: the .npz to write; its folder is made.

    Returns:
      The metadata of the file.

    Raises:
      ValueError: an unknown part, an unreadable file, or one whose arrays are missing, unknown or
        misshapen for this part.
    """
    path, out = pathlib.Path(path), pathlib.Path(out)
    if part not in PARTS:
        raise ValueError(f"part {part!r}: wanted one of {', '.join(PARTS)}")
    if out.suffix != ".npz":
        raise ValueError(f"{out}: wanted the name of a new .npz file")
    if out.exists():
        raise ValueError(f"{out} exists: choose another name")
    arrays, files, frozen = _read(path)
    with reading(path, f"weights of the part {part!r}"):
        net, variables = convert(arrays, part, only_known=frozen)
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    meta = {
        "format": FORMAT,
        "part": part,
        "network": _attributes(net),
        "origin": path.name,
        "sha256": digest.hexdigest(),
        "licence": LICENCE + _NOTES[part],
        "input": _meaning(net),
    }
    flat = {"/".join(p): np.asarray(v) for p, v in pub.leaves(variables)}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(out, flat | {"meta": np.array(json.dumps(meta))})
    return meta


def load_weights(
    path: str | os.PathLike, part: str | None = None
) -> tuple[nn.Module, dict, dict[str, Any]]:
    """The network of a file that `import_part` wrote.

    Args:
      path: the .npz.
      part: what it must hold; None takes any.

    Returns:
      The module, its variables {'params', 'batch_stats'} as numpy arrays, and the metadata.

    Raises:
      ValueError: not such a file, or of another part.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f"{path}: no such file; wanted weights written by facejax import_weights")
    arrays = read_npz(path)
    try:
        meta = json.loads(str(arrays.pop("meta", "{}")))
        known = meta["format"] == FORMAT and meta["part"] in PARTS
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known or (part and meta["part"] != part):
        found = f"the part {meta['part']!r}" if known else f"the arrays {sorted(arrays)[:3]}"
        words = ("facejax", "import_weights", "--system=deep3d", f"--part={part or 'PART'}")
        raise ValueError(
            f"{path}: found {found}, wanted {part or 'weights'} written by {command_line(*words)}"
        )
    with reading(path, f"the part {meta['part']!r} as facejax import_weights writes it"):
        tree: dict = {}
        for name, value in arrays.items():
            *parents, leaf = name.split("/")
            node = tree
            for part_name in parents:
                node = node.setdefault(part_name, {})
            if leaf in node or value.dtype.kind != "f" or not np.isfinite(value).all():
                raise ValueError(f"the array {name} is damaged")
            node[leaf] = value
        attributes = {k: _tuples(v) for k, v in meta["network"].items()}
        return _NETWORKS[meta["part"]](**attributes), tree, meta


def initial_rnet(net: RNet, seed: int, path: str = "", size: int = 32) -> dict[str, Any]:
    """{'params', 'batch_stats'} of an R-Net at the start of training.

    Args:
      net: the regressor.
      seed: of what no file gives.
      path: '' or a file of facejax import_weights: part 'imagenet' (the ResNet below the heads)
        or 'rnet' (everything).
      size: side of the images, see `init_rnet`.

    Raises:
      ValueError: the file's network has another shape.
    """
    variables = init_rnet(net, seed, size)
    if not path:
        return variables
    _, loaded, meta = load_weights(path)
    if meta["part"] == "imagenet":
        loaded = {k: {**variables[k], "backbone": loaded[k]} for k in variables}
    found, wanted = (
        {jax.tree_util.keystr(p): np.shape(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (loaded, variables)
    )
    if found != wanted:
        differ = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        raise ValueError(
            f"{path}: {len(differ)} arrays do not fit this R-Net, first {differ[0]}: found "
            f"{found.get(differ[0])}, wanted {wanted.get(differ[0])}; set model.depth, width and "
            "variant, and a face model of the same number of coefficients, as the file has them"
        )
    return loaded


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def convert(arrays: pub.Arrays, part: str, only_known: bool = False) -> tuple[nn.Module, dict]:
    """The network that published arrays belong to, and its variables.

    Args:
      arrays: name to array. Prefixes such as 'module.' or 'net_recon.' are recognised.
      part: as in `import_part`.
      only_known: pass over names that the network does not have (the other constants of a graph).

    Raises:
      ValueError: see `published.from_published`.
    """
    net, wanted, form, arrays = _RULES[part](arrays)
    if only_known:
        names = {form.name(path) for path, _ in pub.leaves(wanted)}
        arrays = {k: v for k, v in arrays.items() if k in names}
    return net, pub.from_published(arrays, wanted, form)


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], list[pathlib.Path], bool]:
    """(arrays, files that they lie in, whether other constants lie among them)."""
    if path.is_file() and path.suffix != ".index":
        with path.open("rb") as file:
            head = file.read(2)
        if head == b"PK" or head[:1] == b"\x80":
            return load_state_dict(path), [path], False
        return load_frozen_graph(path), [path], True
    index = list_files(path, (".index",)) if path.is_dir() else [path]
    prefix = index[0] if len(index) == 1 else path
    prefix = prefix.with_suffix("") if prefix.suffix == ".index" else prefix
    files = sorted(prefix.parent.glob(f"{prefix.name}.*"))
    if not any(f.suffix == ".index" for f in files):
        raise ValueError(
            f"{path}: no such file; wanted a PyTorch file (.pth), a frozen graph (.pb) or the "
            "prefix of a TensorFlow checkpoint"
        )
    wanted = re.compile(re.escape(prefix.name) + r"\.(index|data-\d+-of-\d+)")
    return load_checkpoint(prefix), [f for f in files if wanted.fullmatch(f.name)], False


def parts_of(names: Iterable[str]) -> tuple[str, ...]:
    """Which of PARTS the arrays of a published file make up, by their names alone.

    Args:
      names: of the arrays, with any prefixes.
    """
    names = list(names)

    def holds(*anchors):
        return all(any(re.search(rf"(^|[./]){re.escape(a)}$", n) for n in names) for a in anchors)

    slim = holds("resnet_v1_50/conv1/weights")
    heads = holds("fc-id/weights")
    torch = holds("conv1.weight", "layer1.0.conv1.weight")
    found = {
        "rnet": holds("backbone.conv1.weight") or (slim and heads),
        "facenet": holds("InceptionResnetV1/Conv2d_1a_3x3/weights"),
        "arcface": torch and holds("prelu.weight"),
        "imagenet": (slim and not heads)
        or (torch and not holds("prelu.weight") and not holds("backbone.conv1.weight")),
        "vgg19": holds("features.28.weight") or holds("slice5.28.weight"),
        "gcn": holds("gcn_mesh_decoder/fc/weights") or holds("mesh_decoder/fc/weights"),
    }
    return tuple(part for part in PARTS if found[part])


def _attributes(net: nn.Module) -> dict[str, Any]:
    values = {k: getattr(net, k) for k in type(net).__dataclass_fields__}
    return {k: v for k, v in values.items() if k not in ("parent", "name")}


def _meaning(net: nn.Module) -> str:
    kind = getattr(net, "variant", "") if not hasattr(net, "target") else net.target
    return _MEANINGS[type(net).__name__ + (f"/{kind}" if kind else "")]


# --- Which network a file holds: its attributes are read off the shapes of the arrays ------------


def _scoped(arrays: pub.Arrays, *anchors: str) -> tuple[int, dict[str, np.ndarray]]:
    """(which anchor was found, arrays of its scope, the scope's name taken off)."""
    for k, anchor in enumerate(anchors):
        ends = [n for n in arrays if re.search(rf"(^|[./]){re.escape(anchor)}$", n)]
        if ends:
            scope = min(ends, key=len).removesuffix(anchor)
            found = {n.removeprefix(scope): v for n, v in arrays.items() if n.startswith(scope)}
            return k, found
    raise ValueError(
        f"found {len(arrays)} arrays, the first {sorted(arrays)[:3]}, but none called "
        f"{' or '.join(anchors)}: this is another network or another part"
    )


def _shape(arrays: pub.Arrays, name: str, dims: int) -> tuple[int, ...]:
    if name not in arrays:
        raise ValueError(f"no array {name}")
    shape = np.shape(arrays[name])
    if len(shape) != dims or not all(shape):
        raise ValueError(f"{name} has shape {shape}, wanted {dims} axes")
    return shape


def _count(numbers: Iterable[int]) -> int:
    """The highest number of a row of blocks, 0 for none."""
    found = set(numbers)
    if found and max(found) > len(found) + 1:
        raise ValueError(f"found a block number {max(found)} and {len(found)} blocks in all")
    return max(found, default=0)


def _rnet(arrays):
    kind, arrays = _scoped(arrays, "backbone.conv1.weight", "resnet_v1_50/conv1/weights")
    names = [name for name, _ in SIZES]
    if kind:
        width = _shape(arrays, "resnet_v1_50/conv1/weights", 4)[3]
        heads = [f"fc-{pub.TF_HEADS[name]}/weights" for name in names]
        sizes = tuple((n, _shape(arrays, head, 4)[3]) for n, head in zip(names, heads, strict=True))
        net, form = RNet(sizes, 50, width, "slim"), pub.RNET_TF
    else:
        width = _shape(arrays, "backbone.conv1.weight", 4)[0]
        depth = 50 if "backbone.layer1.0.conv3.weight" in arrays else 18
        one = "backbone.fc.weight" in arrays
        if one:
            sizes = SIZES
        else:
            heads = [f"final_layers.{k}.weight" for k in range(len(names))]
            sizes = tuple(
                (n, _shape(arrays, head, 4)[0]) for n, head in zip(names, heads, strict=True)
            )
        net, form = RNet(sizes, depth, width, "torch", one), pub.RNET_TORCH
    return net, pub.abstract_variables(net, (1, 32, 32, 3)), form, arrays


def _imagenet(arrays):
    kind, arrays = _scoped(arrays, "conv1.weight", "resnet_v1_50/conv1/weights")
    if kind:
        width = _shape(arrays, "resnet_v1_50/conv1/weights", 4)[3]
        net, form = ResNet(50, width, "slim"), pub.IMAGENET_TF
    else:
        depth = 50 if "layer1.0.conv3.weight" in arrays else 18
        net = ResNet(depth, _shape(arrays, "conv1.weight", 4)[0])
        form = pub.IMAGENET_TORCH
    return net, pub.abstract_variables(net, (1, 32, 32, 3)), form, arrays


def _facenet(arrays):
    stem = "InceptionResnetV1/Conv2d_1a_3x3/weights"
    _, arrays = _scoped(arrays, stem)
    blocks = []
    for repeat, block in (("Repeat", "block35"), ("Repeat_1", "block17"), ("Repeat_2", "block8")):
        pattern = re.compile(rf"InceptionResnetV1/{repeat}/{block}_(\d+)/")
        blocks.append(_count(int(m[1]) for n in arrays if (m := pattern.match(n))))
    features = _shape(arrays, "InceptionResnetV1/Bottleneck/weights", 2)[1]
    net = InceptionResNetV1(features, _shape(arrays, stem, 4)[3], tuple(blocks))
    return net, pub.abstract_variables(net, (1, 80, 80, 3)), pub.FACENET_TF, arrays


def _arcface(arrays):
    _, arrays = _scoped(arrays, "conv1.weight")
    width = _shape(arrays, "conv1.weight", 4)[0]
    features, pixels = _shape(arrays, "fc.weight", 2)
    side = round((pixels / (8 * width)) ** 0.5)
    depth = 50 if f"layer3.{BLOCKS[50][2] - 1}.conv1.weight" in arrays else 18
    net = IResNet(depth, width, features)
    wanted = pub.abstract_variables(net, (1, 16 * side, 16 * side, 3))
    return net, wanted, pub.arcface_format(8 * width), arrays


def _vgg19(arrays):
    anchors = ("features.0.weight", "slice1.0.weight")
    kind, arrays = _scoped(arrays, *anchors)
    form = (pub.VGG_TORCH, pub.VGG_SLICES)[kind]
    net = VGG19(_shape(arrays, anchors[kind], 4)[0])
    return net, pub.abstract_variables(net, (1, 32, 32, 3)), form, arrays


def _gcn(arrays):
    stem = "mesh_generator/{0}mesh_decoder/fc/weights"
    anchors = ("gcn_" + stem.format("gcn_"), stem.format(""))
    kind, arrays = _scoped(arrays, *anchors)
    prefix = "" if kind else "gcn_"
    root = f"{prefix}mesh_generator/{prefix}mesh_"
    embedding, nodes = _shape(arrays, anchors[kind], 2)
    inner = _shape(arrays, f"{root}decoder/resblock1/filter1/weights", 2)
    pattern = re.compile(re.escape(root) + r"decoder/resblock(\d+)/")
    levels = _count(int(m[1]) for n in arrays if (m := pattern.match(n)))
    first = WIDTHS["resnet"][0][0]
    order = max(inner[0] // first, 1)
    channels = _shape(arrays, f"{root}refiner/resblock1/filter1/weights", 2)[0] // order
    variant = "wide" if inner[1] == WIDTHS["wide"][0][1] else "resnet"
    net = GraphNet("albedo" if kind else "shape", variant, order)
    # parameters depend on the coarsest level only, and on the number of levels
    size = max(nodes // first, 1)
    index = jax.ShapeDtypeStruct((size, 1), np.int32)
    weight = jax.ShapeDtypeStruct((size, 1), np.float32)
    keep = jax.ShapeDtypeStruct((size,), np.int32)
    hierarchy = MeshHierarchy(
        (index,) * (levels + 1), (weight,) * (levels + 1), (keep,) * levels, (index,) * levels,
        (weight,) * levels,
    )  # fmt: skip
    wanted = pub.abstract_variables(net, (1, embedding), (1, size, channels), hierarchy)
    return net, wanted, pub.GRAPH_ALBEDO_TF if kind else pub.GRAPH_TF, arrays


_RULES: Mapping[str, Any] = {
    "rnet": _rnet, "imagenet": _imagenet, "facenet": _facenet, "arcface": _arcface, "gcn": _gcn,
    "vgg19": _vgg19,
}  # fmt: skip
