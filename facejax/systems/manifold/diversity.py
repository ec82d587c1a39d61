"""How varied and how plausible coefficient vectors are, by where they come from."""

from collections.abc import Callable, Sequence

import numpy as np

from facejax.metrics.frechet import frechet_distance, frechet_distance_from_moments

NEAREST_ROWS = 20_000  # at most so many training rows are searched


def nearest(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The training row nearest to each vector."""
    known = train[:NEAREST_ROWS].astype(np.float64)
    squares = (known**2).sum(axis=1)
    picks = [
        (squares - 2 * part @ known.T).argmin(axis=1)
        for part in np.array_split(rows, -(-len(rows) // 512))
    ]
    return train[np.concatenate(picks)]


def plausibility(train: np.ndarray, percentile: float = 99.0) -> Callable[[np.ndarray], float]:
    """Measures the share of rows that are as plausible as training rows.

    Args:
      train: [N, n].
      percentile: of the training rows' Mahalanobis distances; rows within it count. Directions in
        which the training rows hardly vary count with a floor of 1e-6 of the largest variance.

    Returns:
      rows [K, n] -> share in [0, 1].
    """
    mean = train.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(train, rowvar=False, dtype=np.float64)))
    root = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))

    def distance(x):
        return (((x.astype(np.float64) - mean) @ root) ** 2).sum(axis=1)

    limit = np.percentile(distance(train), percentile)
    return lambda rows: float((distance(rows) <= limit).mean())


def inside_share(train: np.ndarray, rows: np.ndarray) -> float:
    """Share of rows within the 99th percentile of the training rows, see `plausibility`."""
    return plausibility(train)(rows)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    covariance = np.cov(rows, rowvar=False, dtype=np.float64)
    return rows.mean(axis=0, dtype=np.float64), np.atleast_2d(covariance)


def trace(rows: np.ndarray) -> float:
    """Trace of the covariance."""
    return float(rows.var(axis=0, ddof=1).sum())


def nearest_distance(train: np.ndarray, rows: np.ndarray) -> float:
    """Mean Euclidean distance to the nearest training row."""
    return float(np.linalg.norm(rows - nearest(train, rows), axis=1).mean())


FIGURES = {
    "trace": lambda train, rows: trace(rows),
    "inside_p99": inside_share,
    "frechet": frechet_distance,
    "nearest": nearest_distance,
}


def diversity_figures(sets: dict[str, np.ndarray], train: np.ndarray) -> dict[str, dict]:
    """Variety, distance from the training rows, plausibility, each by population.

    Args:
      sets: from `populations`.
      train: [N, n].

    Returns:
      {'trace': ..., 'inside_p99': ..., 'frechet': ..., 'nearest': ...}: trace of the covariance;
      share within the 99th percentile of the training rows' Mahalanobis distance; Frechet distance
      between Gaussians fitted to the population and to the training rows; mean distance to the
      nearest training row.
    """
    return {name: {k: float(f(train, v)) for k, v in sets.items()} for name, f in FIGURES.items()}


def candidates(
    train: np.ndarray,
    start: np.ndarray,
    denoise: Callable[[np.ndarray, float], np.ndarray],
    strengths: Sequence[float],
    times: Sequence[int],
) -> list[dict[str, float]]:
    """Figures of wide samples denoised in part, several times.

    A denoiser maps to the mean of all faces that fit, so that one full step from wide samples ends
    near the mean face. Small steps, each from where the last one ended, keep more: they follow the
    gradient of the log density at falling noise (Kadkhodaie and Simoncelli 2021).

    Args:
      train: [N, n].
      start: [K, n] wide samples.
      denoise: (rows, strength) -> rows, x + strength (f(x) - x).
      strengths: of each step.
      times: numbers of steps.

    Returns:
      One dict per combination: 'strength', 'times', 'trace', 'inside_p99', 'frechet'.
    """
    found, inside, moments = [], plausibility(train), _moments(train)
    for strength in strengths:
        rows, done = start, 0
        for count in sorted(times):
            for _ in range(count - done):
                rows = denoise(rows, strength)
            done = count
            found.append(
                {
                    "strength": strength,
                    "times": count,
                    "trace": trace(rows),
                    "inside_p99": inside(rows),
                    "frechet": frechet_distance_from_moments(*moments, *_moments(rows)),
                }
            )
    return found


def choose(
    found: list[dict[str, float]], wanted_trace: float, wanted_share: float
) -> dict[str, float]:
    """The candidate nearest to the training rows among those that are varied and plausible.

    Args:
      found: from `candidates`.
      wanted_trace: least covariance trace.
      wanted_share: least share within the 99th Mahalanobis percentile.

    Returns:
      That of the smallest Frechet distance where both are reached; else the most varied of the
      plausible ones; else the most plausible.
    """
    plausible = [c for c in found if c["inside_p99"] >= wanted_share]
    varied = [c for c in plausible if c["trace"] >= wanted_trace]
    if varied:
        return min(varied, key=lambda c: c["frechet"])
    if plausible:
        return max(plausible, key=lambda c: c["trace"])
    return max(found, key=lambda c: c["inside_p99"])


def populations(
    train: np.ndarray,
    test: np.ndarray,
    denoise: Callable[[np.ndarray], np.ndarray],
    size: int,
    width: float,
    seed: int,
    prior: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Coefficient vectors by where they come from, each [size, n] ('real' has at most all rows).

    Args:
      train: [N, n].
      test: [M, n] held-out rows: 'real'.
      denoise: [K, n] -> [K, n], makes 'manifold' of 'uniform'.
      size: of each population.
      width: 'uniform' is U(m - width s / 2, m + width s / 2).
      seed: of the draws.
      prior: (m, s), each [n]: mean and standard deviation of independent components, for 'normal'
        and 'uniform'; by default those of the training rows. 'gaussian' has the training rows'
        mean and full covariance.
    """
    rng = np.random.default_rng(seed)
    mean, std = prior or (train.mean(axis=0), train.std(axis=0))
    uniform = mean + width * std * rng.uniform(-0.5, 0.5, (size, len(mean)))
    normal = mean + std * rng.standard_normal((size, len(mean)))
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(train, rowvar=False, dtype=np.float64)))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return {
        "real": test[:size],
        "normal": normal,
        "gaussian": train.mean(axis=0) + rng.standard_normal((size, len(mean))) @ root.T,
        "uniform": uniform,
        "manifold": denoise(uniform),
    }
