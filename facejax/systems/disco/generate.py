"""Faces of a trained generator: which are drawn, what of them varies, and truncation.

Deng et al. 2020 (arXiv 2004.11660), program `generate_images.py`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.nn.batching import in_batches
from facejax.systems.disco import networks, vae
from facejax.systems.disco.factors import Factors, join_coefficients, split_latents

VARIED = {  # what differs between the pictures of a subject, in the order of the program's --factor
    "all": ("exp", "rot", "gamma"),
    "exp": ("exp",),
    "gamma": ("gamma",),
    "rot": ("rot",),
    "id": ("id",),
}
_BATCH = 16
_AVERAGE_BATCH = 256


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
        self._system, self._params = system, params
        self.resolution = resolution or system.net.resolution
        self._alpha = np.float32(alpha)

    def decode(self, latents: Factors) -> Factors:
        """Coefficients of latents by factor, any leading dims."""
        batch = latents.id.shape[:-1]
        flat = [np.asarray(x).reshape(-1, x.shape[-1]) for x in latents]
        found = in_batches(
            lambda z: tuple(_decode(self._system, self._params["vae"], Factors(*z))),
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
            _pictures, self._system, self.resolution, rate != 1.0, self._params, np.float32(rate),
            average, self._alpha,
        )  # fmt: skip
        found = in_batches(lambda x: make(*x), flat, _BATCH)
        return found.reshape(*batch, *found.shape[1:])

    def average_identity(self, num: int = 50_000, seed: int = 1) -> np.ndarray:
        """[1, dlatent_size] mean style of random people without expression, pose and light.

        Their noise is random, as in the program.
        """
        system = self._system
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
