"""How well factors of a generator come apart: the disentanglement score.

Deng et al. 2020 (arXiv 2004.11660, section 4.2), in the form of Shoshan et al. 2021 (arXiv
2101.02477, gan-control): within a set of pictures that differ in one factor alone, the measured
property of that factor should vary and every other one should not.
"""

import numpy as np

SPREADS = ("pairwise", "std")


def spread(values: np.ndarray, kind: str = "pairwise") -> np.ndarray:
    """How far the members of each set lie apart.

    Args:
      values: [S, N, D] a property of N pictures in each of S sets.
      kind: 'pairwise': mean Euclidean distance of all pairs; 'std': root of the variance, summed
        over the property's numbers.

    Returns:
      [S].

    Raises:
      ValueError: an unknown kind, or sets of one picture.
    """
    values = np.asarray(values, np.float64)
    if kind not in SPREADS:
        raise ValueError(f"found the spread {kind!r}, wanted one of {SPREADS}")
    if values.ndim != 3 or values.shape[1] < 2:
        raise ValueError(f"found values {values.shape}, wanted [sets, pictures of at least 2, D]")
    if kind == "std":
        return np.sqrt(values.var(axis=1).sum(axis=-1))
    first, second = np.triu_indices(values.shape[1], k=1)
    return np.linalg.norm(values[:, first] - values[:, second], axis=-1).mean(axis=1)


def disentanglement(
    sets: dict[str, dict[str, np.ndarray]], real: dict[str, np.ndarray], kind: str = "pairwise"
) -> dict[str, float]:
    """The score of each factor, higher is better.

    DS_i is the product over k != i of sigma_i / sigma_k, where sigma_k is the spread of property k
    in the sets that vary factor i, over its spread among real pictures.

    Args:
      sets: {factor: {property: [S, N, D]}}; factors and properties have the same names.
      real: {property: [M, D]} of real pictures.
      kind: of `spread`.
    """
    scores = {}
    usual = {k: float(spread(v[None], kind)[0]) for k, v in real.items()}
    for factor, properties in sets.items():
        sigma = {
            k: float(spread(v, kind).mean()) / max(usual[k], 1e-12) for k, v in properties.items()
        }
        others = [sigma[factor] / max(v, 1e-12) for k, v in sigma.items() if k != factor]
        scores[factor] = float(np.prod(others))
    return scores
