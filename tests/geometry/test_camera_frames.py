"""Every converter against the other library's published formula, and as a round trip."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facejax.geometry import camera_frames
from facejax.geometry.camera import Camera, clip_from_object, project

SIZE = (96, 128)


def points(rng):
    return (rng.normal(size=(7, 3)) * 60).astype(np.float32)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_opencv(rng, batch):
    r = Rotation.random(int(np.prod(batch)), random_state=3).as_matrix().reshape(*batch, 3, 3)
    t = np.broadcast_to([5.0, -4.0, 900.0], (*batch, 3))
    k = np.broadcast_to([[210.0, 0, 60.0], [0, 190.0, 50.0], [0, 0, 1]], (*batch, 3, 3))
    x = points(rng)
    camera_points = np.einsum("...ij,nj->...ni", r, x) + t[..., None, :]
    uv = np.einsum("...ij,...nj->...ni", k, camera_points)
    want = uv[..., :2] / uv[..., 2:] + 0.5  # OpenCV's pixel centres are integers
    camera = camera_frames.from_opencv(k, r, t, SIZE)
    np.testing.assert_allclose(project(camera, x, SIZE), want, atol=2e-3)
    for got, original in zip(camera_frames.to_opencv(camera, SIZE), (k, r, t), strict=True):
        np.testing.assert_allclose(got, original, rtol=1e-5, atol=1e-4)


def gl_frustum(left, right, bottom, top, near, far):
    return np.array(
        [
            [2 * near / (right - left), 0, (right + left) / (right - left), 0],
            [0, 2 * near / (top - bottom), (top + bottom) / (top - bottom), 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )


def test_opengl_frustum(rng):
    projection = gl_frustum(-70.0, 50.0, -30.0, 45.0, 300.0, 2000.0)
    modelview = np.eye(4)
    modelview[:3, :3] = Rotation.random(random_state=5).as_matrix()
    modelview[:3, 3] = [3.0, 4.0, -700.0]
    camera = camera_frames.from_opengl(projection, modelview, SIZE)
    want = projection @ modelview
    np.testing.assert_allclose(clip_from_object(camera, SIZE), want, rtol=1e-4, atol=1e-3)
    p, m = camera_frames.to_opengl(camera, SIZE)
    np.testing.assert_allclose(p, projection, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(m, modelview, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [(96, 128), (128, 96), (64, 64)])
def test_pytorch3d(rng, size):
    """PerspectiveCameras: x_view = x R + T (+x left, +y up, +z forward); x_ndc = f x / z + p."""
    r = Rotation.random(random_state=7).as_matrix()
    t, f, p = np.array([3.0, -5.0, 850.0]), np.array([5.5, 5.0]), np.array([0.1, -0.2])
    x = points(rng)
    view = x @ r + t
    ndc = f * view[:, :2] / view[:, 2:] + p
    # pytorch3d's screen: ndc [-1, 1] spans the shorter side; +x is left, +y is up.
    half = min(size) / 2
    want = np.stack([size[1] / 2 - ndc[:, 0] * half, size[0] / 2 - ndc[:, 1] * half], axis=-1)
    camera = camera_frames.from_pytorch3d(r, t, f, p, size)
    np.testing.assert_allclose(project(camera, x, size), want, atol=2e-3)
    for got, original in zip(camera_frames.to_pytorch3d(camera, size), (r, t, f, p), strict=True):
        np.testing.assert_allclose(got, original, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_deep3d(rng, batch):
    """Deng et al. 2019: S_t = S R + t, R = (Rz Ry Rx)^T; pixel = 1015 X / (10 - Z) + 112, y up."""
    angles = rng.uniform(-0.6, 0.6, (*batch, 3)).astype(np.float32)
    t = rng.uniform(-0.4, 0.4, (*batch, 3)).astype(np.float32)
    shape_dm = rng.uniform(-1, 1, (5, 3))

    def turn(axis, a):
        c, s, o, z = np.cos(a), np.sin(a), np.ones_like(a), np.zeros_like(a)
        rows = {
            0: [[o, z, z], [z, c, -s], [z, s, c]],
            1: [[c, z, s], [z, o, z], [-s, z, c]],
            2: [[c, -s, z], [s, c, z], [z, z, o]],
        }[axis]
        return np.stack([np.stack(row, -1) for row in rows], -2)

    rotation = turn(2, angles[..., 2]) @ turn(1, angles[..., 1]) @ turn(0, angles[..., 0])
    posed = shape_dm @ np.swapaxes(rotation, -1, -2) + t[..., None, :]
    x = 1015 * posed[..., 0] / (10 - posed[..., 2]) + 112
    y = 1015 * posed[..., 1] / (10 - posed[..., 2]) + 112
    camera = camera_frames.from_deep3d(angles, t)
    got = project(camera, jnp.asarray(shape_dm * 100, jnp.float32), (224, 224))
    np.testing.assert_allclose(got, np.stack([x, 224 - y], axis=-1), atol=2e-3)
    back = camera_frames.to_deep3d(camera)
    np.testing.assert_allclose(back[0], angles, atol=1e-5)
    np.testing.assert_allclose(back[1], t, atol=1e-5)


def test_only_perspective_cameras_convert():
    with pytest.raises(ValueError, match="orthographic"):
        camera_frames.to_opencv(Camera.orthographic(), SIZE)
