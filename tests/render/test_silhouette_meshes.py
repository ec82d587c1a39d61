"""The occlusion gradient under rigid motion and scaling, against wide differences of the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera, clip_from_object
from facejax.geometry.mesh import MeshTopology
from facejax.geometry.rotations import axis_angle_to_matrix
from facejax.render import boundary_grad, rasterize
from tests.oracles import meshes
from tests.parity.golden import ROOT

SIZE = (224, 224)
MOTIONS = ("shift x", "shift y", "scale", "pitch", "yaw", "roll")
STEPS = np.linspace(-2.0, 2.0, 13)  # pixels: wide, because the forward image moves in steps


def sphere():
    """About a pixel per triangle; its pivot lies to the side, so that turning it moves it."""
    vertices, topology = meshes.sphere(72, 144)
    matrix = np.asarray(clip_from_object(Camera.look_at(), SIZE))
    return 90 * vertices, topology, matrix, np.array([-100.0, 60.0, 0.0])


def golden(case):
    def load():
        path = ROOT / "raster" / f"{case}.npz"
        if not path.exists():
            pytest.skip(f"no {path}; set FACEJAX_GOLDEN to run this test")
        stored = np.load(path)
        mesh = np.load(path.with_name(f"{stored['mesh']}.npz"))
        vertices = mesh["verts"].astype(np.float32)
        topology = MeshTopology(mesh["tri"], len(vertices))
        return vertices, topology, stored["matrix"], vertices.mean(axis=0)

    return load


def moved(vertices, matrix, pivot, motion):
    """Clip positions after motions in pixels (turns and growth: half a body's size away)."""
    extent = 0.5 * np.ptp(vertices, axis=0)[:2].max()
    w = float((matrix @ np.append(pivot, 1.0))[3])
    pixel = 2 / SIZE[0] * w / np.linalg.norm(matrix[1, :3])  # object units per pixel
    step = motion * (pixel / extent)
    turn = axis_angle_to_matrix(step[3:]) * (1 + step[2])
    turned = jnp.matmul(vertices - pivot[None], turn.T, precision="highest") + pivot[None]
    points = jnp.concatenate([turned, jnp.ones_like(turned[:, :1])], axis=1)
    clip = jnp.matmul(points, jnp.asarray(matrix.T, jnp.float32), precision="highest")
    shift = motion[None, :2] * (2 / SIZE[0])
    return clip.at[:, :2].add(shift * clip[:, 3:])


def smooth_weights():
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    return jnp.asarray(np.sin(2 * x + 0.5) + 0.7 * np.cos(3 * y) + 0.4 * x * y, jnp.float32)


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(sphere, id="sphere"),
        pytest.param(golden("ict_face_256"), id="ict_face"),
        pytest.param(golden("bfm_front_224"), id="bfm"),
    ],
)
def test_boundary_gradient_matches_wide_differences(load):
    vertices, topology, matrix, pivot = load()
    vertices, pivot = jnp.asarray(vertices, jnp.float32), np.asarray(pivot, np.float32)
    weights = smooth_weights()

    def loss(motion):
        clip = moved(vertices, np.asarray(matrix), pivot, motion)
        fragments = rasterize(clip, topology, SIZE)
        mask = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
        return jnp.sum(boundary_grad(mask, clip, topology, fragments)[..., 0] * weights)

    loss = jax.jit(jax.value_and_grad(loss))
    grad = np.asarray(loss(jnp.zeros(6))[1])
    slopes = []
    for axis in range(len(MOTIONS)):
        values = [float(loss(jnp.zeros(6).at[axis].set(t))[0]) for t in STEPS]
        slopes.append(np.polyfit(STEPS, values, 1)[0])
    slopes = np.array(slopes)
    scale = np.abs(slopes).max()
    wrong = {n: (g, s) for n, g, s in zip(MOTIONS, grad, slopes, strict=True)
             if abs(g - s) > 0.05 * scale}  # fmt: skip
    assert not wrong, wrong
