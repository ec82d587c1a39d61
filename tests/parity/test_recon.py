"""Vertex normals, spherical-harmonics colour and camera of the Deep3D family's face decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import loadmat

from facejax.geometry import camera_frames
from facejax.geometry.camera import camera_from_object, project
from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.render.shading import SphericalHarmonics, shade
from tests.parity.golden import case_files

CASES = case_files("recon", "facemodel.npz")
ANGLES, GAMMA, TRANS = slice(224, 227), slice(227, 254), slice(254, 257)


def load(path):
    model = loadmat(path.with_name("BFM_model_front_small.mat"))
    triangles = model["tri"].astype(np.int32) - 1
    topology = MeshTopology(triangles, model["meanshape"].size // 3)
    return dict(np.load(path)), topology, model


@pytest.mark.parametrize("path", CASES)
def test_uniform_vertex_normals(path):
    case, topology, _ = load(path)
    got = vertex_normals(jnp.asarray(case["face_shape"]), topology, "uniform")
    np.testing.assert_allclose(got, case["vertex_norm"], atol=1e-5)
    area = vertex_normals(jnp.asarray(case["face_shape"]), topology)
    assert np.abs(np.asarray(area) - case["vertex_norm"]).max() > 1e-2  # the weighting matters


@pytest.mark.parametrize("path", CASES)
def test_colour_of_rotated_normals(path):
    case, _, _ = load(path)
    light = SphericalHarmonics.deep3d(case["coeff"][:, GAMMA])
    camera = camera_frames.from_deep3d(case["coeff"][:, ANGLES], case["coeff"][:, TRANS])
    rotated = np.einsum("bij,bnj->bni", camera.rotation, case["vertex_norm"])
    np.testing.assert_allclose(rotated, case["norm_rotated"], atol=1e-5)
    got = shade(light, case["face_texture"], rotated.astype(np.float32))
    np.testing.assert_allclose(got, case["face_color"], atol=1e-5)


@pytest.mark.parametrize("path", CASES)
def test_camera_frame_and_projection(path):
    case, _, model = load(path)
    camera = camera_frames.from_deep3d(case["coeff"][:, ANGLES], case["coeff"][:, TRANS])
    shape_mm = 100.0 * jnp.asarray(case["face_shape"])
    got = np.asarray(camera_from_object(camera, shape_mm)) / 100.0
    want = case["vertex_camera"] * [1, 1, -1]  # there: depth, positive away from the viewer
    np.testing.assert_allclose(got, want, atol=1e-4)
    pixels = np.asarray(project(camera, shape_mm, (224, 224)))
    np.testing.assert_allclose(pixels, case["proj"] * [1, -1] + [0, 224], atol=1e-3)
    landmarks = pixels[:, model["keypoints"].reshape(-1).astype(int) - 1]
    np.testing.assert_allclose(landmarks, case["landmark"] * [1, -1] + [0, 224], atol=1e-3)


@pytest.mark.parametrize("path", CASES)
def test_gradient_of_colour_and_camera_with_respect_to_light_and_translation(path):
    case, topology, _ = load(path)
    coeff, num = jnp.asarray(case["coeff"]), topology.num_vertices
    keypoints = loadmat(path.with_name("BFM_model_front_small.mat"))["keypoints"].reshape(-1)

    def scalar(gamma, angles, trans):
        camera = camera_frames.from_deep3d(angles, trans)
        normals = vertex_normals(jnp.asarray(case["face_shape"]), topology, "uniform")
        rotated = jnp.einsum("bij,bnj->bni", camera.rotation, normals, precision="highest")
        color = shade(SphericalHarmonics.deep3d(gamma), jnp.asarray(case["face_texture"]), rotated)
        shape_mm = 100.0 * jnp.asarray(case["face_shape"])
        flip = jnp.array([1.0, 1.0, -1.0]).reshape(1, 1, 3)
        vertex_camera = camera_from_object(camera, shape_mm) / 100.0 * flip
        pixels = project(camera, shape_mm, (224, 224))[:, keypoints.astype(int) - 1]
        landmark = jnp.stack([pixels[..., 0], 224 - pixels[..., 1]], axis=-1)
        return (
            jnp.mean(landmark * case["w_lm"])
            + jnp.sum(color * case["w_color"]) / num
            + jnp.sum(vertex_camera * case["w_vertex"]) / num
        )

    args = (coeff[:, GAMMA], coeff[:, ANGLES], coeff[:, TRANS])
    value, grads = jax.value_and_grad(scalar, argnums=(0, 1, 2))(*args)
    assert float(value) == pytest.approx(float(case["scalar"]), rel=1e-3)
    for got, part in zip(grads, (GAMMA, ANGLES, TRANS), strict=True):
        want = case["grad_coeff"][:, part]
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())
