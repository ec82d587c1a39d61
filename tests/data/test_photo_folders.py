import numpy as np
import pytest

from facejax.data.alignment import STANDARD_POINTS_DM, AlignedPhoto, align_photo
from facejax.data.photo_folders import (
    PhotoFolder,
    find_photos,
    load_photo,
    write_crop,
    write_labels,
)
from facejax.image.skin import skin_mask
from facejax.io.images import write_image
from facejax.io.landmarks import write_landmarks


def test_both_layouts_hold_the_same_face(tmp_path, rng):
    image = rng.integers(0, 8, (150, 170, 3), dtype=np.uint8) + np.uint8([200, 140, 110])
    points = rng.uniform(30, 120, (68, 2))
    five = STANDARD_POINTS_DM[:, :2] * [55, -55] + [80, 70]
    points[[36, 39]], points[[42, 45]], points[[30, 48, 54]] = five[:1], five[1:2], five[2:]
    photo = align_photo(image, points)
    write_crop(tmp_path / "crops", "a", photo, skin_mask(photo.crop))
    write_image(tmp_path / "photos" / "a.png", image)
    up = points * [1, -1] + [0, 149]
    write_labels(tmp_path / "photos", "a", up, skin_mask(image))
    (crop, mask), (cut, cut_mask) = (
        load_photo(find_photos(tmp_path / name)[0]) for name in ("crops", "photos")
    )
    np.testing.assert_array_equal(crop.crop, cut.crop)
    np.testing.assert_array_equal(crop.crop, photo.crop)
    np.testing.assert_allclose(crop.landmarks, cut.landmarks, atol=1e-5)
    shown = crop.crop.min(axis=-1) > 100
    assert np.abs(mask.astype(float) - cut_mask)[shown].mean() < 6
    np.testing.assert_allclose(cut.transform.box, photo.transform.box, rtol=1e-6)
    assert crop.transform == photo.transform  # stored beside the crop: the way back to the photo
    np.testing.assert_allclose(crop.transform.to_photo(crop.landmarks), points, atol=1e-4)
    (tmp_path / "crops" / "transform" / "a.json").write_text('{"width": 1}')
    with pytest.raises(ValueError, match="no transform of a crop"):
        load_photo(find_photos(tmp_path / "crops")[0])
    (tmp_path / "crops" / "transform" / "a.json").unlink()  # crops of other programs
    assert load_photo(find_photos(tmp_path / "crops")[0])[0].transform is None
    write_crop(tmp_path / "five", "a", AlignedPhoto(crop.crop, None, five), mask)
    with pytest.raises(ValueError, match="no landmarks of them"):
        find_photos(tmp_path / "five")
    (tmp_path / "crops" / "mask" / "a.png").unlink()  # then it is computed
    np.testing.assert_array_equal(load_photo(find_photos(tmp_path / "crops")[0])[1], mask)
    alpha = rng.integers(0, 256, (224, 224), dtype=np.uint8)  # or the image brings it
    write_image(tmp_path / "crops" / "a.png", np.dstack([photo.crop, alpha]))
    again, found = load_photo(find_photos(tmp_path / "crops")[0])
    np.testing.assert_array_equal(again.crop, photo.crop)
    np.testing.assert_array_equal(found, alpha)


def test_bad_prepared_folders(tmp_path, rng):
    write_image(tmp_path / "a.png", rng.integers(0, 256, (50, 60, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="no landmarks of them.*preprocess_images"):
        find_photos(tmp_path)
    write_landmarks(tmp_path / "lm" / "a.txt", np.zeros((68, 2)))
    with pytest.raises(ValueError, match="crop of 60x50, wanted 224x224"):
        PhotoFolder(tmp_path).batch(np.array([0]))
    with pytest.raises(ValueError, match="outside a set of 1"):
        PhotoFolder(tmp_path).batch(np.array([1]))
    write_image(tmp_path / "mask" / "a.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="mask of 5x5"):
        PhotoFolder(tmp_path).batch(np.array([0]))
    lists = tmp_path / "lists"
    lists.mkdir()
    for name, text in (("images", "x.png\n"), ("landmarks", "x.txt\n"), ("masks", "")):
        (lists / f"{name}.txt").write_text(text)
    with pytest.raises(ValueError, match="wanted equally many"):
        find_photos(lists)
    (lists / "masks.txt").write_text("x.png\n")
    with pytest.raises(ValueError, match="no file seen from here"):
        find_photos(lists)
