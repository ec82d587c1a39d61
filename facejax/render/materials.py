"""Surfaces of skin, eyes and cloth under several lamps and a sky: shine, shadows, soft terminators.

`Lamps` is a light for `render(..., material=Material(...))`. Everything is linear.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.render.platform import planes, sum_products
from facejax.render.shading import SphericalHarmonics, normalize_planes

SKIN_SPECULAR = 0.028  # at normal incidence, index of refraction 1.4 (Weyrich et al. 2006)
# How far beyond the terminator red, green and blue light come out of skin, as a share of the
# radius: `wrap` of Green 2004, "Real-time approximations to subsurface scattering" (GPU Gems 16).
SCATTER_WRAP = (0.28, 0.12, 0.08)
_LEAST_ALPHA = 0.02  # of GGX: smaller highlights would miss every pixel


@struct.dataclass
class Material:
    """How a surface reflects, per vertex; batch dims lead.

    Attributes:
      roughness: [..., V] in [0, 1]; its square is the width of GGX's highlight.
      specular: [..., V] reflectance at normal incidence; 0.028 for skin.
      scatter: [..., V] in [0, 1]: how much light goes through the surface, 1 for skin.
      openness: [..., V] in [0, 1], share of the sky that is seen (`visibility.openness`).
      lit: [..., V] in [0, 1], share of the first lamp that is seen (`visibility.lit_share`).
    """

    roughness: jax.Array
    specular: jax.Array
    scatter: jax.Array
    openness: jax.Array
    lit: jax.Array


@struct.dataclass
class Lamps:
    """A sky and K distant lamps, for surfaces with a `Material`.

    Both sides of a surface reflect. Diffuse: Lambert, with light beyond the terminator where the
    material scatters. Shine: GGX (Walter et al. 2007) with Schlick's Fresnel term and the
    visibility term of Karis 2013; the sky shines too, blurred as it is (its harmonics along the
    mirrored view). The first lamp is dimmed by `Material.lit`, the others and the sky by
    `Material.openness`.

    Attributes:
      sky: [..., 9, 3], as `SphericalHarmonics(sky)`: the diffuse light, of a white surface.
      directions: [..., K, 3] unit, TOWARD the lamps.
      colors: [..., K, 3]: what a white surface facing the lamp reflects.
      frame: 'camera' or 'object' (static).
    """

    sky: jax.Array
    directions: jax.Array
    colors: jax.Array
    frame: str = struct.field(pytree_node=False, default="camera")

    ranks = dict(sky=2, directions=2, colors=2)
    needs_material = True

    def reflect(self, albedo, normal, position, view, material):
        """Planes of reflected colour; `material` has planes in the fields of `Material`."""
        sky = SphericalHarmonics(self.sky)
        opened = material.openness
        total = [opened * c for c in sky.reflect(albedo, normal, position, view)]
        facing_view = sum_products(normal, view)
        # sheets are seen from behind too: their normal is mirrored there, without a jump
        away = 2.0 * jnp.minimum(facing_view, 0.0)
        normal = [n - away * v for n, v in zip(normal, view, strict=True)]
        facing_view = jnp.maximum(jnp.abs(facing_view), 1e-3)
        mirrored = [2.0 * facing_view * n - v for n, v in zip(normal, view, strict=True)]
        grazing = _fresnel(material.specular, facing_view) * (1.0 - material.roughness)
        shine = [opened * grazing] * 3
        total = [
            t + jnp.maximum(c, 0.0)
            for t, c in zip(total, sky.reflect(shine, mirrored, position, view), strict=True)
        ]
        for k in range(self.directions.shape[-2]):
            toward = planes(self.directions[..., k, :])
            color = planes(self.colors[..., k, :])
            seen = material.lit if k == 0 else opened
            lamp = _lamp(albedo, normal, view, facing_view, toward, material)
            total = [t + seen * c * r for t, c, r in zip(total, color, lamp, strict=True)]
        return total


def _fresnel(reflectance, cosine):
    """Schlick 1994: reflectance at a cosine of the half angle."""
    rest = 1.0 - cosine
    fifth = jnp.square(jnp.square(rest)) * rest
    return reflectance + (1.0 - reflectance) * fifth


def _lamp(albedo, normal, view, facing_view, toward, material):
    """Planes: what a lamp of colour 1 gives, diffuse and shine."""
    cosine = sum_products(normal, toward)
    half = normalize_planes([v + t for v, t in zip(view, toward, strict=True)])
    along = jnp.clip(sum_products(normal, half), 0.0, 1.0)
    alpha = jnp.maximum(jnp.square(material.roughness), _LEAST_ALPHA)
    spread = jnp.square(alpha)
    # D G F / (4 cos cos) times cos, without pi: colours are those of a white Lambert surface
    bell = spread / jnp.square(1.0 + (spread - 1.0) * jnp.square(along))
    lit = jnp.maximum(cosine, 0.0)
    k = 0.5 * alpha
    visible = 0.25 / ((lit * (1.0 - k) + k) * (facing_view * (1.0 - k) + k))
    fresnel = _fresnel(material.specular, jnp.clip(sum_products(view, half), 0.0, 1.0))
    shine = bell * visible * fresnel * lit
    out = []
    for a, width in zip(albedo, SCATTER_WRAP, strict=True):
        wrap = material.scatter * np.float32(width)
        diffuse = jnp.maximum(cosine + wrap, 0.0) / jnp.square(1.0 + wrap)
        out.append(a * diffuse + shine)
    return out
