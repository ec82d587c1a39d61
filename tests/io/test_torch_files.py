import os
import pickle
import re
import zipfile

import numpy as np
import pytest

from facejax.io.pickles import UnsafePickleError
from facejax.io.torch_files import load_state_dict
from tests.oracles.torch_files import Tensor, write_legacy, write_zip

X = np.arange(24, dtype=np.float32).reshape(4, 6)
BF16 = np.array([0x3FC0, 0xC040, 0x0001], np.uint16)


def content():
    shared = Tensor(X)
    turned, part = Tensor(X, (6, 4), (1, 6)), Tensor(X, (2, 3), (6, 2), 6)
    turned.values = part.values = shared.values
    return {
        "epoch": 3,
        "note": "text",
        "state_dict": {"conv.weight": shared, "turned": turned, "part": part},
        "lists": [0.5, (True, Tensor(np.array([1, 200], np.uint8)))],
        "kinds": {
            "half": Tensor(np.array([0.5, -2], np.float16)),
            "double": Tensor(np.array([1e300])),
            "whole": Tensor(np.array([[2**40]], np.int64)),
            "bool": Tensor(np.array([True, False])),
            "scalar": Tensor(np.array(3.5, np.float32)),
            "none": Tensor(np.zeros((0, 3), np.float32), (0, 3), (3, 1)),
            "bf16": Tensor(BF16, kind="bf16"),
        },
    }


WANTED = {
    "epoch": np.asarray(3),
    "state_dict.conv.weight": X,
    "state_dict.turned": X.T,
    "state_dict.part": X[1:3, ::2][:, :3],
    "lists.0": np.asarray(0.5),
    "lists.1.0": np.asarray(True),
    "lists.1.1": np.array([1, 200], np.uint8),
    "kinds.half": np.array([0.5, -2], np.float16),
    "kinds.double": np.array([1e300]),
    "kinds.whole": np.array([[2**40]]),
    "kinds.bool": np.array([True, False]),
    "kinds.scalar": np.array(3.5, np.float32),
    "kinds.none": np.zeros((0, 3), np.float32),
    "kinds.bf16": np.array([1.5, -3, 2.0**-133], np.float32),
}


@pytest.mark.parametrize("form", ["zip", "big", "legacy"])
def test_every_kind_of_tensor(tmp_path, form):
    path = tmp_path / "a.pth"
    if form == "legacy":
        write_legacy(path, content())
    else:
        write_zip(path, content(), "big" if form == "big" else "little")
    found = load_state_dict(path)
    assert list(found) == list(WANTED)
    for name, wanted in WANTED.items():
        assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape), name
        np.testing.assert_array_equal(found[name], wanted, name)
    if form != "big":  # which has to be turned around
        parts = [found["state_dict.conv.weight"], found["state_dict.turned"]]
        assert np.shares_memory(*parts) and not parts[0].flags.writeable


def test_a_state_dict_as_torch_pickles_it(tmp_path):
    # an OrderedDict with an attribute `_metadata`, which pickle sets by BUILD
    opcodes = (
        b"ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00wK\x05u}X\x09\x00\x00\x00_metadata}sb"
    )
    write_zip(tmp_path / "a.pth", opcodes)
    assert load_state_dict(tmp_path / "a.pth") == {"w": 5}


SYSTEM = f"c{os.system.__module__}\nsystem\n".encode()
MARK = b"X\x0a\x00\x00\x00touch MARK\x85R"


@pytest.mark.parametrize(
    "value,message",
    [
        (SYSTEM + MARK, "refused (posix|nt).system"),
        ({"a": [b"cbuiltins\neval\n" + MARK]}, "refused builtins.eval"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(" + SYSTEM + MARK + b"tR", "refused"),
        (b"ctorch\nload\n" + MARK, "refused torch.load"),
        (b"X\x01\x00\x00\x00aQ", "refused a reference that is no storage"),
        (b"ctorch\nFloatStorage\n}X\x04\x00\x00\x00kindX\x01\x00\x00\x00Osb", "refused to set"),
        ({"a": Tensor(X, (4, 7))}, "does not fit a storage of 24"),
        ({"a": Tensor(X, (1 << 40,), (0,))}, "does not fit a storage"),
        ({"a": Tensor(X, (-4,), (1,))}, "refused a tensor of shape"),
        ({"a": {"b": 1}, "a.b": 2}, "two entries are called 'a.b'"),
        ([Tensor(X)], "wanted a dict of tensors"),
        ({"a": "text"}, "wanted a dict of tensors"),
    ],
)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_hostile_and_other_files(tmp_path, monkeypatch, write, value, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.pth", value)
    with pytest.raises(ValueError, match=message) as caught:
        load_state_dict(tmp_path / "a.pth")
    assert str(caught.value).count("a.pth") == 1 and "\n" not in str(caught.value)
    assert not (tmp_path / "MARK").exists()


def test_bombs(tmp_path):
    nested = b"}q\x00"  # 2^40 entries out of 40 dicts
    for k in range(40):
        nested = b"}(X\x01\x00\x00\x00a" + nested + f"X\x01\x00\x00\x00bh{chr(k)}uq".encode()
        nested += bytes([k + 1])
    write_zip(tmp_path / "a.pth", nested)
    with pytest.raises(UnsafePickleError, match="endless nesting"):
        load_state_dict(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/data.pkl", b"\0" * (1 << 20))
    with pytest.raises(ValueError, match="compressed"):
        load_state_dict(tmp_path / "b.pth")


def test_damage(tmp_path):
    path = tmp_path / "a.pth"
    for write in (write_zip, write_legacy):
        write(path, content())
        data = path.read_bytes()
        for cut in (0, 3, 30, 200, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:cut])
            with pytest.raises(ValueError, match=re.escape(str(path))):
                load_state_dict(path)
    write_zip(path, content(), extra={"constants.pkl": b"."})
    with pytest.raises(ValueError, match="TorchScript"):
        load_state_dict(path)
    for other in ({"a": 1}, np.arange(3)):
        path.write_bytes(pickle.dumps(other))
        with pytest.raises(ValueError, match="not one of PyTorch"):
            load_state_dict(path)
    with pytest.raises(ValueError, match="no such file"):
        load_state_dict(tmp_path / "absent.pth")
