import concurrent.futures
import json

import numpy as np
import pytest

from facejax.data.packed import PackedSource, write_packed
from facejax.data.source import Source
from facejax.data.uvmaps import UVCodec, masked_downsample2
from facejax.host import machine
from facejax.host.locks import LockError
from facejax.host.machine import MachineError
from tests.disks import short_files, small_disk

CODEC = UVCodec(encoding="absolute")


def batches_of(maps, labels, size=3, names=None):
    for i in range(0, len(maps), size):
        batch = {"maps": maps[i : i + size], "labels": labels[i : i + size]}
        yield batch if names is None else batch | {"names": names[i : i + size]}


@pytest.fixture
def examples(rng):
    maps = rng.uniform(-1, 1, (7, 16, 16, 9)).astype(np.float32)
    return maps, rng.uniform(size=(7, 2)).astype(np.float32)


def write(folder, examples, **options):
    maps, labels = examples
    options = {"codec": CODEC, "label_names": ("a", "b"), "resolution": 16} | options
    options = {"num_examples": len(maps)} | options
    write_packed(folder, batches_of(maps, labels), **options)
    return folder


def test_round_trip_and_lower_levels(examples, tmp_path):
    maps, labels = examples
    source = PackedSource(write(tmp_path / "set", examples), verify=True)
    assert isinstance(source, Source) and len(source) == 7
    assert source.resolutions == (4, 8, 16)
    indices = np.array([5, 0, 5])
    batch = source.batch(indices)
    np.testing.assert_array_equal(batch["maps"], maps[indices])
    np.testing.assert_array_equal(batch["labels"], labels[indices])
    expected = maps.reshape(7, 4, 4, 4, 4, 9).mean((2, 4))
    np.testing.assert_allclose(
        source.batch(np.arange(7), resolution=4)["maps"], expected, atol=1e-6
    )
    assert source.names[3] == "00000003" and source.label_names == ("a", "b")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]  # no temporary folder is left


def test_a_set_that_will_not_fit_is_refused_before_anything_is_written(
    examples, tmp_path, monkeypatch
):
    monkeypatch.setattr(machine, "free_bytes", lambda path: 50_000)
    with pytest.raises(MachineError, match="set: 82.7 KiB are needed and 48.8 KiB are free"):
        write(tmp_path / "set", examples)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_and_ends_no_process(examples, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "check_space", lambda path, needed: None)
    with short_files(20_000), pytest.raises(OSError, match="File too large") as error:
        write(tmp_path / "set", examples)
    assert error.value.filename == str(tmp_path / "set" / "r04.npy")
    assert list(tmp_path.iterdir()) == []
    with small_disk(tmp_path / "disk", 60_000) as disk:
        with pytest.raises(OSError, match="No space left") as error:
            write(disk.path / "set", examples)
        assert error.value.filename.startswith(str(disk.path / "set"))
        assert list(disk.path.iterdir()) == []


def test_a_set_that_is_interrupted_leaves_nothing_and_can_be_begun_again(examples, tmp_path):
    maps, labels = examples

    def interrupted():
        yield from batches_of(maps[:3], labels[:3])
        raise KeyboardInterrupt

    options = {"codec": CODEC, "label_names": ("a", "b"), "resolution": 16, "num_examples": 7}
    with pytest.raises(KeyboardInterrupt):
        write_packed(tmp_path / "set", interrupted(), **options)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "set", examples)


def test_a_set_has_one_writer(examples, tmp_path):
    maps, labels = examples

    def batches():
        with pytest.raises(LockError, match="set is in use by this process .writing a data set"):
            thread = concurrent.futures.ThreadPoolExecutor(1)
            thread.submit(write, tmp_path / "set", examples).result()
        yield from batches_of(maps, labels)

    options = {"codec": CODEC, "label_names": ("a", "b"), "resolution": 16, "num_examples": 7}
    write_packed(tmp_path / "set", batches(), **options)
    assert len(PackedSource(tmp_path / "set", verify=True)) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("dtype,tolerance", [("float16", 5e-4), ("uint8", 1 / 255 + 1e-6)])
def test_smaller_types(examples, tmp_path, dtype, tolerance):
    source = PackedSource(write(tmp_path / "set", examples, dtype=dtype))
    found = source.batch(np.arange(7), resolution=16)["maps"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, examples[0], atol=tolerance)


def test_uint8_refuses_to_clip_and_takes_a_wider_range(examples, tmp_path):
    wide = (examples[0] * 3, examples[1])
    with pytest.raises(ValueError, match="widen value_range"):
        write(tmp_path / "set", wide, dtype="uint8")
    assert not list(tmp_path.iterdir())
    source = PackedSource(
        write(tmp_path / "set", wide, dtype="uint8", value_range=(-3.0, 3.0)), verify=True
    )
    np.testing.assert_allclose(source.batch(np.arange(7))["maps"], wide[0], atol=3 / 255 + 1e-6)


def test_the_mask_of_the_codec_is_respected(examples, tmp_path, rng):
    mask = rng.uniform(size=(16, 16)) > 0.4
    codec = UVCodec.from_mean(np.zeros((16, 16, 9), np.float32), mask)
    source = PackedSource(write(tmp_path / "set", examples, codec=codec))
    expected, _ = masked_downsample2(examples[0], mask)
    np.testing.assert_allclose(
        source.batch(np.arange(7), resolution=8)["maps"], expected, atol=1e-6
    )
    np.testing.assert_array_equal(source.mask(16), mask)


def test_names(examples, tmp_path):
    maps, labels = examples
    names = list("gfedcba")
    write_packed(
        tmp_path / "set",
        batches_of(maps, labels, names=names),
        num_examples=7,
        resolution=16,
        codec=CODEC,
        label_names=("a", "b"),
    )
    assert PackedSource(tmp_path / "set").names == names


@pytest.mark.parametrize(
    "options,message",
    [
        ({"resolution": 12}, "power of two"),
        ({"resolution": 8}, r"wanted \(3, 8, 8, 9\)"),
        ({"num_examples": 0}, "at least one example"),
        ({"num_examples": 8}, "8 examples were announced but 7"),
        ({"num_examples": 5}, "more than the 5"),
        ({"dtype": "int4"}, "int4"),
        ({"label_names": ("a",)}, r"labels of shape \(3, 2\), wanted \(3, 1\)"),
        ({"codec": UVCodec(encoding="absolute", modalities=(("shape", 3),))}, "3 channels"),
    ],
)
def test_bad_input_leaves_nothing_behind(examples, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "set", examples, **options)
    assert not list(tmp_path.iterdir())


def test_nan_and_full_folders_are_refused(examples, tmp_path):
    maps, labels = examples
    broken = maps.copy()
    broken[4, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        write(tmp_path / "set", (broken, labels))
    write(tmp_path / "set", examples)
    with pytest.raises(ValueError, match="not empty"):
        write(tmp_path / "set", examples)


def test_not_a_set(tmp_path):
    with pytest.raises(ValueError, match="meta.json is missing"):
        PackedSource(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        PackedSource(tmp_path)
    (tmp_path / "meta.json").write_text('{"magic": "other"}')
    with pytest.raises(ValueError, match="magic"):
        PackedSource(tmp_path)


def edit_meta(folder, **entries):
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_damage_is_found_at_open(examples, tmp_path):
    folder = write(tmp_path / "set", examples)
    size = (folder / "r03.npy").stat().st_size
    whole = (folder / "r03.npy").read_bytes()
    (folder / "r03.npy").write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=f"r03.npy .*found {size - 10} bytes, wanted {size}"):
        PackedSource(folder)
    (folder / "r03.npy").unlink()
    with pytest.raises(ValueError, match=f"r03.npy is missing, wanted {size} bytes"):
        PackedSource(folder)
    (folder / "r03.npy").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(PackedSource(folder)) == 7  # same size: only verify can tell
    with pytest.raises(ValueError, match="r03.npy is damaged.*SHA-256"):
        PackedSource(folder, verify=True)


def test_contradicting_meta(examples, tmp_path):
    folder = write(tmp_path / "set", examples)
    edit_meta(folder, channels=6)
    with pytest.raises(ValueError, match="6 channels, but the modalities .* have 9"):
        PackedSource(folder)
    edit_meta(folder, channels=9, count=8)
    with pytest.raises(ValueError, match=r"found labels \(7, 2\) and 7 names, wanted \(8, 2\)"):
        PackedSource(folder)
    edit_meta(folder, count=7, dtype="float16")
    with pytest.raises(ValueError, match="found float32.7, 4, 4, 9., wanted float16"):
        PackedSource(folder)
    edit_meta(folder, version=2)
    with pytest.raises(ValueError, match="version 2"):
        PackedSource(folder)


def test_bad_requests(examples, tmp_path):
    source = PackedSource(write(tmp_path / "set", examples))
    with pytest.raises(ValueError, match="index 7"):
        source.batch(np.array([0, 7]))
    with pytest.raises(ValueError, match="32 px"):
        source.batch(np.array([0]), resolution=32)
    with pytest.raises(ValueError, match="vector of integers"):
        source.batch(np.array([0.5]))
