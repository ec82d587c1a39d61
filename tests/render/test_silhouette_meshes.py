"""The occlusion gradient under rigid motion and scaling, against wide differences of the image.

At 512 pixels with FACEJAX_SLOW=1.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera, clip_from_object
from facejax.geometry.mesh import MeshTopology
from facejax.geometry.rotations import axis_angle_to_matrix
from facejax.render import boundary_grad, interpolate, rasterize
from tests.oracles import meshes
from tests.parity.golden import ROOT

MOTIONS = ("shift x", "shift y", "scale", "pitch", "yaw", "roll")
STEPS = np.linspace(-2.0, 2.0, 13)  # pixels: wide, because the forward image moves in steps


def sphere():
    """About a pixel per triangle; its pivot lies to the side, so that turning it moves it."""
    vertices, topology = meshes.sphere(72, 144)
    matrix = np.asarray(clip_from_object(Camera.look_at(), (224, 224)))
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


def moved(vertices, matrix, pivot, motion, size):
    """Clip positions after motions in pixels (turns and growth: half a body's size away)."""
    extent = 0.5 * np.ptp(vertices, axis=0)[:2].max()
    w = float((matrix @ np.append(pivot, 1.0))[3])
    pixel = 2 / size * w / np.linalg.norm(matrix[1, :3])  # object units per pixel
    step = motion * (pixel / extent)
    turn = axis_angle_to_matrix(step[3:]) * (1 + step[2])
    turned = jnp.matmul(vertices - pivot[None], turn.T, precision="highest") + pivot[None]
    points = jnp.concatenate([turned, jnp.ones_like(turned[:, :1])], axis=1)
    clip = jnp.matmul(points, jnp.asarray(matrix.T, jnp.float32), precision="highest")
    shift = motion[None, :2] * (2 / size)
    return clip.at[:, :2].add(shift * clip[:, 3:])


def smooth_weights(size):
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    return jnp.asarray(np.sin(2 * x + 0.5) + 0.7 * np.cos(3 * y) + 0.4 * x * y, jnp.float32)


def smooth_colors(vertices):
    place = (vertices - vertices.mean(axis=0)) / np.ptp(vertices, axis=0).max()
    return jnp.asarray(0.5 + 0.3 * np.sin(9 * place) + 0.2 * place[:, ::-1], jnp.float32)


@pytest.mark.parametrize("size", [224, pytest.param(512, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "load",
    [
        pytest.param(sphere, id="sphere", marks=pytest.mark.slow),
        pytest.param(golden("ict_face_256"), id="ict_face"),
        pytest.param(golden("bfm_front_224"), id="bfm", marks=pytest.mark.slow),
    ],
)
def test_boundary_gradient_matches_wide_differences(load, size):
    vertices, topology, matrix, pivot = load()
    colors = smooth_colors(np.asarray(vertices, np.float64))
    vertices, pivot = jnp.asarray(vertices, jnp.float32), np.asarray(pivot, np.float32)
    weights = smooth_weights(size)[..., None]

    def loss(motion, which):
        clip = moved(vertices, np.asarray(matrix), pivot, motion, size)
        fragments = rasterize(clip, topology, (size, size))
        mask = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
        image = jnp.concatenate([mask, interpolate(colors, topology, fragments)], axis=-1)
        image = boundary_grad(image, clip, topology, fragments) * weights
        values = jnp.stack([jnp.sum(image[..., 0]), jnp.sum(image[..., 1:])])
        return jnp.sum(values * which), values

    loss = jax.jit(jax.value_and_grad(loss, has_aux=True))
    still, kinds = jnp.zeros(6), {"mask": jnp.array([1.0, 0.0]), "color": jnp.array([0.0, 1.0])}
    grads = {kind: loss(still, which)[1] for kind, which in kinds.items()}
    slopes = np.stack(
        [
            np.polyfit(STEPS, [loss(still.at[a].set(t), kinds["mask"])[0][1] for t in STEPS], 1)[0]
            for a in range(len(MOTIONS))
        ]
    )
    # Colours on the last visible pixel of a round contour are extrapolated: less exact.
    for (kind, grad), slope, limit in zip(grads.items(), slopes.T, (0.05, 0.08), strict=True):
        scale = np.abs(slope).max()
        wrong = {n: (float(g), s) for n, g, s in zip(MOTIONS, grad, slope, strict=True)
                 if abs(g - s) > limit * scale}  # fmt: skip
        assert not wrong, (kind, wrong)
