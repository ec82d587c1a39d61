"""How well coefficients are denoised, and how varied and plausible denoised wide samples are.

The corruption is the one of training; every method sees the same noisy vectors. 'wiener' and
'linear' are the best estimators that are affine per component and affine altogether, given mean and
covariance of the training rows and the variance of the noise; 'nearest' is the nearest training
row.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.metrics.frechet import frechet_distance
from facejax.systems.manifold import data, networks

_NEAREST_ROWS = 20_000  # at most so many training rows are searched
_NOISY_ROWS = 20_000  # at most so many noisy vectors are measured, spread over the held-out rows
_BATCH = 4096


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


def nearest(train: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """The training row nearest to each vector."""
    rows = train[:_NEAREST_ROWS].astype(np.float64)
    squares = (rows**2).sum(axis=1)
    picks = [
        (squares - 2 * part @ rows.T).argmin(axis=1)
        for part in np.array_split(noisy, -(-len(noisy) // 512))
    ]
    return train[np.concatenate(picks)]


def denoiser(system, target: str, params):
    """[N, n] -> [N, n] numpy, by the trained network of a target."""
    net, scale = system.nets[target], jnp.asarray(system.scales[target])
    run = jax.jit(lambda p: networks.denoise(net, params, scale, p))

    def apply(rows: np.ndarray) -> np.ndarray:
        parts = [rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]
        return np.concatenate([np.asarray(run(jnp.asarray(p, jnp.float32))) for p in parts])

    return apply


def corrupted(clean: np.ndarray, sigma: float, repeats: int, seed: int):
    """(clean, noisy), each [repeats * N, n]; the same on every call."""
    clean = np.tile(clean, (repeats, 1))
    keys = jax.random.split(jax.random.key(seed), len(clean))
    noisy = jax.jit(jax.vmap(lambda k, p: data.corrupt(k, p, sigma)))(keys, jnp.asarray(clean))
    return clean, np.asarray(noisy)


def inside_share(train: np.ndarray, rows: np.ndarray, percentile: float = 99.0) -> float:
    """Share of rows whose Mahalanobis distance is within a percentile of that of the training rows.

    Directions in which the training rows hardly vary count with a floor of 1e-6 of the largest
    variance.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(train, rowvar=False, dtype=np.float64)))
    root = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))

    def distance(x):
        return (((x - mean) @ root) ** 2).sum(axis=1)

    limit = np.percentile(distance(train.astype(np.float64)), percentile)
    return float((distance(rows.astype(np.float64)) <= limit).mean())


def populations(train, test, denoise, size: int, width: float, seed: int) -> dict[str, np.ndarray]:
    """Coefficient vectors by where they come from, each [size, n] ('real' has at most all rows).

    Args:
      train: [N, n], whose mean m and standard deviation s per component describe the model.
      test: [M, n] held-out rows: 'real'.
      denoise: [K, n] -> [K, n].
      size: of each population.
      width: 'uniform' is U(m - width s / 2, m + width s / 2).
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    mean, std = train.mean(axis=0), train.std(axis=0)
    uniform = mean + width * std * rng.uniform(-0.5, 0.5, (size, len(mean)))
    return {
        "real": test[:size],
        "normal": mean + std * rng.standard_normal((size, len(mean))),
        "uniform": uniform,
        "manifold": denoise(uniform),
    }


def _gram_mm(model, target: str) -> np.ndarray | None:
    """[n, n]: c^T gram c is the mean squared vertex displacement of coefficients c, mm^2."""
    if model is None:
        return None
    kind = "id" if target == "shape" else "exp"
    basis = np.asarray(getattr(model, f"{kind}_basis"), np.float64)
    basis = basis * np.asarray(getattr(model, f"{kind}_std"))[:, None, None]
    flat = basis.reshape(len(basis), -1)
    return flat @ flat.T / model.num_vertices


def _in_model_unit(config, model, target: str, error: np.ndarray) -> np.ndarray:
    """Errors of coefficients in units of the model's standard deviations."""
    if config.data.source == "procedural":
        return error
    std = model.id_std if target == "shape" else model.exp_std
    return error / np.asarray(std)


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
    sigma = system.sigma(target)
    test = rows.test[:: -(-len(rows.test) * c.repeats // _NOISY_ROWS)]
    clean, noisy = corrupted(test, sigma, c.repeats, c.seed)
    power = data.noise_power(clean.shape[1], sigma)
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
        out["vertex_rms_mm"] = {}
        for k, e in errors.items():
            e = _in_model_unit(system.config, model, target, e).astype(np.float64)
            squares = np.einsum("ni,ij,nj->n", e, gram, e, optimize=True)
            out["vertex_rms_mm"][k] = float(np.sqrt(squares.mean()))
    return out


def diversity_figures(sets: dict[str, np.ndarray], train: np.ndarray) -> dict[str, dict]:
    """Variety, distance from the training rows, plausibility, each by population.

    Args:
      sets: from `populations`.
      train: [N, n].

    Returns:
      {'trace': ..., 'frechet': ..., 'inside_p99': ...}: trace of the covariance; Frechet distance
      between Gaussians fitted to the population and to the training rows; share within the 99th
      percentile of the training rows' Mahalanobis distance.
    """
    return {
        "trace": {k: float(v.var(axis=0, ddof=1).sum()) for k, v in sets.items()},
        "frechet": {k: float(frechet_distance(train, v)) for k, v in sets.items()},
        "inside_p99": {k: inside_share(train, v) for k, v in sets.items()},
    }


def evaluate(system, params: dict[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
    """All figures; JSON-able. Pictures go to the run folder.

    Args:
      system: the ManifoldSystem.
      params: {target: parameters}.
      workdir: of the run; writes evaluation.png and, with a face model, evaluation_faces.png.
    """
    from facejax.systems.manifold import figures

    c = system.config.evaluate
    model = data.load_model(system.config)
    out: dict[str, Any] = {}
    sets = {}
    for target in system.targets:
        denoise = denoiser(system, target, params[target])
        rows = system.rows[target]
        sets[target] = populations(rows.train, rows.test, denoise, c.size, c.uniform_range, c.seed)
        out[target] = denoising_figures(system, target, denoise, model)
        out[target] |= diversity_figures(sets[target], rows.train)
    figures.write_summary(workdir / "evaluation.png", out, sets)
    if model is not None and system.config.data.source == "procedural":
        figures.write_faces(
            workdir / "evaluation_faces.png", model, sets, c.num_faces, c.picture_size
        )
    return out
