"""Pinhole and orthographic cameras.

Camera frame: right-handed, x to the image's right, y up, z toward the viewer; the camera sits at
the origin and looks along -z, so a visible point has a positive depth -z. Millimetres. Pixels: x
to the right, y DOWN, the first pixel's centre at (.5, .5). Clip space is OpenGL's: x right, y up,
ndc z in [-1, 1], smaller is nearer. Other libraries' frames: `facejax.geometry.camera_frames`.
"""

import jax
import jax.numpy as jnp
from flax import struct

from facejax.geometry import rotations

FOV_RAD = 0.32  # vertical field of view: a head with some air around it from 900 mm
FACE_FRAME_MM = 290.0  # the same picture's height at the face, for orthographic cameras


@struct.dataclass
class Camera:
    """Where the camera is and how it maps to the image; batch dims lead in every array.

    Lengths on the image plane are in HALF IMAGE HEIGHTS, so that a camera serves every image size
    and pixels are square: a camera-space point (x, y, z) of depth d = -z falls at
    center + focal * (x, y) / d (perspective) or center + focal * (x, y) (orthographic), measured
    from the middle of the image, x right and y up.

    Attributes:
      rotation: [..., 3, 3], camera from object space: x_cam = rotation @ x_obj + translation.
      translation: [..., 3] mm.
      focal: [..., 2] half heights per unit of x/d (perspective) or per mm (orthographic).
      center: [..., 2] half heights, the image of the optical axis.
      near: [...] mm, the depth of ndc z = -1.
      far: [...] mm, the depth of ndc z = 1.
      kind: 'perspective' or 'orthographic' (static).
    """

    rotation: jax.Array
    translation: jax.Array
    focal: jax.Array
    center: jax.Array
    near: jax.Array
    far: jax.Array
    kind: str = struct.field(pytree_node=False, default="perspective")

    @classmethod
    def look_at(
        cls,
        distance_mm: float | jax.Array = 900.0,
        yaw_rad: float | jax.Array = 0.0,
        pitch_rad: float | jax.Array = 0.0,
        target_mm: tuple | jax.Array = (0.0, 0.0, 0.0),
        fov_rad: float | jax.Array = FOV_RAD,
    ) -> "Camera":
        """A perspective camera on a sphere around a point of the face.

        Args:
          distance_mm: [...] mm from the camera to the target.
          yaw_rad: [...] radians; positive turns the face toward the image's right.
          pitch_rad: [...] radians; positive tips the face down (the camera sees it from above).
          target_mm: [..., 3] object-space point shown in the middle of the image.
          fov_rad: [...] radians, vertical field of view.

        Returns:
          A Camera with the batch dims that the arguments broadcast to. Depths from half to one
          and a half times the distance are visible.
        """
        return _orbit(distance_mm, yaw_rad, pitch_rad, target_mm, fov_rad, "perspective")

    @classmethod
    def orthographic(
        cls,
        height_mm: float | jax.Array = FACE_FRAME_MM,
        yaw_rad: float | jax.Array = 0.0,
        pitch_rad: float | jax.Array = 0.0,
        target_mm: tuple | jax.Array = (0.0, 0.0, 0.0),
        distance_mm: float | jax.Array = 1000.0,
    ) -> "Camera":
        """An orthographic camera; `height_mm` of the object fill the image's height.

        Args:
          height_mm: [...] mm.
          yaw_rad: [...] as in `look_at`.
          pitch_rad: [...] as in `look_at`.
          target_mm: [..., 3] object-space point shown in the middle of the image.
          distance_mm: [...] mm from the camera plane to the target; visible depths as in `look_at`.

        Returns:
          A Camera with the batch dims that the arguments broadcast to.
        """
        return _orbit(distance_mm, yaw_rad, pitch_rad, target_mm, height_mm, "orthographic")

    @classmethod
    def weak_perspective(
        cls,
        scale_px: jax.Array,
        rotation: jax.Array,
        translation_px: jax.Array,
        size: tuple[int, int],
        depth_mm: float = 1000.0,
    ) -> "Camera":
        """Scaled orthography: pixel = scale * (R x)_xy (y turned down) + translation.

        The camera of landmark-fitting pipelines (3DDFA and relatives).

        Args:
          scale_px: [...] pixels per mm.
          rotation: [..., 3, 3] camera from object space.
          translation_px: [..., 2] pixels (x right, y down) where the object's origin falls.
          size: (height, width) of the image that `scale_px` and `translation_px` refer to.
          depth_mm: depth of the object's origin; half to one and a half times it is visible.

        Returns:
          An orthographic Camera.
        """
        height, width = size
        scale = jnp.asarray(scale_px, jnp.float32) * (2.0 / height)
        rotation = jnp.asarray(rotation, jnp.float32)
        t = jnp.asarray(translation_px, jnp.float32)
        center = jnp.stack([t[..., 0] - width / 2, height / 2 - t[..., 1]], axis=-1) * (
            2.0 / height
        )
        batch = jnp.broadcast_shapes(scale.shape, rotation.shape[:-2], center.shape[:-1])
        depth = jnp.full(batch, depth_mm, jnp.float32)
        zero = jnp.zeros_like(depth)
        return cls(
            rotation=jnp.broadcast_to(rotation, (*batch, 3, 3)),
            translation=jnp.stack([zero, zero, -depth], axis=-1),
            focal=jnp.broadcast_to(scale[..., None], (*batch, 2)),
            center=jnp.broadcast_to(center, (*batch, 2)),
            near=0.5 * depth,
            far=1.5 * depth,
            kind="orthographic",
        )


def _orbit(distance_mm, yaw_rad, pitch_rad, target_mm, extent, kind):
    """Camera around `target_mm`; `extent`: field of view (radians) or the picture's height (mm)."""
    distance, yaw, pitch, extent = (
        jnp.asarray(a, jnp.float32) for a in (distance_mm, yaw_rad, pitch_rad, extent)
    )
    target = jnp.asarray(target_mm, jnp.float32)
    batch = jnp.broadcast_shapes(
        distance.shape, yaw.shape, pitch.shape, extent.shape, target.shape[:-1]
    )
    distance, yaw, pitch, extent = (
        jnp.broadcast_to(a, batch) for a in (distance, yaw, pitch, extent)
    )
    target = jnp.broadcast_to(target, (*batch, 3))
    rotation = rotations.axis_rotation(pitch, "x") @ rotations.axis_rotation(yaw, "y")
    zero = jnp.zeros_like(distance)
    back = jnp.stack([zero, zero, -distance], axis=-1)
    focal = 1.0 / jnp.tan(0.5 * extent) if kind == "perspective" else 2.0 / extent
    return Camera(
        rotation=rotation,
        translation=back - jnp.einsum("...ij,...j->...i", rotation, target, precision="highest"),
        focal=jnp.stack([focal, focal], axis=-1),
        center=jnp.zeros((*batch, 2), jnp.float32),
        near=0.5 * distance,
        far=1.5 * distance,
        kind=kind,
    )


def camera_from_object(camera: Camera, points: jax.Array) -> jax.Array:
    """Object-space points in the camera frame.

    Args:
      camera: batch dims [...].
      points: [..., N, 3] mm.

    Returns:
      [..., N, 3] mm.
    """
    moved = jnp.einsum("...ij,...nj->...ni", camera.rotation, points, precision="highest")
    return moved + jnp.broadcast_to(camera.translation[..., None, :], moved.shape)


def clip_from_object(camera: Camera, size: tuple[int, int]) -> jax.Array:
    """The matrix from object space to clip space, for column vectors (x, y, z, 1).

    Args:
      camera: batch dims [...].
      size: (height, width) of the image; only its ratio matters.

    Returns:
      [..., 4, 4] float32. clip w is the depth in mm (perspective) or 1 (orthographic).
    """
    aspect = size[0] / size[1]
    fx, fy = camera.focal[..., 0] * aspect, camera.focal[..., 1]
    cx, cy = camera.center[..., 0] * aspect, camera.center[..., 1]
    near, far = camera.near, camera.far
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    if camera.kind == "perspective":
        rows = (
            (fx, zero, -cx, zero),
            (zero, fy, -cy, zero),
            (zero, zero, -(far + near) / (far - near), -2.0 * far * near / (far - near)),
            (zero, zero, -one, zero),
        )
    else:
        rows = (
            (fx, zero, zero, cx),
            (zero, fy, zero, cy),
            (zero, zero, -2.0 / (far - near), -(far + near) / (far - near)),
            (zero, zero, zero, one),
        )
    projection = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    return jnp.matmul(projection, object_to_camera_matrix(camera), precision="highest")


def object_to_camera_matrix(camera: Camera) -> jax.Array:
    """The rigid part alone ("modelview"), [..., 4, 4], for column vectors (x, y, z, 1)."""
    top = jnp.concatenate([camera.rotation, camera.translation[..., None]], axis=-1)
    last = jnp.broadcast_to(jnp.asarray([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, last], axis=-2)


def to_clip(camera: Camera, points: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Object-space points in clip space: what `facejax.render.rasterize` takes.

    Args:
      camera: batch dims [...].
      points: [..., N, 3] mm; batch dims broadcast against the camera's.
      size: (height, width).

    Returns:
      [..., N, 4].
    """
    matrix = clip_from_object(camera, size)
    moved = jnp.einsum("...ij,...nj->...ni", matrix[..., :3], points, precision="highest")
    return moved + jnp.broadcast_to(matrix[..., None, :, 3], moved.shape)


def project(camera: Camera, points: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Object-space points to pixels.

    Args:
      camera: batch dims [...].
      points: [..., N, 3] mm, in front of the camera.
      size: (height, width).

    Returns:
      [..., N, 2] pixels (x right, y down); the first pixel's centre is (.5, .5).
    """
    clip = to_clip(camera, points, size)
    ndc = clip[..., :2] / clip[..., 3:]
    height, width = size
    return jnp.stack(
        [(ndc[..., 0] + 1.0) * (width / 2), (1.0 - ndc[..., 1]) * (height / 2)], axis=-1
    )


def depth_from_ndc(camera: Camera, ndc_z: jax.Array) -> jax.Array:
    """Depth in mm along the viewing axis of an ndc z in [-1, 1].

    Args:
      camera: without batch dims.
      ndc_z: [...].

    Returns:
      [...] mm.
    """
    near, far = camera.near, camera.far
    if camera.kind == "perspective":
        return 2.0 * far * near / ((far + near) - ndc_z * (far - near))
    return 0.5 * (ndc_z * (far - near) + (far + near))
