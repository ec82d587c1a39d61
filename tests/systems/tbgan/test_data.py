import logging
import pathlib

import numpy as np
import pytest

from facejax.data.uvmaps import UVCodec
from facejax.io.tfrecord import CorruptRecordError, scan_records
from facejax.io.tfrecord_images import write_multiresolution
from facejax.systems.tbgan import data
from facejax.systems.tbgan.networks import network_config
from facejax.systems.tbgan.system import make_system
from facejax.train.config import load_config

CONFIG = str(pathlib.Path(__file__).resolve().parents[3] / "configs/tbgan.py")


def records(folder, labels, rng):
    maps = rng.uniform(-1, 1, (len(labels), 16, 16, 9)).astype(np.float32)
    write_multiresolution(folder, maps, np.asarray(labels, np.float32))
    config = load_config(f"{CONFIG}:smoke")
    config.data.update(source="tfrecords", path=str(folder))
    return config, maps


def test_records_keep_their_codec_and_mask(tmp_path, rng):
    config, maps = records(tmp_path / "set", np.eye(7), rng)
    mask = np.ones((16, 16), bool)
    mask[:4] = False
    UVCodec(encoding="absolute", extent_mm=42.0, masks={16: mask}).save(tmp_path / "set")
    source = make_system(config).source()
    assert source.codec.extent_mm == 42.0 and not source.codec.mask(16)[:4].any()
    assert source.model is None
    batch = source.batch(np.array([3, 1]), resolution=16)
    np.testing.assert_array_equal(batch["maps"], maps[[3, 1]])
    np.testing.assert_array_equal(batch["labels"], np.eye(7)[[3, 1]])


def test_kinds_of_labels(tmp_path, rng):
    net = network_config(load_config(f"{CONFIG}:smoke").model)
    scores = rng.normal(size=(5, 7))
    softmax = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    for name, labels, kind, names in (
        ("scores", scores, "logits", "label 0"),
        ("soft", softmax, "probabilities", "label 0"),
        ("classes", np.array([[0], [6], [2]]), "probabilities", "class 0"),
    ):
        config, _ = records(tmp_path / name, labels, rng)
        source = data.make_source(config, net)
        assert source.meta["label_kind"] == kind, name
        assert len(source.label_names) == 7 and source.label_names[0] == names
        found = source.batch(np.array([1, 2]), resolution=4)["labels"]
        expected = np.eye(7)[[6, 2]] if name == "classes" else softmax[[1, 2]]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    config.data.label_kind = "logits"
    with pytest.raises(ValueError, match="1 label.*label_size=1"):
        data.make_source(config, net)


def test_damaged_records_are_left_out_of_training(tmp_path, rng, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("facejax"), "propagate", True)  # a command sets it off
    config, maps = records(tmp_path / "set", np.eye(7), rng)
    path = tmp_path / "set/set-r03.tfrecords"
    offset, length = scan_records(path)[2]
    content = bytearray(path.read_bytes())
    content[offset + length // 2] ^= 1
    path.write_bytes(content)
    source = make_system(config).source()
    with pytest.raises(CorruptRecordError, match=f"set-r03.tfrecords: .* at byte {offset - 12} "):
        source.batch(np.arange(7), resolution=8)
    config.data.skip_corrupt = True
    source = make_system(config).source()
    assert len(source) == 6 and source.meta["skipped"] == 1
    assert f"{path}: damaged record at byte {offset - 12}" in caplog.text
    assert "left out 1 damaged record(s) of 7" in caplog.text
    batch = source.batch(np.arange(6), resolution=16)
    np.testing.assert_array_equal(batch["maps"], maps[[0, 1, 3, 4, 5, 6]])
    np.testing.assert_array_equal(batch["labels"].argmax(1), [0, 1, 3, 4, 5, 6])
    config.data.source = "packed"
    with pytest.raises(ValueError, match="skip_corrupt is for data.source='tfrecords'"):
        make_system(config).source()


@pytest.mark.parametrize("labels", [[[0], [7]], [[-1], [2]], [[0.5], [1]]])
def test_classes_out_of_range(tmp_path, rng, labels):
    config, _ = records(tmp_path / "set", labels, rng)
    config.data.label_kind = "indices"
    with pytest.raises(ValueError, match="class indices must be"):
        make_system(config).source()
    config.data.label_kind = "index"
    with pytest.raises(ValueError, match="label_kind must be one of"):
        make_system(config).source()
