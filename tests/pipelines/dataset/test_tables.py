import csv
import json
import zipfile

import numpy as np
import pytest

from facejax.io.images import read_image
from facejax.pipelines.dataset.options import Options
from facejax.pipelines.dataset.outputs import npz_bytes, png_bytes
from facejax.pipelines.dataset.report import Statistics
from facejax.pipelines.dataset.tables import TableWriter, column_names, row, write_coco


def labels(k):
    rng = np.random.default_rng(k)
    points = rng.uniform(4, 28, (68, 2)).astype(np.float32)
    points[7] = (-3, 5)  # outside
    visible = np.arange(68) != 9
    visible[7] = False
    return {
        "id": rng.normal(size=3).astype(np.float32),
        "exp": np.array([0.25, 0.0], np.float32),
        "alb": rng.normal(size=2).astype(np.float32),
        "yaw_rad": np.float32(0.1 * k),
        "pitch_rad": np.float32(0),
        "roll_rad": np.float32(0),
        "distance_mm": np.float32(900),
        "frame_mm": np.float32(300),
        "sh_light": np.eye(9, 3, dtype=np.float32),
        "landmarks68_px": points,
        "landmarks68_visible": visible,
    }


def test_tables_hold_every_number(tmp_path):
    columns = column_names(labels(0), ("jawOpen", "eyeBlink_L"))
    assert columns[:6] == ["face", "id_0", "id_1", "id_2", "exp_jawOpen", "exp_eyeBlink_L"]
    assert "landmarks68_px_30_x" in columns and "landmarks68_visible_67" in columns
    with TableWriter(tmp_path, columns) as table:
        for k in range(5):
            table.add(row(k, labels(k)))
        assert not (tmp_path / "labels.csv").exists()
    with open(tmp_path / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["face"] for r in rows] == list("01234")
    for k, found in enumerate(rows):
        wanted = labels(k)
        assert np.float32(found["landmarks68_px_30_y"]) == wanted["landmarks68_px"][30, 1]
        assert np.float32(found["yaw_rad"]) == wanted["yaw_rad"]
        assert found["landmarks68_visible_9"] == "0"
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table(tmp_path / "labels.parquet")
    assert found.column_names == columns and found.num_rows == 5
    np.testing.assert_array_equal(found["id_1"].to_numpy(), [labels(k)["id"][1] for k in range(5)])
    with pytest.raises(RuntimeError), TableWriter(tmp_path / "x", columns) as table:
        raise RuntimeError
    assert not list((tmp_path / "x").iterdir())


def test_coco(tmp_path):
    faces = ((k, f"images/{k}.png", labels(k)) for k in range(3))
    write_coco(tmp_path / "coco.json", faces, 32)
    assert [p.name for p in tmp_path.iterdir()] == ["coco.json"]
    found = json.loads((tmp_path / "coco.json").read_text())
    assert [i["file_name"] for i in found["images"]] == [
        "images/0.png",
        "images/1.png",
        "images/2.png",
    ]
    category = found["categories"][0]
    ends = np.array(category["skeleton"])
    assert len(category["keypoints"]) == 68 and ends.min() == 1 and ends.max() == 68
    for k, note in enumerate(found["annotations"]):
        points = np.reshape(note["keypoints"], (68, 3))
        wanted = labels(k)["landmarks68_px"] - 0.5
        inside = np.arange(68) != 7
        np.testing.assert_allclose(points[inside, :2], wanted[inside], atol=1e-3)
        assert points[7].tolist() == [0, 0, 0] and points[9, 2] == 1
        assert (np.delete(points[:, 2], [7, 9]) == 2).all() and note["num_keypoints"] == 67
        x, y, w, h = note["bbox"]
        assert 0 == x and w <= 32 and note["area"] == pytest.approx(w * h) and y + h <= 32


def test_statistics(tmp_path):
    statistics = Statistics(Options(yaw_deg=10), blendshapes=True)
    for k in range(4):
        statistics.add(labels(k))
    statistics.write(tmp_path / "page.png")
    page = read_image(tmp_path / "page.png")
    assert page.shape[-1] == 3 and page.std() > 0.05


def test_bytes_depend_on_the_arrays_alone(tmp_path, rng):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.float16([1, 2]), "c": np.float32(7)}
    arrays["d"] = rng.normal(size=(50, 50)).astype(np.float16)
    for compress in (False, True):
        content = npz_bytes(arrays, compress)
        assert content == npz_bytes(arrays, compress)
        (tmp_path / "x.npz").write_bytes(content)
        with zipfile.ZipFile(tmp_path / "x.npz") as file:
            assert file.testzip() is None
            kinds = {zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED}
            assert {info.compress_type for info in file.infolist()} == kinds
        with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
            assert list(found) == list(arrays)
            for name, array in arrays.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_array_equal(found[name], array)
    for shape in ((5, 7, 3), (5, 7)):
        image = rng.integers(0, 256, shape).astype(np.uint8)
        (tmp_path / "x.png").write_bytes(png_bytes(image))
        found = np.rint(255 * read_image(tmp_path / "x.png"))
        np.testing.assert_array_equal(found.reshape(shape), image)
