import logging

import numpy as np
import pytest
from PIL import Image

from facejax.data.alignment import STANDARD_POINTS_DM, AlignedPhoto, align_photo
from facejax.data.photo_folders import (
    PhotoFolder,
    find_photos,
    flip_y,
    load_photo,
    write_crop,
    write_labels,
)
from facejax.image.skin import skin_mask
from facejax.io.images import write_image
from facejax.io.landmarks import read_landmarks, write_landmarks


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


def face_points(rng, middle=(80, 70)):
    """68 points, y down, of an upright face."""
    points = rng.uniform(30, 120, (68, 2))
    five = STANDARD_POINTS_DM[:, :2] * [55, -55] + middle
    points[[36, 39]], points[[42, 45]], points[[30, 48, 54]] = five[:1], five[1:2], five[2:]
    return points


@pytest.fixture
def labelled(tmp_path, rng):
    """Two photos of 170x150 of the layout 'photos'."""
    for name in ("a", "b"):
        image = rng.integers(0, 256, (150, 170, 3), dtype=np.uint8)
        write_image(tmp_path / "data" / f"{name}.png", image)
        write_labels(tmp_path / "data", name, flip_y(face_points(rng), 150), image[..., 0])
    return tmp_path / "data"


def write_lists_of(folder, **changes):
    lists = folder.parent / "lists"
    lists.mkdir(exist_ok=True)
    columns = dict(
        images=["data/a.png", "data/b.png"],
        landmarks=["data/landmarks/a.txt", "data/landmarks/b.txt"],
        masks=["data/mask/a.png", "data/mask/b.png"],
    )
    for name, lines in (columns | changes).items():
        (lists / f"{name}.txt").write_bytes("\n".join(lines).encode())
    return lists


def test_lists_as_other_systems_write_them(labelled):
    wanted = [f.image.name for f in find_photos(write_lists_of(labelled))]
    assert wanted == ["a.png", "b.png"]
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        lists = write_lists_of(labelled)
        for path in lists.iterdir():
            text = "# of Windows\r\n\r\n" + path.read_text().replace("/", "\\").replace(
                "\n", "\r\n"
            )
            path.write_bytes(f"{text}\r\n".encode(encoding))
        found = find_photos(lists)
        assert [f.image.name for f in found] == wanted, encoding
        assert load_photo(found[0])[0].crop.shape == (224, 224, 3)
    for path in write_lists_of(labelled).iterdir():  # paths from the folder of the lists itself
        path.write_text(path.read_text().replace("data/", ""))
        path.rename(labelled / path.name)
    assert [f.image.name for f in find_photos(labelled)] == wanted


def test_lists_are_checked_before_anything_is_read(labelled, caplog):
    lists = write_lists_of(labelled, masks=["data/mask/a.png", "data/mask/c.png"])
    with pytest.raises(ValueError, match="masks.txt: 1 of 2 files do not exist: .*c.png"):
        find_photos(lists)
    lists = write_lists_of(labelled, landmarks=["data/landmarks/b.txt", "data/landmarks/a.txt"])
    assert len(find_photos(lists)) == 2 and "2 lines name files of different names" in caplog.text


def test_prepared_folders_as_they_are_found(labelled, tmp_path, caplog):
    for name in ("._a.png", "mask/._a.png", "landmarks/._a.txt", "landmarks/.DS_Store"):
        (labelled / name).write_bytes(b"\0\5\x16\7")
    for name in ("landmarks/a.txt", "mask/a.png", "a.png"):
        (labelled / name).rename((labelled / name).with_suffix((labelled / name).suffix.upper()))
    found = find_photos(labelled)
    assert [f.image.name for f in found] == ["a.PNG", "b.png"]
    assert found[0].landmarks.name == "a.TXT" and found[0].mask.name == "a.PNG"
    points = read_landmarks(found[1].landmarks)
    write_landmarks(labelled / "landmarks" / "b.npy", points)  # says the same
    assert len(find_photos(labelled)) == 2
    write_landmarks(labelled / "landmarks" / "b.npy", points + 3)
    with pytest.raises(ValueError, match="b.txt and .*b.npy hold different points"):
        find_photos(labelled)
    (labelled / "landmarks" / "b.npy").unlink()
    (tmp_path / "classes").mkdir()
    labelled.rename(tmp_path / "classes" / "happy")
    assert len(find_photos(tmp_path / "classes")) == 2
    assert "taking the photos of 1 sub-folders" in caplog.text
    happy = tmp_path / "classes" / "happy"
    write_image(happy / "b.jpg", np.zeros((150, 170, 3)))
    with pytest.raises(ValueError, match="b.jpg and .*b.png share the landmarks"):
        find_photos(happy)


@pytest.mark.parametrize("tag", [3, 6, 8])
def test_points_measured_without_the_orientation_tag(tmp_path, rng, caplog, tag):
    """Photos of phones: the pixels are stored lying, and other programs measured on them."""
    upright = rng.integers(0, 256, (150, 170, 3), dtype=np.uint8)
    points, mask = face_points(rng), rng.integers(0, 256, (150, 170), dtype=np.uint8)
    write_image(tmp_path / "plain" / "a.png", upright)
    write_labels(tmp_path / "plain", "a", flip_y(points, 150), mask)
    quarter = {3: 2, 6: 1, 8: -1}[tag]  # back
    x, y = points.T
    x, y = {3: (169 - x, 149 - y), 6: (y, 169 - x), 8: (149 - y, x)}[tag]
    stored, height = np.rot90(upright, quarter), np.rot90(upright, quarter).shape[0]
    for name, given, its_mask in (
        ("stored", flip_y(np.stack([x, y], 1), height), np.rot90(mask, quarter)),
        ("shown", flip_y(points, 150), mask),
    ):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = tag
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name / "a.png", exif=exif)
        write_labels(tmp_path / name, "a", given, np.ascontiguousarray(its_mask))
    want, want_mask = load_photo(find_photos(tmp_path / "plain")[0])
    caplog.set_level(logging.WARNING)
    for name in ("stored", "shown"):
        caplog.clear()
        photo, cut = load_photo(find_photos(tmp_path / name)[0])
        np.testing.assert_array_equal(photo.crop, want.crop)
        np.testing.assert_allclose(photo.landmarks, want.landmarks, atol=1e-4)
        np.testing.assert_array_equal(cut, want_mask)
        assert ("measured on the stored pixels" in caplog.text) == (name == "stored")


def test_damaged_files_are_listed_when_the_source_is_opened(labelled):
    (labelled / "b.png").write_bytes(b"<html>")
    (labelled / "landmarks" / "a.txt").write_text("1 2\n" * 67)
    with pytest.raises(ValueError, match="2 of 2 faces cannot be used .a.png, b.png.: .*67 points"):
        PhotoFolder(labelled)
    (labelled / "landmarks" / "a.txt").unlink()
    with pytest.raises(ValueError, match="1 of 1 faces cannot be used .b.png.: .*web page"):
        PhotoFolder(labelled)
