"""Pictures of real people: embedded in the generator's styles, then changed by one factor.

Deng et al. 2020 (arXiv 2004.11660, section 4.4); the published program has no code for it, so the
steps are those that its author named: styles of every layer by gradient descent, then
w <- w + w(lambda with the factor as wanted) - w(lambda with it as it is), where everything else in
lambda, and the noise, is any person's.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.alignment import CROP_SIZE as REGRESSOR_CROP
from facejax.data.alignment import check_landmarks5, five_of
from facejax.image.resample import downsample2, resize
from facejax.io.images import image_grid, read_image, to_uint8, write_image
from facejax.io.landmarks import read_landmarks
from facejax.metrics.features import random_conv_features, random_conv_params
from facejax.recon.decoder import split
from facejax.systems.disco import alignment, losses, networks
from facejax.systems.disco.factors import Factors, from_recon, join_coefficients
from facejax.systems.disco.generate import Generator, draw_subjects, with_expression, with_pose
from facejax.train.inversion import Fit, fit_latents

STEPS, RATES = 300, (0.05, 0.02, 0.01)  # of the embedding, per rate
_SCALES = 3  # halvings whose differences count too: coarse structure before single pixels
_FEATURE_WEIGHT = 2.0
_TILE = 128


def read_picture(path: str | pathlib.Path, run: Any) -> np.ndarray:
    """A picture as the generator makes them, [r, r, 3] float32 in [0, 1].

    A photo with landmarks beside it (NAME.txt, five or 68 points, y down) is aligned as training
    pictures are; one without has to be such a picture already.

    Args:
      path: of the photo.
      run: of disco, whose regressor says where in its crop the face is.

    Raises:
      ValueError: no picture, odd landmarks, or a photo that is not square and has none.
    """
    path, size = pathlib.Path(path), run.system.net.resolution
    image, points = read_image(path, "RGB"), path.with_suffix(".txt")
    if not points.is_file():
        if image.shape[0] != image.shape[1]:
            raise ValueError(
                f"{path}: found {image.shape[1]}x{image.shape[0]} pixels and no landmarks, wanted "
                f"an aligned square picture or five points (x y, y down) in {points.name}"
            )
        return np.asarray(resize(jnp.asarray(image), (size, size)))
    landmarks = read_landmarks(points, (5, 68))
    odd = check_landmarks5(five_of(landmarks), image.shape[:2])
    if odd:
        raise ValueError(f"{points}: {'; '.join(odd)}")
    crop = alignment.cut_crop(to_uint8(image), landmarks).crop
    seen = alignment.regressor_input(crop).astype(np.float32) / 255
    side = run.system.regressor.size
    seen = seen if side == REGRESSOR_CROP else np.asarray(resize(jnp.asarray(seen), (side, side)))
    vector = run.system.regressor(run.params["regression"], jnp.asarray(seen)[None])
    trans = np.asarray(split(vector, run.params["face_model"]).trans)[0]
    picture = alignment.training_picture(crop, trans).astype(np.float32) / 255
    return np.clip(np.asarray(resize(jnp.asarray(picture), (size, size))), 0, 1)


def measured(run: Any, images: np.ndarray) -> Factors:
    """Coefficients [N, n] that the regressor finds in pictures [N, r, r, 3] in [0, 1]."""
    _, coeffs = _regress(run.system, run.params, jnp.asarray(images))
    return Factors(*map(np.asarray, from_recon(coeffs)))


@functools.partial(jax.jit, static_argnums=0)
def _regress(system, params, images):
    return system.regress(params, images)


def _described(images: jax.Array, features: tuple) -> jax.Array:
    """[N, M]: pixels at several scales and features, weighted so that squared errors add up."""
    parts, scale = [], images
    for level in range(_SCALES + 1):
        weight = 2.0**level / np.sqrt(images.shape[1] * images.shape[2])
        parts.append(weight * scale.reshape(len(images), -1))
        if level < _SCALES:
            scale = downsample2(scale)
    parts.append(_FEATURE_WEIGHT * random_conv_features(features, images))
    return jnp.concatenate(parts, axis=-1)


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Pictures in the generator's styles.

    Attributes:
      styles: [N, L, D].
      images: [N, r, r, 3] in [0, 1], what the generator makes of them.
      fit: of the descent.
    """

    styles: np.ndarray
    images: np.ndarray
    fit: Fit


def embed(run: Any, images: np.ndarray, steps: int = STEPS) -> Embedded:
    """Styles of every layer whose pictures are the given ones; noise maps stay as stored.

    Args:
      run: of disco.
      images: [N, r, r, 3] in [0, 1].
      steps: of the descent, for each of RATES.
    """
    system, params = run.system, run.params
    average = Generator(system, params).average_identity(1000)
    start = np.broadcast_to(
        average[:, None], (len(images), system.net.num_layers, average.shape[-1])
    )
    features = random_conv_params()

    def sampler(styles):
        made = system.pictures(params, styles, 0.0, system.net.resolution)
        return _described((made + 1.0) / 2.0, features)

    targets = np.asarray(_described(jnp.asarray(images), features))
    fit = fit_latents(sampler, start, targets, steps=steps, rates=RATES)
    return Embedded(fit.latents, pictures_of_styles(run, fit.latents), fit)


def pictures_of_styles(run: Any, styles: np.ndarray) -> np.ndarray:
    """[N, r, r, 3] in [0, 1] of styles [N, L, D]."""
    return np.asarray(_pictures_of_styles(run.system, run.params, jnp.asarray(styles)))


@functools.partial(jax.jit, static_argnums=0)
def _pictures_of_styles(system, params, styles):
    made = system.pictures(params, styles, 0.0, system.net.resolution)
    return losses.unit_range(made)


def move(
    run: Any, styles: np.ndarray, before: Factors, after: Factors, seed: int = 0
) -> np.ndarray:
    """Styles changed as coefficients change from `before` to `after`.

    Factors that are equal in both are taken from a random person instead: the difference of styles
    hardly depends on them, and less so than on what a regressor makes of a photo.

    Args:
      run: of disco.
      styles: [N, L, D].
      before, after: coefficients [N, n].
      seed: of the random people.
    """
    system, params = run.system, run.params
    num = len(styles)
    latents, noise = draw_subjects(system.sizes, "all", num, 1, seed)
    someone = Generator(system, params).decode(latents)
    chosen = []
    for state in (before, after):
        parts = [
            np.where((b == a).all(axis=-1, keepdims=True), s[:, 0], x)
            for b, a, x, s in zip(before, after, state, someone, strict=True)
        ]
        chosen.append(np.asarray(join_coefficients(Factors(*parts))))
    vectors = [np.concatenate([c, noise[:, 0]], axis=-1) for c in chosen]
    w_before, w_after = (
        np.asarray(networks.styles_of(system.net, params["gen"], jnp.asarray(v))) for v in vectors
    )
    return styles + w_after - w_before


def edit_pictures(
    run: Any,
    inputs: list[pathlib.Path],
    out: pathlib.Path,
    *,
    degrees: dict[str, float] | None = None,
    expression: str = "",
    expression_of: str = "",
    light_of: str = "",
    steps: int = STEPS,
    seed: int = 0,
) -> list[pathlib.Path]:
    """Embeds pictures, changes what is asked for, and writes NAME.png and a sheet.

    Args:
      run: of disco.
      inputs: files for `read_picture`.
      out: folder, made if need be.
      degrees: {'pitch', 'yaw', 'roll': degrees} wanted.
      expression: a name; or `expression_of`: a picture whose expression is taken.
      light_of: a picture whose light is taken.
      steps: of the embedding.
      seed: see `move`.

    Returns:
      The sheet: a row per picture: as given, embedded, edited.

    Raises:
      ValueError: nothing to change; or see `read_picture`, `generate.with_expression`.
    """
    if not (degrees or expression or expression_of or light_of):
        raise ValueError(
            "nothing to change: give --yaw, --pitch, --roll, --expression, --expression_of or "
            "--light_of"
        )
    maker = Generator(run.system, run.params)
    images = np.stack([read_picture(path, run) for path in inputs])
    before = measured(run, images)
    after = with_pose(maker, before, degrees or {})
    if expression:
        after = with_expression(maker, after, expression)
    for path, name in ((expression_of, "exp"), (light_of, "gamma")):
        if path:
            found = getattr(measured(run, read_picture(path, run)[None]), name)
            after = after._replace(**{name: np.broadcast_to(found, getattr(after, name).shape)})
    embedded = embed(run, images, steps)
    edited = pictures_of_styles(run, move(run, embedded.styles, before, after, seed))
    out.mkdir(parents=True, exist_ok=True)
    for path, image in zip(inputs, edited, strict=True):
        write_image(out / f"{path.stem}.png", to_uint8(image))
    rows = np.stack([images, embedded.images, edited], axis=1).reshape(-1, *images.shape[1:])
    factor = -(-_TILE // rows.shape[1])
    grid = image_grid(rows.repeat(factor, 1).repeat(factor, 2), columns=3, pad=2, background=1.0)
    return [write_image(out / "sheet.png", to_uint8(grid))]


def imitate(
    run: Any, reference: str | pathlib.Path, out: pathlib.Path, *, subjects: int, rate: float,
    seed: int,
) -> list[pathlib.Path]:  # fmt: skip
    """Random people with the expression, pose and light of a picture; SUBJECT.png and a sheet.

    Args:
      run: of disco.
      reference: file for `read_picture`.
      out: folder, made if need be.
      subjects: how many people.
      rate: of the truncation, 1 for none.
      seed: of the people.
    """
    maker = Generator(run.system, run.params)
    image = read_picture(reference, run)
    found = measured(run, image[None])
    latents, noise = draw_subjects(run.system.sizes, "all", subjects, 1, seed)
    factors = maker.decode(latents)
    taken = {
        name: np.broadcast_to(getattr(found, name)[:, None], getattr(factors, name).shape)
        for name in ("exp", "rot", "gamma")
    }
    average = maker.average_identity() if rate != 1.0 else None
    made = maker.pictures(factors._replace(**taken), noise, rate, average)[:, 0]
    out.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(made):
        write_image(out / f"{i:03d}.png", to_uint8(picture))
    grid = image_grid(np.concatenate([image[None], made]), pad=2, background=1.0)
    return [write_image(out / "sheet.png", to_uint8(grid))]
