"""Published TBGAN checkpoints: names and layouts of their variables to and from ours.

Theirs are NCHW with fused up-convolutions [kh, kw, out, in]; ours NHWC with [kh, kw, in, out].
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from facejax.io.pickles import restricted_load
from facejax.systems.tbgan.networks import NetworkConfig

_KNOWN_KWARGS = {
    "num_channels", "resolution", "label_size", "lod_sep", "fmap_base", "fmap_decay", "fmap_max",
    "latent_size", "normalize_latents", "use_wscale", "use_pixelnorm", "use_leakyrelu",
    "pixelnorm_epsilon", "mbstd_group_size", "dtype", "fused_scale", "structure",
}  # fmt: skip


class _Network:
    """Stands for the original's network class in a pickle; holds its state, runs nothing."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__["state"] = state


def load_network_pickle(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The networks of a published `network-*.pkl`; no TensorFlow, and nothing in it is run.

    Args:
      path: of a pickle with the tuple (G, D, Gs).

    Returns:
      Three dicts with 'name', 'static_kwargs' and 'variables' (name -> float32 array).

    Raises:
      ValueError: the file is no such pickle, or asks for anything but arrays and networks.
    """
    networks = restricted_load(
        path, {("*", "Network"): _Network, ("*", "EasyDict"): dict}, "latin1"
    )
    if not isinstance(networks, tuple | list) or len(networks) != 3:
        raise ValueError(f"{path}: found {type(networks).__name__}, wanted the tuple (G, D, Gs)")
    out = []
    for network in networks:
        state = getattr(network, "state", None)
        if not isinstance(network, _Network) or not isinstance(state, dict):
            raise ValueError(f"{path}: found {type(network).__name__}, wanted a pickled network")
        missing = {"name", "static_kwargs", "variables"} - set(state)
        if missing:
            raise ValueError(f"{path}: a network lacks {sorted(missing)}: is this a TBGAN pickle?")
        out.append(
            {
                "name": state["name"],
                "static_kwargs": dict(state["static_kwargs"]),
                "variables": {name: np.asarray(a) for name, a in state["variables"]},
            }
        )
    return out


def config_from_static_kwargs(kwargs: Mapping) -> NetworkConfig:
    """The network configuration that a published checkpoint's constructor options describe.

    Args:
      kwargs: `static_kwargs` of the checkpoint (resolution, num_channels, label_size, ...).

    Raises:
      ValueError: an unknown option, or a channel count that is no multiple of three.
    """
    unknown = set(kwargs) - _KNOWN_KWARGS
    if unknown:
        raise ValueError(
            f"the checkpoint's network has options {sorted(unknown)} that facejax does not know; "
            f"known are {sorted(_KNOWN_KWARGS)}"
        )
    channels = int(kwargs.get("num_channels", 1))
    if channels % 3:
        raise ValueError(
            f"the checkpoint's network has {channels} channels; TBGAN needs a multiple of three "
            "(texture, shape, normals)"
        )
    fields = {
        "resolution": int(kwargs.get("resolution", 32)),
        "modalities": tuple((n, channels // 3) for n in ("tex", "shp", "nor")),
        "label_size": int(kwargs.get("label_size", 0)),
        "lod_sep": int(kwargs.get("lod_sep", 9)),
        "mbstd_group": int(kwargs.get("mbstd_group_size", 4)),
        "mbstd_strided": True,
        "latent_size": int(kwargs.get("latent_size") or 0),
    }
    for name in ("fmap_base", "fmap_max"):
        if name in kwargs:
            fields[name] = int(kwargs[name])
    for name in ("fmap_decay", "pixelnorm_epsilon"):
        if name in kwargs:
            fields[name] = float(kwargs[name])
    for name in ("normalize_latents", "use_wscale", "use_pixelnorm", "use_leakyrelu"):
        if name in kwargs:
            fields[name] = bool(kwargs[name])
    return NetworkConfig(**fields)


def _to_ours(name: str, a: np.ndarray) -> np.ndarray:
    if name.endswith("Conv0_up/weight"):
        return np.ascontiguousarray(a[::-1, ::-1].transpose(0, 1, 3, 2))
    if name == "4x4/Dense/weight":  # columns (channel, y, x) -> (y, x, channel)
        return a.reshape(a.shape[0], -1, 16).transpose(0, 2, 1).reshape(a.shape)
    if name == "4x4/Dense0/weight":  # rows (channel, y, x) -> (y, x, channel)
        return a.reshape(-1, 16, a.shape[1]).transpose(1, 0, 2).reshape(a.shape)
    return a


def _to_theirs(name: str, a: np.ndarray) -> np.ndarray:
    if name.endswith("Conv0_up/weight"):
        return np.ascontiguousarray(a.transpose(0, 1, 3, 2)[::-1, ::-1])
    if name == "4x4/Dense/weight":
        return a.reshape(a.shape[0], 16, -1).transpose(0, 2, 1).reshape(a.shape)
    if name == "4x4/Dense0/weight":
        return a.reshape(16, -1, a.shape[1]).transpose(1, 0, 2).reshape(a.shape)
    return a


def params_from_variables(variables: Mapping[str, np.ndarray]) -> dict:
    """Our parameter tree from published variables.

    Args:
      variables: {'8x8/Conv0_up/weight': array, ...}; 'lod', a schedule variable, is ignored. Nets
        made with fused_scale=False call the layers 'Conv0' and 'Conv1' and are accepted.

    Returns:
      Nested dicts of float32 arrays.
    """
    is_generator = any(k.startswith("ToRGB") for k in variables)
    tree: dict = {}
    for name, value in variables.items():
        if name == "lod":
            continue
        value = np.asarray(value, np.float32)
        parts = name.split("/")
        if not parts[0].startswith("4x4"):  # unfused variants have (in, out) kernels already
            if is_generator and parts[-2] == "Conv0":
                parts[-2] = "Conv0_up"
            elif not is_generator and parts[-2] == "Conv1":
                parts[-2] = "Conv1_down"
            else:
                value = _to_ours(name, value)
        else:
            value = _to_ours(name, value)
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = np.ascontiguousarray(value)
    return tree


def variables_from_params(params: Mapping) -> dict[str, np.ndarray]:
    """Published variable names and layouts (fused_scale=True) of our parameter tree."""
    out: dict[str, np.ndarray] = {}

    def walk(node, prefix):
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                walk(value, name + "/")
            else:
                out[name] = _to_theirs(name, np.asarray(value))

    walk(params, "")
    return out
