"""What the generator has to imitate: renders of the coefficients that it was given.

The camera is Deep3D's with a longer focal length, and faces stand at its centre: the translation of
a photo is taken out when it is aligned. Nothing here has a gradient that anybody wants: callers
pass coefficients whose gradient is stopped.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from facejax.geometry.camera_frames import DEEP3D_FOCAL_PX
from facejax.morphable import MorphableModel
from facejax.recon.decoder import DecodedFace, Deep3DCamera, clip, decode, front_topology
from facejax.render import interpolate, rasterize
from facejax.systems.disco.factors import Factors, FactorSizes, to_recon

ZOOM = 1.22  # of the focal length of Deep3D, at 256 pixels
FULL_SIZE = 256


def camera_of(size: int) -> Deep3DCamera:
    """The camera of pictures of a side length: 1238.3 pixels of focal length at 256."""
    full = Deep3DCamera(focal=ZOOM * DEEP3D_FOCAL_PX, center=FULL_SIZE / 2, size=FULL_SIZE)
    return full.resized(size)


class Targets(NamedTuple):
    """Renders of a batch of coefficients.

    Attributes:
      image: [B, S, S, 3] in [-1, 1]; black where there is no face.
      mask: [B, S, S], 1 on the face.
      landmarks_px: [B, 68, 2] pixels of the picture, y UP.
    """

    image: jax.Array
    mask: jax.Array
    landmarks_px: jax.Array


def decode_factors(
    model: MorphableModel, factors: Factors, sizes: FactorSizes, camera: Deep3DCamera
) -> DecodedFace:
    """The faces of coefficients by factor."""
    return decode(model, to_recon(factors, sizes), camera)


def render_targets(
    model: MorphableModel, factors: Factors, sizes: FactorSizes, camera: Deep3DCamera
) -> Targets:
    """Lit faces on black: the region of the face alone, not hidden by the rest of a head.

    Args:
      model: a face model.
      factors: coefficients, [B, n] each.
      sizes: of the coefficients.
      camera: of the pictures.
    """
    face = decode_factors(model, factors, sizes, camera)
    image, mask = _draw(model, face, face.color, camera)
    image = 2.0 * jnp.clip(image, 0.0, 1.0) - 1.0
    return Targets(image, mask, face.landmarks_px)


def render_flow(
    model: MorphableModel, first: DecodedFace, second: DecodedFace, camera: Deep3DCamera
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where a point of the second face lies in the picture of the first.

    Args:
      model: a face model.
      first, second: decoded with the same camera, [P] each.
      camera: of the pictures.

    Returns:
      Displacements [P, S, S, 2] (rows, columns) in pixels, zero outside the second face; and the
      masks [P, S, S] of the first and of the second face.
    """
    right, up = jnp.moveaxis(first.pixels - second.pixels, -1, 0)
    flow, mask_second = _draw(model, second, jnp.stack([-up, right], axis=-1), camera)
    _, mask_first = _draw(model, first, first.color, camera)
    return flow, mask_first, mask_second


def _draw(model, face, values, camera):
    """Values [B, V, C] of the region of the face, and where it is, [B, S, S]."""
    mesh = front_topology(model.topology)
    fragments = rasterize(clip(face.vertices, camera), mesh, (camera.size, camera.size))
    mask = (fragments.triangle_id >= 0).astype(jnp.float32)
    return interpolate(values, mesh, fragments), mask


@functools.partial(jax.jit, static_argnames=("sizes", "camera"))
def render_for_people(
    model: MorphableModel, factors: Factors, sizes: FactorSizes, camera: Deep3DCamera
) -> jax.Array:
    """`render_targets` as pictures in [0, 1], for galleries; compiled once per size."""
    return (render_targets(model, factors, sizes, camera).image + 1.0) / 2.0
