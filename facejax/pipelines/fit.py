"""A face model fitted to one photo crop, without any trained network: analysis by synthesis.

1. Landmarks: Gauss-Newton on pose, then on pose, identity and expression (`landmark_fit`).
2. Light: spherical harmonics by linear least squares on the mean albedo (Ramamoorthi and Hanrahan
   2001), outliers re-weighted.
3. Photo: Adam on all coefficients through the renderer, with the gradient of moving outlines.

Frames and coefficients are those of `facejax.recon.decoder`: crops of 224 pixels, landmarks
with y UP. Everything is jitted with the face model as an argument: one compilation per model.
"""

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
from facejax.morphable.model import Coefficients, MorphableModel
from facejax.pipelines.landmark_fit import (
    DEFAULT,
    FitOptions,
    Targets,
    expression_bounds,
    feasible_expressions,
    fit_landmarks,
    landmark_error,
    make_targets,
    points73,
)
from facejax.recon import decoder
from facejax.render.interpolate import interpolate
from facejax.render.rasterize import rasterize
from facejax.render.shading import DEEP3D_AMBIENT, sh_basis
from facejax.render.silhouette import boundary_grad
from facejax.train.optim import adam

CURVES = ("total", "photo", "landmark", "outline", "prior")
_RATES = dict(id=0.04, exp=0.02, alb=0.06, angles=0.006, gamma=0.02, trans=0.006)


@struct.dataclass
class Fit:
    """A fitted face.

    Attributes:
      coeffs: without batch dims.
      landmark_px: root mean squared distance of the given landmarks, pixels of a crop of 224.
      curves: {name: [photo_steps] weighted terms of the loss}, names in CURVES.
    """

    coeffs: Coefficients
    landmark_px: jax.Array
    curves: dict[str, jax.Array]


def fit_photo(
    model: MorphableModel,
    crop: np.ndarray,
    landmarks: np.ndarray,
    options: FitOptions = DEFAULT,
    start: Coefficients | None = None,
    hold_identity: bool = False,
    inside: np.ndarray | None = None,
) -> Fit:
    """Fits a face model to a photo crop.

    Args:
      model: any face model with 68 landmarks.
      crop: [224, 224, 3] uint8 RGB, from `facejax.data.alignment.align_photo`.
      landmarks: [5, 2] or [68, 2] pixels of the crop, y UP.
      options: how.
      start: coefficients to begin with, for example a network's; the landmark stage is then left
        out. None begins with the mean face.
      hold_identity: the identity of `start` is kept.
      inside: [224, 224] in [0, 1], where the crop shows the photo and not what lies beyond its
        border; None for everywhere.

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
        start = decoder.split(decoder.join(start), model)  # the lengths must be this model's
    image, skin, inside = photo_inputs(crop, options.size, inside)
    if options.photo_steps:
        coeffs, curves = fit_colors(
            model, start, image, skin, inside, targets, options, hold_identity
        )
    else:
        coeffs, curves = start, {}
    return Fit(coeffs, landmark_error(model, coeffs, targets), curves)


def photo_inputs(
    crop: np.ndarray, size: int, inside: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photo [S, S, 3], skin weights and `inside` [S, S], float32 in [0, 1], of a crop of 224."""
    from PIL import Image

    inside = np.ones(crop.shape[:2]) if inside is None else inside
    inside = np.uint8(np.rint(255 * inside))
    image, skin, inside = (
        np.asarray(Image.fromarray(a).resize((size, size), Image.Resampling.BOX), np.float32) / 255
        for a in (crop, skin_mask(crop), inside)
    )
    return image, skin * inside, inside


def visible_weights(model: MorphableModel) -> np.ndarray:
    """[V] in [0, 1]: how much a vertex's colour says about the photo.

    The face and the eyes count fully, other skin (ears, neck) a little, hair and the inside of the
    mouth not at all: the model cannot know them.
    """
    masks = model.topology.masks
    weights = decoder.front_weights(model.topology)
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
    start: Coefficients,
    image: jax.Array,
    skin: jax.Array,
    inside: jax.Array,
    targets: Targets,
    options: FitOptions = DEFAULT,
    hold_identity: bool | jax.Array = False,
) -> tuple[Coefficients, dict[str, jax.Array]]:
    """Light by least squares, then all coefficients by Adam through the renderer.

    Args:
      model: the face model.
      start: without batch dims; its gamma is replaced where it is zero throughout.
      image: [S, S, 3] in [0, 1], S = options.size.
      skin: [S, S] in [0, 1].
      inside: [S, S] in [0, 1], where there is a photo.
      targets: landmarks.
      options: steps and weights.
      hold_identity: whether the identity stays that of `start`.

    Returns:
      Coefficients and the curves of `Fit`.
    """
    camera = decoder.Deep3DCamera().resized(options.size)
    mesh = model.topology.mesh
    size = (options.size, options.size)
    ratio = 224 / options.size
    weights = jnp.asarray(visible_weights(model))
    skin_vertices = decoder.skin_weights(model.topology)
    exp_std, low, high = expression_bounds(model, options)

    # from the chin down there are shoulders
    up = 224 * (1 - (np.arange(options.size) + 0.5) / options.size)
    covered = skin**2 * np.clip((up - 30) / 30, 0, 1).astype(np.float32)[:, None]

    face = decoder.decode(model, start, camera)
    gamma = _light(face, image, skin, weights)
    start = start.replace(gamma=jnp.where(jnp.any(start.gamma != 0), start.gamma, gamma))

    def distance(difference, scale):
        return jnp.sqrt(1e-4 * scale + jnp.sum(difference**2, axis=-1))

    def loss(coeffs):
        face = decoder.decode(model, coeffs, camera)
        position = decoder.clip(face.vertices, camera)
        fragments = rasterize(position, mesh, size)
        values = jnp.concatenate([face.color, weights[:, None]], axis=-1)
        hit = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
        planes = jnp.concatenate([interpolate(values, mesh, fragments), hit], axis=-1)
        planes = boundary_grad(planes, position, mesh, fragments)
        color = planes[..., :3]
        weight, cover = planes[..., 3] * inside, planes[..., 4]
        difference = (color - image) * weight[..., None]
        # occluders such as hair and glasses count little: the error levels off
        error = jnp.tanh(distance(difference, 1.0) / 0.4) * 0.4
        coarse = downsample2(downsample2(difference))
        coarse = jnp.tanh(distance(coarse, 1.0) / 0.4) * 0.4
        total = lax.stop_gradient(weight.sum())
        photo = (error.sum() + 16 * coarse.sum() + options.unknown * (cover - weight).sum()) / total
        # skin that the head does not cover
        outline = jnp.mean(covered * (1 - cover))
        points = points73(face.landmarks_px * ratio)
        squares = jnp.sum((points - targets.points) ** 2, axis=-1) * targets.inverse_px**2
        known = jnp.sum(targets.inverse_px > 0)
        prior = options.prior * (
            options.id_prior * jnp.sum(coeffs.id**2)
            + options.exp_prior * jnp.sum((coeffs.exp / exp_std) ** 2)
            + options.tex_prior * jnp.sum(coeffs.alb**2)
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

    rates = Coefficients(**_RATES)
    rates = rates.replace(id=jnp.where(hold_identity, 0.0, rates.id))
    optimizer = adam(0.9, 0.98)

    def step(state, done):
        coeffs, opt = state
        gradient, terms = jax.grad(loss, has_aux=True)(coeffs)
        update, opt = optimizer.update(gradient, opt)
        decay = 0.05 + 0.95 * 0.5 * (1 + jnp.cos(jnp.pi * done))
        coeffs = jax.tree.map(lambda c, u, rate: c - rate * decay * u, coeffs, update, rates)
        return (coeffs.replace(exp=feasible_expressions(model, coeffs.exp, low, high)), opt), terms

    done = jnp.arange(options.photo_steps) / options.photo_steps
    (coeffs, _), curves = lax.scan(step, (start, optimizer.init(start)), done)
    return coeffs, curves
