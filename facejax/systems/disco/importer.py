"""Published DiscoFaceGAN checkpoints: names and layouts of their variables to and from ours.

Theirs are NCHW, and where `fused_scale` says so their up-convolutions are transposed ones, which
equal ours with the kernel turned by 180 degrees. Raw variables are kept, so that training goes on
at the same effective learning rate.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from facejax.systems.disco.networks import NetworkConfig

_FUSED_FROM = 128  # pixels, of fused_scale='auto'
_IGNORED = ("lod", "dlatent_avg")  # of schedules, and an average of styles that nothing reads
_GENERATOR = {
    "num_channels", "resolution", "label_size", "latent_size", "dlatent_size", "mapping_fmaps",
    "mapping_layers", "mapping_lrmul", "fmap_base", "fmap_decay", "fmap_max", "fused_scale",
}  # fmt: skip
_DISCRIMINATOR = {
    "num_channels", "resolution", "label_size", "fmap_base", "fmap_decay", "fmap_max",
    "mbstd_group_size", "fused_scale",
}  # fmt: skip
_AS_OURS = {  # options that admit one value only: what the published networks were trained with
    "num_channels": 3, "label_size": 0, "use_wscale": True, "use_noise": True, "use_styles": True,
    "use_instance_norm": True, "use_pixel_norm": False, "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu", "const_input_layer": True, "normalize_latents": False,
    "mbstd_num_features": 1, "dtype": "float32", "mapping_use_wscale": True,
}  # fmt: skip
_IRRELEVANT = {  # how the original builds its graph, styles and averages in training
    "structure", "blur_filter", "truncation_psi", "truncation_cutoff", "truncation_psi_val",
    "truncation_cutoff_val", "dlatent_avg_beta", "style_mixing_prob", "is_training",
    "is_validation", "randomize_noise", "dlatent_broadcast", "func_name", "is_template_graph",
}  # fmt: skip


def config_from_static_kwargs(gen: Mapping, disc: Mapping) -> NetworkConfig:
    """The network configuration that a published checkpoint's constructor options describe.

    Args:
      gen, disc: `static_kwargs` of the generator and of the discriminator.

    Raises:
      ValueError: an option that facejax does not know, or a value that it has no network for.
    """
    fields: dict[str, Any] = {}
    for kwargs, known in ((gen, _GENERATOR), (disc, _DISCRIMINATOR)):
        unknown = set(kwargs) - known - _IRRELEVANT - set(_AS_OURS)
        if unknown:
            raise ValueError(
                f"the checkpoint's network has options {sorted(unknown)} that facejax does not "
                f"know; known are {sorted(known)}"
            )
        for name, value in _AS_OURS.items():
            if name in kwargs and kwargs[name] != value:
                raise ValueError(
                    f"the checkpoint's network has {name}={kwargs[name]!r}, wanted {value!r}: it "
                    "is none of DiscoFaceGAN, or was trained with other options"
                )
    names = ("resolution", "latent_size", "dlatent_size", "mapping_fmaps", "mapping_layers",
             "fmap_base", "fmap_max")  # fmt: skip
    fields |= {name: int(gen[name]) for name in names if name in gen}
    fields |= {k: float(gen[k]) for k in ("fmap_decay", "mapping_lrmul") if k in gen}
    shared = ("resolution", "fmap_base", "fmap_decay", "fmap_max")
    for name in shared:
        if gen.get(name) != disc.get(name):
            raise ValueError(
                f"the generator has {name} {gen.get(name)}, the discriminator {disc.get(name)}: "
                "they do not belong together"
            )
    return NetworkConfig(mbstd_group=int(disc.get("mbstd_group_size", 4)), mbstd_strided=True,
                         **fields)  # fmt: skip


def _is_fused(name: str, fused: bool | str) -> bool:
    resolution = int(name.split("/")[-3].split("x")[0])
    return resolution >= _FUSED_FROM if fused == "auto" else bool(fused)


def _turned(name: str, a: np.ndarray, fused: bool | str) -> np.ndarray:
    """Up-convolutions of one form as those of the other; everything else as it is."""
    turn = name.endswith("Conv0_up/weight") and _is_fused(name, fused)
    return a[::-1, ::-1] if turn else a


def _to_ours(name: str, a: np.ndarray, fused: bool | str) -> np.ndarray:
    if name.endswith("/const"):
        return a[0].transpose(1, 2, 0)
    if name == "4x4/Dense0/weight":  # rows (channel, y, x) -> (y, x, channel)
        return a.reshape(-1, 16, a.shape[1]).transpose(1, 0, 2).reshape(a.shape)
    return _turned(name, a, fused)


def _to_theirs(name: str, a: np.ndarray, fused: bool | str) -> np.ndarray:
    if name.endswith("/const"):
        return a.transpose(2, 0, 1)[None]
    if name == "4x4/Dense0/weight":
        return a.reshape(16, -1, a.shape[1]).transpose(1, 0, 2).reshape(a.shape)
    return _turned(name, a, fused)


def params_from_variables(
    variables: Mapping[str, np.ndarray], fused: bool | str = "auto"
) -> tuple[dict, tuple[np.ndarray, ...]]:
    """Our parameters, and the stored noise maps, from published variables of one network.

    Args:
      variables: {'G_synthesis/8x8/Conv0_up/weight': array, ...} of a generator, or
        {'8x8/Conv0/weight': ...} of a discriminator; 'lod' and 'dlatent_avg' are ignored.
      fused: `fused_scale` of the network: True, False, or 'auto': from 128 pixels on.

    Returns:
      Nested dicts of float32 arrays, for a generator {'mapping', 'synthesis'}; and its noise maps
      [1, S, S, 1], none of a discriminator.
    """
    tree: dict = {}
    noise: dict[int, np.ndarray] = {}
    for name, value in variables.items():
        parts = name.split("/")
        value = np.asarray(value, np.float32)
        if parts[-1] in _IGNORED:
            continue
        if len(parts) == 2 and parts[1].removeprefix("noise").isdigit():
            noise[int(parts[1].removeprefix("noise"))] = np.ascontiguousarray(
                value.transpose(0, 2, 3, 1)
            )
            continue
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part.removeprefix("G_"), {})
        node[parts[-1]] = np.ascontiguousarray(_to_ours(name, value, fused))
    return tree, tuple(noise[i] for i in sorted(noise))


def variables_from_params(
    params: Mapping, noise: tuple[np.ndarray, ...] = (), fused: bool | str = "auto"
) -> dict[str, np.ndarray]:
    """Published variable names and layouts of our parameters; inverse of `params_from_variables`.

    Args:
      params: of a generator or of a discriminator.
      noise: maps of a generator.
      fused: as the wanted variables have it.
    """
    out = {
        f"G_synthesis/noise{i}": np.asarray(a).transpose(0, 3, 1, 2) for i, a in enumerate(noise)
    }
    for path, leaf in jax.tree_util.tree_flatten_with_path(dict(params))[0]:
        parts = [key.key for key in path]
        if parts[0] in ("mapping", "synthesis"):
            parts[0] = f"G_{parts[0]}"
        name = "/".join(parts)
        out[name] = _to_theirs(name, np.asarray(leaf), fused)
    return out


_VAE_NAMES = {
    "encoder/dense": ("encoder", "mean"),
    "encoder/dense_1": ("encoder", "log_sd"),
}


def vae_params(variables: Mapping[str, np.ndarray]) -> dict:
    """Parameters of one autoencoder from published variables.

    Args:
      variables: {'encoder/fc0/kernel': array, ..., 'decoder/loggamma_x': scalar}; the encoder may
        be absent.
    """
    tree: dict = {}
    for name, value in variables.items():
        value = np.asarray(value, np.float32)
        if name == "decoder/loggamma_x":
            tree["log_gamma"] = value
            continue
        scope, leaf = name.rsplit("/", 1)
        net, layer = _VAE_NAMES.get(scope) or scope.split("/")
        tree.setdefault(net, {}).setdefault(layer, {})[leaf] = value
    return tree
