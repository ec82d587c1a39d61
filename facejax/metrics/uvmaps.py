"""Measures of generated UV maps: coherence, background, diversity, and nearness to a face model."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.metrics.plausibility import check_finite


def normal_angle_deg(a: jax.Array, b: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Mean angle between two maps of normals, [...] degrees.

    Args:
      a: [..., H, W, 3], any length; texels where one of the two has none point nowhere and do not
        count.
      b: [..., H, W, 3].
      mask: [H, W] bool or weights >= 0; None counts every texel.

    Returns:
      NaN where no texel counts.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    cross = jnp.linalg.norm(jnp.cross(a, b), axis=-1)
    angle = jnp.rad2deg(jnp.arctan2(cross, (a * b).sum(axis=-1)))  # acos loses small angles
    weight = jnp.where((a == 0).all(axis=-1) | (b == 0).all(axis=-1), 0.0, 1.0)
    if mask is not None:
        weight = weight * jnp.broadcast_to(jnp.asarray(mask, weight.dtype), weight.shape)
    return _masked_mean(angle, weight)


def energy_outside(uv_map: jax.Array, mask: jax.Array, background: float = 0.0) -> jax.Array:
    """Mean squared difference from the background outside a mask, [...].

    Args:
      uv_map: [..., H, W, C].
      mask: [H, W] bool, true on the face.
      background: the value that texels off the face should have.

    Returns:
      NaN where the mask leaves nothing outside.
    """
    square = ((jnp.asarray(uv_map) - background) ** 2).mean(axis=-1)
    return _masked_mean(square, jnp.logical_not(mask))


def diversity_within_labels(
    maps: jax.Array, labels: np.ndarray, mask: jax.Array | None = None
) -> np.ndarray:
    """Standard deviation among samples of one label, averaged over texels and channels.

    Zero means that the label decides everything: the latent is ignored.

    Args:
      maps: [N, H, W, C].
      labels: [N] integers.
      mask: [H, W] bool, the texels that count.

    Returns:
      [L] float32 for labels 0 .. L - 1; NaN where a label has fewer than two samples.

    Raises:
      ValueError: labels that are not one integer per map, or negative.
    """
    maps, labels = jnp.asarray(maps), np.asarray(labels)
    if labels.shape != maps.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"found {labels.dtype} labels {labels.shape} for maps {maps.shape}; wanted one integer "
            "per map"
        )
    if labels.min(initial=0) < 0:
        raise ValueError(f"found the label {labels.min()}, wanted 0 or more")
    result = np.full(labels.max(initial=-1) + 1, np.nan, np.float32)
    for label in range(len(result)):
        group = maps[np.flatnonzero(labels == label)]
        if len(group) >= 2:
            result[label] = _masked_mean(group.std(axis=0).mean(axis=-1), mask)
    return result


def project_coefficients(offsets: np.ndarray, basis: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """Coefficients of the linear model that fit given offsets best; float64 on the host.

    Minimises |offset - c basis|^2 + ridge |c|^2; the shortest solution where several fit equally.

    Args:
      offsets: [N, ...] differences from the model's mean (vertices, or UV maps).
      basis: [K, ...] of the same trailing shape, e.g. identity and expression basis stacked.
      ridge: >= 0, in squared units of the basis.

    Returns:
      [N, K].

    Raises:
      ValueError: shapes that do not fit, or values that are not finite.
    """
    offsets, basis = _flattened(offsets, basis)
    left, singular, right = np.linalg.svd(basis, full_matrices=False)
    keep = singular > singular.max(initial=0.0) * max(basis.shape) * np.finfo(np.float64).eps
    gain = np.where(keep, singular / np.where(keep, singular**2 + ridge, 1.0), 0.0)
    return offsets @ right.T * gain @ left.T


def span_distance(offsets: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Root mean square of what a linear basis cannot explain, [N], in the unit of the offsets.

    Args:
      offsets: [N, ...] differences from the model's mean.
      basis: [K, ...] of the same trailing shape; need not be orthogonal or of full rank.

    Raises:
      ValueError: see `project_coefficients`.
    """
    coefficients = project_coefficients(offsets, basis)
    offsets, basis = _flattened(offsets, basis)
    return np.sqrt(((offsets - coefficients @ basis) ** 2).mean(axis=1))


def nearest_label(coefficients: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """The label whose prototype lies nearest (Euclidean), [N] int.

    Args:
      coefficients: [N, K], e.g. the expression part of `project_coefficients`.
      prototypes: [L, K], the coefficients that stand for each label.

    Raises:
      ValueError: coefficients that are not finite: nothing is near them.
    """
    check_finite(coefficients, "coefficients")
    difference = np.asarray(coefficients)[:, None, :] - np.asarray(prototypes)[None, :, :]
    return (difference**2).sum(axis=-1).argmin(axis=-1)


def _flattened(offsets, basis) -> tuple[np.ndarray, np.ndarray]:
    offsets, basis = np.asarray(offsets, np.float64), np.asarray(basis, np.float64)
    if offsets.shape[1:] != basis.shape[1:]:
        raise ValueError(
            f"offsets {offsets.shape} and basis {basis.shape} differ after the first axis; both "
            "must describe the same vertices or texels"
        )
    check_finite(offsets, "offsets from the mean face")
    check_finite(basis, "components of the face model")
    return offsets.reshape(len(offsets), -1), basis.reshape(len(basis), -1)


def _masked_mean(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Mean of [..., H, W] where mask [..., H, W] is true, [...]; NaN under an empty mask."""
    if mask is None:
        return values.mean(axis=(-2, -1))
    mask = jnp.asarray(mask, values.dtype)
    mask = mask.reshape((1,) * (values.ndim - mask.ndim) + mask.shape)
    weight = jnp.broadcast_to(mask, values.shape)
    total = jnp.where(weight > 0, values * weight, 0.0).sum(axis=(-2, -1))
    whole = weight.sum(axis=(-2, -1))
    return jnp.where(whole > 0, total / jnp.where(whole > 0, whole, 1.0), jnp.nan)
