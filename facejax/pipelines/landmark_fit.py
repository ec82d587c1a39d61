"""Landmarks to pose, identity and expression of a face model, without a picture.

Damped Gauss-Newton (Levenberg 1944) with the coefficients' priors as residuals (Blanz and Vetter
2003, section 4). Frames and coefficients are those of `facejax.recon.decoder`: pixels of a
crop of 224, y UP.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from facejax.morphable.model import Coefficients, MorphableModel
from facejax.recon import decoder

_JAW = 17  # the first landmarks: fixed vertices here, the visible contour in many annotations


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How a fit is done; hashable, static in the compiled functions.

    Attributes:
      size: side in pixels at which the photo is compared; a multiple of 4.
      pose_steps: Gauss-Newton steps on the pose alone.
      landmark_steps: Gauss-Newton steps on pose, identity and expression.
      photo_steps: Adam steps through the renderer; 0 fits the landmarks only.
      landmark_px: standard deviation of a landmark, pixels of a crop of 224.
      jaw_px: the same of the 17 jaw landmarks.
      exp_std: prior of the expression weights of blendshape models; PCA expressions have 1.
      photo, landmark, outline: weights of the photometric, landmark and outline terms.
      unknown: colour error of what the model does not know (hair, inside of the mouth), lest such
        regions grow over what it explains badly.
      prior: of all coefficients' priors; id_prior, exp_prior, tex_prior weigh them.
      gamma, reflectance: weights for white light and for even skin colour.
    """

    size: int = 112
    pose_steps: int = 10
    landmark_steps: int = 15
    photo_steps: int = 120
    landmark_px: float = 1.5
    jaw_px: float = 4.0
    exp_std: float = 0.2
    photo: float = 2.0
    landmark: float = 1e-2
    outline: float = 3.0
    unknown: float = 0.07
    prior: float = 8e-4
    id_prior: float = 1.0
    exp_prior: float = 1.0
    tex_prior: float = 0.3
    gamma: float = 1.0
    reflectance: float = 1.0

    def __post_init__(self):
        if self.size < 16 or self.size % 4:
            raise ValueError(f"found the fitting size {self.size}, wanted a multiple of 4 from 16")
        if min(self.pose_steps, self.landmark_steps, self.photo_steps) < 0:
            raise ValueError("found a negative number of steps, wanted 0 or more")


DEFAULT = FitOptions()


@struct.dataclass
class Targets:
    """Landmarks of a crop in one form for five and for 68 points.

    Attributes:
      points: [73, 2] pixels of a crop of 224, y UP: the five, then the 68; 0 where unknown.
      inverse_px: [73] one over the standard deviation; 0 where unknown.
    """

    points: jax.Array
    inverse_px: jax.Array


def make_targets(landmarks: np.ndarray, options: FitOptions = DEFAULT) -> Targets:
    """The targets of known landmarks.

    Args:
      landmarks: [5, 2] or [68, 2] pixels of a crop of 224, y UP.
      options: the standard deviations.

    Raises:
      ValueError: another shape.
    """
    landmarks = np.asarray(landmarks, np.float32)
    if landmarks.shape not in ((5, 2), (68, 2)):
        raise ValueError(f"found landmarks of shape {landmarks.shape}, wanted [5, 2] or [68, 2]")
    start = 0 if len(landmarks) == 5 else 5
    points, inverse = np.zeros((73, 2), np.float32), np.zeros(73, np.float32)
    points[start : start + len(landmarks)] = landmarks
    inverse[start : start + len(landmarks)] = 1 / options.landmark_px
    if start:
        inverse[start : start + _JAW] = 1 / options.jaw_px
    return Targets(jnp.asarray(points), jnp.asarray(inverse))


def expression_bounds(model: MorphableModel, options: FitOptions) -> tuple[float, float, float]:
    """(standard deviation, least, most) of the expression coefficients."""
    if model.topology.exp_names:  # blendshapes
        return options.exp_std, 0.0, 1.0
    return 1.0, -np.inf, np.inf


def feasible_expressions(
    model: MorphableModel, exp: jax.Array, low: float, high: float
) -> jax.Array:
    """Expression weights inside their bounds; lips cannot close further than the jaw is open."""
    exp = jnp.clip(exp, low, high)
    index = model.topology.exp_index
    if "mouthClose" not in index or "jawOpen" not in index:
        return exp
    close, jaw = index["mouthClose"], index["jawOpen"]
    return exp.at[close].min(exp[jaw])


def _landmark_model(model: MorphableModel):
    """Mean [68, 3] and bases [n, 68, 3] of the landmarks, dm and std folded in, centred."""
    ids = model.topology.landmarks68
    mean = jnp.take(model.mean_shape, ids, axis=0) - decoder.canonical_center(model).reshape(1, 3)
    bases = [
        jnp.take(basis, ids, axis=1) * std.reshape(-1, 1, 1) / decoder.MM_PER_DM
        for basis, std in ((model.id_basis, model.id_std), (model.exp_basis, model.exp_std))
    ]
    return mean / decoder.MM_PER_DM, *bases


def points73(landmarks_px: jax.Array) -> jax.Array:
    """[..., 73, 2]: the five of 68 landmarks, then the 68."""
    return jnp.concatenate([decoder.five_points(landmarks_px), landmarks_px], axis=-2)


@functools.partial(jax.jit, static_argnames="options")
def fit_landmarks(
    model: MorphableModel, targets: Targets, options: FitOptions = DEFAULT
) -> Coefficients:
    """Pose, identity and expression of landmarks alone; the other coefficients are zero.

    Args:
      model: the face model.
      targets: from `make_targets`.
      options: steps and priors.
    """
    camera = decoder.Deep3DCamera()
    mean, id_basis, exp_basis = _landmark_model(model)
    exp_std, low, high = expression_bounds(model, options)
    num_id, num_exp = model.num_id, model.num_exp
    # in standard deviations: angles, trans, id, exp; broad priors keep five points well-posed
    scale = np.concatenate(
        [[0.5, 1.0, 0.7], [1.0, 1.0, 0.3], np.ones(num_id), np.full(num_exp, exp_std)]
    ).astype(np.float32)

    def residuals(x):
        y = x * scale
        angles, trans, ids, exps = jnp.split(y, np.cumsum([3, 3, num_id]))
        shape = mean + jnp.tensordot(ids, id_basis, 1) + jnp.tensordot(exps, exp_basis, 1)
        world = shape @ decoder.rotation(angles) + trans.reshape(1, 3)
        pixels = points73(decoder.project(decoder.to_camera(world, camera), camera))
        distance = (pixels - targets.points) * targets.inverse_px[:, None]
        return jnp.concatenate([distance.reshape(-1), x])

    exp_start = 6 + num_id
    least = np.concatenate([np.full(exp_start, -np.inf), np.full(num_exp, low / exp_std)])
    most = np.concatenate([np.full(exp_start, np.inf), np.full(num_exp, high / exp_std)])
    least, most = (b.astype(np.float32) for b in (least, most))

    def step(free, state):
        x, damping = state
        r, jacobian = residuals(x), jax.jacfwd(residuals)(x) * free[None]
        normal = jacobian.T @ jacobian
        system = normal + jnp.diag(damping * jnp.diag(normal) + 1e-6 + (1 - free))
        new = jnp.clip(x - free * jnp.linalg.solve(system, jacobian.T @ r), least, most)
        better = jnp.sum(residuals(new) ** 2) < jnp.sum(r**2)
        return jnp.where(better, new, x), jnp.where(better, 0.3 * damping, 10 * damping)

    with jax.default_matmul_precision("highest"):
        x = jnp.zeros(len(scale))
        pose = np.float32(np.arange(len(scale)) < 6)
        for free, steps in (
            (pose, options.pose_steps),
            (np.ones_like(pose), options.landmark_steps),
        ):
            x, _ = lax.fori_loop(0, steps, lambda _, s, f=free: step(f, s), (x, jnp.float32(1e-3)))
    angles, trans, ids, exps = jnp.split(x * scale, np.cumsum([3, 3, num_id]))
    zero = decoder.zero_coefficients(model)
    return zero.replace(angles=angles, trans=trans, id=ids, exp=exps)


@jax.jit
def landmark_error(model: MorphableModel, coeffs: Coefficients, targets: Targets) -> jax.Array:
    """Root mean squared distance of the known landmarks, pixels of a crop of 224."""
    mean, id_basis, exp_basis = _landmark_model(model)
    camera = decoder.Deep3DCamera()
    with jax.default_matmul_precision("highest"):
        shape = (
            mean + jnp.tensordot(coeffs.id, id_basis, 1) + jnp.tensordot(coeffs.exp, exp_basis, 1)
        )
        world = shape @ decoder.rotation(coeffs.angles) + coeffs.trans.reshape(1, 3)
    pixels = points73(decoder.project(decoder.to_camera(world, camera), camera))
    known = (targets.inverse_px > 0).astype(jnp.float32)
    squares = jnp.sum((pixels - targets.points) ** 2, axis=-1)
    return jnp.sqrt(jnp.sum(squares * known) / jnp.sum(known))
