"""The Deep3D family's face decoder and losses against vectors of the original programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import loadmat

from facejax.data import alignment, augment
from facejax.geometry import camera_frames
from facejax.geometry.camera import camera_from_object, project
from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.image.skin import skin_mask
from facejax.io.landmarks import read_landmarks
from facejax.losses import (
    coefficient_prior,
    gamma_prior,
    gcn_normal,
    gcn_shape,
    landmark,
    perceptual,
    photometric,
    reflectance,
)
from facejax.morphable import load_morphable
from facejax.recon import decoder
from facejax.render.shading import SphericalHarmonics, shade
from tests.parity.golden import ROOT, case_files

CASES = case_files("recon", "facemodel*.npz")
LOSSES = case_files("recon", "losses.npz")
PREPROCESS = case_files("recon", "preprocess*.npz")
PHOTOS = case_files("recon", "photos_aligned*.npz")
LOSSES_TF = case_files("recon", "losses_tf*.npz")
SIZES = (80, 64, 80)
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
def test_decoder(path):
    case = dict(np.load(path))
    model = load_morphable(path.with_name("BFM_model_front_small.mat"))
    assert decoder.num_coefficients(model) == case["coeff"].shape[-1] == 257

    def scalar(vector, model):
        face = decoder.decode(model, decoder.split(vector, model))
        total = (
            jnp.mean(face.landmarks_px * case["w_lm"])
            + jnp.sum(face.color * case["w_color"]) / model.num_vertices
            + jnp.sum(face.camera_vertices * case["w_vertex"]) / model.num_vertices
        )
        return total, (face, decoder.rotation(vector[..., ANGLES]))

    run = jax.jit(jax.value_and_grad(scalar, has_aux=True))
    (value, (face, turn)), gradient = run(jnp.asarray(case["coeff"]), model)
    for got, name, atol in (
        (face.shape, "face_shape", 1e-5),
        (face.albedo, "face_texture", 1e-5),
        (face.albedo * 255, "face_texture_255", 1e-3),
        (face.normals, "vertex_norm", 1e-5),
        (turn, "rotation", 1e-6),
        (face.normals_posed, "norm_rotated", 1e-5),
        (face.color, "face_color", 1e-5),
        (face.vertices, "shape_transformed", 1e-5),
        (face.camera_vertices, "vertex_camera", 1e-5),
        (face.pixels, "proj", 1e-3),
        (face.landmarks_px, "landmark", 1e-3),
    ):
        np.testing.assert_allclose(got, case[name], atol=atol, err_msg=name)
    assert float(value) == pytest.approx(float(case["scalar"]), rel=1e-4)
    want = case["grad_coeff"]
    np.testing.assert_allclose(gradient, want, rtol=1e-3, atol=1e-3 * np.abs(want).mean())


@pytest.mark.parametrize("path", LOSSES)
def test_losses_and_gradients(path):
    case = {k: jnp.asarray(v) for k, v in np.load(path).items()}

    @jax.jit
    def losses(case):
        pixels = [jnp.moveaxis(case[k], 1, -1) for k in ("photo_a", "photo_b")]
        mask = case["photo_mask"][:, 0]
        photo, photo_grad = jax.value_and_grad(photometric)(*pixels, mask)
        lm, lm_grad = jax.value_and_grad(landmark)(case["lm_pred"], case["lm_gt"])
        args = case["reflc_tex"], case["reflc_mask"]
        reflc, reflc_grad = jax.value_and_grad(reflectance)(*args)

        def priors(vector):
            coeffs = decoder.split(vector, SIZES)
            parts = dict(reg=coefficient_prior(coeffs), gamma=gamma_prior(coeffs.gamma))
            return sum(parts.values()), parts

        (_, parts), reg_grad = jax.value_and_grad(priors, has_aux=True)(case["reg_coeff"])
        return parts | dict(
            photo=photo,
            photo_grad_a=jnp.moveaxis(photo_grad, -1, 1),
            photo_emptymask=photometric(*pixels, 0 * mask),
            lm=lm,
            lm_grad=lm_grad,
            reg_grad=reg_grad,
            reflc=reflc,
            reflc_grad=reflc_grad,
            feat=perceptual(case["feat_a"], case["feat_b"]),
        )

    for name, value in losses(case).items():
        close(value, case[name], name)


@pytest.mark.parametrize("path", LOSSES_TF)
def test_losses_of_the_tensorflow_program(path):
    case = {k: jnp.asarray(v) for k, v in np.load(path).items()}

    def losses(case):
        coeffs = decoder.split(case["coeff"], SIZES)
        image, rendered = case["img"] / 255, case["render"] / 255
        return dict(
            photo=photometric(rendered, image, case["mask"][..., 0], "tensorflow"),
            landmark=landmark(case["lm1"], case["lm2"]),
            perceptual=perceptual(case["feat1"], case["feat2"], "tensorflow"),
            reg=coefficient_prior(coeffs),
            gamma=gamma_prior(coeffs.gamma),
            reflectance=reflectance(case["tex"] / 255, case["skin"]),
            shape=gcn_shape(case["mesh1"], case["mesh2"]),
            normal=gcn_normal(case["mesh1"], case["mesh2"]),
        )

    for name, value in jax.jit(losses)(case).items():
        close(value, case[name], name)


@pytest.mark.parametrize("path", PREPROCESS)
def test_alignment_of_photos(path):
    case = dict(np.load(path))
    np.testing.assert_allclose(alignment.STANDARD_POINTS_DM, case["lm3d_std"], atol=1e-7)
    np.testing.assert_allclose(
        alignment.landmarks5_from_68(case["lm3d_68"]), case["lm3d_std"], atol=1e-6
    )
    for i in range(sum(k.startswith("lm5_") and k[4:].isdigit() for k in case)):
        image, up = case[f"img{i}"], case[f"lm5_{i}"]
        t, s = alignment.pos(up)
        np.testing.assert_allclose(t, case[f"pos_t{i}"][:, 0], rtol=1e-6)
        np.testing.assert_allclose(s, case[f"pos_s{i}"], rtol=1e-6)
        down = up * [1, -1] + [0, len(image) - 1]
        photo = alignment.align_photo(image, down)
        check_transform(photo.transform, case[f"trans_params{i}"])
        np.testing.assert_array_equal(photo.crop, case[f"crop{i}"])
        np.testing.assert_allclose(photo.landmarks, case[f"lm_new{i}"], atol=1e-4)
        np.testing.assert_allclose(photo.transform.to_photo(photo.landmarks), down, atol=1e-9)


def check_transform(transform, want):
    got = transform.width, transform.height, transform.scale, transform.x, transform.y
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("path", PREPROCESS)
def test_augmentation_and_recogniser_crop(path):
    case = dict(np.load(path))
    five = alignment.landmarks5_from_68(case["lm68"])
    np.testing.assert_allclose(five, case["lm5_of_68"], atol=1e-6)
    matrix = alignment.arcface_similarity(case["lm68"])
    np.testing.assert_allclose(matrix, case["arcface_M"], rtol=1e-5, atol=1e-4)
    for k in range(sum(name.startswith("aug_flip") for name in case)):
        want, flip = case[f"aug_affine{k}"], bool(case[f"aug_flip{k}"])
        np.testing.assert_allclose(np.linalg.inv(want), case[f"aug_affine_inv{k}"], atol=1e-9)
        turn = want[:2, :2] * ([-1, 1] if flip else [1, 1])
        scale, angle = np.hypot(*turn[:, 0]), np.arctan2(turn[1, 0], turn[0, 0])
        middle = want @ [112, 112, 1]  # only the shift moves it
        shift = np.linalg.solve(turn, middle[:2] - 112)
        np.testing.assert_allclose(shift, np.rint(shift), atol=1e-6)
        assert np.abs(shift).max() <= augment.SHIFT_PX + 1e-6
        matrix = augment.affine_matrix(np.rint(shift), scale, angle, flip)
        np.testing.assert_allclose(matrix, want, atol=1e-6)
        moved = augment.transform_landmarks(case["lm68"], want, flip)
        np.testing.assert_allclose(moved, case[f"aug_lm{k}"], atol=1e-6)
        image = augment.warp_on_host(case["crop0"], want)
        np.testing.assert_array_equal(image, case[f"aug_img{k}"])
        pixels = jnp.asarray(case["crop0"], jnp.float32)
        on_device = np.clip(augment.warp(pixels, want.astype(np.float32)), 0, 255)
        assert np.abs(on_device - image.astype(np.float32)).mean() < 1


@pytest.mark.parametrize("path", PREPROCESS)
def test_skin_mask(path):
    case = dict(np.load(path))
    rgb, want = case["skin_bgr"][..., ::-1], case["skin_mask"][..., 0].astype(int)
    assert np.abs(skin_mask(rgb).astype(int) - want).max() <= 1
    on_device = skin_mask(jnp.asarray(rgb, jnp.float32) / 255)
    assert np.abs(255 * np.asarray(on_device) - want).max() <= 1.5


@pytest.mark.parametrize("path", PHOTOS)
def test_real_photos(path):
    from PIL import Image

    case = dict(np.load(path))
    folder = ROOT.parent / "data" / "photos"
    names = {p.stem: p for p in folder.glob("*") if p.suffix in (".jpg", ".png")}
    if not names:
        pytest.skip(f"no photos in {folder}")
    for key in [k for k in case if k.endswith("_trans_params")]:
        name = key.removesuffix("_trans_params")
        image = np.asarray(Image.open(names[name]).convert("RGB"))
        five = read_landmarks(folder / f"{name}.txt", 5)
        assert alignment.check_landmarks5(five, image.shape[:2]) == []
        photo = alignment.align_photo(image, five)
        check_transform(photo.transform, case[key])
        np.testing.assert_allclose(photo.landmarks, case[f"{name}_lm5"], atol=1e-4)
        want = case[f"{name}_crop_112"].astype(int)
        assert np.abs(photo.crop[::2, ::2].astype(int) - want).mean() <= 1
        mean_std = photo.crop.mean(), photo.crop.std()
        np.testing.assert_allclose(mean_std, case[f"{name}_crop_mean_std"], atol=0.5)
        skin = skin_mask(photo.crop)[::2, ::2].astype(int)
        assert np.abs(skin - case[f"{name}_skin_112"]).mean() <= 1


def close(got, want, name=""):
    """Within 1e-5 of the value, or of the mean size of an array."""
    want = np.asarray(want)
    atol = 1e-5 * np.abs(want).mean()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=atol, err_msg=name)
