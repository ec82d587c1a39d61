import numpy as np
import pytest

from facejax.data.folders import TFRecordSource, open_dataset
from facejax.data.packed import PackedSource, write_packed
from facejax.data.source import Source
from facejax.data.uvmaps import UVCodec
from facejax.io.tfrecord_images import write_multiresolution


def test_formats(rng, tmp_path):
    maps = rng.uniform(-1, 1, (3, 8, 8, 9)).astype(np.float32)
    labels = np.ones((3, 2), np.float32)
    codec = UVCodec(encoding="absolute", extent_mm=42.0)
    write_packed(
        tmp_path / "packed",
        [{"maps": maps, "labels": labels}],
        num_examples=3,
        resolution=8,
        codec=codec,
        label_names=("a", "b"),
    )
    write_multiresolution(tmp_path / "records", maps, labels)
    sources = [open_dataset(tmp_path / name) for name in ("packed", "records")]
    assert [type(s) for s in sources] == [PackedSource, TFRecordSource]
    for source in sources:
        assert isinstance(source, Source)
        assert source.resolutions == (4, 8) and len(source.names) == 3
        assert len(source.label_names) == 2 and source.mask(4).all()
        np.testing.assert_array_equal(source.batch(np.array([2]))["maps"], maps[2:])
    codec.save(tmp_path / "records")
    assert open_dataset(tmp_path / "records").codec.extent_mm == 42.0
    UVCodec(encoding="absolute", modalities=(("shape", 3),)).save(tmp_path / "records")
    with pytest.raises(ValueError, match="9 channels, but the modalities .* have 3"):
        open_dataset(tmp_path / "records")


def test_not_a_data_set(tmp_path):
    with pytest.raises(ValueError, match="neither"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match="not a folder"):
        open_dataset(tmp_path / "absent")
    write_multiresolution(tmp_path / "grey", np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="1 channels, wanted 3, 6 or 9"):
        open_dataset(tmp_path / "grey")
