"""Posed faces and their UV maps, in the published program's camera.

The camera sits at the origin and looks along -z, x right and y up, with a field of view of 30
degrees. Poses act on row vectors: R stands on the right. With the published data's scale of about
0.1 a face in millimetres becomes one in centimetres, at a depth of about 57.
"""

import math

import jax
import jax.numpy as jnp

from facejax.geometry.camera import Camera, to_clip
from facejax.geometry.mesh import MeshTopology
from facejax.geometry.rotations import euler_to_matrix
from facejax.render import Fragments, interpolate, rasterize

FOV_RAD = math.radians(30.0)
NEAR, FAR = 0.5, 1000.0
DEFAULT_T = (0.0, -2.0, -57.0)  # of the published demo
DEFAULT_S = 0.1


def rotation_of(theta_deg: jax.Array, negate_roll: bool = True) -> jax.Array:
    """R = Rz (Ry Rx) of pitch, yaw and roll, [..., 3, 3].

    With the roll turned round, as the published demo takes its angles: pitch > 0 looks up, yaw > 0
    looks left, roll > 0 turns clockwise.

    Args:
      theta_deg: [..., 3] degrees: pitch, yaw, roll.
      negate_roll: see above; False takes the roll's sign as given.
    """
    signs = jnp.asarray([1.0, 1.0, -1.0 if negate_roll else 1.0], jnp.float32)
    theta = jnp.asarray(theta_deg, jnp.float32)
    radians = jnp.deg2rad(theta) * signs.reshape((1,) * (theta.ndim - 1) + (3,))
    return euler_to_matrix(radians, "xyz")


def pose(
    vertices: jax.Array,
    rotation: jax.Array,
    translation: jax.Array,
    scale: jax.Array,
    centered: bool = True,
) -> jax.Array:
    """s ((v - c) R + c) + t, [..., V, 3].

    Args:
      vertices: [..., V, 3].
      rotation: [..., 3, 3], acts from the right.
      translation: [..., 3].
      scale: [...].
      centered: turn about the mean c of the vertices, as the published program does; else about
        the origin.
    """
    vertices = jnp.asarray(vertices)
    center = vertices.mean(axis=-2, keepdims=True) if centered else jnp.zeros_like(vertices[:1, :1])
    center = jnp.broadcast_to(center, vertices.shape)
    turned = jnp.einsum("...vi,...ij->...vj", vertices - center, rotation, precision="highest")
    shift = jnp.broadcast_to(jnp.asarray(translation)[..., None, :], turned.shape)
    return jnp.asarray(scale)[..., None, None] * (turned + center) + shift


def make_camera() -> Camera:
    """The camera, see the module."""
    focal = 1.0 / math.tan(FOV_RAD / 2)
    return Camera(
        rotation=jnp.eye(3, dtype=jnp.float32),
        translation=jnp.zeros(3, jnp.float32),
        focal=jnp.full(2, focal, jnp.float32),
        center=jnp.zeros(2, jnp.float32),
        near=jnp.float32(NEAR),
        far=jnp.float32(FAR),
    )


def clip_of(posed: jax.Array, size: int) -> jax.Array:
    """Clip-space positions [..., V, 4] of posed vertices [..., V, 3] for square images."""
    return to_clip(make_camera(), posed, (size, size))


def layout_pm1(topology: MeshTopology, v_up: bool = False) -> jax.Array:
    """UV coordinates [S, 2] in [-1, 1] of a layout, as UV maps hold them.

    Args:
      topology: with a layout.
      v_up: v = -1 is the bottom of a texture as one looks at it. The published program reads the
        Basel model's layout that way, so its neural textures stand on their heads.

    Raises:
      ValueError: the mesh has no UV layout.
    """
    if topology.uv is None:
        raise ValueError(
            "the face model has no UV layout, which neural textures need: use 'procedural', 'ict', "
            "or a Basel model of 2017 or 2019 with its face12.json"
        )
    u, v = jnp.asarray(topology.uv[:, 0]), jnp.asarray(topology.uv[:, 1])
    return 2.0 * jnp.stack([u, 1.0 - v if v_up else v], axis=-1) - 1.0


def uv_map(
    posed: jax.Array,
    topology: MeshTopology,
    size: int,
    v_up: bool = False,
    inside: jax.Array | None = None,
) -> jax.Array:
    """Where on the texture each pixel lies, [..., size, size, 2] in [-1, 1]; background -1.

    Args:
      posed: [..., V, 3] vertices in the camera's frame.
      topology: with a UV layout.
      size: side of the image.
      v_up: see `layout_pm1`.
      inside: [F] bool, triangles that the texture covers; the others hide what is behind them and
        count as background. None: all.
    """
    fragments = rasterize(clip_of(posed, size), topology, (size, size))
    return map_of(fragments, topology, layout_pm1(topology, v_up), inside)


def map_of(
    fragments: Fragments, topology: MeshTopology, layout: jax.Array, inside: jax.Array | None
) -> jax.Array:
    """The UV map of what each pixel sees; see `uv_map`, `layout` is `layout_pm1`'s."""
    found = interpolate(layout, topology, fragments, domain="uv")
    hit = fragments.triangle_id >= 0
    if inside is not None:
        hit &= jnp.asarray(inside)[jnp.maximum(fragments.triangle_id, 0)]
    return jnp.where(hit[..., None], jnp.clip(found, -1.0, 1.0), -1.0)
