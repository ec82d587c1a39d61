import numpy as np
import pytest

from facejax.io.tfrecord import read_records, write_example, write_records
from facejax.io.tfrecord_images import (
    MultiResolutionTFRecords,
    decode_image,
    encode_image,
    write_multiresolution,
)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_image_round_trip(rng, dtype):
    image = (rng.uniform(0, 200, (4, 8, 3))).astype(dtype)
    found = decode_image(encode_image(image))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)


def test_float_set(rng, tmp_path):
    images = rng.uniform(-1, 1, (5, 16, 16, 9)).astype(np.float32)
    labels = rng.uniform(size=(5, 7)).astype(np.float32)
    write_multiresolution(tmp_path / "faces", images, labels)
    assert (tmp_path / "faces" / "faces-r02.tfrecords").is_file()
    source = MultiResolutionTFRecords(tmp_path / "faces")
    assert source.resolutions == (4, 8, 16) and len(source) == 5
    assert source.meta["channels"] == 9 and source.meta["dtype"] == "float32"
    order = np.array([4, 0, 4])
    batch = source.batch(order)
    np.testing.assert_array_equal(batch["maps"], images[order])
    np.testing.assert_array_equal(batch["labels"], labels[order])
    expected = images.reshape(5, 4, 4, 4, 4, 9).mean((2, 4))
    np.testing.assert_allclose(source.batch(np.arange(5), 4)["maps"], expected, atol=1e-6)


def test_uint8_set_rounds_each_level_from_unrounded_means(rng, tmp_path):
    images = rng.integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    write_multiresolution(tmp_path / "u8", images)
    source = MultiResolutionTFRecords(tmp_path / "u8")
    assert source.labels.shape == (2, 0) and source.meta["dtype"] == "uint8"
    expected = np.rint(images.reshape(2, 4, 4, 4, 4, 1).astype(np.float64).mean((2, 4)))
    payloads = list(read_records(tmp_path / "u8" / "u8-r02.tfrecords"))
    for payload, image in zip(payloads, expected, strict=True):
        np.testing.assert_array_equal(decode_image(payload), image)
    top = source.batch(np.array([0]))["maps"]
    assert top.dtype == np.float32
    np.testing.assert_array_equal(top[0, 0, :2, 0], [-1.0, 1.0])
    np.testing.assert_allclose((top[0] + 1) * 127.5, images[0], atol=1e-4)


@pytest.mark.parametrize(
    "images,labels,message",
    [
        ([], None, "no images"),
        ([np.zeros((12, 12, 3), np.uint8)], None, "power of two"),
        ([np.zeros((8, 4, 3), np.uint8)], None, "square"),
        ([np.zeros((8, 8, 3), np.int32)], None, "int32"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 1), np.uint8)], None, "image 1 is"),
        ([np.zeros((8, 8, 3), np.uint8)], np.zeros((2, 1)), "1 images but 2 labels"),
    ],
)
def test_bad_images_leave_no_files(tmp_path, images, labels, message):
    with pytest.raises(ValueError, match=message):
        write_multiresolution(tmp_path / "set", images, labels)
    assert not list((tmp_path / "set").iterdir())


def test_bad_sets(tmp_path):
    folder = tmp_path / "set"
    with pytest.raises(ValueError, match="holds no"):
        MultiResolutionTFRecords(tmp_path)
    write_multiresolution(folder, np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="already"):
        write_multiresolution(folder, np.zeros((3, 8, 8, 3), np.uint8))
    source = MultiResolutionTFRecords(folder)
    with pytest.raises(ValueError, match="16 px"):
        source.batch(np.array([0]), 16)
    with pytest.raises(ValueError, match=r"0 \.\. 2"):
        source.batch(np.array([3]))
    with pytest.raises(ValueError, match="r03.tfrecords: record 0 .* 1 bytes per number, wanted 4"):
        MultiResolutionTFRecords(folder, dtype="float32")
    image = np.zeros((4, 4, 3), np.uint8)
    write_records(folder / "set-r02.tfrecords", [encode_image(image)] * 2)
    with pytest.raises(ValueError, match="different or no length"):
        MultiResolutionTFRecords(folder)
    (folder / "set-r02.tfrecords").unlink()
    with pytest.raises(ValueError, match=r"wanted \(4, 8\)"):
        MultiResolutionTFRecords(folder)
    write_records(folder / "set-r02.tfrecords", [encode_image(image)] * 3)
    np.save(folder / "l.npy", np.zeros((4, 2)))
    (folder / "l.npy").rename(folder / "set-rxx.labels")
    with pytest.raises(ValueError, match=r"set-rxx.labels: labels \(4, 2\) .*for 3 records"):
        MultiResolutionTFRecords(folder)


@pytest.mark.parametrize(
    "features,message",
    [
        ({"image": [b"1"]}, "found .'image'."),
        ({"shape": np.array([1, 2, 2]), "data": [b"12345"]}, "5 bytes do not fit"),
        ({"shape": np.array([1, 2, 2]), "data": [b"1234", b"5"]}, "2 data entries"),
        ({"shape": np.array([1, 0, 2]), "data": [b""]}, "shape .1, 0, 2."),
    ],
)
def test_bad_examples(features, message):
    with pytest.raises(ValueError, match=message):
        decode_image(write_example(features))


def test_two_sets_in_one_folder(tmp_path, rng):
    for name in ("one", "two"):
        images = rng.uniform(size=(2, 4, 4, 3)).astype(np.float32)
        write_multiresolution(tmp_path / name, images, np.eye(2))
    folder = tmp_path / "one"
    (folder / "._one-r02.tfrecords").write_bytes(b"\0\5\x16\7")
    (folder / "one-r02.tfrecords").rename(folder / "one-r02.TFRECORDS")
    assert len(MultiResolutionTFRecords(folder)) == 2
    labels = folder / "two-rxx.labels"
    (tmp_path / "two/two-rxx.labels").rename(labels)
    with pytest.raises(ValueError, match="records one-rLL.*labels two-rxx.labels, of another set"):
        MultiResolutionTFRecords(folder)
    labels.unlink()
    (tmp_path / "two/two-r02.tfrecords").rename(folder / "two-r02.tfrecords")
    with pytest.raises(ValueError, match="holds 2 sets, one-rLL and two-rLL"):
        MultiResolutionTFRecords(folder)


def test_bad_label_files(tmp_path):
    folder = tmp_path / "set"
    write_multiresolution(folder, np.zeros((2, 4, 4, 3), np.float32), np.eye(2))
    path = folder / "set-rxx.labels"
    for array, words in ((np.array([{}, {}], object), "Python objects"), (["a", "b"], "type <U1"),
                         ([np.nan, 0], "NaN")):  # fmt: skip
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=True)
        with pytest.raises(ValueError, match=f"set-rxx.labels: .*{words}"):
            MultiResolutionTFRecords(folder)


def test_shapes_that_overflow():
    huge = write_example({"shape": np.array([1 << 40, 1 << 40, 1 << 40]), "data": [b"1234"]})
    with pytest.raises(ValueError, match="4 bytes do not fit"):
        decode_image(huge)
