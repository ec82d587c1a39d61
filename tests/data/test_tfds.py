import pathlib
import sys

import numpy as np
import pytest

from facejax.data.source import Source
from facejax.data.uvmaps import UVCodec, pyramid

pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")
pytest.importorskip("importlib_resources")

from facejax.data.tfds import TfdsSource, write_tfds  # noqa: E402


def test_round_trip_without_tensorflow(tmp_path, rng):
    maps = rng.normal(size=(5, 8, 8, 9)).astype(np.float32)
    labels = rng.uniform(size=(5, 2)).astype(np.float32)
    mask = np.ones((8, 8), bool)
    mask[0] = False
    codec = UVCodec(encoding="absolute", extent_mm=42.0, masks={8: mask})
    batches = [{"maps": maps[i : i + 2], "labels": labels[i : i + 2]} for i in (0, 2, 4)]
    options = dict(num_examples=5, resolution=8, codec=codec, label_names=("a", "b"))
    write_tfds(tmp_path / "toy_maps", batches, **options)
    source = TfdsSource("toy_maps", tmp_path)
    assert isinstance(source, Source) and len(source) == 5 and source.resolutions == (4, 8)
    assert source.label_names == ("a", "b") and source.codec.extent_mm == 42.0
    batch = source.batch(np.arange(5))
    order = [int(np.abs(maps - m).sum((1, 2, 3)).argmin()) for m in batch["maps"]]
    assert sorted(order) == [0, 1, 2, 3, 4]  # tfds shuffles what it writes
    np.testing.assert_array_equal(batch["maps"], maps[order])
    np.testing.assert_array_equal(batch["labels"], labels[order])
    some = source.batch(np.array([3, 1]), resolution=4)["maps"]
    np.testing.assert_allclose(some, pyramid(maps[order][[3, 1]], mask)[0][4], atol=1e-6)
    assert "tensorflow" not in sys.modules
    with pytest.raises(ValueError, match="exists"):
        write_tfds(tmp_path / "toy_maps", batches, **options)


def test_errors(tmp_path):
    codec = UVCodec(encoding="absolute")
    with pytest.raises(ValueError, match="snake_case"):
        write_tfds(tmp_path / "My-Maps", [], num_examples=0, resolution=8, codec=codec)
    with pytest.raises(ValueError, match="holds no TFDS data set"):
        TfdsSource("absent", tmp_path)


def test_the_tool_writes_what_training_reads(tmp_path, rng):
    from data_prep import dataset_tool
    from facejax.cli import load_config
    from facejax.io.tfrecord_images import write_multiresolution
    from facejax.systems.tbgan.system import make_system

    maps = rng.uniform(-1, 1, (4, 16, 16, 9)).astype(np.float32)
    write_multiresolution(tmp_path / "records", maps, np.eye(7, dtype=np.float32)[:4])
    out = tmp_path / "data/my_maps"
    assert dataset_tool.main(["convert", str(tmp_path / "records"), str(out), "--format=tfds"]) == 0
    root = pathlib.Path(__file__).resolve().parents[2]
    config = load_config(f"{root / 'configs/tbgan.py'}:smoke")
    config.data.update(source="tfds:my_maps", path=str(tmp_path / "data"))
    source = make_system(config).source()
    batch = source.batch(np.arange(4), resolution=16)
    index = batch["labels"].argmax(1)
    assert sorted(index) == [0, 1, 2, 3]
    np.testing.assert_array_equal(batch["maps"], maps[index])
