"""Inception-v3 (arXiv 1512.00567) as a feature extractor, with weights from a PyTorch state dict.

No weights come with this package. Module names are those of torchvision, which the public port of
the 2015-12-05 TensorFlow graph (the one that FID is defined on) shares:

    np.savez("inception.npz", **{k: v.numpy() for k, v in torch.load(FILE).items()})
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.image.resample import resize

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


def _average(x):
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _max(x, stride=2):
    return nn.max_pool(x, (3, 3), (stride, stride), "SAME" if stride == 1 else "VALID")


class _Mixed(nn.Module):
    """One block: branches side by side.

    Attributes:
      branches: a chain of (name, width, kernel) per branch. A last step of two such entries
        is two convolutions side by side.
      pool: width of the convolution after the pooling branch; 0 pools only, with stride 2.
      max_pool: the pooling branch takes the maximum.
    """

    branches: tuple
    pool: int = 0
    max_pool: bool = False

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
            y = _max(x, 1) if self.max_pool else _average(x)
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


class InceptionV3(nn.Module):
    """[B, H, W, 3] in [-1, 1], at least 75 pixels a side, to 2048 features and logits.

    Attributes:
      num_classes: 1008 in the graph that FID uses, 1000 in torchvision.
      fid: pool as that graph does: the maximum in the last block.
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
        for name, pool in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = _Mixed(_A, pool, name=f"Mixed_{name}")(x)
        x = _Mixed(_B, name="Mixed_6a")(x)
        for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = _Mixed(_c(width), 192, name=f"Mixed_{name}")(x)
        x = _Mixed(_D, name="Mixed_7a")(x)
        x = _Mixed(_E, 192, name="Mixed_7b")(x)
        x = _Mixed(_E, 192, self.fid, name="Mixed_7c")(x)
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
    wanted = abstract_params(len(tree["fc"]["kernel"][0]))
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


def abstract_params(num_classes: int = 1008) -> dict:
    """Shapes of all parameters, at no cost in memory."""
    image = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    net = InceptionV3(num_classes)
    return jax.eval_shape(net.init, jax.random.key(0), image)["params"]


class InceptionFeatures:
    """A `FeatureExtractor` of 2048 features; its name holds a digest of the weights.

    Images are resized to 299 pixels (bilinear, half-pixel centres).

    Args:
      path: .npz of the state dict.

    Raises:
      ValueError: no such file, or not the entries of Inception-v3.
    """

    dim = 2048

    def __init__(self, path: str | os.PathLike):
        path = pathlib.Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such file; wanted an .npz of a PyTorch state dict")
        with np.load(path, allow_pickle=False) as arrays:
            self.params = params_from_state_dict(dict(arrays))
        with path.open("rb") as file:
            self.name = f"inception-v3-{hashlib.file_digest(file, 'sha256').hexdigest()[:8]}"
        classes = self.params["fc"]["kernel"].shape[1]
        net = InceptionV3(classes, fid=classes == 1008)

        def features(params, images):
            images = resize(jnp.asarray(images, jnp.float32), (_SIZE, _SIZE), "bilinear")
            return net.apply({"params": params}, 2.0 * images - 1.0)[0]

        self._apply = jax.jit(features)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features [B, 2048] of images [B, H, W, 3] in [0, 1]."""
        return self._apply(self.params, images)
