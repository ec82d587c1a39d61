"""One Gauss-Newton step from R-Net's coefficients towards a photo's landmarks.

The gradient of a landmark distance is nearly all pose: a degree moves landmarks further than a
standard deviation of most identities. A Gauss-Newton step (as fits of face models to landmarks take
it: Blanz and Vetter 2003, section 4) untangles both, and says which shape the landmarks ask for. It
uses what the landmark loss uses, no 3D truth.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.morphable import Coefficients, MorphableModel
from facejax.recon.decoder import (
    MM_PER_DM,
    Deep3DCamera,
    canonical_center,
    project,
    rotation,
    to_camera,
)

_MOST = 3.0  # standard deviations; far from the truth a step may leap
_POSE_WEIGHT = 1e-3  # keeps the system solvable, and decides nothing


def landmark_step(
    model: MorphableModel,
    coeffs: Coefficients,
    landmarks: jax.Array,
    id_weight: float,
    exp_weight: float,
    sigma_px: float = 1.0,
) -> Coefficients:
    """Coefficients whose identity and expression explain the landmarks better.

    Args:
      model: the face model.
      coeffs: where to start, batch dims [B].
      landmarks: [B, 68, 2] pixels of a crop of 224, y UP.
      id_weight, exp_weight: of the squared coefficients: one over their variances.
      sigma_px: standard deviation of a landmark, pixels of 224: what the priors weigh against.

    Returns:
      `coeffs` with other `id` and `exp`, at most three standard deviations from zero.
    """
    camera, ids = Deep3DCamera(), model.topology.landmarks68
    mean = (jnp.take(model.mean_shape, ids, axis=0) - canonical_center(model)[None]) / MM_PER_DM
    parts = ((model.id_basis, model.id_std), (model.exp_basis, model.exp_std))
    basis = jnp.concatenate(
        [jnp.take(b, ids, axis=1) * (std / MM_PER_DM)[:, None, None] for b, std in parts]
    )
    num_id, num_shape = model.num_id, len(basis)
    weights = np.array([id_weight, exp_weight, _POSE_WEIGHT])
    weights = np.repeat(weights, [num_id, num_shape - num_id, 6]).astype(np.float32)
    prior = sigma_px**2 * weights

    def pixels(x):
        shape, angles, trans = jnp.split(x, [num_shape, num_shape + 3])
        world = (mean + jnp.tensordot(shape, basis, 1)) @ rotation(angles) + trans[None]
        return project(to_camera(world, camera), camera).reshape(-1)

    def step(x, target):
        jacobian, miss = jax.jacfwd(pixels)(x), pixels(x) - target.reshape(-1)
        system = jacobian.T @ jacobian + jnp.diag(jnp.asarray(prior))
        change = jax.scipy.linalg.solve(system, jacobian.T @ miss + prior * x, assume_a="pos")
        most = (_MOST / np.sqrt(weights[:num_shape])).astype(np.float32)
        return jnp.clip((x - change)[:num_shape], -most, most)

    start = jnp.concatenate([coeffs.id, coeffs.exp, coeffs.angles, coeffs.trans], axis=-1)
    with jax.default_matmul_precision("highest"):
        shape = jax.vmap(step)(start, landmarks)
    return coeffs.replace(id=shape[..., :num_id], exp=shape[..., num_id:])
