import re

import numpy as np
import pytest

from facejax.io.tensorflow_files import load_checkpoint, load_frozen_graph
from tests.oracles import tensorflow_files as oracle


def tensors(rng):
    names = [f"resnet/block{k}/unit_{k}/weights" for k in range(9)] + ["a", "zz/beta"]
    out = {n: rng.normal(size=(k, 3, 2)).astype(np.float32) for k, n in enumerate(names)}
    out |= {"global_step": np.array(400_000_000_000), "mask": np.array([True, False])}
    return out | {"half": rng.normal(size=4).astype(np.float16), "double": rng.normal(size=(1, 2))}


@pytest.mark.parametrize("shards", [1, 3])
def test_checkpoint(tmp_path, rng, shards):
    wanted = tensors(rng)
    prefix = tmp_path / "model.ckpt-100"
    oracle.write_checkpoint(prefix, wanted, shards, text=["_CHECKPOINTABLE_OBJECT_GRAPH"])
    for given in (prefix, tmp_path / "model.ckpt-100.index", tmp_path):
        found = load_checkpoint(given)
        assert list(found) == sorted(wanted)
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value)


def test_damaged_checkpoints(tmp_path, rng):
    prefix = tmp_path / "model.ckpt"
    index, data = tmp_path / "model.ckpt.index", tmp_path / "model.ckpt.data-00000-of-00001"
    oracle.write_checkpoint(prefix, {k: v for k, v in list(tensors(rng).items())[:3]})
    good, whole = index.read_bytes(), data.read_bytes()

    def refused(message):
        with pytest.raises(ValueError, match=message) as caught:
            load_checkpoint(prefix)
        assert str(caught.value).startswith(str(prefix)) and "\n" not in str(caught.value)

    data.write_bytes(whole[:-4])
    refused("data-00000-of-00001 is cut: resnet/block2/unit_2/weights ends at byte 72, the file")
    data.write_bytes(whole[:30] + bytes([whole[30] ^ 1]) + whole[31:])
    refused("damaged at byte 24: resnet/block2/unit_2/weights .checksum differs")
    data.unlink()
    refused("data-00000-of-00001 is missing")
    data.write_bytes(whole)
    for at in range(0, len(good) // 2, 7):  # a flipped bit of an entry
        index.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        refused("not a readable TensorFlow checkpoint")
    for cut in (0, 20, len(good) // 2, len(good) - 1):
        index.write_bytes(good[:cut])
        refused("not a readable TensorFlow checkpoint")
    index.unlink()
    refused("no such file")
    sliced = {"a": np.zeros(2, np.float32)}
    oracle.write_checkpoint(prefix, sliced, extra={"a": oracle.message(7, b"")})
    refused("a is stored in slices")


def test_frozen_graph(tmp_path, rng):
    kernel = rng.normal(size=(3, 3, 1, 2)).astype(np.float32)
    f4 = lambda *v: np.array(v, np.float32)  # noqa: E731
    floats = oracle.message(5, f4(1.5, -2).tobytes())
    loose = b"".join(oracle.varint(5 << 3 | 5) + f4(x).tobytes() for x in (3, 4))
    ints = oracle.message(7, oracle.varint(-1) + oracle.varint(300))
    bits = oracle.message(13, oracle.varint(0x3C00) + oracle.varint(0xC000))
    oracle.write_graph(
        tmp_path / "g.pb",
        {
            "conv/weights": kernel,
            "step": np.array(7, np.int64),
            "filled": oracle.tensor_proto(np.zeros((2, 3), np.float32), floats),
            "loose": oracle.tensor_proto(np.zeros(2, np.float32), loose),
            "ints": oracle.tensor_proto(np.zeros(2, np.int32), ints),
            "half": oracle.tensor_proto(np.zeros(2, np.float16), bits),
            "zeros": oracle.tensor_proto(np.zeros((2, 2), np.float32), b""),
            "text": oracle.number(1, 7) + oracle.message(8, b"a"),
        },
    )
    wanted = {
        "conv/weights": kernel,
        "step": np.array(7, np.int64),
        "filled": f4(1.5, -2, -2, -2, -2, -2).reshape(2, 3),
        "loose": f4(3, 4),
        "ints": np.array([-1, 300], np.int32),
        "half": np.array([1, -2], np.float16),
        "zeros": np.zeros((2, 2), np.float32),
    }
    found = load_frozen_graph(tmp_path / "g.pb")
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
    "content,message",
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a readable frozen graph"),
        (oracle.number(1, 1), "SavedModel"),
        (oracle.message(9, b"a"), "unexpected field 9"),
        (oracle.message(1, oracle.message(1, b"x") + oracle.message(2, b"Add")), "none of them"),
        (oracle.message(1, b""), "without a name"),
    ],
)
def test_other_files(tmp_path, content, message):
    (tmp_path / "g.pb").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_frozen_graph(tmp_path / "g.pb")
    assert re.match(f"{re.escape(str(tmp_path / 'g.pb'))}: ", str(caught.value))


def test_a_constant_that_repeats_one_number_costs_no_memory(tmp_path):
    one = oracle.message(5, np.float32(7).tobytes())
    shape = oracle.message(2, oracle.shape_proto([1 << 20, 64]))
    oracle.write_graph(
        tmp_path / "g.pb", {f"x{k}": oracle.number(1, 1) + shape + one for k in range(99)}
    )
    found = load_frozen_graph(tmp_path / "g.pb")
    assert len(found) == 99 and all(x.strides == (0, 0) and x[5, 5] == 7 for x in found.values())


def test_damaged_graphs(tmp_path):
    for proto, message in (
        (oracle.number(1, 1) + oracle.message(2, oracle.shape_proto([1 << 40])), "x: 1 numbers"),
        (
            oracle.number(1, 1)
            + oracle.message(2, oracle.shape_proto([1 << 24]))
            + oracle.message(5, np.ones(2, "<f4").tobytes()),
            "x: 2 numbers",
        ),
        (oracle.number(1, 99) + oracle.message(4, b"1234"), "x: numbers of TensorFlow's type 99"),
        (oracle.tensor_proto(np.zeros(3, np.float32), oracle.message(4, b"1234")), "x: 4 bytes"),
    ):
        oracle.write_graph(tmp_path / "g.pb", {"x": proto})
        with pytest.raises(ValueError, match=message):
            load_frozen_graph(tmp_path / "g.pb")
    oracle.write_graph(tmp_path / "g.pb", {"x": np.zeros(9, np.float32)})
    whole = (tmp_path / "g.pb").read_bytes()
    (tmp_path / "g.pb").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="not a readable frozen graph"):
        load_frozen_graph(tmp_path / "g.pb")
    with pytest.raises(ValueError, match="no such file"):
        load_frozen_graph(tmp_path / "absent.pb")
