"""Inception-v3 (arXiv 1512.00567) as a feature extractor, with weights from public files.

No weights come with this package. It reads the TensorFlow graph of 2015-12-05 that FID is defined
on, the public PyTorch port of it, and torchvision's weights; module names are torchvision's.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.host.arrays import read_npz
from facejax.host.files import reading
from facejax.image.resample import resize
from facejax.io.tensorflow_files import load_frozen_graph
from facejax.io.torch_files import load_state_dict

_EPSILON = 1e-3  # of the batch norms
_SIZE = 299  # pixels the network was trained at


class _Conv(nn.Module):
    """Convolution without bias, batch norm with fixed statistics, ReLU."""

    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True

    @nn.compact
    def __call__(self, x):
        kernel = self.param(
            "kernel", nn.initializers.he_normal(), (*self.kernel, x.shape[-1], self.width)
        )
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        rules = {"scale": ones, "bias": zeros, "mean": zeros, "var": ones}
        norm = {name: self.param(name, rule, (self.width,)) for name, rule in rules.items()}
        x = jax.lax.conv_general_dilated(
            x, kernel, (self.stride, self.stride), "SAME" if self.same else "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip
        factor = norm["scale"] / jnp.sqrt(norm["var"] + _EPSILON)
        shift = norm["bias"] - norm["mean"] * factor
        return nn.relu(x * factor.reshape(1, 1, 1, -1) + shift.reshape(1, 1, 1, -1))


def _average(x, count_padding=False):
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=count_padding)


def _max(x, stride=2):
    return nn.max_pool(x, (3, 3), (stride, stride), "SAME" if stride == 1 else "VALID")


class _Mixed(nn.Module):
    """One block: branches side by side.

    Attributes:
      branches: a chain of (name, width, kernel) per branch. A last step of two such entries
        is two convolutions side by side.
      pool: width of the convolution after the pooling branch; 0 pools only, with stride 2.
      max_pool: the pooling branch takes the maximum.
      count_padding: the zeros around the image count in its averages.
    """

    branches: tuple
    pool: int = 0
    max_pool: bool = False
    count_padding: bool = False

    @nn.compact
    def __call__(self, x):
        out = []
        for chain in self.branches:
            y = x
            for k, step in enumerate(chain):
                if isinstance(step[0], tuple):
                    y = jnp.concatenate([_Conv(w, s, name=n)(y) for n, w, s in step], axis=-1)
                    continue
                name, width, kernel = step
                reduces = not self.pool and k == len(chain) - 1
                y = _Conv(width, kernel, 2 if reduces else 1, same=not reduces, name=name)(y)
            out.append(y)
        if self.pool:
            y = _max(x, 1) if self.max_pool else _average(x, self.count_padding)
            out.append(_Conv(self.pool, name="branch_pool")(y))
        else:
            out.append(_max(x))
        return jnp.concatenate(out, axis=-1)


def _c(w):
    wide, tall = (1, 7), (7, 1)
    double = [(w, (1, 1)), (w, tall), (w, wide), (w, tall), (192, wide)]
    return (
        (("branch1x1", 192, (1, 1)),),
        (("branch7x7_1", w, (1, 1)), ("branch7x7_2", w, wide), ("branch7x7_3", 192, tall)),
        tuple((f"branch7x7dbl_{k}", *step) for k, step in enumerate(double, start=1)),
    )


_A = (
    (("branch1x1", 64, (1, 1)),),
    (("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
    (
        ("branch3x3dbl_1", 64, (1, 1)),
        ("branch3x3dbl_2", 96, (3, 3)),
        ("branch3x3dbl_3", 96, (3, 3)),
    ),
)
_B = (
    (("branch3x3", 384, (3, 3)),),
    (
        ("branch3x3dbl_1", 64, (1, 1)),
        ("branch3x3dbl_2", 96, (3, 3)),
        ("branch3x3dbl_3", 96, (3, 3)),
    ),
)
_D = (
    (("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3))),
    (
        ("branch7x7x3_1", 192, (1, 1)),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, (3, 3)),
    ),
)
_E = (
    (("branch1x1", 320, (1, 1)),),
    (
        ("branch3x3_1", 384, (1, 1)),
        (("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))),
    ),
    (
        ("branch3x3dbl_1", 448, (1, 1)),
        ("branch3x3dbl_2", 384, (3, 3)),
        (("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))),
    ),
)


_BLOCKS = (  # name, branches, width of the convolution behind the pool
    ("Mixed_5b", _A, 32), ("Mixed_5c", _A, 64), ("Mixed_5d", _A, 64), ("Mixed_6a", _B, 0),
    ("Mixed_6b", _c(128), 192), ("Mixed_6c", _c(160), 192), ("Mixed_6d", _c(160), 192),
    ("Mixed_6e", _c(192), 192), ("Mixed_7a", _D, 0), ("Mixed_7b", _E, 192), ("Mixed_7c", _E, 192),
)  # fmt: skip


class InceptionV3(nn.Module):
    """[B, H, W, 3] in [-1, 1], at least 75 pixels a side, to 2048 features and logits.

    Attributes:
      num_classes: 1008 in the graph that FID uses, 1000 in torchvision.
      fid: pool as that graph does: averages leave the padding out, and the last block takes the
        maximum.
    """

    num_classes: int = 1008
    fid: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Features [B, 2048] and logits [B, num_classes]."""
        x = _Conv(32, (3, 3), 2, False, name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), 1, False, name="Conv2d_2a_3x3")(x)
        x = _max(_Conv(64, (3, 3), name="Conv2d_2b_3x3")(x))
        x = _Conv(80, name="Conv2d_3b_1x1")(x)
        x = _max(_Conv(192, (3, 3), 1, False, name="Conv2d_4a_3x3")(x))
        for name, branches, pool in _BLOCKS:
            last = self.fid and name == "Mixed_7c"
            x = _Mixed(branches, pool, last, not self.fid, name=name)(x)
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(self.num_classes, name="fc")(features)


_LEAVES = {  # torch name of a layer's entry: ours
    "conv.weight": "kernel", "bn.weight": "scale", "bn.bias": "bias", "bn.running_mean": "mean",
    "bn.running_var": "var",
}  # fmt: skip


def params_from_state_dict(state: Mapping[str, np.ndarray]) -> dict:
    """Our parameters from the entries of a PyTorch state dict.

    Args:
      state: {'Mixed_5b.branch1x1.conv.weight': array [out, in, kh, kw], ...}; the auxiliary head
        and `num_batches_tracked` are ignored.

    Raises:
      ValueError: an entry is missing, unknown, or of another shape.
    """
    if "fc.weight" not in state:
        raise ValueError(f"no entry 'fc.weight': wanted Inception-v3, found {sorted(state)[:3]}")
    tree: dict = {}
    for name, value in state.items():
        if name.startswith("AuxLogits.") or name.endswith("num_batches_tracked"):
            continue
        value = np.asarray(value, np.float32)
        *path, kind, entry = name.split(".")
        if name in ("fc.weight", "fc.bias"):
            path, leaf = ["fc"], {"weight": "kernel", "bias": "bias"}[entry]
            value = value.T if entry == "weight" else value
        elif f"{kind}.{entry}" in _LEAVES:
            leaf = _LEAVES[f"{kind}.{entry}"]
            value = value.transpose(2, 3, 1, 0) if leaf == "kernel" else value
        else:
            raise ValueError(f"unknown entry {name!r}: wanted the state dict of Inception-v3")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = np.ascontiguousarray(value)
    return _checked(tree)


def _graph_scopes() -> dict[str, tuple[str, ...]]:
    """{scope in the TensorFlow graph: path of our layer} of every convolution."""
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")

    def numbered(name: str, number: int) -> str:
        return f"{name}_{number}" if number else name

    scopes = {numbered("conv", k): (name,) for k, name in enumerate(stem)}
    for number, (block, branches, pool) in enumerate(_BLOCKS):
        root, towers = numbered("mixed", number), 0
        for chain in branches:
            scope = root
            if len(chain) > 1:
                scope, towers = f"{root}/{numbered('tower', towers)}", towers + 1
            for k, step in enumerate(chain):
                if isinstance(step[0], tuple):
                    for j, (name, *_) in enumerate(step):
                        scopes[f"{scope}/mixed/{numbered('conv', j)}"] = (block, name)
                else:
                    scopes[f"{scope}/{numbered('conv', k)}"] = (block, step[0])
        if pool:
            scopes[f"{root}/{numbered('tower', towers)}/conv"] = (block, "branch_pool")
    return scopes


_GRAPH_LEAVES = {
    "conv2d_params": "kernel", "batchnorm/gamma": "scale", "batchnorm/beta": "bias",
    "batchnorm/moving_mean": "mean", "batchnorm/moving_variance": "var",
}  # fmt: skip


def params_from_graph(constants: Mapping[str, np.ndarray]) -> dict:
    """Our parameters from the constants of the TensorFlow graph of 2015-12-05.

    Args:
      constants: {'mixed/tower/conv_1/conv2d_params': array [kh, kw, in, out], ...} of
        inception-2015-12-05.pb (classify_image_graph_def.pb); other constants are ignored.

    Raises:
      ValueError: an entry is missing, or of another shape.
    """
    tree: dict = {}
    entries = {"softmax/weights": ("fc", "kernel"), "softmax/biases": ("fc", "bias")}
    for scope, path in _graph_scopes().items():
        entries |= {f"{scope}/{k}": (*path, leaf) for k, leaf in _GRAPH_LEAVES.items()}
    missing = [name for name in entries if name not in constants]
    if missing:
        raise ValueError(
            f"{len(missing)} constants are missing, such as {missing[0]!r}: wanted the graph of "
            "Inception-v3 of 2015-12-05"
        )
    for name, path in entries.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = np.ascontiguousarray(constants[name], np.float32)
    return _checked(tree)


def _checked(tree: dict) -> dict:
    """The tree, if its entries are those of Inception-v3."""
    wanted = abstract_params(tree["fc"]["kernel"].shape[-1])
    found, expected = (
        {jax.tree_util.keystr(k, simple=True, separator="/"): v.shape for k, v in leaves}
        for leaves in (
            jax.tree_util.tree_flatten_with_path(tree)[0],
            jax.tree_util.tree_flatten_with_path(wanted)[0],
        )
    )
    wrong = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
    if wrong:
        rows = ", ".join(f"{k} {found.get(k)} wanted {expected.get(k)}" for k in wrong[:3])
        raise ValueError(f"{len(wrong)} entries do not fit Inception-v3: {rows}")
    return tree


@functools.cache  # two seconds of tracing
def abstract_params(num_classes: int = 1008) -> dict:
    """Shapes of all parameters, at no cost in memory; not to be changed."""
    image = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    net = InceptionV3(num_classes)
    return jax.eval_shape(net.init, jax.random.key(0), image)["params"]


def _resize_as_graph(images: jax.Array) -> jax.Array:
    """[B, H, W, C] to 299 pixels as that graph does it: pixel i shows the place i H / 299."""
    for axis in (1, 2):
        size = images.shape[axis]
        at = np.arange(_SIZE) * (size / _SIZE)
        low = at.astype(np.int32)
        share = np.expand_dims(np.float32(at - low), tuple(a for a in range(4) if a != axis))
        first = jnp.take(images, low, axis)
        images = first + (jnp.take(images, np.minimum(low + 1, size - 1), axis) - first) * share
    return images


class InceptionFeatures:
    """A `FeatureExtractor` of 2048 features; its name holds a digest of the weights.

    Each file comes with the preprocessing of the program that uses it. TensorFlow's graph: that
    graph's own resize, and (255 x - 128) / 128. PyTorch: bilinear with half-pixel centres and no
    antialiasing, and 2 x - 1; torchvision's 1000 classes pool as torchvision does.

    Args:
      path: the graph of 2015-12-05 (.pb), a PyTorch state dict (.pth) or an .npz of one.

    Raises:
      ValueError: no such file, or not the entries of Inception-v3.
    """

    dim = 2048

    def __init__(self, path: str | os.PathLike):
        path = pathlib.Path(path)
        if not path.is_file():
            raise ValueError(
                f"{path}: no such file; wanted Inception-v3 as .pb, .pth or .npz of a state dict"
            )
        graph = path.suffix.lower() == ".pb"
        with reading(path, "Inception-v3"):
            if graph:
                self.params = params_from_graph(load_frozen_graph(path))
            elif path.suffix.lower() == ".npz":
                self.params = params_from_state_dict(read_npz(path))
            else:
                self.params = params_from_state_dict(load_state_dict(path))
        with path.open("rb") as file:
            self.name = f"inception-v3-{hashlib.file_digest(file, 'sha256').hexdigest()[:8]}"
        classes = self.params["fc"]["kernel"].shape[1]
        net = InceptionV3(classes, fid=classes == 1008)

        def features(params, images):
            images = jnp.asarray(images, jnp.float32)
            if graph:
                images = (_resize_as_graph(images) * 255.0 - 128.0) / 128.0
            else:
                images = resize(images, (_SIZE, _SIZE), "bilinear", antialias=False) * 2.0 - 1.0
            return net.apply({"params": params}, images)[0]

        self._apply = jax.jit(features)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities [B, K] of features, as the inception score takes them: no bias."""
        logits = np.asarray(features, np.float64) @ self.params["fc"]["kernel"]
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        return p / p.sum(axis=1, keepdims=True)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features [B, 2048] of images [B, H, W, 3] in [0, 1]."""
        return self._apply(self.params, images)
