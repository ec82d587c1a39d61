"""What is drawn on the host."""

import dataclasses

import numpy as np
import pytest

from facejax.data.photographs import (
    SCENES,
    PictureRanges,
    diffuse_harmonics,
    draw_lights,
    draw_picture,
    stored_light,
)
from facejax.image.color import linear_to_srgb
from facejax.render.shading import DEEP3D_AMBIENT, sh_basis


def drawn(ranges, num=300):
    rows = [draw_picture(np.random.default_rng([1, i]), ranges) for i in range(num)]
    return {k: np.stack([r[k] for r in rows]) for k in rows[0]}


def test_a_picture_is_a_pure_function_of_the_generator():
    first, again = (draw_picture(np.random.default_rng(7), PictureRanges()) for _ in range(2))
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
        assert np.asarray(value).dtype in (np.float32, np.int32), key


def test_ranges_are_kept():
    ranges = PictureRanges(
        contrast=0.6, key_azimuth_deg=50, key_height_deg=(10, 40), shadow_mm=(3, 5), blur_px=0.4,
        sharpness=0.5, noise=0.02, quality=(40, 60), degraded=0.5, defocus=0.02, covered=0.3,
        blobs=0.2, cut=0.1, scenes=(1, 0, 0, 2, 0), midtones=(-0.1, 0.1), tone_contrast=(0.8, 0.9),
        saturation=(0.2, 0.3), vignette=0.1,
    )  # fmt: skip
    found = drawn(ranges)
    key = found["lamp_directions"][:, 0]
    np.testing.assert_allclose(np.linalg.norm(found["lamp_directions"], axis=-1), 1, atol=1e-6)
    azimuth = np.degrees(np.arctan2(key[:, 0], key[:, 2]))
    height = np.degrees(np.arcsin(key[:, 1]))
    assert 45 < np.abs(azimuth).max() <= 50.001 and (azimuth < 0).any() and (azimuth > 0).any()
    assert 9.99 <= height.min() < 12 and 38 < height.max() <= 40.01
    for name, (low, high) in {
        "shadow_mm": (3, 5), "blur_px": (0, 0.4), "noise": (0, 0.02), "defocus": (0, 0.02),
        "vignette": (0, 0.1), "sharpness": (0.5, 1),
    }.items():  # fmt: skip
        assert low <= found[name].min() and found[name].max() <= high + 1e-6, name
        assert np.ptp(found[name]) > 0.8 * (high - low), name
    squeezed = found["quality"] > 0
    assert 0.4 < squeezed.mean() < 0.6 and found["quality"][squeezed].min() >= 40
    assert 0.4 < (found["sharpness"] < 1).mean() < 0.6
    assert 0.2 < found["cover"][:, 0].mean() < 0.4
    assert 0.12 < (found["blob"][:, 2] > 0).mean() < 0.28
    assert 0.05 < (found["bars"][:, :4].sum(1) > 0).mean() < 0.16
    names = np.array(SCENES)[found["scene_kind"]]
    assert set(names) == {"studio", "outdoors"} and 0.55 < (names == "outdoors").mean() < 0.78
    for k, (low, high) in enumerate(((-0.1, 0.1), (0.8, 0.9), (0.2, 0.3))):
        assert low <= found["tone"][:, k].min() and found["tone"][:, k].max() <= high + 1e-6


def test_an_ideal_camera_has_no_faults_and_the_same_light():
    ranges = PictureRanges(covered=1.0)
    real, ideal = drawn(ranges, 20), drawn(ranges.ideal(), 20)
    for key in ("sky", "lamp_directions", "lamp_colors", "shadow_mm"):
        np.testing.assert_array_equal(real[key], ideal[key])
    for key in ("blur_px", "noise", "quality", "vignette"):
        assert not ideal[key].any()
    assert not ideal["cover"][:, 0].any() and not ideal["blob"][:, 2].any()
    np.testing.assert_array_equal(ideal["tone"], [[0, 1, 1]] * 20)
    np.testing.assert_array_equal(ideal["sharpness"], 1)


def test_faces_are_exposed_well_in_any_light():
    """A white face toward the camera is about white; coloured light stays weak."""
    found = drawn(PictureRanges(brightness=0.0, tint=0.0))
    normal = np.array([[0, 0, 1.0]])
    basis = np.asarray(sh_basis(normal.astype(np.float32)))
    lamps = np.maximum(found["lamp_directions"] @ normal[0], 0)[..., None] * found["lamp_colors"]
    light = (np.einsum("k,nkc->nc", basis[0], found["sky"]) + lamps.sum(1)) * found["gain"]
    assert 0.45 < light.mean(axis=1).min() and light.mean(axis=1).max() < 1.5
    assert np.ptp(light, axis=1).max() < 0.8


def test_harmonics_are_the_light_without_shadows(rng):
    """Exact for the sky; of lamps the second band leaves out a tenth (Ramamoorthi 2001)."""
    normals = rng.normal(size=(400, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    basis = np.asarray(sh_basis(normals.astype(np.float32)), np.float64)
    for i in range(10):
        light = draw_lights(np.random.default_rng(i), PictureRanges())
        lamps = np.maximum(normals @ light["lamp_directions"].T, 0) @ light["lamp_colors"]
        want = basis @ light["sky"] + lamps
        error = np.abs(basis @ diffuse_harmonics(light) - want)
        assert error.max() < 0.12 * np.linalg.norm(light["lamp_colors"], axis=1).sum()


def test_stored_light_reproduces_stored_skin(rng):
    """Albedo times the decoder's harmonics, both as stored, against shading in linear light."""
    normals = rng.normal(size=(500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals[normals[:, 2] > 0].astype(np.float32)
    basis, lambert = sh_basis(normals, "deep3d"), sh_basis(normals)
    errors = []
    for i in range(20):
        light = draw_lights(np.random.default_rng(i), PictureRanges())
        lamps = np.maximum(normals @ light["lamp_directions"].T, 0) @ light["lamp_colors"]
        linear = (np.asarray(lambert) @ light["sky"] + lamps) * light["gain"]
        for albedo in (0.15, 0.4):
            stored = np.asarray(linear_to_srgb(np.minimum(albedo * linear, 1.0)))
            gamma = stored_light(light).reshape(3, 9).T + DEEP3D_AMBIENT
            found = np.asarray(linear_to_srgb(albedo)) * (np.asarray(basis) @ gamma)
            errors.append(np.abs(found - stored).mean())
    assert np.mean(errors) < 0.03 and max(errors) < 0.08


@pytest.mark.parametrize(
    "wrong",
    [
        dict(contrast=1.0), dict(kelvin=(100, 5000)), dict(quality=(0, 50)), dict(sharpness=0.0),
        dict(scenes=(1, 2)), dict(midtones=(0.2, 0.1)), dict(covered=1.5), dict(noise=-1),
    ],
)  # fmt: skip
def test_bad_ranges(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*wanted"):
        PictureRanges(**wrong)


def test_lists_of_configurations_are_taken():
    ranges = PictureRanges(midtones=[-0.1, 0.1], scenes=[1, 1, 1, 1, 1])
    assert ranges.midtones == (-0.1, 0.1) and hash(ranges) and dataclasses.asdict(ranges)
