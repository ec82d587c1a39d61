import itertools

import numpy as np
import pytest
from PIL import Image

from facejax.data import alignment
from facejax.data.alignment import (
    ARCFACE_TEMPLATE,
    STANDARD_POINTS_DM,
    TURNS,
    align,
    align_photo,
    arcface_similarity,
    check_landmarks5,
    landmarks5_from_68,
    points_as_shown,
    turn_points,
)
from facejax.geometry.rotations import euler_to_matrix


def five_points(angles_rad=(0, 0, 0), pixels_per_dm=70.0, middle=(150.0, 130.0)):
    """The standard face in a photo, y down."""
    turn = np.asarray(euler_to_matrix(np.float32(angles_rad), "xyz"), np.float64)
    points = STANDARD_POINTS_DM @ turn.T
    return points[:, :2] * [pixels_per_dm, -pixels_per_dm] + middle


def test_the_crop_shows_what_the_points_say(rng):
    image = rng.integers(0, 40, (260, 300, 3), dtype=np.uint8)
    five = five_points(middle=(201.3, 88.6), pixels_per_dm=61.0)
    for x, y in five.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    photo = align_photo(image, five)
    assert photo.crop.shape == (224, 224, 3) and photo.crop.dtype == np.uint8
    for x, y in photo.landmarks:
        row, column = int(223 - y), int(x)
        assert photo.crop[row - 1 : row + 2, column - 1 : column + 2].mean() > 150
    np.testing.assert_allclose(photo.transform.to_photo(photo.landmarks), five, atol=1e-9)
    # zero coefficients of the Basel model fall on these points; the affine camera is near it
    basel = [[79.955, 141.871], [143.865, 141.799], [112.349, 107.039], [85.818, 72.407],
             [137.793, 72.420]]  # fmt: skip
    np.testing.assert_allclose(photo.landmarks, basel, atol=2.0)


@pytest.mark.parametrize("size", [(260, 300), (1201, 733)])
def test_the_way_back_is_exact_for_pictures_within_a_pixel(rng, size):
    transform = align(five_points(rng.uniform(-0.3, 0.3, 3)), size)
    left, top, right, bottom = transform.box
    corners_up = np.array([[0, 224], [224, 0]])  # y up, of the continuous image
    by_landmarks = transform.to_photo(corners_up) + 0.0
    by_box = np.array([[left, top], [right, bottom]])
    assert np.abs(by_landmarks - by_box).max() * transform.scale < 2.5
    points = rng.uniform(0, 224, (7, 3, 2))
    np.testing.assert_allclose(transform.to_crop(transform.to_photo(points)), points, atol=1e-9)


def test_only_what_the_crop_shows_is_resampled(rng, monkeypatch):
    monkeypatch.setattr(alignment, "_MAX_PIXELS", 0)
    image = rng.integers(0, 256, (130, 170, 3), dtype=np.uint8)
    for middle in ((80, 60), (10, 10), (165, 125)):
        for scale in (15.0, 60.0, 200.0):
            transform = align(five_points(middle=middle, pixels_per_dm=scale), image.shape[:2])
            (left, top), size = transform.corner, transform.size
            whole = Image.fromarray(image).resize(transform.resized, Image.Resampling.BICUBIC)
            want = np.asarray(whole.crop((left, top, left + size, top + size)), int)
            difference = np.abs(transform.cut(image) - want)
            assert difference.max() <= 3 and difference.mean() < 0.01  # of noise, the worst case
            gray = transform.cut(np.ascontiguousarray(image[..., 0]))
            assert np.abs(gray - want[..., 0]).max() <= 3
    # eyes 25 pixels apart in 24 megapixels: resized as a whole it would have 150
    five = five_points(middle=(5000.0, 2000.0), pixels_per_dm=40.0)
    photo = align_photo(np.full((4000, 6000, 3), 7, np.uint8), five)
    assert photo.crop.min() == photo.crop.max() == 7


@pytest.mark.parametrize("tag", [3, 6, 8])
def test_points_of_stored_pixels_are_turned_with_the_photo(tag):
    size = (300, 320)  # as shown
    shown = five_points()
    height, width = size if tag == 3 else size[::-1]  # as stored
    stored = {3: lambda x, y: (width - 1 - x, height - 1 - y), 6: lambda x, y: (y, height - 1 - x),
              8: lambda x, y: (width - 1 - y, x)}[tag]  # fmt: skip
    measured = np.stack(stored(*shown.T), axis=1)
    found, turned = points_as_shown(measured, measured, size, tag)
    assert turned
    np.testing.assert_allclose(found, shown)
    same, turned = points_as_shown(shown, shown, size, tag)
    assert not turned and same is shown
    _, turned = points_as_shown(measured, measured, size, 1)
    assert not turned
    mark = np.zeros((height, width), np.uint8)  # Pillow turns pictures the same way
    x, y = measured[0].astype(int)
    mark[y, x] = 1
    row, column = np.argwhere(np.rot90(mark, TURNS[tag]))[0]
    np.testing.assert_allclose([column, row], turn_points(np.array([[x, y]]), size, tag)[0])


def test_plausible_faces_have_no_complaints(rng):
    size = (300, 320)
    for yaw in (-90, -45, 0, 30, 90):
        for pitch, roll in ((0, 0), (25, 0), (-25, 30), (0, -45)):
            five = five_points(np.radians([pitch, yaw, roll]))
            assert check_landmarks5(five, size) == [], (yaw, pitch, roll)
            noisy = five + rng.normal(0, 1.5, five.shape)
            assert check_landmarks5(noisy, size) == [], (yaw, pitch, roll)


def test_odd_points_are_named():
    size, five = (300, 320), five_points()
    swapped = five[[1, 0, 2, 4, 3]]
    dlib = np.array([[190, 110], [165, 111], [110, 110], [135, 111], [150, 150]], float)
    for points, word in (
        (swapped, "swapped"),
        (five * [1, -1] + [0, 299], "y seems to run up"),
        (five[[3, 4, 2, 0, 1]], "the mouth comes first"),
        (five[:, ::-1], "x and y seem to be swapped"),
        (dlib, "dlib"),
        (five[[0, 1, 3, 2, 4]], "seem to be the points 1 2 4 3 5"),
        (five[[0, 1, 2, 4, 3]], "seem to be the points 1 2 3 5 4"),
        (five * [1.0, 0.3], "no face"),
        (five + [200, 0], "outside"),
        (np.rot90(np.eye(2), 2) @ (five - 150).T + 150, "shape"),
        ((150 - five) + 150, "turned by"),
        (five * 0.05, "apart"),
        (five * np.nan, "finite"),
    ):
        assert any(word in c for c in check_landmarks5(points, size)), word


def test_no_other_order_of_the_points_passes():
    for pitch, yaw, roll in ((0, 0, 0), (10, 30, 0), (-5, -60, 10)):
        five = five_points(np.radians([pitch, yaw, roll]))
        for order in itertools.permutations(range(5)):
            complaints = check_landmarks5(five[list(order)], (300, 320))
            assert bool(complaints) == (order != (0, 1, 2, 3, 4)), (yaw, order)


def test_recogniser_crop():
    up = ARCFACE_TEMPLATE * [1, -1] + [0, 223]  # already there, seen in a crop with y up
    eye = [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(arcface_similarity(up), eye, atol=1e-4)
    turn, shift = np.array([[0.8, -0.6], [0.6, 0.8]]), [30, 50]
    moved = (ARCFACE_TEMPLATE * 1.9) @ turn.T + shift
    batch = np.stack([up, moved * [1, -1] + [0, 223], np.zeros((5, 2))]).astype(np.float32)
    got = np.asarray(arcface_similarity(batch))
    back = np.einsum("ij,nj->ni", got[1, :, :2], moved) + got[1, :, 2]
    np.testing.assert_allclose(back, ARCFACE_TEMPLATE, atol=1e-3)
    np.testing.assert_allclose(got[2], eye)
    points = np.random.default_rng(0).uniform(0, 224, (2, 68, 2))
    np.testing.assert_allclose(
        arcface_similarity(points), arcface_similarity(landmarks5_from_68(points)), rtol=1e-4
    )


def test_bad_input():
    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\[5, 2\] or \[68, 2\]"):
        align_photo(image, np.zeros((4, 2)))
    with pytest.raises(ValueError, match="one spot"):
        align_photo(image, np.ones((5, 2)))
    with pytest.raises(ValueError, match="uint8"):
        align_photo(image / 255.0, five_points())
    with pytest.raises(ValueError, match="would scale the photo of 30x20 to 0x0"):
        align_photo(image, five_points(pixels_per_dm=20000.0))
    with pytest.raises(ValueError, match="30x20"):
        align(five_points(), (25, 30)).cut(image)
