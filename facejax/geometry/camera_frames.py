"""Converters between `Camera` and the conventions of other libraries and papers.

| name | camera frame | pixels or image plane |
|---|---|---|
| opencv | x right, y down, z forward | centres at integers, y down |
| opengl | x right, y up, z toward the viewer | ndc, y up |
| pytorch3d | x LEFT, y up, z forward; row vectors | ndc, the shorter side spans [-1, 1] |
| deep3d | x right, y up, z toward the viewer; decimetres; row vectors | y UP from the bottom |

Every `from_*` gives a perspective `Camera` whose object space is the other's world space in
millimetres.
"""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry import rotations
from facejax.geometry.camera import Camera, clip_from_object, object_to_camera_matrix

DEEP3D_FOCAL_PX = 1015.0  # Deng et al. 2019 (arXiv 1903.08527), for 224 px crops
DEEP3D_SIZE_PX = 224
DEEP3D_DISTANCE_DM = 10.0
_OPENCV_FLIP = np.array([1.0, -1.0, -1.0], np.float32)
_PYTORCH3D_FLIP = np.array([-1.0, 1.0, -1.0], np.float32)


def _flip_rows(x, flip):
    return x * flip.reshape((1,) * (x.ndim - 2) + (3, 1))


def _flip_vector(x, flip):
    return x * flip.reshape((1,) * (x.ndim - 1) + (3,))


def _planes(near_mm, far_mm, batch):
    return (jnp.broadcast_to(jnp.asarray(p, jnp.float32), batch) for p in (near_mm, far_mm))


def from_opencv(
    intrinsics: jax.Array,
    rotation: jax.Array,
    translation: jax.Array,
    size: tuple[int, int],
    near_mm: float = 450.0,
    far_mm: float = 1350.0,
) -> Camera:
    """Camera of OpenCV's u = fx X/Z + cx, v = fy Y/Z + cy with (X, Y, Z) = R x + t, no distortion.

    Args:
      intrinsics: [..., 3, 3] pixels, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; integer pixel centres.
      rotation: [..., 3, 3].
      translation: [..., 3] mm.
      size: (height, width) that the intrinsics belong to.
      near_mm: depth of ndc z = -1.
      far_mm: depth of ndc z = 1.

    Returns:
      The same view as a Camera; `project` gives OpenCV's (u, v) + .5.
    """
    height, width = size
    k = jnp.asarray(intrinsics, jnp.float32)
    translation = jnp.asarray(translation, jnp.float32)
    x = k[..., 0, 2] + 0.5 - width / 2
    y = height / 2 - (k[..., 1, 2] + 0.5)
    near, far = _planes(near_mm, far_mm, translation.shape[:-1])
    return Camera(
        rotation=_flip_rows(jnp.asarray(rotation, jnp.float32), _OPENCV_FLIP),
        translation=_flip_vector(translation, _OPENCV_FLIP),
        focal=jnp.stack([k[..., 0, 0], k[..., 1, 1]], axis=-1) * (2.0 / height),
        center=jnp.stack([x, y], axis=-1) * (2.0 / height),
        near=near,
        far=far,
    )


def to_opencv(camera: Camera, size: tuple[int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(intrinsics, rotation, translation) as `from_opencv` takes them: its inverse."""
    _require_perspective(camera, "to_opencv")
    height, width = size
    f = camera.focal * (height / 2)
    c = camera.center * (height / 2)
    cx, cy = c[..., 0] + width / 2 - 0.5, height / 2 - c[..., 1] - 0.5
    zero, one = jnp.zeros_like(cx), jnp.ones_like(cx)
    rows = ((f[..., 0], zero, cx), (zero, f[..., 1], cy), (zero, zero, one))
    k = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    return (
        k,
        _flip_rows(camera.rotation, _OPENCV_FLIP),
        _flip_vector(camera.translation, _OPENCV_FLIP),
    )


def from_opengl(projection: jax.Array, modelview: jax.Array, size: tuple[int, int]) -> Camera:
    """Camera of OpenGL's perspective projection (glFrustum, gluPerspective) and modelview matrices.

    Args:
      projection: [..., 4, 4] for column vectors, last row (0, 0, -1, 0).
      modelview: [..., 4, 4] rigid, mm.
      size: (height, width) of the viewport; OpenGL keeps the aspect ratio inside the projection.

    Returns:
      The same view; `clip_from_object` is projection @ modelview.
    """
    p, m = jnp.asarray(projection, jnp.float32), jnp.asarray(modelview, jnp.float32)
    ratio = size[1] / size[0]
    return Camera(
        rotation=m[..., :3, :3],
        translation=m[..., :3, 3],
        focal=jnp.stack([p[..., 0, 0] * ratio, p[..., 1, 1]], axis=-1),
        center=jnp.stack([-p[..., 0, 2] * ratio, -p[..., 1, 2]], axis=-1),
        near=p[..., 2, 3] / (p[..., 2, 2] - 1.0),
        far=p[..., 2, 3] / (p[..., 2, 2] + 1.0),
    )


def to_opengl(camera: Camera, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """(projection [..., 4, 4], modelview [..., 4, 4]) whose product is `clip_from_object`."""
    rigid = camera.replace(
        rotation=jnp.broadcast_to(jnp.eye(3, dtype=jnp.float32), camera.rotation.shape),
        translation=jnp.zeros_like(camera.translation),
    )
    return clip_from_object(rigid, size), object_to_camera_matrix(camera)


def from_pytorch3d(
    rotation: jax.Array,
    translation: jax.Array,
    focal_ndc: jax.Array,
    principal_ndc: jax.Array,
    size: tuple[int, int],
    near_mm: float = 450.0,
    far_mm: float = 1350.0,
) -> Camera:
    """Camera of pytorch3d's PerspectiveCameras(R, T, focal_length, principal_point, in_ndc=True).

    Args:
      rotation: [..., 3, 3] R, for ROW vectors: x_view = x_world @ R + T.
      translation: [..., 3] T, mm.
      focal_ndc: [..., 2]; for FoVPerspectiveCameras on square images 1 / tan(fov / 2).
      principal_ndc: [..., 2], x to the left, y up.
      size: (height, width); pytorch3d's ndc spans [-1, 1] over the shorter side.
      near_mm: depth of ndc z = -1.
      far_mm: depth of ndc z = 1.

    Returns:
      The same view as a Camera.
    """
    short = min(size) / size[0]
    r, t = jnp.asarray(rotation, jnp.float32), jnp.asarray(translation, jnp.float32)
    p = jnp.asarray(principal_ndc, jnp.float32) * short
    near, far = _planes(near_mm, far_mm, t.shape[:-1])
    return Camera(
        rotation=_flip_rows(jnp.swapaxes(r, -1, -2), _PYTORCH3D_FLIP),
        translation=_flip_vector(t, _PYTORCH3D_FLIP),
        focal=jnp.asarray(focal_ndc, jnp.float32) * short,
        center=jnp.stack([-p[..., 0], p[..., 1]], axis=-1),
        near=near,
        far=far,
    )


def to_pytorch3d(
    camera: Camera, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """(R, T, focal_length, principal_point) as `from_pytorch3d` takes them."""
    _require_perspective(camera, "to_pytorch3d")
    short = size[0] / min(size)
    c = camera.center * short
    return (
        jnp.swapaxes(_flip_rows(camera.rotation, _PYTORCH3D_FLIP), -1, -2),
        _flip_vector(camera.translation, _PYTORCH3D_FLIP),
        camera.focal * short,
        jnp.stack([-c[..., 0], c[..., 1]], axis=-1),
    )


def from_deep3d(
    angles_rad: jax.Array,
    translation_dm: jax.Array,
    focal_px: float = DEEP3D_FOCAL_PX,
    size_px: int = DEEP3D_SIZE_PX,
    distance_dm: float = DEEP3D_DISTANCE_DM,
) -> Camera:
    """Camera of the Deep3D family's pose coefficients (Deng et al. 2019, arXiv 1903.08527).

    There the face moves, S_t = S R + t with R = (Rz Ry Rx)^T, before a fixed camera at z = 10 dm:
    x_px = 1015 X / (10 - Z) + 112 and y_px = 1015 Y / (10 - Z) + 112, y UP.

    Args:
      angles_rad: [..., 3] about x, y, z.
      translation_dm: [..., 3] decimetres.
      focal_px: focal length in pixels of the crop.
      size_px: side of the square crop.
      distance_dm: of the camera from the origin.

    Returns:
      The same view as a Camera of the un-posed face in millimetres; `project` gives
      (x_px, size_px - y_px).
    """
    t = jnp.asarray(translation_dm, jnp.float32) * 100.0
    batch = t.shape[:-1]
    offset = np.array([0.0, 0.0, 100.0 * distance_dm], np.float32).reshape((1,) * len(batch) + (3,))
    near, far = _planes(50.0 * distance_dm, 150.0 * distance_dm, batch)
    return Camera(
        rotation=rotations.euler_to_matrix(angles_rad, "xyz"),
        translation=t - offset,
        focal=jnp.full((*batch, 2), 2.0 * focal_px / size_px, jnp.float32),
        center=jnp.zeros((*batch, 2), jnp.float32),
        near=near,
        far=far,
    )


def to_deep3d(
    camera: Camera, distance_dm: float = DEEP3D_DISTANCE_DM
) -> tuple[jax.Array, jax.Array]:
    """(angles_rad [..., 3], translation_dm [..., 3]), inverse of `from_deep3d`."""
    _require_perspective(camera, "to_deep3d")
    batch = camera.translation.shape[:-1]
    offset = np.array([0.0, 0.0, distance_dm], np.float32).reshape((1,) * len(batch) + (3,))
    return rotations.matrix_to_euler(camera.rotation, "xyz"), camera.translation / 100.0 + offset


def _require_perspective(camera, what):
    if camera.kind != "perspective":
        raise ValueError(f"{what} describes perspective cameras, found kind={camera.kind!r}.")
