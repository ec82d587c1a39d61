"""The published picture of one face: three point lights on vertex colours, seen orthographically.

Conventions of face3d: angles in degrees, R = Rz Ry Rx; pixels at integer coordinates; the light of
a vertex is added without clamping and only the sum is clipped; triangles wind clockwise seen from
outside, so that normals point inward. `s` maps the unit of the vertices to pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.geometry.rotations import euler_to_matrix
from facejax.render import interpolate, rasterize

LIGHT_POSITIONS = ((0.0, 0.0, 700.0), (350.0, 0.0, 700.0), (0.0, 350.0, 700.0))
LIGHT_INTENSITIES = (0.5, 0.2, 0.3)
AMBIENT = 0.1


def add_light(vertices: jax.Array, normals: jax.Array, colors: jax.Array) -> jax.Array:
    """Vertex colours under three white point lights and an ambient term.

    Args:
      vertices: [V, 3] in pixels.
      normals: [V, 3] unit, pointing inward.
      colors: [V, 3] in [0, 1].

    Returns:
      [V, 3] in [0, 1].
    """
    total = jnp.full_like(colors, AMBIENT)
    for position, intensity in zip(LIGHT_POSITIONS, LIGHT_INTENSITIES, strict=True):
        away = vertices - jnp.broadcast_to(jnp.asarray(position, jnp.float32), vertices.shape)
        away = away / jnp.linalg.norm(away, axis=-1, keepdims=True)
        cosine = jnp.sum(normals * away, axis=-1, keepdims=True)
        total = total + intensity * colors * cosine
    return jnp.clip(total, 0.0, 1.0)


def render_colors(
    image_vertices: jax.Array, topology: MeshTopology, colors: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """Vertex colours interpolated over the picture, black background.

    Args:
      image_vertices: [V, 3] pixel x and y (integer coordinates are pixel centres), z toward the
        viewer.
      topology: the triangles.
      colors: [V, 3].
      size: (height, width).

    Returns:
      [H, W, 3].
    """
    height, width = size
    x, y, z = (image_vertices[:, k] for k in range(3))
    middle = (z.max() + z.min()) / 2
    reach = jnp.maximum(z.max() - z.min(), 1e-6)
    clip = jnp.stack(
        [
            2 * (x + 0.5) / width - 1,
            1 - 2 * (y + 0.5) / height,
            (middle - z) / reach,
            jnp.ones_like(x),
        ],
        axis=-1,
    )
    return interpolate(colors, topology, rasterize(clip, topology, size))


def picture(
    vertices: np.ndarray,
    topology: MeshTopology,
    colors: np.ndarray,
    *,
    s: float = 0.00088,
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    t: tuple[float, float, float] = (0.0, 0.0, 0.0),
    size: tuple[int, int] = (256, 256),
) -> dict[str, jax.Array]:
    """The published preview of a face (`img_from_params`), with its intermediate results.

    Args:
      vertices: [V, 3] in the unit of the model.
      topology: triangles, clockwise from outside.
      colors: [V, 3] in [0, 1].
      s: pixels per unit; the default suits micrometres.
      angles_deg: pitch, yaw, roll.
      t: translation in pixels.
      size: (height, width).

    Returns:
      'transformed', 'normals', 'lit', 'image_vertices' [V, 3] and 'image' [H, W, 3].
    """
    rotation = euler_to_matrix(jnp.deg2rad(jnp.asarray(angles_deg, jnp.float32)), "xyz")
    moved = jnp.asarray(vertices, jnp.float32) @ rotation.T * s
    moved = moved + jnp.broadcast_to(jnp.asarray(t, jnp.float32), moved.shape)
    normals = vertex_normals(moved, topology)
    lit = add_light(moved, normals, jnp.asarray(colors, jnp.float32))
    height, width = size
    image_vertices = jnp.stack(
        [moved[:, 0] + width / 2, height - (moved[:, 1] + height / 2) - 1, moved[:, 2]], axis=-1
    )
    return {
        "transformed": moved,
        "normals": normals,
        "lit": lit,
        "image_vertices": image_vertices,
        "image": render_colors(image_vertices, topology, lit, size),
    }
