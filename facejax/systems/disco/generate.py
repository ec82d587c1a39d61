"""Faces of a trained generator: which are drawn, what of them varies, and truncation.

Deng et al. 2020 (arXiv 2004.11660), program `generate_images.py`.
"""

import functools
import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.io.images import image_grid, write_image
from facejax.morphable import expression_presets
from facejax.nn.batching import in_batches
from facejax.systems.disco import networks, vae
from facejax.systems.disco.data import read_rows
from facejax.systems.disco.factors import (
    Factors,
    join_coefficients,
    split_coefficients,
    split_latents,
)

_log = logging.getLogger(__name__)
ANGLES = ("pitch", "yaw", "roll")  # about x, y and z

VARIED = {  # what differs between the pictures of a subject, in the order of the program's --factor
    "all": ("exp", "rot", "gamma"),
    "exp": ("exp",),
    "gamma": ("gamma",),
    "rot": ("rot",),
    "id": ("id",),
}
_BATCH = 16
_AVERAGE_BATCH = 256
_RANGE_DRAWS = 2000
_SLACK_DEG = 2.0


def draw_subjects(
    sizes, factor: str, subjects: int, variations: int, seed: int
) -> tuple[Factors, np.ndarray]:
    """Latents by factor [subjects, variations, n] and noise [subjects, variations, sizes.noise].

    A subject has one set of latents and one noise; its pictures differ in what `factor` says.

    Args:
      sizes: a `FactorSizes`.
      factor: a key of VARIED.
      subjects, variations: how many.
      seed: of the draws.

    Raises:
      ValueError: an unknown factor.
    """
    if factor not in VARIED:
        raise ValueError(f"unknown factor {factor!r}, wanted one of {', '.join(VARIED)}")
    rng = np.random.default_rng(seed)
    shape = (subjects, 1, sizes.num_latents)
    own = split_latents(rng.standard_normal(shape).astype(np.float32), sizes)
    noise = rng.standard_normal((subjects, 1, sizes.noise)).astype(np.float32)
    shape = (subjects, variations, sizes.num_latents)
    fresh = split_latents(rng.standard_normal(shape).astype(np.float32), sizes)
    found = [
        np.asarray(f if name in VARIED[factor] else np.broadcast_to(o, f.shape))
        for name, o, f in zip(Factors._fields, own, fresh, strict=True)
    ]
    return Factors(*found), np.broadcast_to(noise, (subjects, variations, sizes.noise))


class Generator:
    """Pictures of coefficients with a run's parameters; compiled once.

    Args:
      system: a `DiscoSystem`.
      params: see `facejax.train.system.System`.
      resolution: side of the pictures; None takes the final one.
      alpha: share of the resolution below.
    """

    def __init__(self, system, params, resolution: int | None = None, alpha: float = 0.0):
        self.system, self._params = system, params
        self.resolution = resolution or system.net.resolution
        self._alpha = np.float32(alpha)

    def decode(self, latents: Factors) -> Factors:
        """Coefficients of latents by factor, any leading dims."""
        batch = latents.id.shape[:-1]
        flat = [np.asarray(x).reshape(-1, x.shape[-1]) for x in latents]
        found = in_batches(
            lambda z: tuple(_decode(self.system, self._params["vae"], Factors(*z))),
            tuple(flat), _BATCH,
        )  # fmt: skip
        return Factors(*(x.reshape(*batch, -1) for x in found))

    def pictures(
        self, factors: Factors, noise: np.ndarray, rate: float = 1.0,
        average: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """[..., r, r, 3] in [0, 1].

        Args:
          factors: coefficients [..., n].
          noise: [..., sizes.noise].
          rate: of the truncation, see `networks.truncate_identity`; 1 for none.
          average: of `average_identity`; needed where `rate` is not 1.

        Raises:
          ValueError: truncation without an average.
        """
        if rate != 1.0 and average is None:
            raise ValueError(f"truncation at the rate {rate:g} needs the average identity")
        batch = noise.shape[:-1]
        vectors = np.asarray(join_coefficients(factors), np.float32)
        flat = vectors.reshape(-1, vectors.shape[-1]), noise.reshape(-1, noise.shape[-1])
        average = np.zeros((1, 1), np.float32) if average is None else average
        make = functools.partial(
            _pictures, self.system, self.resolution, rate != 1.0, self._params, np.float32(rate),
            average, self._alpha,
        )  # fmt: skip
        found = in_batches(lambda x: make(*x), flat, _BATCH)
        return found.reshape(*batch, *found.shape[1:])

    def average_identity(self, num: int = 50_000, seed: int = 1) -> np.ndarray:
        """[1, dlatent_size] mean style of random people without expression, pose and light.

        Their noise is random, as in the program.
        """
        system = self.system
        total = np.zeros(system.net.dlatent_size)
        for start in range(0, num, _AVERAGE_BATCH):
            count = min(_AVERAGE_BATCH, num - start)
            rng = np.random.default_rng([seed, start])
            z = rng.standard_normal((_AVERAGE_BATCH, system.sizes.z_id)).astype(np.float32)
            shape = (_AVERAGE_BATCH, system.sizes.noise)
            noise = rng.standard_normal(shape).astype(np.float32)
            styles = _people(system, self._params, z, noise)
            total += np.asarray(styles, np.float64)[:count].sum(axis=0)
        return (total / num)[None].astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _decode(system, trees, latents):
    return vae.decode_factors(system.vaes, trees, latents)


@functools.partial(jax.jit, static_argnums=0)
def _people(system, params, z, noise):
    identity = vae.decode(system.vaes.id, params["vae"]["id"], z)
    rest = system.sizes.num_coefficients - identity.shape[-1]
    latents = jnp.concatenate([identity, jnp.zeros((len(z), rest)), noise], axis=-1)
    return networks.styles_of(system.net, params["gen"], latents)[:, 0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _pictures(
    system, resolution, truncated, params, rate, average, alpha, coefficients, noise
) -> jax.Array:
    latents = jnp.concatenate([coefficients, noise], axis=-1)
    styles = networks.styles_of(system.net, params["gen"], latents)
    if truncated:
        count = system.sizes.coefficients.id
        alone = jnp.where(jnp.arange(latents.shape[-1])[None] < count, latents, 0.0)
        identity = networks.styles_of(system.net, params["gen"], alone)
        styles = networks.truncate_identity(styles, identity, average[:, None], rate)
    image = system.pictures(params, styles, alpha, resolution)
    return jnp.clip((image + 1.0) / 2.0, 0.0, 1.0)


def to_pixels(images: Any) -> np.ndarray:
    """uint8 of pictures in [0, 1], truncated as in the program, not rounded."""
    return (255.0 * np.asarray(images)).astype(np.uint8)


def pose_range_deg(maker: Generator, seed: int = 0) -> np.ndarray:
    """[3, 2] least and largest pitch, yaw and roll of 2000 poses that the generator may have seen.

    The published pose network turns no head about z: roll has no latent of its own.
    """
    sizes = maker.system.sizes
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((_RANGE_DRAWS, sizes.num_latents)).astype(np.float32)
    angles = maker.decode(split_latents(z, sizes)).rot
    return np.rad2deg(np.stack([angles.min(axis=0), angles.max(axis=0)], axis=-1))


def with_pose(maker: Generator, factors: Factors, degrees: dict[str, float]) -> Factors:
    """Coefficients with given angles; what lies beyond those of training is said in a warning.

    Args:
      maker: of the pictures.
      factors: coefficients [..., n].
      degrees: any of 'pitch', 'yaw' and 'roll'.
    """
    rot, limits = np.array(factors.rot), pose_range_deg(maker) if degrees else None
    for name, value in degrees.items():
        k = ANGLES.index(name)
        low, high = limits[k]
        if not low - _SLACK_DEG <= value <= high + _SLACK_DEG:
            _log.warning(
                "%s of %g degrees: the generator was trained on %.0f .. %.0f, so this picture may "
                "show something else", name, value, low, high,
            )  # fmt: skip
        rot[..., k] = np.deg2rad(value)
    return factors._replace(rot=rot)


def with_expression(maker: Generator, factors: Factors, name: str) -> Factors:
    """Coefficients with a named expression.

    Raises:
      ValueError: no such expression, or a face model that has no names.
    """
    if not maker.system.has_face:
        raise ValueError(
            f"--expression={name}: imported networks come without a face model, whose expressions "
            "have names; give coefficients instead"
        )
    names, weights = expression_presets(maker.system.model)
    if name not in names:
        raise ValueError(f"unknown expression {name!r}, wanted one of {', '.join(names)}")
    exp = np.broadcast_to(weights[names.index(name)], factors.exp.shape)
    return factors._replace(exp=exp)


def generate_faces(
    run: Any,
    out: str | pathlib.Path,
    *,
    factor: str = "all",
    subjects: int = 20,
    variations: int = 5,
    rate: float = 0.7,
    seed: int = 0,
    coefficients: str = "",
    degrees: dict[str, float] | None = None,
    expression: str = "",
) -> list[pathlib.Path]:
    """Writes pictures OUT/SUBJECT_VARIATION.png and a sheet of them, as the original program does.

    Args:
      run: of disco.
      out: folder, made if need be.
      factor: what differs between a subject's pictures, a key of VARIED.
      subjects, variations: how many.
      rate: of the truncation toward the average person, 1 for none.
      seed: of the draws.
      coefficients: rows for `data.read_rows`, one per subject, in place of drawn ones; then only
        `degrees` and `expression` change anything, and there is one picture of each.
      degrees: {'pitch', 'yaw', 'roll': degrees} for all pictures.
      expression: a name for all pictures.

    Returns:
      The sheet.

    Raises:
      ValueError: an unknown factor or expression, or rows of another length.
    """
    system, out = run.system, pathlib.Path(out)
    maker = Generator(system, run.params)
    if coefficients:
        rows = read_rows(coefficients, system.sizes)[:, None]
        factors = Factors(*map(np.asarray, split_coefficients(rows, system.sizes)))
        noise = np.random.default_rng(seed).standard_normal((len(rows), 1, system.sizes.noise))
        noise = noise.astype(np.float32)
    else:
        latents, noise = draw_subjects(system.sizes, factor, subjects, variations, seed)
        factors = maker.decode(latents)
    factors = with_pose(maker, factors, degrees or {})
    if expression:
        factors = with_expression(maker, factors, expression)
    average = maker.average_identity() if rate != 1.0 else None
    images = to_pixels(maker.pictures(factors, noise, rate, average))
    out.mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            write_image(out / f"{i:03d}_{j:02d}.png", image)
    grid = image_grid(images.reshape(-1, *images.shape[2:]), columns=images.shape[1], pad=2)
    return [write_image(out / "sheet.png", grid)]
