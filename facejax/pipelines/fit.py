"""A face model fitted to one photo crop, without any trained network: analysis by synthesis.

1. Landmarks: damped Gauss-Newton (Levenberg 1944) on pose, then on pose, identity and expression,
   with the coefficients' priors as residuals (Blanz and Vetter 2003, section 4).
2. Light: spherical harmonics by linear least squares on the mean albedo (Ramamoorthi and Hanrahan
   2001), outliers re-weighted.
3. Photo: Adam on all coefficients through the renderer, with the gradient of moving outlines.

Frames and coefficients are those of `facejax.render.face_decoder`: crops of 224 pixels, landmarks
with y UP. Everything is jitted with the face model as an argument: one compilation per model.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from facejax.image.resample import downsample2
from facejax.image.sample import sample_bilinear
from facejax.image.skin import skin_mask
from facejax.losses import gamma_prior, reflectance
from facejax.morphable.model import MorphableModel
from facejax.render import face_decoder as fd
from facejax.render.interpolate import interpolate
from facejax.render.rasterize import rasterize
from facejax.render.shading import DEEP3D_AMBIENT, sh_basis
from facejax.render.silhouette import boundary_grad
from facejax.train.optim import adam

CURVES = ("total", "photo", "landmark", "outline", "prior")
_JAW = 17  # the first landmarks: fixed vertices here, the visible contour in many annotations
_RATES = dict(id=0.04, exp=0.02, tex=0.06, angles=0.006, gamma=0.02, trans=0.006)


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


@struct.dataclass
class Fit:
    """A fitted face.

    Attributes:
      coeffs: without batch dims.
      landmark_px: root mean squared distance of the given landmarks, pixels of a crop of 224.
      curves: {name: [photo_steps] weighted terms of the loss}, names in CURVES.
    """

    coeffs: fd.Coefficients
    landmark_px: jax.Array
    curves: dict[str, jax.Array]


@struct.dataclass
class Targets:
    """Landmarks of a crop in one form for five and for 68 points.

    Attributes:
      points: [73, 2] pixels of a crop of 224, y UP: the five, then the 68; 0 where unknown.
      inverse_px: [73] one over the standard deviation; 0 where unknown.
    """

    points: jax.Array
    inverse_px: jax.Array


def make_targets(landmarks: np.ndarray, options: FitOptions = FitOptions()) -> Targets:
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


def fit_photo(
    model: MorphableModel,
    crop: np.ndarray,
    landmarks: np.ndarray,
    options: FitOptions = FitOptions(),
    start: fd.Coefficients | None = None,
) -> Fit:
    """Fits a face model to a photo crop.

    Args:
      model: any face model with 68 landmarks.
      crop: [224, 224, 3] uint8 RGB, from `facejax.data.alignment.align_photo`.
      landmarks: [5, 2] or [68, 2] pixels of the crop, y UP.
      options: how.
      start: coefficients to begin with, for example a network's; the landmark stage is then left
        out. None begins with the mean face.

    Raises:
      ValueError: a crop or landmarks of another shape, coefficients of another model.
    """
    crop = np.asarray(crop)
    if crop.shape != (224, 224, 3) or crop.dtype != np.uint8:
        raise ValueError(
            f"found a crop of shape {crop.shape} and type {crop.dtype}, wanted [224, 224, 3] "
            "uint8 from align_photo"
        )
    targets = make_targets(landmarks, options)
    if start is None:
        start = fit_landmarks(model, targets, options)
    else:
        start = fd.split(fd.join(start), model)  # the lengths must be this model's
    image, skin = photo_inputs(crop, options.size)
    if options.photo_steps:
        coeffs, curves = fit_colors(model, start, image, skin, targets, options)
    else:
        coeffs, curves = start, {}
    return Fit(coeffs, landmark_error(model, coeffs, targets), curves)


def photo_inputs(crop: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """([S, S, 3] photo, [S, S] skin weights), float32 in [0, 1], of a uint8 crop of 224."""
    from PIL import Image

    skin = skin_mask(crop)
    small = [
        np.asarray(Image.fromarray(a).resize((size, size), Image.Resampling.BOX), np.float32) / 255
        for a in (crop, skin)
    ]
    return small[0], small[1]


# --- Landmarks -----------------------------------------------------------------------------------


def _bounds(model: MorphableModel, options: FitOptions) -> tuple[float, float, float]:
    """(standard deviation, least, most) of the expression coefficients."""
    if model.topology.exp_names:  # blendshapes
        return options.exp_std, 0.0, 1.0
    return 1.0, -np.inf, np.inf


def _feasible(model: MorphableModel, exp: jax.Array, low: float, high: float) -> jax.Array:
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
    mean = jnp.take(model.mean_shape, ids, axis=0) - fd.canonical_center(model).reshape(1, 3)
    bases = [
        jnp.take(basis, ids, axis=1) * std.reshape(-1, 1, 1) / fd.MM_PER_DM
        for basis, std in ((model.id_basis, model.id_std), (model.exp_basis, model.exp_std))
    ]
    return mean / fd.MM_PER_DM, *bases


def _points73(landmarks_px):
    return jnp.concatenate([fd.five_points(landmarks_px), landmarks_px], axis=-2)


@functools.partial(jax.jit, static_argnames="options")
def fit_landmarks(
    model: MorphableModel, targets: Targets, options: FitOptions = FitOptions()
) -> fd.Coefficients:
    """Pose, identity and expression of landmarks alone; the other coefficients are zero.

    Args:
      model: the face model.
      targets: from `make_targets`.
      options: steps and priors.
    """
    camera = fd.Deep3DCamera()
    mean, id_basis, exp_basis = _landmark_model(model)
    exp_std, low, high = _bounds(model, options)
    num_id, num_exp = model.num_id, model.num_exp
    # in standard deviations: angles, trans, id, exp; broad priors keep five points well-posed
    scale = np.concatenate(
        [[0.5, 1.0, 0.7], [1.0, 1.0, 0.3], np.ones(num_id), np.full(num_exp, exp_std)]
    ).astype(np.float32)

    def residuals(x):
        y = x * scale
        angles, trans, ids, exps = jnp.split(y, np.cumsum([3, 3, num_id]))
        shape = mean + jnp.tensordot(ids, id_basis, 1) + jnp.tensordot(exps, exp_basis, 1)
        world = shape @ fd.rotation(angles) + trans.reshape(1, 3)
        pixels = _points73(fd.project(fd.to_camera(world, camera), camera))
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
    zero = fd.zero_coefficients(model)
    return zero.replace(angles=angles, trans=trans, id=ids, exp=exps)


@jax.jit
def landmark_error(model: MorphableModel, coeffs: fd.Coefficients, targets: Targets) -> jax.Array:
    """Root mean squared distance of the known landmarks, pixels of a crop of 224."""
    mean, id_basis, exp_basis = _landmark_model(model)
    camera = fd.Deep3DCamera()
    with jax.default_matmul_precision("highest"):
        shape = (
            mean + jnp.tensordot(coeffs.id, id_basis, 1) + jnp.tensordot(coeffs.exp, exp_basis, 1)
        )
        world = shape @ fd.rotation(coeffs.angles) + coeffs.trans.reshape(1, 3)
    pixels = _points73(fd.project(fd.to_camera(world, camera), camera))
    known = (targets.inverse_px > 0).astype(jnp.float32)
    squares = jnp.sum((pixels - targets.points) ** 2, axis=-1)
    return jnp.sqrt(jnp.sum(squares * known) / jnp.sum(known))


# --- Photo ---------------------------------------------------------------------------------------


def visible_weights(model: MorphableModel) -> np.ndarray:
    """[V] in [0, 1]: how much a vertex's colour says about the photo.

    The face and the eyes count fully, other skin (ears, neck) a little, hair and the inside of the
    mouth not at all: the model cannot know them.
    """
    masks = model.topology.masks
    weights = fd.front_weights(model.topology)
    if "eye" in masks:
        weights = np.maximum(weights, masks["eye"])
    if "skin" in masks and "front" not in masks:
        weights = np.maximum(weights, 0.25 * masks["skin"])
    for name in ("hair", "mouth_inside"):
        weights = weights * (1 - masks.get(name, np.float32(0)))
    return weights.astype(np.float32)


def _light(face, image, skin, weights):
    """Gamma [27] by ridge regression of the photo at the vertices on albedo times harmonics.

    Vertices count that face the camera on skin; three passes with weights of the absolute error.
    """
    size = image.shape[0]
    spot = jnp.stack([face.pixels[:, 0], size - face.pixels[:, 1]], axis=-1) / size
    values = sample_bilinear(jnp.concatenate([image, skin[..., None]], axis=-1), spot)
    pixels, normals, albedo = values[:, :3], face.normals_posed, face.albedo
    inside = ((spot > 0) & (spot < 1)).all(axis=-1)
    w0 = weights * values[:, 3] * jnp.clip(2 * normals[:, 2] - 0.4, 0, 1) * inside
    basis = sh_basis(normals, "deep3d")
    ambient = np.asarray(DEEP3D_AMBIENT)  # [9, 3]
    # the constant term is nearly free; higher bands, and the second most, are held near zero
    ridge = np.float32(0.002) * np.array([0.1, 1, 1, 1, 4, 4, 4, 4, 4], np.float32)

    def solve(channel, w):
        system = basis * albedo[:, channel, None]
        total = jnp.maximum(w.sum(), 1e-6)
        left = (system * w[:, None]).T @ system / total + jnp.diag(ridge)
        right = (system * w[:, None]).T @ pixels[:, channel] / total
        return jnp.linalg.solve(left, right + ridge * ambient[:, channel])

    w = w0
    for _ in range(3):
        light = jnp.stack([solve(c, w) for c in range(3)])  # [3, 9]
        error = jnp.abs(albedo * (basis @ light.T) - pixels).sum(axis=-1)
        w = w0 / (0.1 + error)
    return (light - ambient.T).reshape(27)


@functools.partial(jax.jit, static_argnames="options")
def fit_colors(
    model: MorphableModel,
    start: fd.Coefficients,
    image: jax.Array,
    skin: jax.Array,
    targets: Targets,
    options: FitOptions = FitOptions(),
) -> tuple[fd.Coefficients, dict[str, jax.Array]]:
    """Light by least squares, then all coefficients by Adam through the renderer.

    Args:
      model: the face model.
      start: without batch dims; its gamma is replaced where it is zero throughout.
      image: [S, S, 3] in [0, 1], S = options.size.
      skin: [S, S] in [0, 1].
      targets: landmarks.
      options: steps and weights.

    Returns:
      Coefficients and the curves of `Fit`.
    """
    camera = fd.Deep3DCamera().resized(options.size)
    mesh = model.topology.mesh
    size = (options.size, options.size)
    ratio = 224 / options.size
    weights = jnp.asarray(visible_weights(model))
    skin_vertices = fd.skin_weights(model.topology)
    exp_std, low, high = _bounds(model, options)

    # from the chin down there are shoulders
    up = 224 * (1 - (np.arange(options.size) + 0.5) / options.size)
    covered = skin**2 * np.clip((up - 30) / 30, 0, 1).astype(np.float32)[:, None]

    face = fd.decode(model, start, camera)
    gamma = _light(face, image, skin, weights)
    start = start.replace(gamma=jnp.where(jnp.any(start.gamma != 0), start.gamma, gamma))

    def distance(difference, scale):
        return jnp.sqrt(1e-4 * scale + jnp.sum(difference**2, axis=-1))

    def loss(coeffs):
        face = fd.decode(model, coeffs, camera)
        position = fd.clip(face.vertices, camera)
        fragments = rasterize(position, mesh, size)
        values = jnp.concatenate([face.color, weights[:, None]], axis=-1)
        hit = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
        planes = jnp.concatenate([interpolate(values, mesh, fragments), hit], axis=-1)
        planes = boundary_grad(planes, position, mesh, fragments)
        color, weight, cover = planes[..., :3], planes[..., 3], planes[..., 4]
        difference = (color - image) * weight[..., None]
        # occluders such as hair and glasses count little: the error levels off
        error = jnp.tanh(distance(difference, 1.0) / 0.4) * 0.4
        coarse = downsample2(downsample2(difference))
        coarse = jnp.tanh(distance(coarse, 1.0) / 0.4) * 0.4
        total = lax.stop_gradient(weight.sum())
        photo = (error.sum() + 16 * coarse.sum() + options.unknown * (cover - weight).sum()) / total
        # skin that the head does not cover
        outline = jnp.mean(covered * (1 - cover))
        points = _points73(face.landmarks_px * ratio)
        squares = jnp.sum((points - targets.points) ** 2, axis=-1) * targets.inverse_px**2
        known = jnp.sum(targets.inverse_px > 0)
        prior = options.prior * (
            options.id_prior * jnp.sum(coeffs.id**2)
            + options.exp_prior * jnp.sum((coeffs.exp / exp_std) ** 2)
            + options.tex_prior * jnp.sum(coeffs.tex**2)
        )
        prior = prior + options.gamma * gamma_prior(coeffs.gamma)
        prior = prior + options.reflectance * reflectance(face.albedo, skin_vertices)
        terms = dict(
            photo=options.photo * photo,
            landmark=options.landmark * options.landmark_px**2 * jnp.sum(squares) / known,
            outline=options.outline * outline,
            prior=prior,
        )
        total = sum(terms.values())
        return total, terms | {"total": total}

    rates = fd.Coefficients(**_RATES)
    optimizer = adam(0.9, 0.98)

    def step(state, done):
        coeffs, opt = state
        gradient, terms = jax.grad(loss, has_aux=True)(coeffs)
        update, opt = optimizer.update(gradient, opt)
        decay = 0.05 + 0.95 * 0.5 * (1 + jnp.cos(jnp.pi * done))
        coeffs = jax.tree.map(lambda c, u, rate: c - rate * decay * u, coeffs, update, rates)
        return (coeffs.replace(exp=_feasible(model, coeffs.exp, low, high)), opt), terms

    done = jnp.arange(options.photo_steps) / options.photo_steps
    (coeffs, _), curves = lax.scan(step, (start, optimizer.init(start)), done)
    return coeffs, curves
