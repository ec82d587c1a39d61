"""TFRecords written by the original exporter, read by ours."""

import numpy as np
import pytest

from facejax.io.tfrecord import read_records
from facejax.io.tfrecord_images import MultiResolutionTFRecords, write_multiresolution
from tests.parity.golden import case_files

CASES = case_files("tbgan", "tfr_*_source.npz")


def load(source_file):
    source = np.load(source_file)
    folder = source_file.with_name(source_file.name.removesuffix("_source.npz"))
    images = source["images"].transpose(0, 2, 3, 1)[source["order"]]
    return folder, images, source["labels"][source["order"]]


@pytest.mark.parametrize("source_file", CASES)
def test_reading(source_file):
    folder, images, labels = load(source_file)
    records = MultiResolutionTFRecords(folder)
    every = np.arange(len(records))
    assert len(records) == len(images)
    level = images.astype(np.float64)
    for resolution in sorted(records.resolutions, reverse=True):
        batch = records.batch(every, resolution=resolution)
        np.testing.assert_allclose(batch["maps"], level, atol=1e-6)
        np.testing.assert_allclose(batch["labels"], labels, atol=1e-6)
        half = level.shape[1] // 2
        level = level.reshape(len(images), half, 2, half, 2, -1).mean((2, 4))


@pytest.mark.parametrize("source_file", CASES)
def test_writing(source_file, tmp_path):
    folder, images, labels = load(source_file)
    ours = tmp_path / folder.name
    write_multiresolution(ours, images, labels)
    theirs = sorted(folder.glob("*.tfrecords"))
    assert [p.name for p in theirs] == sorted(p.name for p in ours.glob("*.tfrecords"))
    top = theirs[-1]
    assert len(list(read_records(ours / top.name))) == len(list(read_records(top)))
    a, b = MultiResolutionTFRecords(ours), MultiResolutionTFRecords(folder)
    for resolution in a.resolutions:
        np.testing.assert_allclose(
            a.batch(np.arange(len(a)), resolution)["maps"],
            b.batch(np.arange(len(b)), resolution)["maps"],
            atol=1e-6,
        )
