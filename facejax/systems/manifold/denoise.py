"""Denoising coefficients with a trained run: what launch/denoise.py does, as functions."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from facejax.io.checkpoints import Checkpoints
from facejax.io.files import atomic_path
from facejax.systems.manifold import networks
from facejax.train.run_folder import read_system_config

MODES = {"shape": ("shape",), "exp": ("expression",), "both": ("shape", "expression")}
KEYS = {"shape": "sp", "expression": "ep"}  # of the files


@dataclasses.dataclass
class Trained:
    """The denoisers of a run.

    Attributes:
      config: of the run.
      nets, params, scales: by target.
    """

    config: ConfigDict
    nets: dict[str, networks.NetworkConfig]
    params: dict[str, dict]
    scales: dict[str, np.ndarray]


def load_run(workdir: str | pathlib.Path) -> Trained:
    """Reads config.json and the newest good checkpoint; needs none of the training data.

    Raises:
      ValueError: the folder holds no run of this system, or no checkpoint yet.
    """
    config = read_system_config(workdir, "manifold")
    found = Checkpoints(pathlib.Path(workdir) / "checkpoints").restore_latest(only=("ema", "aux"))
    if found is None:
        raise ValueError(f"{workdir} has no checkpoint yet: train first, or wait for the first one")
    tree, _ = found
    scales = tree["aux"]["scale"]
    nets = {
        t: networks.NetworkConfig(config.model.net, len(s), config.model.hidden)
        for t, s in scales.items()
    }
    return Trained(config, nets, tree["ema"], scales)


def denoise(
    run: Trained, target: str, coefficients: np.ndarray, strength: float = 1.0, times: int = 1
) -> np.ndarray:
    """Denoised coefficients.

    Args:
      run: from `load_run`.
      target: 'shape' or 'expression'.
      coefficients: [N, n].
      strength: p + strength * (f(p) - p), each time.
      times: how often.

    Returns:
      [N, n] float32.

    Raises:
      ValueError: the run has no such network, or another number of coefficients, or values that are
        not finite.
    """
    if target not in run.nets:
        raise ValueError(f"the run has denoisers for {sorted(run.nets)}, wanted {target!r}")
    net = run.nets[target]
    coefficients = np.asarray(coefficients, np.float32)
    if coefficients.ndim != 2 or coefficients.shape[1] != net.length:
        raise ValueError(
            f"found {target} coefficients of shape {coefficients.shape}, wanted [N, {net.length}]: "
            "use coefficients of the face model that the run was trained for"
        )
    if not np.isfinite(coefficients).all():
        raise ValueError(f"the {target} coefficients have values that are not finite")
    scale, params = jnp.asarray(run.scales[target]), run.params[target]
    step = jax.jit(lambda p: networks.denoise(net, params, scale, p, strength))
    out = jnp.asarray(coefficients)
    for _ in range(times):
        out = step(out)
    return np.asarray(out)


def read_table(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Coefficients of faces from an .npz (sp, ep, tp), or from one 300W-LP style .mat.

    Returns:
      What there is of 'sp' [N, n], 'ep' [N, m], 'tp' [N, k].

    Raises:
      ValueError: another kind of file, or none of the arrays.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() == ".mat":
        from facejax.io.mat import read_parameters

        found = read_parameters(path)
        names = {"sp": "Shape_Para", "ep": "Exp_Para", "tp": "Tex_Para"}
        return {k: found[name][None] for k, name in names.items() if name in found}
    from facejax.morphable.storage import read_arrays

    arrays = read_arrays(path)
    table = {k: arrays[k] for k in ("sp", "ep", "tp") if k in arrays}
    if not table:
        raise ValueError(
            f"{path}: found the arrays {sorted(arrays)[:8]}, wanted 'sp' [N, n] (shape) and 'ep' "
            "[N, m] (expression)"
        )
    return {k: v.reshape(len(v), -1) for k, v in table.items()}


def denoise_file(
    run: Trained,
    path: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    mode: str = "shape",
    strength: float = 1.0,
    times: int = 1,
    visualize: bool = False,
) -> list[pathlib.Path]:
    """File in, `outputs.npz` out; what is not denoised is copied.

    Args:
      run: from `load_run`.
      path: see `read_table`.
      out: folder; made if missing.
      mode: 'shape', 'exp' or 'both'.
      strength, times: see `denoise`.
      visualize: also pictures `{i+1}.jpg`, before and after side by side, with the face model of
        the run.

    Returns:
      The files written.

    Raises:
      ValueError: as the functions above; arrays that `mode` asks for are missing; pictures of a run
        without a face model.
    """
    if mode not in MODES:
        raise ValueError(f"found mode {mode!r}, wanted one of {tuple(MODES)}")
    if times < 1:
        raise ValueError(f"times must be positive, found {times}")
    table = read_table(path)
    result = dict(table)
    for target in MODES[mode]:
        key = KEYS[target]
        if key not in table:
            raise ValueError(f"{path}: found {sorted(table)}, mode {mode!r} needs {key!r}")
        result[key] = denoise(run, target, table[key], strength, times)
    out = pathlib.Path(out)
    written = [out / "outputs.npz"]
    with atomic_path(written[0]) as temporary:
        np.savez(temporary, **result)
    if visualize:
        written += _write_pictures(run, table, result, out)
    return written


def _write_pictures(run, before, after, out) -> list[pathlib.Path]:
    from facejax.io.images import write_image
    from facejax.systems.manifold.data import load_model
    from facejax.systems.manifold.figures import render_faces

    model = load_model(run.config)
    if model is None or run.config.data.source != "procedural":
        raise ValueError(
            "pictures need the face model that the coefficients belong to; this run was trained "
            "without one: leave --visualize away"
        )
    num = len(next(iter(after.values())))
    pixels = run.config.evaluate.picture_size
    sides = []
    for table in (before, after):
        identity = table.get("sp", np.zeros((num, model.num_id)))
        expression = table.get("ep", np.zeros((num, model.num_exp)))
        sides.append(
            render_faces(model, identity.astype(np.float32), expression.astype(np.float32), pixels)
        )
    pictures = np.concatenate(sides, axis=2)
    return [write_image(out / f"{i + 1}.jpg", p) for i, p in enumerate(pictures)]
