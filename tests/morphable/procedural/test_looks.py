"""Pictures of the head, judged by a detector that nobody here wrote: OpenCV's Haar cascade."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh
from facejax.morphable import decode_shape, decode_texture
from facejax.morphable.procedural import CanonicalLayout, build_procedural
from facejax.morphable.procedural.build import HeadGrid
from facejax.morphable.procedural.layout import complete_identity, loft
from facejax.morphable.storage import model_from_arrays
from facejax.render import render


@pytest.fixture(scope="module")
def detect():
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "data"):
        pytest.skip("OpenCV without its Haar cascades (they come with version 4)")
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    if detector.empty():
        pytest.skip("OpenCV without its Haar cascades (they come with version 4)")

    def has_face(image):
        grey = cv2.cvtColor((255 * np.asarray(image)).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        return len(detector.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5)) > 0

    return has_face


@pytest.fixture(scope="module")
def model():
    return model_from_arrays(build_procedural(n_id=40, n_alb=16, draws=60))


@pytest.fixture(scope="module")
def picture(model):
    """(vertices [V, 3], texture [T, T, 3], yaw_deg, pitch_deg) -> image [256, 256, 3]."""

    @jax.jit
    def draw(vertices, tex, yaw_rad, pitch_rad):
        camera = Camera.look_at(distance_mm=900.0, yaw_rad=yaw_rad, pitch_rad=pitch_rad)
        mesh = Mesh(vertices, model.topology.mesh, texture=jnp.clip(tex, 0, 1))
        return render(mesh, camera, size=(256, 256)).image

    def draw_deg(vertices, tex, yaw_deg, pitch_deg):
        return draw(
            vertices, tex, np.float32(np.deg2rad(yaw_deg)), np.float32(np.deg2rad(pitch_deg))
        )

    return draw_deg


@pytest.mark.slow
def test_random_neutral_faces_are_found(model, picture, detect, rng):
    found = 0
    for _ in range(50):
        id_coeffs = np.clip(rng.standard_normal(model.num_id), -2.3, 2.3)
        alb_coeffs = np.clip(rng.standard_normal(model.num_alb), -2.2, 2.2)
        yaw_deg, pitch_deg = rng.uniform([-10, -6], [10, 6])
        vertices = decode_shape(model, id_coeffs.astype(np.float32), jnp.zeros(model.num_exp))
        tex = decode_texture(model, alb_coeffs.astype(np.float32))
        found += detect(picture(vertices, tex, yaw_deg, pitch_deg))
    assert found >= 48


def test_a_head_without_features_and_paint_is_not_a_face(model, picture, detect):
    grid = HeadGrid(128, 128)
    layout = CanonicalLayout(grid.u, grid.v)
    points = 10 * grid.weld(loft(layout.v, layout.phi, complete_identity({})))
    skin = jnp.broadcast_to(jnp.array([0.75, 0.58, 0.49]), model.mean_texture.shape)
    views = [(yaw, pitch) for yaw in (-10, -5, 0, 5, 10) for pitch in (-6, 0, 6)]
    found = sum(detect(picture(points.astype(np.float32), skin, *view)) for view in views)
    assert found <= 1


def test_mean_picture_looks_as_expected(model, picture):
    """Coarse facts that a swapped axis, colour or texture row would break."""
    image = np.asarray(picture(model.mean_shape, model.mean_texture, 0, 0))
    assert np.abs(image - image[:, ::-1]).mean() < 0.06  # light from one side, strands of hair
    hair, forehead = image[4:12, 118:138].mean(axis=(0, 1)), image[40:50, 118:138].mean(axis=(0, 1))
    assert forehead.mean() > 2 * hair.mean()
    assert forehead[0] > forehead[1] > forehead[2]
