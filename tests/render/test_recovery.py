"""Poses found by gradient descent through the renderer, from pixels alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.geometry.camera import Camera, to_clip
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.geometry.rotations import axis_angle_to_matrix, euler_to_matrix
from facejax.morphable import decode_shape, decode_texture, load_morphable
from facejax.render import PointLight, boundary_grad, interpolate, rasterize, render
from facejax.render.shading import shade
from tests.parity import test_tf_mesh_renderer as published


def test_cube_rotation_from_35_steps_on_the_image_difference():
    """The published test of the TensorFlow mesh renderer, with its settings and acceptance rule."""
    size = (published.SIZE[0] // 2, published.SIZE[1] // 2)
    topology = MeshTopology(published.TRIANGLES, 8)
    camera = published.glu_camera((0.0, 0.0, 6.0))
    light = PointLight(position=np.array([0, 0, 6], np.float32), frame="object")

    def gray_cube(angles):
        rotation = euler_to_matrix(angles, "xyz")
        vertices = jnp.matmul(published.CUBE, rotation.T, precision="highest")
        clip = to_clip(camera, vertices, size)
        fragments = rasterize(clip, topology, size)
        hit = (fragments.triangle_id >= 0)[..., None]
        normal = interpolate(vertices / np.float32(np.sqrt(3)), topology, fragments)
        length = jnp.linalg.norm(jnp.where(hit, normal, 1.0), axis=-1, keepdims=True)
        position = interpolate(vertices, topology, fragments)
        albedo = hit * jnp.ones(3).reshape(1, 1, 3)
        gray = shade(light, albedo, normal / length, position)
        image = jnp.concatenate([gray, hit.astype(jnp.float32)], axis=-1)
        return boundary_grad(image, clip, topology, fragments)

    target = jax.jit(gray_cube)(jnp.array(published.ANGLES["0"]))

    def loss(angles):
        image = gray_cube(angles)
        return jnp.mean(jnp.abs(image - target)), image

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.7, momentum=0.1))

    @jax.jit
    def step(angles, state):
        (_, image), grad = jax.value_and_grad(loss, has_aux=True)(angles)
        updates, state = optimizer.update(grad, state)
        return optax.apply_updates(angles, updates), state, image

    angles = jnp.zeros(3)
    state = optimizer.init(angles)
    for _ in range(35):
        angles, state, _ = step(angles, state)
    image = step(angles, state)[2]
    outliers = (np.abs(np.asarray(image - target)) > 0.04).any(axis=-1).mean()
    assert outliers <= 0.01, (outliers, angles)


@pytest.mark.slow
def test_head_pose_and_translation_from_silhouette_and_colour():
    """15 degrees and 10 % off at the start, no landmarks."""
    size = (64, 64)
    model = load_morphable("procedural", rows=48, cols=48, n_id=16, n_alb=8, draws=40)
    vertices = decode_shape(model, jnp.zeros(model.num_id), jnp.zeros(model.num_exp))
    mesh = Mesh(
        vertices, model.topology.mesh, texture=decode_texture(model, jnp.zeros(model.num_alb))
    )
    height = float(np.ptp(np.asarray(vertices)[:, 1]))
    camera = Camera.look_at(pitch_rad=0.1, yaw_rad=0.2)

    def draw(pose):
        """pose: axis times angle (radians), then the shift (heights of the head)."""
        turn = axis_angle_to_matrix(pose[:3])
        moved = jnp.matmul(vertices, turn.T, precision="highest") + height * pose[None, 3:]
        return render(mesh.replace(vertices=moved), camera, None, size)

    goal = jnp.array([0.15, -0.2, 0.1, 0.02, -0.03, 0.05])
    target = jax.jit(draw)(goal)

    def loss(pose):
        out = draw(pose)
        color = jnp.mean(jnp.abs(out.image - target.image))
        return color + jnp.mean((out.mask - target.mask) ** 2)

    num_steps = 150
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, num_steps))

    @jax.jit
    def step(pose, state):
        updates, state = optimizer.update(jax.grad(loss)(pose), state)
        return optax.apply_updates(pose, updates), state

    axis = np.array([0.5, 0.7, -0.5]) / np.sqrt(0.99)
    off = np.concatenate([np.deg2rad(15) * axis, 0.1 * np.array([0.6, -0.5, 0.62])])
    pose = goal + off.astype(np.float32)
    state = optimizer.init(pose)
    for _ in range(num_steps):
        pose, state = step(pose, state)
    turns = [np.asarray(axis_angle_to_matrix(p[:3])) for p in (pose, goal)]
    cosine = (np.trace(turns[0] @ turns[1].T) - 1) / 2
    assert np.rad2deg(np.arccos(min(cosine, 1.0))) < 1.0
    assert np.abs(np.asarray(pose - goal))[3:].max() < 0.01
