"""The factors of a face: which numbers mean what, in every order that the method has.

| vector | order |
|---|---|
| latents z of the VAEs | identity, expression, light, pose |
| coefficients lambda, in the generator | identity (shape, albedo), expression, pose, light |
| `facejax.recon` | shape, expression, albedo, pose, light, translation |

The published sizes are 128 + 32 + 16 + 3 = 179 latents and 160 + 64 + 3 + 27 = 254 coefficients.
This is the one place that cuts and joins them.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.morphable import Coefficients, MorphableModel
from facejax.recon.decoder import NUM_ANGLES, NUM_GAMMA, NUM_TRANS


class Factors(NamedTuple):
    """One array per factor, [..., n] each: latents or coefficients.

    Attributes:
      id: identity; of coefficients, those of the shape and then those of the albedo.
      exp: expression.
      rot: pose; of coefficients, angles about x, y, z in radians.
      gamma: light; of coefficients, nine each for R, G, B.
    """

    id: Any
    exp: Any
    rot: Any
    gamma: Any


NAMES = Factors._fields
_LATENT_ORDER = ("id", "exp", "gamma", "rot")
_COEFFICIENT_ORDER = ("id", "exp", "rot", "gamma")


@dataclasses.dataclass(frozen=True)
class FactorSizes:
    """How many numbers each factor has.

    Attributes:
      shape, exp, albedo: coefficients of the face model.
      z_id, z_exp, z_rot, z_gamma: latents.
      noise: numbers that describe everything else: hair, background, glasses.
    """

    shape: int = 80
    exp: int = 64
    albedo: int = 80
    z_id: int = 128
    z_exp: int = 32
    z_rot: int = 3
    z_gamma: int = 16
    noise: int = 32

    @classmethod
    def of_model(cls, model: MorphableModel, **latents: int) -> "FactorSizes":
        """The sizes of a face model; `latents` are the other attributes."""
        return cls(model.num_id, model.num_exp, model.num_alb, **latents)

    @property
    def coefficients(self) -> Factors:
        """Numbers of lambda by factor."""
        return Factors(self.shape + self.albedo, self.exp, NUM_ANGLES, NUM_GAMMA)

    @property
    def latents(self) -> Factors:
        """Numbers of z by factor."""
        return Factors(self.z_id, self.z_exp, self.z_rot, self.z_gamma)

    @property
    def num_coefficients(self) -> int:
        """Length of lambda."""
        return sum(self.coefficients)

    @property
    def num_latents(self) -> int:
        """Length of z."""
        return sum(self.latents)

    @property
    def num_inputs(self) -> int:
        """Length of what the generator takes: lambda and noise."""
        return self.num_coefficients + self.noise


def _split(vector, sizes: Factors, order: tuple[str, ...], what: str) -> Factors:
    vector = jnp.asarray(vector)
    wanted = sum(sizes)
    if vector.shape[-1:] != (wanted,):
        parts = " + ".join(f"{getattr(sizes, k)} {k}" for k in order)
        raise ValueError(f"found {what} of shape {vector.shape}, wanted [..., {wanted}] = {parts}")
    ends = np.cumsum([getattr(sizes, k) for k in order])[:-1].tolist()
    return Factors(**dict(zip(order, jnp.split(vector, ends, axis=-1), strict=True)))


def _join(factors: Factors, order: tuple[str, ...]) -> jax.Array:
    return jnp.concatenate([getattr(factors, k) for k in order], axis=-1)


def split_latents(z: jax.Array, sizes: FactorSizes) -> Factors:
    """Latents [..., num_latents] by factor.

    Raises:
      ValueError: another length.
    """
    return _split(z, sizes.latents, _LATENT_ORDER, "latents")


def join_latents(factors: Factors) -> jax.Array:
    """Inverse of `split_latents`."""
    return _join(factors, _LATENT_ORDER)


def split_coefficients(vector: jax.Array, sizes: FactorSizes) -> Factors:
    """Coefficients lambda [..., num_coefficients] by factor.

    Raises:
      ValueError: another length; that of `facejax.recon` or of the generator's input is named.
    """
    length = jnp.shape(vector)[-1]
    known = {
        sizes.num_coefficients + NUM_TRANS: "with the translation of a photo",
        sizes.num_inputs: "with the generator's noise",
    }
    if length != sizes.num_coefficients and length in known:
        raise ValueError(
            f"found {length} coefficients, {known[length]}, wanted {sizes.num_coefficients} without"
        )
    return _split(vector, sizes.coefficients, _COEFFICIENT_ORDER, "coefficients")


def join_coefficients(factors: Factors) -> jax.Array:
    """Inverse of `split_coefficients`: what the generator takes, without its noise."""
    return _join(factors, _COEFFICIENT_ORDER)


def to_recon(factors: Factors, sizes: FactorSizes) -> Coefficients:
    """Coefficients by factor as `facejax.recon` has them, without translation."""
    shape, albedo = jnp.split(factors.id, [sizes.shape], axis=-1)
    trans = jnp.zeros((*shape.shape[:-1], NUM_TRANS), jnp.float32)
    return Coefficients(shape, factors.exp, albedo, factors.rot, factors.gamma, trans)


def from_recon(coeffs: Coefficients) -> Factors:
    """Coefficients of `facejax.recon` by factor; the translation is dropped."""
    identity = jnp.concatenate([coeffs.id, coeffs.alb], axis=-1)
    return Factors(identity, coeffs.exp, coeffs.angles, coeffs.gamma)
