import json

import numpy as np
import pytest
from PIL import Image

from data_prep import preprocess_images
from facejax.data.alignment import STANDARD_POINTS_DM
from facejax.data.photo_folders import PhotoFolder, find_photos, load_photo
from facejax.data.source import Source
from facejax.io.images import read_image, to_uint8, write_image
from facejax.io.landmarks import read_landmarks, write_landmarks
from facejax.morphable import load_morphable
from facejax.pipelines import regressors
from facejax.recon.decoder import Reconstruction, num_coefficients
from facejax.systems.disco.alignment import cut_crop, training_picture
from facejax.systems.disco.data import read_rows
from facejax.systems.disco.factors import FactorSizes, split_coefficients

SIZE = (150, 170)


def landmarks(rng):
    """68 points whose five are those of an upright face, y down, and the five."""
    five = STANDARD_POINTS_DM[:, :2] * [55, -55] + [80, 70] + rng.uniform(-2, 2, (5, 2))
    points = np.repeat(five.mean(axis=0)[None], 68, axis=0) + rng.uniform(-25, 25, (68, 2))
    points[[36, 39]], points[[42, 45]] = five[:1], five[1:2]
    points[[30, 48, 54]] = five[2:]
    return points, five


@pytest.fixture
def photos(tmp_path, rng):
    """Three good photos (68 points beside, five in detections/, 68 as .bin elsewhere), bad ones."""
    folder = tmp_path / "datasets" / "A"
    points = {}
    for name in ("one", "two", "three", "blind", "swapped", "broken"):
        image = rng.integers(0, 8, (*SIZE, 3), dtype=np.uint8)
        image[:, :85] += np.uint8([200, 140, 110])  # skin on the left, blue on the right
        image[:, 85:] += np.uint8([30, 60, 200])
        write_image(folder / f"{name}.png", image)
        points[name] = landmarks(rng)
    write_landmarks(folder / "one.txt", points["one"][0])
    write_landmarks(folder / "detections" / "two.txt", points["two"][1])
    write_landmarks(tmp_path / "marks" / "three.bin", points["three"][0])
    write_landmarks(folder / "swapped.txt", points["swapped"][1][[1, 0, 2, 4, 3]])
    write_landmarks(folder / "broken.txt", points["broken"][1])
    (folder / "broken.png").write_bytes(b"no image")
    return folder, points


def test_crops(photos, tmp_path, capsys):
    folder, points = photos
    out = tmp_path / "processed"
    args = [f"--img_path={folder}", f"--save_path={out}", f"--landmarks={tmp_path / 'marks'}"]
    assert preprocess_images.main([*args, "--vis=1"]) == 0
    said = capsys.readouterr().out
    assert "2 photos ready, 1 with five points only" in said and "3 left out" in said
    report = {
        k.rsplit("/")[-1]: v for k, v in json.loads((out / "report.json").read_text()).items()
    }
    assert report["one.png"] == report["three.png"] == "ok"
    assert report["two.png"] == "five points only"
    assert "no landmarks blind" in report["blind.png"]
    assert "swapped" in report["swapped.png"] and "broken" in report["broken.png"]
    drawn = read_image(out / "check" / "swapped.png")
    assert drawn.shape[:2] == SIZE and (out / "vis" / "one.png").is_file()
    assert not (out / "swapped.png").exists()
    assert read_image(out / "one.png").shape == (224, 224, 3)
    assert read_image(out / "mask" / "two.png").shape == (224, 224, 3)
    text, raw = (read_landmarks(out / f, 68) for f in ("lm/three.txt", "lm_bin/three.bin"))
    np.testing.assert_allclose(text, raw, atol=1e-5)
    eyes = raw[[36, 39, 42, 45]].mean(axis=0)
    assert abs(eyes[0] - 112) < 8 and abs(eyes[1] - 142) < 8  # y up
    assert [f.image.stem for f in find_photos(out)] == ["one", "three"]


def test_photos_in_place_give_the_same_faces(photos, tmp_path, capsys, monkeypatch):
    folder, points = photos
    monkeypatch.chdir(tmp_path)
    args = ["--data_root=datasets", "--img_folder", "A", "--mode=val", "--landmarks=marks"]
    assert preprocess_images.main(args) == 0
    assert "datalist/val: 2 photos listed" in capsys.readouterr().out
    saved = read_landmarks(folder / "landmarks" / "one.txt", 68)
    np.testing.assert_allclose(saved[:, 0], points["one"][0][:, 0], atol=1e-6)
    np.testing.assert_allclose(saved[:, 1], SIZE[0] - 1 - points["one"][0][:, 1], atol=1e-6)
    assert read_image(folder / "mask" / "one.png").shape[:2] == SIZE
    assert preprocess_images.main(["--img_path=datasets/A", "--save_path=crops"]) == 0
    crops = {f.image.stem: load_photo(f) for f in find_photos("crops")}
    lists = {f.image.stem: load_photo(f) for f in find_photos("datalist/val")}
    assert set(lists) == {"one", "three"} == set(crops)  # three's points came from landmarks/
    for name, (photo, mask) in lists.items():
        np.testing.assert_array_equal(photo.crop, crops[name][0].crop)
        np.testing.assert_allclose(photo.landmarks, crops[name][0].landmarks, atol=1e-4)
        # there the mask of the whole photo is cut, here that of the crop is made
        shown = photo.crop.sum(axis=-1) > 30
        assert np.abs(mask.astype(float) - crops[name][1])[shown].mean() < 6
        assert mask[shown].min() < 30 and mask[shown].max() > 220
    source = PhotoFolder("datalist/val", size=56)
    assert isinstance(source, Source) and len(source) == 2
    batch = source.batch(np.array([1, 0, 1]))
    assert batch["image"].shape == (3, 56, 56, 3) and batch["mask"].shape == (3, 56, 56)
    np.testing.assert_array_equal(batch["image"][0], batch["image"][2])
    np.testing.assert_allclose(batch["landmarks"][1] * 4, lists["one"][0].landmarks, rtol=1e-4)
    assert 0 <= batch["image"].min() and batch["image"].max() <= 1
    again = PhotoFolder("crops").batch(np.array([0]))
    np.testing.assert_array_equal(again["image"][0] * 255, crops["one"][0].crop)


def test_nothing_stops_the_batch(photos, tmp_path, monkeypatch, capsys):
    folder, points = photos
    (folder / "a_folder.png").mkdir()
    write_image(folder / "one.jpg", np.zeros((*SIZE, 3), np.uint8))  # beside one.png
    reader = preprocess_images.find_points

    def failing(image, *rest):
        if image.stem == "two":
            raise RuntimeError("odd")
        return reader(image, *rest)

    monkeypatch.setattr(preprocess_images, "find_points", failing)
    monkeypatch.chdir(tmp_path)
    args = ["--img_folder", "A", "--keep_odd", "--landmarks=marks", "--remove"]
    assert preprocess_images.main(args) == 0
    assert "A/remove: 4 photos moved here" in capsys.readouterr().out
    found = json.loads((folder / "report.json").read_text())
    report = {k.rsplit("/")[-1]: v for k, v in found.items()}
    assert "one.jpg has the same name" in report["one.png"]
    assert "two.png: RuntimeError: odd" in report["two.png"]
    moved = {p.name for p in (folder / "remove").iterdir()}
    assert moved == {"one.png", "two.png", "blind.png", "broken.png"}
    assert (folder / "three.png").is_file() and "a_folder.png" not in report


def test_odd_points_can_be_kept(photos, tmp_path):
    folder, _ = photos
    out = tmp_path / "all"
    assert preprocess_images.main([f"--img_path={folder}", f"--save_path={out}", "--keep_odd"]) == 0
    assert (out / "swapped.png").is_file() and (out / "check" / "swapped.png").is_file()


def test_class_folders_and_lying_photos(photos, tmp_path, capsys, monkeypatch):
    folder, points = photos
    for sub in ("happy", "sad"):
        (folder / sub).mkdir()
    (folder / "one.png").rename(folder / "happy" / "x.PNG")
    write_landmarks(folder / "happy" / "x.txt", points["one"][0])
    (folder / "happy" / "x.txt").rename(folder / "happy" / "x.TXT")
    pixels = np.rot90(np.rint(read_image(folder / "two.png") * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shows the photo upright again
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / "sad" / "x.png", exif=exif)
    x, y = points["two"][0].T
    write_landmarks(folder / "sad" / "x.txt", np.stack([y, SIZE[1] - 1 - x], axis=1))
    for path in [*folder.glob("*.png"), *folder.glob("*.txt")]:
        path.unlink()
    write_image(folder / "mask" / "happy_x.png", np.zeros((*SIZE, 3)))  # of an earlier run
    out = tmp_path / "crops"
    assert preprocess_images.main([f"--img_path={folder}", f"--save_path={out}"]) == 0
    said = capsys.readouterr().out
    assert "2 photos ready" in said and "measured on the stored pixels" in said
    found = {f.image.stem: load_photo(f)[0] for f in find_photos(out)}
    assert set(found) == {"happy_x", "sad_x"}
    for name, photo in found.items():
        eyes = photo.landmarks[[36, 39, 42, 45]].mean(axis=0)
        assert abs(eyes[0] - 112) < 8 and abs(eyes[1] - 142) < 8, name
    monkeypatch.chdir(tmp_path)
    assert preprocess_images.main(["--img_folder", "A"]) == 0
    lists = {f.image.parent.name: load_photo(f)[0] for f in find_photos("datalist/train")}
    for sub, photo in lists.items():
        np.testing.assert_array_equal(photo.crop, found[f"{sub}_x"].crop)


def test_bad_photos_of_one_name_are_both_kept(photos, monkeypatch, tmp_path):
    folder, _ = photos
    (folder / "remove").mkdir()
    (folder / "remove" / "broken.png").write_bytes(b"of an earlier run")
    monkeypatch.chdir(tmp_path)
    assert preprocess_images.main(["--img_folder", "A", "--landmarks=marks", "--remove"]) == 0
    assert (folder / "remove" / "broken.png").read_bytes() == b"of an earlier run"
    assert (folder / "remove" / "broken_again.png").read_bytes() == b"no image"


def test_a_full_disk_is_no_fault_of_the_photos(photos, monkeypatch, tmp_path, capsys):
    folder, _ = photos

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facejax.data.photo_folders.write_labels", full)
    monkeypatch.chdir(tmp_path)
    assert preprocess_images.main(["--img_folder", "A", "--landmarks=marks", "--remove"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert (folder / "one.png").is_file() and not (folder / "remove").exists()


def test_wrong_use_ends_with_one_line(photos, tmp_path, capsys):
    folder, _ = photos
    empty = tmp_path / "empty"
    empty.mkdir()
    for args, word in (
        ([], "either --img_path"),
        ([f"--img_path={empty}"], "found no images"),
        ([f"--img_path={tmp_path / 'absent'}"], "no such folder"),
        ([f"--img_path={folder}", f"--save_path={folder}"], "name another one"),
    ):
        assert preprocess_images.main(args) == 2
        assert word in capsys.readouterr().err
    for path in (folder / "detections").iterdir():
        path.unlink()
    (folder / "one.txt").unlink()
    assert preprocess_images.main([f"--img_path={folder}", f"--save_path={tmp_path / 'o'}"]) == 2
    assert "not one photo" in capsys.readouterr().err


def test_training_pictures_of_disco(photos, tmp_path, monkeypatch, capsys):
    """A regressor that finds every face a tenth of a decimetre to the right."""
    folder, points = photos
    model = load_morphable("procedural", rows=32, cols=32, n_id=4, n_alb=2, draws=16)
    vector = np.zeros((1, num_coefficients(model)), np.float32)
    vector[0, -3:] = 0.1, 0.0, 0.0
    vector[0, model.num_id] = 0.25  # an expression
    found = regressors.Regressor(model, 64, lambda image: Reconstruction(vector))
    monkeypatch.setattr(regressors, "load_regressor", lambda weights, model: found)
    out = tmp_path / "gan"
    args = [f"--img_path={folder}", f"--save_path={out}", f"--landmarks={tmp_path / 'marks'}"]
    assert preprocess_images.main([*args, "--regressor=run"]) == 0
    assert "3 photos ready" in capsys.readouterr().out  # five points will do
    sizes = FactorSizes.of_model(model)
    rows = read_rows(str(out / "coeff"), sizes)
    assert rows.shape == (3, sizes.num_coefficients)
    assert split_coefficients(rows, sizes).exp[0, 0] == 0.25
    picture = read_image(out / "img" / "one.png")
    crop = cut_crop(to_uint8(read_image(folder / "one.png")), points["one"][1]).crop
    np.testing.assert_array_equal(to_uint8(picture), training_picture(crop, vector[0, -3:]))
    assert preprocess_images.main(["--img_folder", "A", "--regressor=run"]) == 2
