"""Distances between distributions of features; float64 numpy on the host.

A Frechet distance is a *Frechet inception distance* only on the features of that Inception network;
with any other extractor (facejax.metrics.features) name the extractor beside the number.
"""

import numpy as np


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017).

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)). With S = R^T R from a QR factorisation of the
    centred features, the last trace is the nuclear norm of R_a R_b^T: no matrix square root, and
    exact also for fewer samples than dimensions.

    Args:
      features_a: [N, D], N >= 2.
      features_b: [M, D], M >= 2.

    Raises:
      ValueError: other shapes, or features that are not finite.
    """
    a, b = _checked_pair(features_a, features_b)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    root_a = np.linalg.qr((a - mean_a) / np.sqrt(len(a) - 1), mode="r")
    root_b = np.linalg.qr((b - mean_b) / np.sqrt(len(b) - 1), mode="r")
    return _frechet_from_roots(mean_a, root_a, mean_b, root_b)


def frechet_distance_from_moments(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Frechet distance between two Gaussians given by their moments.

    Args:
      mean_a: [D].
      covariance_a: [D, D], symmetric, positive semi-definite (any rank).
      mean_b: [D].
      covariance_b: [D, D].

    Raises:
      ValueError: moments that are not finite.
    """
    if not all(np.isfinite(m).all() for m in (mean_a, covariance_a, mean_b, covariance_b)):
        raise ValueError("some moments are not finite; look at the samples they come from")
    roots = []
    for covariance in (covariance_a, covariance_b):
        values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
        roots.append(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)
    mean_a, mean_b = (np.asarray(mean, np.float64) for mean in (mean_a, mean_b))
    return _frechet_from_roots(mean_a, roots[0], mean_b, roots[1])


def _frechet_from_roots(mean_a, root_a, mean_b, root_b) -> float:
    """The distance where covariance = root^T root."""
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    spread = (root_a**2).sum() + (root_b**2).sum() - 2.0 * cross
    return float(((mean_a - mean_b) ** 2).sum() + max(spread, 0.0))


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased.

    The kernel inception distance of Binkowski et al. 2018 when the features are Inception's. May be
    slightly negative: its expectation is zero for equal distributions.

    Args:
      features_a: [N, D], N >= 2.
      features_b: [M, D], M >= 2.
    """
    a, b = _checked_pair(features_a, features_b)
    return float(_within(a) + _within(b) - 2.0 * _cubic_kernel(a, b).mean())


def kernel_distance_subsets(
    features_a: np.ndarray,
    features_b: np.ndarray,
    rng: np.random.Generator,
    subset_size: int = 1000,
    num_subsets: int = 100,
) -> tuple[float, float]:
    """Mean and standard deviation of `kernel_distance` over random subsets, as usually reported.

    Args:
      features_a: [N, D].
      features_b: [M, D].
      rng: draws the subsets, without replacement inside each.
      subset_size: samples per subset; at most N and M are used.
      num_subsets: number of subsets.
    """
    a, b = _checked_pair(features_a, features_b)
    size = min(subset_size, len(a), len(b))
    values = [
        kernel_distance(
            a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)]
        )
        for _ in range(num_subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """exp(E KL(p(y | x) || p(y))) over contiguous splits (Salimans et al. 2016).

    Args:
      probabilities: [N, K], rows sum to one; a classifier's output for each image, in order.
      splits: number of contiguous parts, each scored alone.

    Returns:
      (mean, standard deviation) over the splits.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not 1 <= splits <= len(p):
        raise ValueError(f"found probabilities {p.shape}; wanted [N, K] with N >= {splits} splits")
    if not np.isfinite(p).all() or (p < 0).any() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("the rows are not probabilities; apply a softmax to logits first")
    bounds = np.arange(splits + 1) * len(p) // splits
    scores = []
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        part = p[start:stop]
        marginal = np.broadcast_to(part.mean(axis=0), part.shape)
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0)  # 0 log 0 = 0
        scores.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _cubic_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def _within(a: np.ndarray) -> float:
    """Mean kernel value of two different samples of one set."""
    kernel = _cubic_kernel(a, a)
    return (kernel.sum() - np.trace(kernel)) / (len(a) * (len(a) - 1))


def _checked_pair(features_a, features_b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"found features of shapes {a.shape} and {b.shape}; wanted [N, D] and [M, D] with at "
            "least two samples each"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("some features are not finite; look at the images they come from")
    return a, b
