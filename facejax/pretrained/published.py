"""Names and layouts of the Deep3D family's published arrays, to and from ours.

For every array of ours a naming rule gives the name in the published file and a layout rule the
change of axes; both directions, and all complaints about a file, follow from these two.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from facejax.recon.rnet import SIZES

Arrays = Mapping[str, np.ndarray]
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Format:
    """How a published network is written down.

    Attributes:
      label: the network, in messages.
      name: our path ('params', 'backbone', 'conv1', 'kernel') to the name in the file.
      ours: (path, array of the file, our shape) to our layout.
      theirs: (path, our array) to the layout of the file.
      ignored: pattern of names in the file that are no weights of the network.
    """

    label: str
    name: Callable[[Path], str]
    ours: Callable[[Path, np.ndarray, tuple[int, ...]], np.ndarray]
    theirs: Callable[[Path, np.ndarray], np.ndarray]
    ignored: str = r"$^"


def leaves(tree) -> Iterable[tuple[Path, np.ndarray]]:
    """(path, leaf) of all leaves of nested dicts."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield tuple(p.key for p in path), leaf


def from_published(arrays: Arrays, wanted: Mapping, form: Format) -> dict:
    """Our variables from the arrays of a published file.

    Args:
      arrays: name to array, as read from the file.
      wanted: our variables, or their shapes.
      form: of the file.

    Returns:
      {'params': ..., 'batch_stats': ...} of float32 arrays, like `wanted`.

    Raises:
      ValueError: arrays are missing, unknown, of another shape, or not finite; all in one message.
    """
    unknown = {name for name in arrays if not re.search(form.ignored, name)}
    missing, wrong, tree = [], [], {}
    for path, leaf in leaves(wanted):
        name = form.name(path)
        if name not in arrays:
            missing.append(name)
            continue
        unknown.discard(name)
        value = np.asarray(arrays[name], np.float32)
        expected = form.theirs(path, np.broadcast_to(np.float32(0), leaf.shape)).shape
        if value.shape != expected:
            wrong.append(f"{name} has shape {value.shape}, wanted {expected}")
            continue
        if not np.isfinite(value).all():
            wrong.append(f"{name} holds NaN or infinity")
            continue
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = np.ascontiguousarray(form.ours(path, value, leaf.shape))
    rows = [f"{len(v)} {k}: {_few(v)}" for k, v in (("missing", missing), ("misfits", wrong)) if v]
    rows += [f"{len(unknown)} unknown: {_few(sorted(unknown))}"] if unknown else []
    if rows:
        raise ValueError(f"the file does not hold {form.label}: {'; '.join(rows)}")
    return tree


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def to_published(variables: Mapping, form: Format) -> dict[str, np.ndarray]:
    """The arrays of a published file from our variables; inverse of `from_published`."""
    return {form.name(path): form.theirs(path, np.asarray(v)) for path, v in leaves(variables)}


_TORCH_LEAVES = {
    "kernel": "weight", "scale": "weight", "slope": "weight", "bias": "bias",
    "mean": "running_mean", "var": "running_var",
}  # fmt: skip
_TF_LEAVES = {
    "scale": "BatchNorm/gamma", "bias": "BatchNorm/beta", "mean": "BatchNorm/moving_mean",
    "var": "BatchNorm/moving_variance",
}  # fmt: skip


def _from_torch(path: Path, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[out, in, h, w] to [h, w, in, out] and [out, in] or [out, in, 1, 1] to [in, out]."""
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
    elif value.ndim == 2:
        value = value.T
    return value.reshape(shape)


def _to_torch(path: Path, value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    return value.T if value.ndim == 2 else value


# R-Net. Order of `final_layers` and names of the TensorFlow heads.
_HEADS = tuple(name for name, _ in SIZES)
TF_HEADS = dict(zip(_HEADS, ("id", "ex", "tex", "angles", "gamma", "XY", "Z"), strict=True))


def _torch_parts(path: Path) -> list[str]:
    """Modules of a ResNet as torchvision names them."""
    return [
        re.sub(r"^(layer\d)_(\d+)$", r"\1.\2", part)
        .replace("downsample_conv", "downsample.0")
        .replace("downsample_bn", "downsample.1")
        for part in path[1:-1]
    ]


def _rnet_torch_name(path: Path) -> str:
    parts = _torch_parts(path)
    if parts[0] == "head":
        parts = ["backbone", "fc"]
    elif parts[0].startswith("head_"):
        parts = ["final_layers", str(_HEADS.index(parts[0].removeprefix("head_")))]
    return ".".join([*parts, _TORCH_LEAVES[path[-1]]])


def _rnet_to_torch(path: Path, value: np.ndarray) -> np.ndarray:
    value = _to_torch(path, value)
    return value[..., None, None] if path[1].startswith("head_") and value.ndim == 2 else value


def _rnet_tf_name(path: Path) -> str:
    if path[1].startswith("head_"):
        head = TF_HEADS[path[1].removeprefix("head_")]
        return f"fc-{head}/{'weights' if path[-1] == 'kernel' else 'biases'}"
    *blocks, layer = path[2:-1]
    out = "resnet_v1_50/"
    for part in blocks:
        stage, unit = part.removeprefix("layer").split("_")
        out += f"block{stage}/unit_{int(unit) + 1}/bottleneck_v1/"
    layer = "shortcut" if layer.startswith("downsample") else layer.replace("bn", "conv")
    return f"{out}{layer}/" + ("weights" if path[-1] == "kernel" else _TF_LEAVES[path[-1]])


def _rnet_to_tf(path: Path, value: np.ndarray) -> np.ndarray:
    return value[None, None] if path[1].startswith("head_") and value.ndim == 2 else value


def _reshape(path: Path, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return value.reshape(shape)


RNET_TORCH = Format(
    "an R-Net of Deep3DFaceRecon_pytorch", _rnet_torch_name, _from_torch, _rnet_to_torch,
    r"num_batches_tracked$",
)  # fmt: skip
# of TensorFlow files: what an optimiser keeps, and everything outside of the network's scopes
_SLOTS = r"/(Adam|Momentum|RMSProp|Adagrad|ExponentialMovingAverage)(_\d+)?$"
RNET_TF = Format(
    "an R-Net of Deep3DFaceReconstruction", _rnet_tf_name, _reshape, _rnet_to_tf,
    rf"{_SLOTS}|^(?!resnet_v1_50/|fc-)",
)  # fmt: skip

# The image network of R-Net alone, as ImageNet weights are published.
IMAGENET_TORCH = Format(
    "a ResNet of torchvision",
    lambda path: ".".join([*_torch_parts(path), _TORCH_LEAVES[path[-1]]]),
    _from_torch,
    _to_torch,
    r"(num_batches_tracked|^fc\.(weight|bias))$",
)
IMAGENET_TF = Format(
    "resnet_v1_50 of TensorFlow's slim",
    lambda path: _rnet_tf_name((path[0], "backbone", *path[1:])),
    _reshape,
    _rnet_to_tf,
    rf"{_SLOTS}|^resnet_v1_50/(logits/|mean_rgb$)|^(?!resnet_v1_50/)",
)


# VGG19 of torchvision: 'features.0.weight' is our conv0/kernel. Perceptual losses cut it into
# slices: 'slice2.5.weight'.
_SLICE_ENDS = (0, 5, 10, 19)


def _vgg_slice(path: Path) -> str:
    place = int(path[1].removeprefix("conv"))
    number = 1 + sum(place > end for end in _SLICE_ENDS)
    return f"slice{number}.{place}.{_TORCH_LEAVES[path[-1]]}"


VGG_SLICES = Format("VGG19 within a perceptual loss", _vgg_slice, _from_torch, _to_torch)
VGG_TORCH = Format(
    "VGG19 of torchvision",
    lambda path: f"features.{path[1].removeprefix('conv')}.{_TORCH_LEAVES[path[-1]]}",
    _from_torch,
    _to_torch,
    r"^(classifier\.|features\.(30|32|34)\.)",  # beyond relu5_1
)

# Graph net. Weights there are [in * K, out] with K running faster, biases [1, 1, out].
_GRAPH_LEAVES = {
    "shortcut": {"kernel": "shortcut/weights"},
    "conv1": {"kernel": "filter1/weights", "bias": "bias_relu1/bias"},
    "conv2": {"kernel": "filter2/weights", "bias": "bias_relu2/bias"},
}


def _graph_name(path: Path) -> str:
    root = "gcn_mesh_generator/"
    if path[1] == "combine":
        return f"{root}gcn_mesh_concat/weights"
    root += f"gcn_mesh_{path[1]}/"
    if path[2] == "fc":
        return f"{root}fc/{'weights' if path[-1] == 'kernel' else 'bias'}"
    return f"{root}{path[2].replace('block', 'resblock')}/{_GRAPH_LEAVES[path[3]][path[4]]}"


def _graph_to_theirs(path: Path, value: np.ndarray) -> np.ndarray:
    if value.ndim == 3:
        return value.transpose(1, 0, 2).reshape(-1, value.shape[-1])
    return value[None, None] if value.ndim == 1 and path[2] != "fc" else value


def _graph_to_ours(path: Path, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 3:
        return value.reshape(shape[1], shape[0], shape[2]).transpose(1, 0, 2)
    return value.reshape(shape)


GRAPH_TF = Format(
    "a graph net of GCN_ResNet",
    _graph_name,
    _graph_to_ours,
    _graph_to_theirs,
    rf"{_SLOTS}|^(?!gcn_mesh_generator/)",
)
GRAPH_ALBEDO_TF = Format(
    "a graph net of 3D-Face-GCNs (--model=resnet)",
    lambda path: _graph_name(path).replace("gcn_", ""),
    _graph_to_ours,
    _graph_to_theirs,
    rf"{_SLOTS}|^(?!mesh_generator/)",
)


# FaceNet. Our `Branch_0_Conv2d_1x1/conv/kernel` is `Branch_0/Conv2d_1x1/weights`.
_REPEATS = {"block35": "Repeat", "block17": "Repeat_1", "block8": "Repeat_2"}


def _facenet_name(path: Path) -> str:
    *parts, leaf = path[1:]
    if parts[0] in ("Bottleneck", "Bottleneck_bn"):
        parts[0] = "Bottleneck"
        normed = leaf != "kernel"
    else:
        normed = parts[-1] == "bn"
        parts = parts[:-1] if parts[-1] in ("conv", "bn") else parts
    repeat = _REPEATS.get(parts[0].rpartition("_")[0])
    parts = [re.sub(r"^(Branch_\d)_", r"\1/", p) for p in ([repeat] if repeat else []) + parts]
    if not normed:
        leaf = {"kernel": "weights", "bias": "biases"}[leaf]
    return "/".join(["InceptionResnetV1", *parts, _TF_LEAVES[leaf] if normed else leaf])


FACENET_TF = Format(
    "FaceNet (Inception-ResNet-v1)", _facenet_name, _reshape, lambda path, value: value,
    rf"{_SLOTS}|^(?!InceptionResnetV1/)",
)  # fmt: skip


# ArcFace. The last layer reads the features channel by channel there, pixel by pixel here.
def _arcface_name(path: Path) -> str:
    return ".".join([*_torch_parts(path), _TORCH_LEAVES[path[-1]]])


def arcface_format(channels: int) -> Format:
    """Format of a network with this many channels before the last layer."""

    def ours(path, value, shape):
        if path[1:] != ("fc", "kernel"):
            return _from_torch(path, value, shape)
        value = value.reshape(len(value), channels, -1)
        return value.transpose(2, 1, 0).reshape(shape)

    def theirs(path, value):
        if path[1:] != ("fc", "kernel"):
            return _to_torch(path, value)
        value = value.reshape(-1, channels, value.shape[-1])
        return value.transpose(2, 1, 0).reshape(value.shape[-1], -1)

    return Format("an ArcFace network (iresnet)", _arcface_name, ours, theirs, RNET_TORCH.ignored)


ARCFACE_TORCH = arcface_format(512)


def abstract_variables(net, *inputs) -> dict:
    """Shapes of all variables of a module.

    Args:
      net: the Flax module.
      *inputs: shapes of float32 inputs, or whatever else the module is called with.
    """
    inputs = [jax.ShapeDtypeStruct(x, jnp.float32) if isinstance(x, tuple) else x for x in inputs]
    tree = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return {k: v for k, v in tree.items() if k in ("params", "batch_stats", "spectral")}
