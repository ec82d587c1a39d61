import pathlib
import sys

import numpy as np
import pytest

from facejax.data.source import Source
from facejax.data.uvmaps import UVCodec, pyramid

pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")
pytest.importorskip("importlib_resources")

from facejax.data.tfds import TfdsSource, write_tfds, write_tfds_images  # noqa: E402


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
    np.testing.assert_array_equal(batch["maps"], maps)
    np.testing.assert_array_equal(batch["labels"], labels)
    some = source.batch(np.array([3, 1]), resolution=4)["maps"]
    np.testing.assert_allclose(some, pyramid(maps[[3, 1]], mask)[0][4], atol=1e-6)
    assert "tensorflow" not in sys.modules
    with pytest.raises(ValueError, match="exists"):
        write_tfds(tmp_path / "toy_maps", batches, **options)


def make_batches(start, stop):
    """Examples whose every number says which they are."""
    for first in range(start, stop, 2):
        rows = np.arange(first, min(first + 2, stop), dtype=np.float32)
        maps = np.broadcast_to(rows[:, None, None, None], (len(rows), 4, 4, 3))
        yield {"maps": maps, "labels": rows[:, None], "names": [f"n{int(r)}" for r in rows]}


def test_shards_keep_the_order(tmp_path):
    codec = UVCodec(modalities=(("texture", 3),), encoding="absolute")
    options = dict(num_examples=7, resolution=4, codec=codec, label_names=("a",))
    for name, batches in (("one", make_batches), ("two", make_batches(0, 7))):
        folder = write_tfds(tmp_path / name, batches, num_shards=3, **options)
        files = sorted(p.name for p in folder.glob("*array_record*"))
        assert files == [f"{name}-train.array_record-0000{k}-of-00003" for k in range(3)]
        source = TfdsSource(name, tmp_path)
        batch = source.batch(np.arange(7))
        np.testing.assert_array_equal(batch["labels"][:, 0], range(7))
        np.testing.assert_array_equal(batch["maps"][:, 2, 1, 0], range(7))
    import tensorflow_datasets as tfds

    found = tfds.builder_from_directory(str(folder)).info.splits["train"]
    assert found.num_examples == 7 and found.shard_lengths == [2, 2, 3]
    stream = list(make_batches(0, 7))
    with pytest.raises(ValueError, match="2 jobs cannot share one stream"):
        write_tfds(tmp_path / "three", stream, jobs=2, **options)
    for number in (6, 8):
        with pytest.raises(ValueError, match=f"{number} examples were announced but"):
            write_tfds(tmp_path / "three", stream, **(options | {"num_examples": number}))
    assert not any("three" in p.name for p in tmp_path.iterdir())  # whole or absent


def test_image_sets(tmp_path, rng, capsys):
    from PIL import Image

    from data_prep import dataset_tool

    images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    for k, (image, suffix) in enumerate(zip(images, ("png", "webp", "png"), strict=True)):
        image = Image.fromarray(image) if k < 2 else Image.fromarray(image[..., 0])  # one is grey
        image.save(tmp_path / f"images/i{k}.{suffix}", lossless=True)
    images[2] = images[2, ..., :1]
    (tmp_path / "labels.csv").write_text("id,smile\ni2,0.5\ni0,1\ni1,0\n")
    out, folder = str(tmp_path / "data/my_images"), str(tmp_path / "images")
    labels = f"--labels={tmp_path / 'labels.csv'}"
    assert dataset_tool.main(["create_image_set", out, folder, labels, "--num_shards=2"]) == 0
    assert "in 2 file(s)" in capsys.readouterr().out
    source = TfdsSource("my_images", tmp_path / "data")
    batch = source.batch(np.arange(3))
    np.testing.assert_array_equal(batch["maps"], images.astype(np.float32) / np.float32(127.5) - 1)
    np.testing.assert_array_equal(batch["labels"], np.float32([[1], [0], [0.5]]))
    assert source.label_names == ("smile",) and source.meta["channels"] == 3
    assert source.batch(np.array([1]), resolution=4)["maps"].shape == (1, 4, 4, 3)
    assert "tensorflow" not in sys.modules
    Image.fromarray(images[0, :4, :4]).save(tmp_path / "images/z.png")
    with pytest.raises(
        ValueError, match="1 of 4 examples.*z.png: 4x4 px, but .*i0.png and 2 more have 8x8"
    ):
        write_tfds_images(tmp_path / "data/other", folder)
    assert not (tmp_path / "data/other").exists()
    (tmp_path / "images/._i0.png").write_bytes(b"\0\5\x16\7")
    again = [str(tmp_path / "data/third"), folder, labels]
    (tmp_path / "labels.csv").write_text("id,smile\ni2,0.5\ni0,1\ni1,0\nz,1\n")
    assert dataset_tool.main(["create_image_set", *again, "--skip_bad"]) == 0
    third = TfdsSource("third", tmp_path / "data")
    np.testing.assert_array_equal(third.batch(np.arange(3))["labels"], batch["labels"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        write_tfds_images(tmp_path / "data/other", tmp_path / "empty")
    (tmp_path / "data/third/1.0.0").rename(tmp_path / "data/third/1.1.0")
    (tmp_path / "data/my_images/1.0.0").rename(tmp_path / "data/third/1.0.0")
    with pytest.raises(ValueError, match="versions 1.0.0 and 1.1.0: choose one"):
        TfdsSource("third", tmp_path / "data")
    assert len(TfdsSource("third:1.1.0", tmp_path / "data")) == 3


def test_errors(tmp_path):
    codec = UVCodec(encoding="absolute")
    with pytest.raises(ValueError, match="snake_case"):
        write_tfds(tmp_path / "My-Maps", [], num_examples=0, resolution=8, codec=codec)
    with pytest.raises(ValueError, match="holds no TFDS data set"):
        TfdsSource("absent", tmp_path)


def test_the_tool_writes_in_two_processes_what_training_reads(tmp_path, rng):
    from data_prep import dataset_tool
    from facejax.io.tfrecord_images import write_multiresolution
    from facejax.systems.tbgan.system import make_system
    from facejax.train.config import load_config

    maps = rng.uniform(-1, 1, (4, 16, 16, 9)).astype(np.float32)
    write_multiresolution(tmp_path / "records", maps, np.eye(7, dtype=np.float32)[:4])
    out = tmp_path / "data/my_maps"
    arguments = ["convert", str(tmp_path / "records"), str(out), "--format=tfds", "--jobs=2"]
    assert dataset_tool.main(arguments) == 0
    assert len(list(out.glob("*/*.array_record-*-of-00002"))) == 2
    root = pathlib.Path(__file__).resolve().parents[2]
    config = load_config(f"{root / 'configs/tbgan.py'}:smoke")
    config.data.update(source="tfds:my_maps", path=str(tmp_path / "data"))
    source = make_system(config).source()
    batch = source.batch(np.arange(4), resolution=16)
    np.testing.assert_array_equal(batch["labels"].argmax(1), [0, 1, 2, 3])
    np.testing.assert_array_equal(batch["maps"], maps)
