"""Published DiscoFaceGAN checkpoints: names and layouts of their variables to and from ours.

Theirs are NCHW, and where `fused_scale` says so their up-convolutions are transposed ones, which
equal ours with the kernel turned by 180 degrees. Raw variables are kept, so that training goes on
at the same effective learning rate.
"""

import hashlib
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.host.arrays import read_npz
from facejax.host.locks import check_new, new_folder
from facejax.host.shell import command_line
from facejax.io.checkpoints import Checkpoints
from facejax.io.network_pickles import check_variables, load_network_pickle
from facejax.io.tensorflow_files import load_checkpoint
from facejax.systems.disco import networks, vae
from facejax.systems.disco.factors import NAMES, Factors, FactorSizes
from facejax.systems.disco.networks import NetworkConfig
from facejax.train.run_folder import write_config

LICENCE = (
    "imported weights: they stay under the licence of whoever published them. Their coefficients "
    "belong to the Basel Face Model 2009, which needs its own licence."
)
PRESET = "paper"  # of the configuration that a run of imported weights starts from
_PUBLISHED_HIDDEN = Factors(512, 256, 32, 128)
_SPREAD = (0.02, 5.0)  # standard deviation of sane pictures in [-1, 1], before clipping
_CHECKED = 8  # pictures that a converted network makes
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


_VAE_NAMES = {"encoder/dense": ("encoder", "mean"), "encoder/dense_1": ("encoder", "log_sd")}
_VAE_VARIABLE = re.compile(r"(id|exp|rot|gamma)/stage1/((?:encoder|decoder)/.+)")


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


def load_vaes(paths: str, cfgs: Factors) -> dict[str, dict]:
    """{factor: parameters} of published autoencoders, as many as the files hold.

    Args:
      paths: one or more, separated by commas: TensorFlow checkpoints, or .npz files of their
        variables ('exp/stage1/decoder/fc0/kernel').
      cfgs: the sizes that are wanted, see `vae.vae_configs`.

    Raises:
      ValueError: a file that is none, or an autoencoder of other sizes.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in (p.strip() for p in paths.split(",")):
        arrays = read_npz(path) if path.endswith(".npz") else load_checkpoint(path)
        named = {name: _VAE_VARIABLE.fullmatch(name) for name in arrays}
        if not any(named.values()):
            raise ValueError(
                f"{path}: found {sorted(arrays)[:3]}, wanted variables of an autoencoder, such as "
                "'exp/stage1/decoder/fc0/kernel'"
            )
        for name, match in named.items():
            if match:
                found.setdefault(match[1], {})[match[2]] = arrays[name]
    trees = {factor: vae_params(variables) for factor, variables in found.items()}
    for factor, tree in trees.items():
        wanted = vae.init_vae(getattr(cfgs, factor), 0)
        if "encoder" not in tree:  # only needed to train on
            wanted.pop("encoder")
        if jax.tree.map(np.shape, tree) != jax.tree.map(np.shape, wanted):
            kernels = tree.get("decoder", {})
            sizes = {k: np.shape(v["kernel"]) for k, v in kernels.items() if "kernel" in v}
            raise ValueError(
                f"{paths}: the autoencoder of {factor!r} has a decoder {sizes}, wanted "
                f"{getattr(cfgs, factor)}: it is of another face model, or config.vae has other "
                "sizes"
            )
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(tree)):
            raise ValueError(f"{paths}: the autoencoder of {factor!r} holds NaN or infinity")
    return trees


def _checked(network: Mapping[str, Any], wanted: Mapping, path: Any) -> tuple[dict, tuple]:
    """The parameters and noise maps of one network, if they are exactly the wanted ones."""
    fused = network["static_kwargs"].get("fused_scale", "auto")
    params, noise = params_from_variables(network["variables"], fused)
    check_variables(network["name"], params, wanted, path)
    if not all(np.isfinite(x).all() for x in noise):
        raise ValueError(f"{path}: network {network['name']} holds NaN or infinity")
    return params, noise


def check_pictures(cfg: NetworkConfig, gen: dict, noise: tuple, path: Any) -> float:
    """Standard deviation of pictures of a converted generator, in [-1, 1] before clipping.

    Args:
      cfg: of the network.
      gen: its parameters.
      noise: its noise maps.
      path: named in the error.

    Raises:
      ValueError: they are not finite, or their spread is none of pictures: users of the published
        program met networks that made pure noise.
    """
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((_CHECKED, cfg.latent_size)).astype(np.float32)
    styles = networks.styles_of(cfg, gen, jnp.asarray(0.3 * latents))
    images = networks.pictures_of(cfg, gen, styles, noise, 0.0, cfg.resolution_log2)
    spread = float(jnp.std(images))
    if not np.isfinite(spread) or not _SPREAD[0] < spread < _SPREAD[1]:
        raise ValueError(
            f"{path}: the converted generator makes pictures with a standard deviation of "
            f"{spread:.3g}, wanted {_SPREAD[0]} .. {_SPREAD[1]}: the file is damaged or of "
            "another network"
        )
    return spread


def import_run(
    path: str | os.PathLike, out: str | os.PathLike, config: Any, data: str = ""
) -> dict[str, Any]:
    """Writes a run folder with the networks of a published pickle.

    Optimiser state is not in such pickles, and the face model is not asked for: the run makes
    pictures, and `init_from` starts training from it.

    Args:
      path: of the pickle (G, D, Gs).
      out: new folder; gets config.json and checkpoints/.
      config: ConfigDict of configs/disco.py; its `model`, `data` and `vae` are overwritten.
      data: autoencoders for `load_vaes`; those that it lacks stay untrained.

    Returns:
      The checkpoint's metadata: origin, sha256, licence, images, spread, which autoencoders.

    Raises:
      ValueError: the file is no such pickle, asks for anything but arrays and networks, its
        variables do not fit its options, or its pictures are none; or `out` is not empty.
    """
    path, out = pathlib.Path(path), pathlib.Path(out)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a network-*.pkl")
    check_new(out)
    generator, discriminator, average = load_network_pickle(path)
    cfg = config_from_static_kwargs(generator["static_kwargs"], discriminator["static_kwargs"])
    sizes = FactorSizes()
    rest = cfg.latent_size - sizes.num_coefficients
    if rest < 1:
        raise ValueError(
            f"{path}: the generator takes {cfg.latent_size} numbers, wanted more than the "
            f"{sizes.num_coefficients} coefficients of a face: it is none of DiscoFaceGAN"
        )
    wanted = networks.abstract_parameters(cfg)
    gen, _ = _checked(generator, wanted["gen"], path)
    disc, _ = _checked(discriminator, wanted["disc"], path)
    ema, noise = _checked(average, wanted["gen"], path)
    spread = check_pictures(cfg, ema, noise, path)
    cfgs = vae.vae_configs(sizes, _PUBLISHED_HIDDEN)
    trees = {name: vae.init_vae(getattr(cfgs, name), 0) for name in NAMES}
    known = load_vaes(data, cfgs) if data else {}
    trees = {name: trees[name] | known.get(name, {}) for name in NAMES}
    with config.unlocked():
        for name in config.model:
            config.model[name] = rest if name == "noise" else getattr(cfg, name)
        config.data.update(source="synthetic", path="", model="none", model_path="")
        config.vae.update(
            {f"z_{k}": getattr(sizes.latents, k) for k in NAMES}
            | {f"hidden_{k}": getattr(_PUBLISHED_HIDDEN, k) for k in NAMES}
        )
        config.recognition.update(kind="none", weights="")
    number = re.search(r"(\d+)$", path.stem)
    meta = {
        "images": 1000 * int(number[1]) if number else round(1000 * config.schedule.total_kimg),
        "origin": path.name,
        "licence": LICENCE,
        "spread": spread,
        "autoencoders": sorted(known),
    }
    with path.open("rb") as file:
        meta["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    aux = {"gen_noise": networks.noise_dict(noise)}
    params = {"gen": gen, "disc": disc, "vae": trees}
    with new_folder(out, "importing weights") as partial:
        write_config(partial, config)
        with Checkpoints(partial / "checkpoints") as checkpoints:
            checkpoints.save(0, {"params": params, "ema": {"gen": ema}, "aux": aux}, meta)
    return meta


def closing_lines(meta: dict[str, Any], out: str | os.PathLike) -> list[str]:
    """What to say, and what to type next.

    Args:
      meta: of `import_run`.
      out: its folder.
    """
    lines = [f"The generator's pictures are finite, with a standard deviation of "
             f"{meta['spread']:.2f} in [-1, 1]"]  # fmt: skip
    missing = [name for name in NAMES if name not in meta["autoencoders"]]
    if missing:
        lines.append(
            f"no autoencoder of {', '.join(missing)}: give them with --data=FILE, or set those "
            "coefficients yourself"
        )
    return [*lines, f"The run: {command_line('facejax', 'doctor', os.fspath(out))}"]
