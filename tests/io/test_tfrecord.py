import struct

import numpy as np
import pytest

from facejax.io.tfrecord import (
    CorruptRecordError,
    crc32c,
    masked_crc32c,
    parse_example,
    read_records,
    scan_records,
    write_example,
    write_records,
)


def crc_by_bits(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_crc_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0


@pytest.mark.parametrize("size", [1, 3, 4, 63, 64, 65, 127, 128, 1000, 4095, 4096, 5001])
def test_crc_of_any_length(rng, size):
    data = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
    assert crc32c(data) == crc_by_bits(data)
    assert crc32c(memoryview(data)) == crc_by_bits(data)


PAYLOADS = [b"first", b"", bytes(range(256)) * 3, b"last"]


@pytest.fixture
def file(tmp_path):
    write_records(tmp_path / "a.tfrecords", PAYLOADS)
    return tmp_path / "a.tfrecords"


def test_round_trip(file, tmp_path):
    assert list(read_records(file)) == PAYLOADS
    data = file.read_bytes()
    assert [data[o : o + n] for o, n in scan_records(file)] == PAYLOADS
    assert [p.name for p in tmp_path.iterdir()] == ["a.tfrecords"]


def test_framing_by_hand(file):
    length = struct.pack("<Q", 5)
    expected = length + struct.pack("<I", masked_crc32c(length)) + b"first"
    assert file.read_bytes()[:21] == expected + struct.pack("<I", masked_crc32c(b"first"))


def starts():
    return np.cumsum([0] + [len(p) + 16 for p in PAYLOADS])


def test_a_damaged_payload(file):
    data = bytearray(file.read_bytes())
    data[starts()[2] + 12 + 5] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptRecordError, match=f"a.tfrecords: damaged .* byte {starts()[2]} "):
        list(read_records(file))
    with pytest.warns(UserWarning, match="skipped"):
        assert list(read_records(file, skip_corrupt=True)) == PAYLOADS[:2] + PAYLOADS[3:]
    assert len(list(read_records(file, check_crc=False))) == 4


@pytest.mark.parametrize("skip", [False, True])
def test_a_damaged_length_is_always_an_error(file, skip):
    data = bytearray(file.read_bytes())
    data[starts()[1]] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptRecordError, match=f"length at byte {starts()[1]}"):
        list(read_records(file, skip_corrupt=skip))
    with pytest.raises(CorruptRecordError, match="length"):
        scan_records(file)


@pytest.mark.parametrize("cut,what", [(3, "record"), (4 + 4 + 5, "header")])
def test_truncated_files(file, cut, what):
    data = file.read_bytes()
    file.write_bytes(data[:-cut])
    message = f"truncated {what} at byte {starts()[3]}"
    with pytest.raises(CorruptRecordError, match=message):
        list(read_records(file))
    with pytest.raises(CorruptRecordError, match=message):
        scan_records(file)


def test_a_truncated_tail_may_be_skipped(file):
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="truncated"):
        assert list(read_records(file, skip_corrupt=True)) == PAYLOADS[:3]


def test_not_a_tfrecord_file(tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" * 10)
    with pytest.raises(CorruptRecordError, match="is this a TFRecord file"):
        list(read_records(tmp_path / "x.png"))


def test_a_failed_write_leaves_no_file(tmp_path):
    def payloads():
        yield b"one"
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        write_records(tmp_path / "a", payloads())
    assert not list(tmp_path.iterdir())


def test_examples():
    features = {
        "ids": np.array([0, 1, 127, 128, -1, 2**62], np.int64),
        "weights": np.array([0.5, -2.0], np.float32),
        "blobs": [b"abc", b"", b"x" * 300],
        "none": np.zeros(0, np.int64),
    }
    found = parse_example(write_example(features))
    assert list(found) == list(features)
    np.testing.assert_array_equal(found["ids"], features["ids"])
    np.testing.assert_array_equal(found["weights"], features["weights"])
    assert [bytes(b) for b in found["blobs"]] == features["blobs"]
    assert len(found["none"]) == 0


def test_unpacked_lists_are_read_too():
    # Feature {Int64List: value: 5, value: 300} with one tag per value
    ints = b"\x08\x05\x08\xac\x02"
    feature = b"\x1a" + bytes([len(ints)]) + ints
    entry = b"\x0a\x01k\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    found = parse_example(b"\x0a" + bytes([len(features)]) + features)
    np.testing.assert_array_equal(found["k"], [5, 300])


def test_damaged_examples(rng):
    good = write_example({"shape": np.arange(3), "data": [b"123456789"]})
    with pytest.raises(ValueError, match="not a tf.train.Example"):
        parse_example(good[:-3])
    for _ in range(200):  # never anything but a ValueError, never an endless loop
        noise = bytearray(good)
        for at in rng.integers(0, len(good), 3):
            noise[at] = rng.integers(256)
        try:
            parse_example(bytes(noise))
        except ValueError:
            continue
