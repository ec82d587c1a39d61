"""Denoising coefficients with a trained run: what `facejax denoise` does, as functions."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from facejax.host.arrays import describe_array, read_npz
from facejax.host.files import atomic_path
from facejax.io.pandas_pickles import PICKLE_START, read_frame, write_frame
from facejax.systems.manifold import networks
from facejax.train.runs import Run

MODES = {"shape": ("shape",), "exp": ("expression",), "both": ("shape", "expression")}
KEYS = {"shape": "sp", "expression": "ep"}  # of the files
FORMATS = ("npz", "pkl")


@dataclasses.dataclass(frozen=True)
class Denoisers:
    """The networks of a run, without its training data.

    Attributes:
      config: of the run.
      nets, params, scales: by target.
    """

    config: ConfigDict
    nets: dict[str, networks.NetworkConfig]
    params: dict[str, dict]
    scales: dict[str, np.ndarray]

    def sampling(self, target: str) -> tuple[float, int]:
        """(strength, times) of the denoising that makes faces of wide samples."""
        chosen = self.config.get("sampling", {}).get(target, (1.0, 1))
        return float(chosen[0]), int(chosen[1])


def denoisers_of(run: Run, model: str = "") -> Denoisers:
    """The denoisers of a run.

    Args:
      run: of Face Manifold.
      model: face model of raw coefficients, for pictures; by default that of the run.
    """
    config = run.config.copy_and_resolve_references()
    if model:
        config.data.model_path = model
    scales = run.params["scale"]
    nets = {
        t: networks.NetworkConfig(config.model.net, len(s), config.model.hidden)
        for t, s in scales.items()
    }
    return Denoisers(config, nets, {t: run.params[t] for t in nets}, scales)


def denoise(
    run: Denoisers, target: str, coefficients: np.ndarray, strength: float = 1.0, times: int = 1
) -> np.ndarray:
    """Denoised coefficients.

    Args:
      run: its denoisers.
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
    steps = jax.jit(functools.partial(networks.denoise, net))
    return np.asarray(steps(params, scale, coefficients, strength, times))


def read_table(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Coefficients of faces from a file, whatever it is called: told apart by its contents.

    Args:
      path: an .npz with `sp`, `ep`, `tp`; a pickled pandas frame with these columns, as the
        original writes; or one 300W-LP style .mat.

    Returns:
      What there is of 'sp' [N, n], 'ep' [N, m], 'tp' [N, k].

    Raises:
      ValueError: another kind of file, which is named, or none of the arrays.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(PICKLE_START):
        arrays = read_frame(path)
    elif path.suffix.lower() == ".mat" or start.startswith(b"MATLAB"):
        from facejax.io.mat import read_parameters

        found = read_parameters(path)
        names = {"sp": "Shape_Para", "ep": "Exp_Para", "tp": "Tex_Para"}
        arrays = {k: found[name][None] for k, name in names.items() if name in found}
    else:
        arrays = read_npz(path)
    table = {k: arrays[k] for k in ("sp", "ep", "tp") if k in arrays}
    if not table:
        raise ValueError(
            f"{path}: found {sorted(arrays)[:8]}, wanted 'sp' [N, n] (shape) and 'ep' [N, m] "
            "(expression)"
        )
    for key, values in table.items():
        if values.ndim < 2 or not values.size or values.dtype.kind not in "fiu":
            raise ValueError(f"{path}: {key} is {describe_array(values)}, wanted numbers [N, n]")
    return {k: v.reshape(len(v), -1) for k, v in table.items()}


def write_table(
    folder: str | pathlib.Path, name: str, table: dict[str, np.ndarray], kind: str = "npz"
) -> pathlib.Path:
    """Coefficients of faces as `name`.npz, or as the original's pickled frame `name`.pkl.

    Args:
      folder: made if missing.
      name: of the file.
      table: {'sp': [N, n], 'ep': [N, m], 'tp': [N, k]}, or some of them.
      kind: 'npz', or 'pkl' for cells [n, 1] float64 in a pandas frame.

    Raises:
      ValueError: another kind.
    """
    if kind not in FORMATS:
        raise ValueError(f"found format {kind!r}, wanted one of {FORMATS}")
    path = pathlib.Path(folder) / f"{name}.{kind}"
    if kind == "pkl":
        return write_frame(path, {k: v[..., None].astype(np.float64) for k, v in table.items()})
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **table)
    return path


def denoise_file(
    run: Denoisers,
    path: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    mode: str = "shape",
    strength: float = 1.0,
    times: int = 1,
    visualize: bool = False,
    kind: str = "npz",
) -> list[pathlib.Path]:
    """File in, `outputs.npz` out; what is not denoised is copied.

    Args:
      run: its denoisers.
      path: see `read_table`.
      out: folder; made if missing.
      mode: 'shape', 'exp' or 'both'.
      strength, times: see `denoise`.
      visualize: also pictures `{i+1}.jpg`, before and after side by side, with the face model of
        the run.
      kind: of the output, 'npz' or 'pkl', see `write_table`.

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
    painter = load_painter(run) if visualize else None
    table = read_table(path)
    result = dict(table)
    for target in MODES[mode]:
        key = KEYS[target]
        if key not in table:
            raise ValueError(f"{path}: found {sorted(table)}, mode {mode!r} needs {key!r}")
        result[key] = denoise(run, target, table[key], strength, times)
    written = [write_table(out, "outputs", result, kind)]
    if painter is not None:
        sides = [painter.faces(_parts(t)) for t in (table, result)]
        written += write_pictures(out, np.concatenate(sides, axis=2))
    return written


def load_painter(run: Denoisers):
    """Draws faces with the face model of a run.

    Raises:
      ValueError: it has none.
    """
    from facejax.systems.manifold.data import load_model
    from facejax.systems.manifold.gallery import Painter

    model = load_model(run.config)
    if model is None:
        raise ValueError(
            "pictures need the face model that the coefficients belong to, and this run was "
            "trained without one: give --model=BFM.mat, or leave --visualize away"
        )
    return Painter(run.config, model, run.config.evaluate.picture_size)


def _parts(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As `Painter.faces` wants them; complexion is left to the model's mean."""
    return {target: table[key] for target, key in KEYS.items() if key in table}


def write_pictures(folder: str | pathlib.Path, pictures, suffix: str = "") -> list[pathlib.Path]:
    """`{i+1}{suffix}.jpg` of each of [N, H, W, 3]."""
    from facejax.io.images import write_image

    return [
        write_image(pathlib.Path(folder) / f"{i}{suffix}.jpg", picture)
        for i, picture in enumerate(pictures, 1)
    ]
