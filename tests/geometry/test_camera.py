import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import (
    Camera,
    camera_from_object,
    clip_from_object,
    depth_from_ndc,
    project,
    to_clip,
)

SIZE = (120, 160)


@pytest.mark.parametrize("kind", ["look_at", "orthographic"])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_target_is_in_the_middle_and_axes_point_right_and_up(rng, kind, batch):
    target = rng.normal(size=3).astype(np.float32) * 20
    yaw = jnp.asarray(rng.uniform(-0.5, 0.5, batch), jnp.float32)
    camera = getattr(Camera, kind)(yaw_rad=yaw, target_mm=tuple(target))
    points = np.stack([target, target + [0, 30, 0]]).astype(np.float32)
    px = np.asarray(project(camera, jnp.asarray(points), SIZE))
    assert px.shape == (*batch, 2, 2)
    np.testing.assert_allclose(px[..., 0, :], np.broadcast_to([80, 60], (*batch, 2)), atol=1e-3)
    assert (px[..., 1, 1] < 50).all()
    frontal = getattr(Camera, kind)()
    px = project(frontal, jnp.array([[30.0, 0, 0]]), SIZE)
    assert px[0, 0] > 85 and px[0, 1] == pytest.approx(60, abs=1e-3)


def test_positive_yaw_turns_the_nose_right_and_positive_pitch_turns_it_down():
    nose = jnp.array([[0.0, 0.0, 100.0]])
    x, _ = project(Camera.look_at(yaw_rad=0.4), nose, SIZE)[0]
    assert x > 90
    _, y = project(Camera.look_at(pitch_rad=0.4), nose, SIZE)[0]
    assert y > 70


def test_field_of_view_and_frame_height():
    fov = 0.5
    edge = 700 * np.tan(fov / 2)
    camera = Camera.look_at(distance_mm=700.0, fov_rad=fov)
    px = project(camera, jnp.array([[0.0, edge, 0.0], [edge, 0.0, 0.0]]), SIZE)
    np.testing.assert_allclose(px, [[80, 0], [140, 60]], atol=1e-3)
    flat = Camera.orthographic(height_mm=200.0)
    px = project(flat, jnp.array([[0.0, -100.0, 0.0], [50.0, 0.0, 70.0]]), SIZE)
    np.testing.assert_allclose(px, [[80, 120], [110, 60]], atol=1e-3)


@pytest.mark.parametrize("kind", ["look_at", "orthographic"])
def test_clip_depth_spans_near_to_far_and_inverts(kind):
    camera = getattr(Camera, kind)(distance_mm=800.0)
    z = jnp.array([800.0 - 400.0, 0.0, 800.0 - 1200.0])
    points = jnp.stack([0 * z, 0 * z, z], axis=-1)
    clip = np.asarray(to_clip(camera, points, SIZE))
    ndc = clip[:, 2] / clip[:, 3]
    np.testing.assert_allclose(ndc[[0, 2]], [-1, 1], atol=1e-5)
    np.testing.assert_allclose(depth_from_ndc(camera, ndc), [400, 800, 1200], rtol=1e-4)
    np.testing.assert_allclose(
        -camera_from_object(camera, points)[:, 2], [400, 800, 1200], rtol=1e-5
    )


def test_to_clip_is_the_matrix(rng):
    camera = Camera.look_at(yaw_rad=0.3, pitch_rad=-0.2, target_mm=(1.0, 2.0, 3.0))
    points = rng.normal(size=(5, 3)).astype(np.float32) * 50
    homogeneous = np.concatenate([points, np.ones((5, 1))], axis=1)
    want = homogeneous @ np.asarray(clip_from_object(camera, SIZE)).T
    np.testing.assert_allclose(to_clip(camera, points, SIZE), want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_weak_perspective_is_scale_rotation_translation(rng, batch):
    rotation = np.asarray(Camera.look_at(yaw_rad=0.4, pitch_rad=0.1).rotation)
    scale = rng.uniform(0.3, 0.6, batch).astype(np.float32)
    shift = rng.uniform(40, 80, (*batch, 2)).astype(np.float32)
    points = rng.normal(size=(6, 3)).astype(np.float32) * 60
    camera = Camera.weak_perspective(scale, rotation, shift, SIZE)
    xy = (points @ rotation.T)[:, :2] * [1, -1]
    want = scale[..., None, None] * xy + shift[..., None, :]
    np.testing.assert_allclose(project(camera, points, SIZE), want, atol=1e-3)


def test_gradients_reach_the_pose():
    def loss(yaw, distance):
        camera = Camera.look_at(distance_mm=distance, yaw_rad=yaw)
        return project(camera, jnp.array([[10.0, 20.0, 90.0]]), SIZE)[0, 0]

    grad = jax.grad(loss, argnums=(0, 1))(0.1, 900.0)
    want = [(loss(0.1 + e, 900.0) - loss(0.1 - e, 900.0)) / (2 * e) for e in (1e-2,)]
    assert float(grad[0]) == pytest.approx(float(want[0]), rel=1e-2)
    assert np.isfinite(grad[1])
