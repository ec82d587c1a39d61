"""Names and layouts of the published program's arrays, to and from ours.

A Lightning checkpoint holds 'generator.', 'discriminator.', 'loss_vgg.' and 'metric_lpips.' side by
side. Kernels there are [out, in, h, w], ours [h, w, in, out].
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from facejax.nn.vgg import VGG19
from facejax.pretrained.published import (
    VGG_SLICES,
    Format,
    abstract_variables,
    from_published,
    leaves,
    to_published,
)
from facejax.systems.varitex.discriminator import Discriminator
from facejax.systems.varitex.networks import SIZES, Generator, generator_inputs

_LEAVES = {
    "kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean",
    "var": "running_var",
}  # fmt: skip
_BATCHES = "num_batches_tracked"
_BLOCK = {
    "upsample_conv": "upsample.0", "upsample_bn": "upsample.1", "downsample_conv": "downsample.0",
    "downsample_bn": "downsample.1",
}  # fmt: skip
_DOUBLE = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}
_ROOTS = {
    "encoder": "encoder.encoder", "decoder": "decoder.decoder",
    "decoder_exterior": "decoder_exterior.decoder", "texture2image": "texture2image.unet.layers",
}  # fmt: skip
Path = tuple[str, ...]


def _transposed(value: np.ndarray) -> np.ndarray:
    """Ours to theirs: [h, w, in, out] to [out, in, h, w], [in, out] to [out, in]."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    return value.T if value.ndim == 2 else value


def _transposed_back(value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value


def unet_parts(parts: Path, levels: int) -> str:
    """The published name of a module of `UNet`, by its path within it.

    Args:
      parts: ('down1', 'conv2'), ('up5', 'conv', 'bn1'), ('up5', 'upsample') or ('out',).
      levels: of the network.
    """
    if parts[0] == "out":
        return str(2 * levels - 1)
    kind, number = re.fullmatch(r"(down|up)(\d+)", parts[0]).groups()
    if kind == "down":
        return f"{number}.{'' if number == '0' else 'net.1.'}net.{_DOUBLE[parts[1]]}"
    if parts[1] == "upsample":
        return f"{number}.upsample"
    return f"{number}.conv.net.{_DOUBLE[parts[2]]}"


def block_parts(parts: Path, scale: int) -> str:
    """The published name of a module of `DecoderBlock`.

    Args:
      parts: its path within the block, ('conv2',).
      scale: of the block; an enlargement comes in front of the convolutions behind it.
    """
    name = _BLOCK.get(parts[0], parts[0])
    enlarged = scale > 1 and parts[0] in ("conv2", "upsample_conv")
    return f"{name}.1" if enlarged else name


def _stage_parts(parts: Path, size: int) -> str:
    """The published name of a module of a decoder whose output has a side of `size`."""
    found = re.fullmatch(r"(initial|layer\d)_(\d)", parts[0])
    if not found:
        return parts[0]
    # the last stage of the smaller textures does not enlarge
    last = parts[0] == "layer4_0" and size != max(SIZES)
    scale = 2 if found[2] == "0" and not last else 1
    return f"{found[1]}.{found[2]}.{block_parts(parts[1:], scale)}"


def _generator_name(net: Generator, path: Path) -> str:
    root, *parts = path[1:-1]
    if root == "encoder":
        names = [re.sub(r"^(layer\d)_(\d)$", r"\1.\2", _BLOCK.get(p, p)) for p in parts]
        module = ".".join(names)
    elif root == "texture2image":
        module = unet_parts(tuple(parts), net.unet_levels)
    elif root.startswith("decoder"):
        size = net.texture_size if root == "decoder" else net.image_size
        module = _stage_parts(tuple(parts), size)
    else:  # fc_mu, fc_var
        return f"generator.{root}.{_LEAVES[path[-1]]}"
    return f"generator.{_ROOTS[root]}.{module}.{_LEAVES[path[-1]]}"


def generator_format(net: Generator) -> Format:
    """Format of the generator's entries of a checkpoint."""

    def is_grid(path):  # the linear layer that makes the 4x4 start, channel by channel there
        return path[1:3] == ("decoder", "linear")

    def ours(path, value, shape):
        if is_grid(path):
            grid = value.reshape(-1, 16, *value.shape[1:])  # [channels, 4 * 4, ...]
            value = grid.swapaxes(0, 1).reshape(value.shape)
        return _transposed_back(value).reshape(shape)

    def theirs(path, value):
        value = _transposed(value)
        if is_grid(path):
            value = value.reshape(16, -1, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
        return value

    return Format(
        "a generator of VariTex", lambda path: _generator_name(net, path), ours, theirs,
        rf"^(?!generator\.)|{_BATCHES}$",
    )  # fmt: skip


def _discriminator_name(net: Discriminator, path: Path) -> str:
    scale, model = path[1:3]
    number = int(model.removeprefix("model"))
    root = f"discriminator.{scale}.{model}.0"
    if number in (0, net.layers):
        return f"{root}.{_LEAVES[path[-1]]}"
    return f"{root}.0.weight_{dict(kernel='orig', u='u', v='v')[path[-1]]}"


def discriminator_format(net: Discriminator) -> Format:
    """Format of the discriminator's entries, spectral vectors included."""

    def ours(path, value, shape):
        if path[-1] == "v":  # flattened from (in, kh, kw)
            kh, kw, channels = shape
            return value.reshape(channels, kh, kw).transpose(1, 2, 0)
        return _transposed_back(value)

    def theirs(path, value):
        if path[-1] == "v":
            return value.transpose(2, 0, 1).reshape(-1)
        return _transposed(value)

    return Format(
        "a discriminator of VariTex", lambda path: _discriminator_name(net, path), ours, theirs,
        r"^(?!discriminator\.)",
    )  # fmt: skip


VGG_IN_CHECKPOINT = Format(
    "VGG19 within a VariTex checkpoint", lambda path: f"loss_vgg.vgg.{VGG_SLICES.name(path)}",
    VGG_SLICES.ours, VGG_SLICES.theirs, r"^(?!loss_vgg\.)",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The networks of a published checkpoint.

    Attributes:
      generator: the module, and `generator_variables` {'params', 'batch_stats'}.
      discriminator: the module, and `discriminator_variables` {'params', 'spectral'}; None where a
        file has none.
      vgg: the module, and `vgg_variables` {'params'}; None where a file has none.
    """

    generator: Generator
    generator_variables: dict[str, Any]
    discriminator: Discriminator | None
    discriminator_variables: dict[str, Any] | None
    vgg: VGG19 | None
    vgg_variables: dict[str, Any] | None


def wanted_variables(net: Generator | Discriminator | VGG19) -> dict[str, Any]:
    """Shapes of all variables of a network."""
    if isinstance(net, Generator):
        return abstract_variables(net, *(x.shape for x in generator_inputs(net, 1)))
    return abstract_variables(net, (1, 32, 32, 3))


def read_arrays(arrays: Mapping[str, np.ndarray], mask_value: float = 0.0) -> Checkpoint:
    """The networks of a checkpoint's arrays; their sizes are read off the arrays.

    Args:
      arrays: {name: array} of `state_dict`.
      mask_value: `uv_mask_value` of the options, which no array tells.

    Raises:
      ValueError: arrays are missing, unknown, misshapen or not finite.
    """
    gen = _generator_of(arrays, mask_value)
    found: dict[str, Any] = {
        "generator": gen,
        "generator_variables": from_published(arrays, wanted_variables(gen), generator_format(gen)),
    }
    disc = vgg = disc_variables = vgg_variables = None
    if any(n.startswith("discriminator.") for n in arrays):
        disc = _discriminator_of(arrays)
        form = discriminator_format(disc)
        disc_variables = from_published(arrays, wanted_variables(disc), form)
    if any(n.startswith("loss_vgg.vgg.") for n in arrays):
        vgg = VGG19(_axis(arrays, "loss_vgg.vgg.slice1.0.weight", 0, 4))
        vgg_variables = from_published(arrays, wanted_variables(vgg), VGG_IN_CHECKPOINT)
    return Checkpoint(
        **found, discriminator=disc, discriminator_variables=disc_variables, vgg=vgg,
        vgg_variables=vgg_variables,
    )  # fmt: skip


def write_arrays(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The arrays of a published checkpoint; inverse of `read_arrays`.

    The counters of batches, which a network in use does not read, are 0.
    """
    form = generator_format(checkpoint.generator)
    found = to_published(checkpoint.generator_variables, form)
    for path, _ in leaves(checkpoint.generator_variables):
        if path[-1] == "mean":
            name = form.name(path).removesuffix("running_mean") + _BATCHES
            found[name] = np.zeros((), np.int64)
    if checkpoint.discriminator is not None:
        form = discriminator_format(checkpoint.discriminator)
        found |= to_published(checkpoint.discriminator_variables, form)
    if checkpoint.vgg is not None:
        found |= to_published(checkpoint.vgg_variables, VGG_IN_CHECKPOINT)
    return found


def _axis(arrays: Mapping[str, np.ndarray], name: str, axis: int, dims: int) -> int:
    if name not in arrays:
        raise ValueError(
            f"found {len(arrays)} arrays, the first {sorted(arrays)[:3]}, but no {name}: this is "
            "no checkpoint of VariTex"
        )
    shape = np.shape(arrays[name])
    if len(shape) != dims or not all(shape):
        raise ValueError(f"{name} has shape {shape}, wanted {dims} axes")
    return shape[axis]


def _side(arrays: Mapping[str, np.ndarray], decoder: str) -> int:
    """Side of a decoder's output: its stages, and whether the last one enlarges."""
    root = f"generator.{decoder}.decoder."
    stages = {n.removeprefix(root).split(".")[0] for n in arrays if n.startswith(root)}
    if f"{root}layer4.0.conv2.1.weight" in arrays:
        return max(SIZES)
    return 128 if "layer1" in stages else 64 if "layer0" in stages else 32


def _generator_of(arrays: Mapping[str, np.ndarray], mask_value: float) -> Generator:
    unet = "generator.texture2image.unet.layers."
    numbers = [int(m[1]) for n in arrays if (m := re.match(re.escape(unet) + r"(\d{1,3})\.", n))]
    return Generator(
        image_size=_side(arrays, "decoder_exterior"),
        texture_size=_side(arrays, "decoder"),
        texture_channels=_axis(arrays, "generator.decoder.decoder.conv1.weight", 0, 4),
        latent=_axis(arrays, "generator.fc_mu.weight", 0, 2),
        width=_axis(arrays, "generator.encoder.encoder.conv1.weight", 0, 4),
        blocks=2 if "generator.encoder.encoder.layer1.1.conv1.weight" in arrays else 1,
        unet_features=_axis(arrays, f"{unet}0.net.0.weight", 0, 4),
        unet_levels=(max(numbers, default=1) + 1) // 2,
        mask_value=mask_value,
    )


def _discriminator_of(arrays: Mapping[str, np.ndarray]) -> Discriminator:
    found = [m for n in arrays if (m := re.match(r"discriminator\.discriminator_(\d{1,2})\.", n))]
    root = "discriminator.discriminator_0.model"
    models = [m for n in arrays if (m := re.match(re.escape(root) + r"(\d{1,2})\.", n))]
    return Discriminator(
        width=_axis(arrays, f"{root}0.0.weight", 0, 4),
        layers=max((int(m[1]) for m in models), default=0),
        scales=max((int(m[1]) for m in found), default=0) + 1,
    )
