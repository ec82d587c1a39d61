"""Parts inside the head, completed from the face around them.

UV maps of low resolution hold a mouth cavity or an eyeball in a few texels of an island of its own:
its surface then does not meet the lips or the lids, and pokes through them. What lies inside
follows from the face, so it is taken from the face model: the most likely coefficients for the
face's offsets (Gaussian prior and noise), plus what they leave unexplained at the nearest vertices
of the face.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.morphable.model import MorphableModel

_NEIGHBOURS = 24
_EXPRESSION_STD = 0.3  # prior of blendshape weights, mostly near zero


class Interior:
    """Replaces the offsets of the vertices in the mask 'interior' of a face model.

    Args:
      model: with the masks 'interior' and 'face'.
      noise_mm: standard deviation of a coordinate of a face vertex; neighbouring vertices share
        their errors, so take the error of a texel times the root of its vertices.
    """

    def __init__(self, model: MorphableModel, noise_mm: float):
        from scipy.spatial import cKDTree

        masks = model.topology.masks
        self.inner = np.flatnonzero(masks["interior"] > 0.5)
        self.face = np.flatnonzero((masks["face"] > 0.5) & (masks["interior"] <= 0.5))
        if not len(self.inner) or not len(self.face):
            raise ValueError("the face model's masks 'interior' and 'face' must not be empty")
        mean = np.asarray(model.mean_shape)
        basis = np.concatenate(
            [
                np.asarray(model.id_basis) * np.asarray(model.id_std)[:, None, None],
                np.asarray(model.exp_basis) * np.asarray(model.exp_std)[:, None, None],
            ]
        )
        prior = np.r_[np.ones(model.num_id), np.full(model.num_exp, _EXPRESSION_STD**2)]
        seen = basis[:, self.face].reshape(len(basis), -1).astype(np.float64)
        precision = seen @ seen.T / noise_mm**2 + np.diag(1 / prior)
        self._fit = np.linalg.solve(precision, seen / noise_mm**2).astype(np.float32)  # [K, 3F]
        self._seen = seen.astype(np.float32)
        self._hidden = basis[:, self.inner].reshape(len(basis), -1).astype(np.float32)
        distance, index = cKDTree(mean[self.face]).query(mean[self.inner], k=_NEIGHBOURS)
        weight = np.exp(-0.5 * (distance / distance.mean(axis=1, keepdims=True)) ** 2)
        self._neighbours = index.astype(np.int32)
        self._weights = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)

    def __call__(self, offsets: jax.Array) -> jax.Array:
        """Offsets from the mean, [..., V, 3] mm, with those of the interior replaced."""
        offsets = jnp.asarray(offsets, jnp.float32)
        batch = offsets.shape[:-2]
        face = offsets[..., self.face, :]
        coeffs = face.reshape(*batch, -1) @ self._fit.T
        left = face - (coeffs @ self._seen).reshape(face.shape)
        inner = (coeffs @ self._hidden).reshape(*batch, len(self.inner), 3)
        near = left[..., self._neighbours.reshape(-1), :]
        near = near.reshape(*batch, *self._neighbours.shape, 3)
        inner = inner + jnp.einsum("ik,...ikc->...ic", self._weights, near)
        return offsets.at[..., self.inner, :].set(inner)
