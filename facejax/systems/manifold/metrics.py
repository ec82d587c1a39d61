"""How well coefficients are denoised, beside baselines, and everything of `--mode=evaluate`.

The corruption is the one of training; every method sees the same noisy vectors. 'wiener' and
'linear' are the best estimators that are affine per component and affine altogether, given mean and
covariance of the training rows and the variance of the noise; 'nearest' is the nearest training
row.
"""

import csv
import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.host.files import atomic_path
from facejax.metrics.plausibility import check_finite, shared_rows
from facejax.systems.manifold import data, losses, networks
from facejax.systems.manifold.diversity import (
    candidates,
    choose,
    diversity_figures,
    nearest,
    populations,
    trace,
)

_log = logging.getLogger(__name__)
_NOISY_ROWS = 20_000  # at most so many noisy vectors are measured, spread over the held-out rows
_BATCH = 4096
_UNIT_STD = (1e-2, 30.0)  # faces of a model vary by 1, expressions of a weight in 0 .. 1 by 0.05


def wiener(train: np.ndarray, noisy: np.ndarray, power: float) -> np.ndarray:
    """Shrinkage of every component towards its mean, by variance / (variance + power)."""
    mean, variance = train.mean(axis=0), train.var(axis=0)
    return mean + (noisy - mean) * variance / (variance + power)


def linear(train: np.ndarray, noisy: np.ndarray, power: float) -> np.ndarray:
    """The best affine map: mean + C (C + power I)^-1 (x - mean)."""
    mean = train.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(train, rowvar=False, dtype=np.float64))
    gain = np.linalg.solve(covariance + power * np.eye(len(mean)), covariance)
    return mean + (noisy - mean) @ gain


def denoiser(system, target: str, params):
    """(rows [N, n], strength=1) -> [N, n] numpy, by the trained network of a target.

    It raises a ValueError where the network makes anything that is not finite.
    """
    net, scale = system.nets[target], jnp.asarray(system.scales[target])
    run = jax.jit(lambda p, strength: networks.denoise(net, params, scale, p, strength))

    def apply(rows: np.ndarray, strength: float = 1.0) -> np.ndarray:
        parts = [jnp.asarray(rows[i : i + _BATCH], jnp.float32)
                 for i in range(0, len(rows), _BATCH)]  # fmt: skip
        rows = np.concatenate([np.asarray(run(p, strength)) for p in parts])
        check_finite(rows, f"denoised {target} coefficients")
        return rows

    return apply


def corrupted(clean: np.ndarray, sigma, repeats: int, seed: int):
    """(clean, noisy), each [repeats * N, n]; the same on every call."""
    clean = np.tile(clean, (repeats, 1))
    keys = jax.random.split(jax.random.key(seed), len(clean))
    noisy = jax.jit(jax.vmap(lambda k, p: losses.corrupt(k, p, sigma)))(keys, jnp.asarray(clean))
    return clean, np.asarray(noisy)


def _gram_mm(model, target: str) -> np.ndarray | None:
    """[n, n]: c^T gram c is the mean squared vertex displacement of coefficients c, mm^2."""
    if model is None:
        return None
    kind = "id" if target == "shape" else "exp"
    basis = np.asarray(getattr(model, f"{kind}_basis"), np.float64)
    basis = basis * np.asarray(getattr(model, f"{kind}_std"))[:, None, None]
    flat = basis.reshape(len(basis), -1)
    return flat @ flat.T / model.num_vertices


def _remark_unit(rows: np.ndarray, target: str) -> None:
    """Says it where coefficients vary far more or less than those of the face model's people."""
    spread = float(np.median(rows.std(axis=0)))
    if not _UNIT_STD[0] <= spread <= _UNIT_STD[1]:
        _log.warning(
            "%s: the coefficients vary by %.3g of the face model's standard deviations (median, "
            "wanted about 1): they are in another unit than data.model_path, and so are the mm",
            target, spread,
        )  # fmt: skip


def denoising_figures(system, target: str, denoise, model) -> dict[str, dict[str, float]]:
    """Mean squared error and RMS vertex error of the network and of the baselines.

    Args:
      system: the ManifoldSystem.
      target: 'shape' or 'expression'.
      denoise: the trained network, [N, n] -> [N, n].
      model: the face model of the coefficients, or None: no millimetres then.

    Returns:
      {'mse': {method: value}, 'vertex_rms_mm': {method: value}}.
    """
    rows, c = system.rows[target], system.config.evaluate
    shared = shared_rows(rows.train, rows.test)
    if shared:
        _log.warning(
            "%s: %d of %d held-out rows stand among the training rows too: errors on them, of "
            "'nearest' above all, say little", target, shared, len(rows.test),
        )  # fmt: skip
    sigma = system.sigma(target)
    test = rows.test[:: -(-len(rows.test) * c.repeats // _NOISY_ROWS)]
    clean, noisy = corrupted(test, sigma, c.repeats, c.seed)
    power = losses.noise_power(clean.shape[1], sigma)
    estimates = {
        "identity": noisy,
        "zero": np.zeros_like(noisy),
        "mean": np.broadcast_to(rows.train.mean(axis=0), noisy.shape),
        "wiener": wiener(rows.train, noisy, power),
        "linear": linear(rows.train, noisy, power),
        "nearest": nearest(rows.train, noisy),
        "network": denoise(noisy),
    }
    errors = {k: v - clean for k, v in estimates.items()}
    errors["network_clean_in"] = denoise(test) - test
    out = {"mse": {k: float((e.astype(np.float64) ** 2).mean()) for k, e in errors.items()}}
    gram = _gram_mm(model, target)
    if gram is not None and len(gram) == clean.shape[1]:
        _remark_unit(data.in_model_unit(system.config, model, target, rows.train), target)
        out["vertex_rms_mm"] = {}
        for k, e in errors.items():
            e = data.in_model_unit(system.config, model, target, e).astype(np.float64)
            squares = np.einsum("ni,ij,nj->n", e, gram, e, optimize=True)
            out["vertex_rms_mm"][k] = float(np.sqrt(squares.mean()))
    return out


def diversity(system, target: str, denoise) -> tuple[dict[str, np.ndarray], dict[str, Any], list]:
    """Populations of a target and their figures.

    'manifold' is uniform sampling denoised once, as published. 'varied' is uniform sampling
    denoised in small steps, by the setting that `choose` takes for a variety of at least that of
    normal sampling.

    Args:
      system: the ManifoldSystem.
      target: 'shape' or 'expression'.
      denoise: from `denoiser`.

    Returns:
      Populations by name; their figures; those of all settings that were tried for 'varied'.
    """
    c, rows = system.config.evaluate, system.rows[target]
    prior = data.prior(system.config, target, rows.train)
    sets = populations(rows.train, rows.test, denoise, c.size, c.uniform_range, c.seed, prior=prior)
    tried = candidates(rows.train, sets["uniform"], denoise, c.strengths, c.times)
    best = choose(tried, trace(sets["normal"]), c.plausible_share)
    sets["varied"] = sets["uniform"]
    for _ in range(best["times"]):
        sets["varied"] = denoise(sets["varied"], best["strength"])
    figures = diversity_figures(sets, rows.train)
    figures["varied"] = {"strength": best["strength"], "times": best["times"]}
    return sets, figures, tried


def evaluate(system, params: dict[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
    """All figures; JSON-able. Pictures go to the run folder.

    Args:
      system: the ManifoldSystem.
      params: {target: parameters}.
      workdir: of the run; writes evaluation.png, evaluation_settings.csv (what was tried for
        'varied') and, with a face model, evaluation_faces.png and evaluation_triples.png.
    """
    from facejax.systems.manifold import gallery

    c = system.config.evaluate
    model = data.load_model(system.config)
    out: dict[str, Any] = {}
    sets, triples, tried = {}, {}, {}
    for target in system.targets:
        denoise = denoiser(system, target, params[target])
        sets[target], found, tried[target] = diversity(system, target, denoise)
        out[target] = denoising_figures(system, target, denoise, model) | found
        clean, noisy = corrupted(
            system.rows[target].test[: c.num_faces], system.sigma(target), 1, c.seed
        )
        triples[target] = {"gt": clean, "input": noisy, "output": denoise(noisy)}
    _write_table(workdir / "evaluation_settings.csv", tried)
    gallery.write_summary(workdir / "evaluation.png", out, sets)
    if model is not None:
        draw = gallery.Painter(system.config, model, c.picture_size)
        draw.write_rows(workdir / "evaluation_faces.png", sets, gallery.COLORS, c.num_faces)
        draw.write_rows(workdir / "evaluation_triples.png", triples, gallery.TRIPLE, c.num_faces)
    return out


def _write_table(path: pathlib.Path, tried: dict[str, list[dict[str, float]]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        names = ["target", *next(iter(tried.values()))[0]]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for target, rows in tried.items():
            writer.writerows({"target": target} | row for row in rows)
