"""Published pictures of the TensorFlow mesh renderer (Apache-2.0).

Its own acceptance rule: at most 0.1 % of pixels differ by more than 0.01 in any channel.
"""

import numpy as np
import pytest
from PIL import Image

from facejax.geometry import camera_frames
from facejax.geometry.camera import to_clip
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.geometry.rotations import euler_to_matrix
from facejax.render import AmbientLight, PointLight, interpolate, rasterize, render
from facejax.render.shading import shade
from tests.parity.golden import case_files

SIZE = (480, 640)
CUBE = np.array(
    [[-1, -1, 1], [-1, -1, -1], [-1, 1, -1], [-1, 1, 1], [1, -1, 1], [1, -1, -1], [1, 1, -1],
     [1, 1, 1]], np.float32,
)  # fmt: skip
TRIANGLES = np.array(
    [[0, 1, 2], [2, 3, 0], [3, 2, 6], [6, 7, 3], [7, 6, 5], [5, 4, 7], [4, 5, 1], [1, 0, 4],
     [5, 6, 2], [2, 1, 5], [7, 4, 0], [0, 3, 7]]
)  # fmt: skip
TRIANGLE = np.array([[-0.5, -0.5, 0.8, 1], [0, 0.5, 0.3, 1], [0.5, -0.5, 0.3, 1]], np.float32)
EYES = {"0": (2.0, 3.0, 6.0), "1": (-3.0, 1.0, 6.0)}
ANGLES = {"0": (-20.0, 0.0, 60.0), "1": (45.0, 60.0, 0.0)}  # used as radians, as published


def glu_camera(eye, fov_deg=40.0, near=0.01, far=10.0):
    """gluPerspective and gluLookAt toward the origin with y up."""
    f = 1 / np.tan(np.deg2rad(fov_deg) / 2)
    projection = np.array(
        [
            [f * SIZE[0] / SIZE[1], 0, 0, 0],
            [0, f, 0, 0],
            [0, 0, (far + near) / (near - far), 2 * far * near / (near - far)],
            [0, 0, -1, 0],
        ]
    )
    eye = np.array(eye)
    forward = -eye / np.linalg.norm(eye)
    side = np.cross(forward, [0, 1, 0])
    side /= np.linalg.norm(side)
    modelview = np.eye(4)
    modelview[:3, :3] = np.stack([side, np.cross(side, forward), -forward])
    modelview[:3, 3] = -modelview[:3, :3] @ eye
    return camera_frames.from_opengl(projection, modelview, SIZE)


def simple_triangle(w):
    clip = TRIANGLE * np.asarray(w, np.float32)[:, None]
    fragments = rasterize(clip, MeshTopology([[0, 1, 2]], 3), SIZE)
    image = np.concatenate([fragments.barycentric, np.ones((*SIZE, 1))], axis=-1)
    return image[::-1]  # these pictures have row 0 at the bottom


def unlit_cube(number):
    topology = MeshTopology(TRIANGLES, 8)
    clip = to_clip(glu_camera(EYES[number]), CUBE, SIZE)
    fragments = rasterize(clip, topology, SIZE)
    rgba = np.concatenate([CUBE / 2 + 0.5, np.ones((8, 1), np.float32)], axis=-1)
    return np.asarray(interpolate(rgba, topology, fragments))[::-1]


def gray_cube(number):
    rotation = np.asarray(euler_to_matrix(np.array(ANGLES[number]), "xyz"))
    vertices = CUBE @ rotation.T
    topology = MeshTopology(TRIANGLES, 8)
    camera = glu_camera((0.0, 0.0, 6.0))
    fragments = rasterize(to_clip(camera, vertices, SIZE), topology, SIZE)
    normal = np.array(interpolate(vertices / np.sqrt(3), topology, fragments))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    position = interpolate(vertices, topology, fragments)
    light = PointLight(position=np.array([0, 0, 6], np.float32), frame="object")
    hit = np.asarray(fragments.triangle_id) >= 0
    gray = np.asarray(shade(light, hit[..., None] * np.ones(3, np.float32), normal, position))
    return np.concatenate([gray, hit[..., None]], axis=-1)


SCENES = {
    "Simple_Triangle": lambda: simple_triangle([1, 1, 1]),
    "Perspective_Corrected_Triangle": lambda: simple_triangle([0.2, 0.5, 2.0]),
    "Unlit_Cube_0": lambda: unlit_cube("0"),
    "Unlit_Cube_1": lambda: unlit_cube("1"),
    "Gray_Cube_0": lambda: gray_cube("0"),
    "Gray_Cube_1": lambda: gray_cube("1"),
}
PICTURES = [
    c for c in case_files("tf_mesh_renderer", "*.png") if c.id in SCENES or c.id == "absent"
]


def assert_accepted(image, want):
    differs = (np.abs(image - want) > 0.01).any(axis=-1)
    assert differs.mean() <= 0.001


@pytest.mark.parametrize("path", PICTURES)
def test_published_picture(path):
    want = np.asarray(Image.open(path).convert("RGBA"), np.float32) / 255
    assert_accepted(np.clip(SCENES[path.stem](), 0, 1), want)


@pytest.mark.parametrize("path", [c for c in PICTURES if str(c.id).startswith(("Unlit", "abs"))])
def test_published_picture_by_render(path):
    want = np.asarray(Image.open(path).convert("RGBA"), np.float32)[::-1, :, :3] / 255
    mesh = Mesh(CUBE, MeshTopology(TRIANGLES, 8), vertex_colors=CUBE / 2 + 0.5)
    camera = glu_camera(EYES[path.stem[-1]])
    out = render(mesh, camera, AmbientLight(), SIZE, color_space="raw", background=(0.0,) * 3)
    assert_accepted(np.asarray(out.image), want)
