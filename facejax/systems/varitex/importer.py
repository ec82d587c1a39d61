"""Checkpoints, options and codes that the published VariTex program wrote."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from facejax.host.arrays import describe_array, read_npy
from facejax.host.files import read_json, reading
from facejax.host.locks import check_new, new_folder
from facejax.host.shell import command_line
from facejax.io.checkpoints import Checkpoints
from facejax.io.torch_files import load_state_dict
from facejax.systems.varitex.data import read_prepared
from facejax.systems.varitex.losses import GAN_MODES
from facejax.systems.varitex.published import Checkpoint, read_arrays
from facejax.train.run_folder import write_config

LICENCE = (
    "imported weights: they stay under the licence of whoever published them. Their face model is "
    "the Basel Face Model, which needs its own licence."
)
PRESET = "paper"  # of the configuration that a run of imported weights starts from
_STATE = "state_dict."
_NUMBERS = {  # option: key of the configuration
    "lr": "schedule.lr",
    "lr_discriminator": "schedule.lr_discriminator",
    "batch_size": "schedule.batch_size",
    "lambda_l2": "loss.l2",
    "lambda_kl": "loss.kl",
    "lambda_vgg": "loss.vgg",
    "lambda_segmentation": "loss.segmentation",
    "lambda_rgb_texture": "loss.rgb_texture",
    "lambda_gan": "loss.gan",
    "lambda_discriminator_features": "loss.gan_features",
    "uv_mask_value": "model.mask_value",
}


def load_checkpoint(path: str | os.PathLike, mask_value: float = 0.0) -> Checkpoint:
    """The networks of a Lightning checkpoint; PyTorch is not needed, nothing in it is run.

    Args:
      path: of the .ckpt file, or of a bare state dict.
      mask_value: see `published.read_arrays`.

    Raises:
      ValueError: the file is no such checkpoint.
    """
    return _networks(path, load_state_dict(path), mask_value)


def _networks(path, arrays: Mapping[str, np.ndarray], mask_value: float) -> Checkpoint:
    inner = {n.removeprefix(_STATE): v for n, v in arrays.items() if n.startswith(_STATE)}
    with reading(path, "a checkpoint of VariTex"):
        return read_arrays(inner or arrays, mask_value)


def find_options(checkpoint: str | os.PathLike) -> pathlib.Path | None:
    """The opt.json of a checkpoint: beside its folder, as the published program looks for it, or
    beside the file itself."""
    path = pathlib.Path(checkpoint)
    for folder in (path.parent.parent, path.parent):
        if (folder / "opt.json").is_file():
            return folder / "opt.json"
    return None


def read_options(path: str | os.PathLike) -> dict[str, Any]:
    """The options of an opt.json.

    Raises:
      ValueError: no such file, or options of another sort.
    """
    options = read_json(path)
    if not isinstance(options, dict):
        raise ValueError(f"{path}: found {type(options).__name__}, wanted a table of options")
    for name in _NUMBERS:
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f"{path}: {name} is {value!r}, wanted a number")
    if options.get("gan_mode", "ls") not in GAN_MODES:
        raise ValueError(
            f"{path}: gan_mode is {options['gan_mode']!r}, wanted one of {', '.join(GAN_MODES)}"
        )
    regions = options.get("semantic_regions", [])
    if not isinstance(regions, list) or not all(isinstance(r, int) for r in regions):
        raise ValueError(f"{path}: semantic_regions is {regions!r}, wanted a list of numbers")
    return options


def apply_options(config: Any, options: Mapping[str, Any]) -> None:
    """Sets what the options of a published run say in a configuration of configs/varitex.py.

    Args:
      config: ConfigDict; changed.
      options: of `read_options`; those that it lacks leave the configuration as it is.
    """
    with config.unlocked():
        for name, key in _NUMBERS.items():
            if name in options:
                section, leaf = key.split(".")
                config[section][leaf] = type(config[section][leaf])(options[name])
        config.loss.gan_mode = options.get("gan_mode", config.loss.gan_mode)
        if options.get("semantic_regions"):
            config.data.regions = tuple(options["semantic_regions"])
        if "keep_background" in options or "bg_color" in options:
            dark = options.get("bg_color", "black") == "black"
            kept = bool(options.get("keep_background", False))
            config.data.background = "keep" if kept else "min" if dark else "gray"
        if "transform_mode" in options:
            config.data.transforms = str(options["transform_mode"])
        if options.get("dataset_split") in ("all", "train", "val"):
            config.data.split = options["dataset_split"]


def read_latents(path: str | os.PathLike, latent: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a latents.npy: means and deviations, [N, latent] float32 each.

    Args:
      path: of an array [N, 2, latent].
      latent: length of a code.

    Raises:
      ValueError: an array of another shape.
    """
    array = read_npy(path)
    if array.ndim != 3 or array.shape[1:] != (2, latent) or array.dtype.kind != "f":
        raise ValueError(
            f"{path}: found {describe_array(array)}, wanted float [N, 2, {latent}]: the mean and "
            "the deviation of each code"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: holds NaN or infinity")
    return tuple(np.ascontiguousarray(array[:, k], np.float32) for k in (0, 1))


def import_run(
    path: str | os.PathLike, out: str | os.PathLike, config: Any, data: str = ""
) -> dict[str, Any]:
    """Writes a run folder, as the trainer leaves one, with the networks of a checkpoint.

    The state of the optimisers stays behind: `--config.init_from` starts another run from this one.

    Args:
      path: of the .ckpt file; its opt.json is read where there is one (`find_options`).
      out: new folder; gets config.json and checkpoints/.
      config: ConfigDict of configs/varitex.py; what the checkpoint and its options say replaces it.
      data: folder of the prepared data set, '' for none.

    Returns:
      The checkpoint's metadata: origin, sha256, licence, images.

    Raises:
      ValueError: the file is no such checkpoint, or lacks the discriminator; or `out` exists.
    """
    path, out = pathlib.Path(path), pathlib.Path(out)
    check_new(out)
    options_file = find_options(path)
    options = read_options(options_file) if options_file else {}
    apply_options(config, options)
    arrays = load_state_dict(path)
    found = _networks(path, arrays, float(config.model.mask_value))
    if found.discriminator is None:
        raise ValueError(f"{path}: found no discriminator, wanted a checkpoint of the training")
    with config.unlocked():
        for name in config.model:
            config.model[name] = getattr(found.generator, name)
        for name in config.discriminator:
            config.discriminator[name] = getattr(found.discriminator, name)
        if data:
            read_prepared(data)  # says what does not fit
            config.data.update(source="prepared", path=str(data))
    # Lightning counts the steps of both optimisers
    steps = int(arrays.get("global_step", np.zeros(()))) // 2
    meta = {
        "images": steps * int(config.schedule.batch_size),
        "origin": path.name,
        "licence": LICENCE,
        "options": str(options_file or ""),
    }
    with path.open("rb") as file:
        meta["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    gen, disc = found.generator_variables, found.discriminator_variables
    tree = {
        "params": {"gen": gen["params"], "disc": disc["params"]},
        "aux": {"gen_stats": gen["batch_stats"], "disc_spectral": disc["spectral"]},
    }
    with new_folder(out, "importing weights") as partial:
        write_config(partial, config)
        with Checkpoints(partial / "checkpoints") as checkpoints:
            checkpoints.save(0, tree, meta)
    return meta


def closing_lines(meta: dict[str, Any], out: str | os.PathLike) -> list[str]:
    """What to say, and what to type next.

    Args:
      meta: of `import_run`.
      out: its folder.
    """
    words = ("facejax", "evaluate", f"--workdir={os.fspath(out)}")
    lines = [f"Options: {meta['options']}"] if meta["options"] else []
    return [*lines, f"Measure: {command_line(*words)}"]
