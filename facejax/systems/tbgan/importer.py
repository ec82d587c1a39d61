"""Published TBGAN checkpoints: names and layouts of their variables to and from ours.

Theirs are NCHW with fused up-convolutions [kh, kw, out, in]; ours NHWC with [kh, kw, in, out].
"""

import hashlib
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from facejax.data.folders import open_dataset
from facejax.data.packed import PackedSource
from facejax.host.locks import check_new, new_folder
from facejax.host.shell import command_line
from facejax.io.checkpoints import Checkpoints
from facejax.io.network_pickles import check_variables, load_network_pickle
from facejax.systems.tbgan.data import make_source
from facejax.systems.tbgan.networks import NetworkConfig, abstract_parameters
from facejax.train.run_folder import write_config

LICENCE = (
    "imported weights: they stay under the licence of whoever published them. The weights of the "
    "TBGAN authors are given out under a signed agreement for research only."
)
PRESET = "paper"  # of the configuration that a run of imported weights starts from

_KNOWN_KWARGS = {
    "num_channels", "resolution", "label_size", "lod_sep", "fmap_base", "fmap_decay", "fmap_max",
    "latent_size", "normalize_latents", "use_wscale", "use_pixelnorm", "use_leakyrelu",
    "pixelnorm_epsilon", "mbstd_group_size", "dtype", "fused_scale", "structure",
}  # fmt: skip


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


def _checked(network: Mapping[str, Any], wanted: Mapping, path: Any) -> dict:
    """The parameters of one network, if they are exactly the wanted ones."""
    params = params_from_variables(network["variables"])
    check_variables(network["name"], params, wanted, path)
    return params


def import_run(
    path: str | os.PathLike, out: str | os.PathLike, config: Any, data: str = ""
) -> dict[str, Any]:
    """Writes a run folder, as the trainer leaves one, with the networks of a published pickle.

    `facejax generate`, `analyze` and `evaluate` read it. Optimiser state is not in
    such pickles: the run cannot be trained on.

    Args:
      path: of the pickle (G, D, Gs).
      out: new folder; gets config.json and checkpoints/.
      config: ConfigDict of configs/tbgan.py; its `model` and `data` are overwritten.
      data: folder of real maps that the networks were trained on, for figures and meshes. Without
        one, generated maps are shown as they are and nothing can be evaluated.

    Returns:
      The checkpoint's metadata: origin, sha256, licence, lod, images, network options.

    Raises:
      ValueError: the file is no such pickle, asks for anything but arrays and networks, or its
        variables do not fit its options; or `out` is not empty.
    """
    path, out = pathlib.Path(path), pathlib.Path(out)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a network-*.pkl")
    check_new(out)
    generator, discriminator, average = load_network_pickle(path)
    net = config_from_static_kwargs(generator["static_kwargs"])
    for other in (discriminator, average):
        found = config_from_static_kwargs(other["static_kwargs"])
        shared = ("resolution", "modalities", "label_size", "lod_sep")
        for name in shared:
            if getattr(found, name) != getattr(net, name):
                raise ValueError(
                    f"{path}: network {other['name']} has {name} {getattr(found, name)}, "
                    f"{generator['name']} {getattr(net, name)}: they do not belong together"
                )
    # the discriminator alone knows about stddev groups
    group = config_from_static_kwargs(discriminator["static_kwargs"]).mbstd_group
    wanted = abstract_parameters(net)
    gen = _checked(generator, wanted["gen"], path)
    disc = _checked(discriminator, wanted["disc"], path)
    ema = _checked(average, wanted["gen"], path)
    with config.unlocked():
        for name in config.model:
            value = getattr(net, name)
            if name == "modalities":
                value = ",".join(f"{n}:{width}" for n, width in value)
            config.model[name] = value
        config.model.mbstd_group = group
        config.data.update(source="black", path="", encoding="absolute")
        if data:
            source = open_dataset(data)
            packed = isinstance(source, PackedSource)
            config.data.update(
                source="packed" if packed else "tfrecords",
                path=str(data),
                model=source.codec.model or config.data.model,
            )
            make_source(config, net)  # says what does not fit
    number = re.search(r"(\d+)$", path.stem)
    meta = {
        "images": 1000 * int(number[1]) if number else round(1000 * config.schedule.total_kimg),
        "origin": path.name,
        "licence": LICENCE,
        "lod": float(average["variables"].get("lod", 0.0)),
        "network": {
            k: v
            for k, v in generator["static_kwargs"].items()
            if isinstance(v, int | float | str | None)
        },
    }
    with path.open("rb") as file:
        meta["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    with new_folder(out, "importing weights") as partial:
        write_config(partial, config)
        with Checkpoints(partial / "checkpoints") as checkpoints:
            tree = {"params": {"gen": gen, "disc": disc}, "ema": {"gen": ema}}
            checkpoints.save(0, tree, meta)
    return meta


def closing_lines(meta: dict[str, Any], out: str | os.PathLike) -> list[str]:
    """What to say, and what to type next.

    Args:
      meta: of `import_run`.
      out: its folder.
    """
    lines = []
    if meta["lod"]:
        lines.append(
            f"lod {meta['lod']:g}: training had not reached the last resolution; pictures are made "
            "at the stage that it had reached"
        )
    words = ("facejax", "generate", f"--workdir={os.fspath(out)}", "--num=8", "--out=faces")
    return [*lines, f"Faces: {command_line(*words)}"]
