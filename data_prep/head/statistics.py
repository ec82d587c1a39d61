"""From a population to a statistical model: components, and their regression on attributes."""

from typing import NamedTuple

import numpy as np

from facejax.morphable.makehuman.people import features
from facejax.morphable.makehuman.subdivision import Refinement


class Components(NamedTuple):
    """Principal components of the cage's offsets.

    Attributes:
      identity: [D, V, 3] float64 mm at coefficient 1; orthogonal on the surface refined once.
      loadings: [K, D]: coefficients of a head are its centred weights of the targets times these.
      kept: share of the variance that they keep.
    """

    identity: np.ndarray
    loadings: np.ndarray
    kept: float


def find_components(
    offsets: np.ndarray,
    covariance: np.ndarray,
    importance: np.ndarray,
    refinement: Refinement,
    num: int,
) -> Components:
    """The `num` components that keep most of what matters.

    The subspace is that of the largest variance weighted by `importance`; within it the components
    are those of the refined surface without weights, as users of a model expect.

    Args:
      offsets: [K, V, 3] mm of the targets.
      covariance: [K, K] of the targets' weights.
      importance: [V], at least 0.
      refinement: of the cage.
      num: D.
    """
    flat = offsets.reshape(len(offsets), -1).astype(np.float64)
    weighted = flat * np.repeat(np.sqrt(importance), 3)
    variance, directions = np.linalg.eigh(covariance)
    half = directions * np.sqrt(np.maximum(variance, 0))  # [K, K], half @ half.T = covariance
    value, vector = _largest(half.T @ (weighted @ weighted.T) @ half, num)
    kept = float(value.sum() / np.trace(half.T @ (weighted @ weighted.T) @ half))
    basis = (half @ vector).T @ flat  # [num, 3 V], of independent unit coefficients
    fine = refinement(basis.reshape(num, -1, 3)).reshape(num, -1)
    value, turn = _largest(fine @ fine.T, num)
    identity = turn.T @ basis
    # coefficients of weights w: the whitened ones, turned; the sign makes the sum of y positive
    sign = np.sign(identity.reshape(num, -1, 3)[..., 1].sum(axis=1))
    identity *= sign[:, None]
    keep = variance > 1e-9 * variance.max()
    whiten = directions[:, keep] / np.sqrt(variance[keep])
    loadings = whiten @ (vector[keep] @ turn) * sign
    return Components(identity.reshape(num, -1, 3), loadings, kept)


def _largest(matrix, num):
    """The `num` largest eigenvalues of a symmetric matrix, falling, and their vectors."""
    value, vector = np.linalg.eigh(matrix)
    order = np.argsort(value)[::-1][:num]
    return value[order], vector[:, order]


def regress(coefficients: np.ndarray, attributes: tuple) -> dict[str, np.ndarray]:
    """The arrays 'attribute_*' of the head's file.

    Args:
      coefficients: [n, D] of a population, of unit variance.
      attributes: of the same people, see `people.sample_attributes`.
    """
    x = features(*attributes)
    mean = x.mean(axis=0)
    x = x - mean
    covariance = x.T @ x / (len(x) - 1)
    weights = np.linalg.solve(covariance, x.T @ coefficients / (len(x) - 1)).T
    return dict(
        attribute_weights=weights.astype(np.float32),
        attribute_mean=mean.astype(np.float32),
        attribute_covariance=covariance.astype(np.float32),
    )
