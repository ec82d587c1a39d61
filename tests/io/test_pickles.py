import collections
import io
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from facejax.io.pickles import UnsafePickleError, read_texts, restricted_load

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(data, **options):
    return restricted_load(io.BytesIO(data), **options)


class Call:
    """Pickles as a call of any function: what an attacker writes."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=">i8").reshape(3, 2).T,
    np.zeros((0, 3), np.float64),
    np.array(3.5),
    np.array(["a", "bcd"]),
    np.array([True, False]),
    np.array([1 + 2j]),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: a.dtype.str)
def test_arrays_of_every_protocol(array, protocol):
    found = load(pickle.dumps(array, protocol=protocol))
    assert type(found) is np.ndarray and found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    found[...] = found  # writable, and not a view into the file


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_containers(protocol):
    array = np.arange(3)
    value = {
        "list": [array, (array, {"deep": np.float32(2.5)})],
        "set": {1, 2},
        "ordered": collections.OrderedDict(a=array),
        "scalars": (np.int64(4), np.bool_(True), 1 + 2j, None, "text", b"bytes", bytearray(b"x")),
        "dtype": np.dtype("<f4"),
        "frozen": frozenset([3]),
    }
    found = load(pickle.dumps(value, protocol=protocol))
    np.testing.assert_equal(found, value)
    assert found["list"][0] is found["list"][1][0] is found["ordered"]["a"]  # sharing survives
    assert type(found["list"][1][1]["deep"]) is np.float32
    assert type(found["ordered"]) is collections.OrderedDict


def test_cycles():
    value = [np.arange(2)]
    value.append(value)
    found = load(pickle.dumps(value))
    assert found[1] is found
    np.testing.assert_array_equal(found[0], [0, 1])


def test_names_of_numpy_1_and_2():
    data = pickle.dumps(np.arange(3.0), protocol=2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    assert new in data or old in data
    for name in (old, new):
        other = data.replace(new, b"<module>").replace(old, b"<module>").replace(b"<module>", name)
        np.testing.assert_array_equal(load(other), [0, 1, 2])


def test_python_2_text():
    # what Python 2 writes for a uint8 array holding 200: its data is text
    data = pickle.dumps(np.array([200], np.uint8), protocol=2)
    assert load(data)[0] == 200
    assert load(b"\x80\x02U\x01\xc8.", encoding="latin1") == "\xc8"
    with pytest.raises(ValueError, match="not a readable pickle"):
        load(b"\x80\x02U\x01\xc8.")


def nested(depth, payload):
    return [nested(depth - 1, payload)] if depth else {"array": np.arange(2), "x": payload}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("deep", [0, 3])
@pytest.mark.parametrize(
    "function,argument,name",
    [
        (os.system, "touch {}", r"(posix|nt)\.system"),
        (eval, "open({!r}, 'w')", r"builtins\.eval|__builtin__\.eval"),
        (exec, "open({!r}, 'w')", r"builtins\.exec|__builtin__\.exec"),
        (getattr, "{}", r"builtins\.getattr|__builtin__\.getattr"),
        (np.load, "{}", r"numpy\.load"),
        (np.testing.assert_equal, "{}", r"numpy\.testing.*assert_equal"),
        (np.fromfile, "{}", r"fromfile"),
    ],
    ids=["system", "eval", "exec", "getattr", "np.load", "np.testing", "np.fromfile"],
)
def test_payloads_are_refused_and_not_run(tmp_path, function, argument, name, deep, protocol):
    mark = tmp_path / "mark"
    payload = Call(function, argument.format(str(mark)))
    data = pickle.dumps(nested(deep, payload), protocol=protocol)
    with pytest.raises(UnsafePickleError, match=name):
        load(data)
    assert not mark.exists()


def test_reduce_inside_an_argument_of_an_allowed_name(tmp_path):
    inner = Call(os.system, f"touch {tmp_path / 'mark'}")
    with pytest.raises(UnsafePickleError, match="system"):
        load(pickle.dumps(Call(collections.OrderedDict, inner)))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "value,message",
    [
        (np.array([{}, None], dtype=object), "dtype 'O8'"),
        (np.zeros(2, [("a", "f4"), ("b", "O")]), "structured|dtype"),
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), "structured"),
        (np.ma.masked_array([1, 2]), "numpy.ma"),
        (np.arange(2).view(np.recarray), "recarray"),
    ],
    ids=["object", "struct_object", "struct", "masked", "recarray"],
)
def test_arrays_that_are_not_plain(value, message):
    with pytest.raises(UnsafePickleError, match=message):
        load(pickle.dumps(value))


class State:
    """Pickles as numpy's own reconstruction with a state of our choice."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


@pytest.mark.parametrize(
    "state,message",
    [
        ((1, (4,), np.dtype("f4"), False, b"12"), "2 bytes for shape"),
        ((1, (-1,), np.dtype("f4"), False, b"1234"), "shape"),
        ((1, (2**62,), np.dtype("f4"), False, b""), "bytes for shape"),
        ((1, (1,), "O", False, b"12345678"), "dtype of type str"),
        ((1, (1,), np.dtype("f4"), False, [1.0]), "data of type list"),
        (("?",), "unknown state"),
    ],
)
def test_tampered_array_states(state, message):
    with pytest.raises(UnsafePickleError, match=message):
        load(pickle.dumps(State(state)))


def test_a_dtype_may_not_claim_flags_or_fields():
    class Evil:
        def __reduce__(self):
            fields = {"a": (np.dtype("f8"), 0)}
            state = (3, "|", None, ("a",), fields, 8, 1, 63)
            return np.dtype, ("V8", False, True), state

    with pytest.raises(UnsafePickleError, match="structured"):
        load(pickle.dumps(State((1, (1,), Evil(), False, b"A" * 8))))


def test_no_memory_on_demand():
    with pytest.raises(ValueError):
        load(pickle.dumps(Call(bytes, 1 << 50)))
    with pytest.raises(UnsafePickleError):
        load(pickle.dumps(Call(bytearray, 1 << 50)))


def test_functions_of_the_reader_cannot_be_changed_by_a_pickle():
    # GLOBAL numpy.dtype, then BUILD with a slot state: sets attributes on what find_class gave
    data = b"\x80\x02cnumpy\ndtype\n(N}X\x0c\x00\x00\x00__defaults__N\x73tb."
    with pytest.raises(ValueError, match="AttributeError"):
        load(data)


class Stub:
    """Stands for a class of another program."""

    def __setstate__(self, state):
        self.state = state


class Network:
    """What that program pickled."""

    def __init__(self):
        self.weights = [("w", np.arange(4.0))]


def test_replacements():
    data = pickle.dumps((Network(), {"n": Network()}))
    with pytest.raises(UnsafePickleError, match=r"test_pickles\.Network"):
        load(data)
    for module in (__name__, "*"):
        first, rest = load(data, allowed={(module, "Network"): Stub})
        for found in (first, rest["n"]):
            assert type(found) is Stub
            np.testing.assert_array_equal(found.state["weights"][0][1], np.arange(4.0))
            assert type(found.state["weights"][0][1]) is np.ndarray


def test_arrays_as_keys_and_endless_nesting():
    class Key:
        def __reduce__(self):
            return dict, ([(np.arange(2).tobytes(), 1)],)

    with pytest.raises(UnsafePickleError, match="dict"):
        load(pickle.dumps(Key()))
    # {array: 1} written by hand: EMPTY_DICT, the array, 1, SETITEM
    array = pickle.dumps(np.arange(2), protocol=2)[2:-1]
    with pytest.raises(ValueError, match="unhashable"):
        load(b"\x80\x02}" + array + b"K\x01s.")
    with pytest.raises(ValueError, match="RecursionError"):
        load(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


def test_paths_and_damage(tmp_path):
    path = tmp_path / "a.pkl"
    data = pickle.dumps([np.arange(100)])
    path.write_bytes(data)
    np.testing.assert_array_equal(restricted_load(path)[0], np.arange(100))
    path.write_bytes(data[:-20])
    with pytest.raises(ValueError, match="a.pkl is not a readable pickle"):
        restricted_load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="a.pkl is not a readable pickle"):
        restricted_load(path)
    with pytest.raises(FileNotFoundError):
        restricted_load(tmp_path / "absent.pkl")


BOMBS = """
import io, re, resource, struct
resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)  # of addresses: less than the bombs want
from facejax.io.pickles import restricted_load
big = b"B" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\\0"  # remembered as number 0
items = b"](" + b"K\\x01" * 100_000 + b"eq\\0"
dtype = b"cnumpy\\ndtype\\nX\\2\\0\\0\\0u1\\x85Rq\\1"
array = b"cnumpy.core.numeric\\n_frombuffer\\n(h\\0h\\1J\\0\\0\\x10\\0\\x85tR"
bombs = {
    "index": b"Nr" + struct.pack("<I", 2**31 - 1) + b".",
    "bytearray": b"\\x96" + struct.pack("<Q", 1 << 36) + b".",
    "bytes": b"\\x8e" + struct.pack("<Q", 1 << 36) + b".",
    "copies": big + b"](" + b"cbuiltins\\nbytearray\\nh\\0\\x85R" * 2000 + b"e.",
    "sets": items + b"](" + b"cbuiltins\\nset\\nh\\0\\x85R" * 2000 + b"e.",
    "arrays": big + dtype + b"](" + array * 2000 + b"e.",
}
for name, data in bombs.items():
    try:
        restricted_load(io.BytesIO(b"\\x80\\x05" + data))
        print(name, "read")
    except ValueError as error:
        print(name, error)
# not ru_maxrss, which begins with that of the process that started this one
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("MiB", int(peak.split()[1]) >> 10)
"""


def test_bombs_take_no_memory():
    if not os.path.exists("/proc/self/status"):  # ru_maxrss counts the parent's memory too
        pytest.skip("the peak of a process is read from /proc")
    done = subprocess.run(
        [sys.executable, "-c", BOMBS], capture_output=True, text=True, check=True, cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert found["index"] == "read"  # a number is a number
    for name in ("bytearray", "bytes"):
        assert "68719476736 bytes are announced" in found[name]
    for name in ("copies", "sets", "arrays"):
        assert "refused a memo bomb" in found[name]
    assert int(found["MiB"]) < 400


def test_what_fits_the_file_is_no_bomb():
    shared = np.arange(1000.0)
    value = [shared] * 1000 + [{k} for k in range(1000)] + [np.float32(k) for k in range(1000)]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found = load(pickle.dumps(value, protocol=protocol))
        np.testing.assert_array_equal(found[999], shared)
        assert found[1001:1003] == [{1}, {2}] and found[-1] == 999


def test_texts_that_numpy_saved_as_objects(tmp_path):
    words = ["00001", "größe", ""]
    for name, value in (
        ("objects", np.array(words, object)), ("text", np.array(words)),
        ("bytes", np.array([w.encode() for w in words])),
        ("old", np.array([w.encode() for w in words], object)),
    ):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", value, allow_pickle=True)
        assert read_texts(tmp_path / f"{name}.npy") == words
    for name, value in (
        ("numbers", np.arange(3)), ("mixed", np.array(["a", 1], object)),
        ("nested", np.array([["a"]], object)),
        ("trap", np.array([Call(os.mkdir, "sprung")], object)),
    ):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", value, allow_pickle=True)
        with pytest.raises(ValueError, match=f"{name}.npy: .*(texts|mkdir|one axis)"):
            read_texts(tmp_path / f"{name}.npy")
    assert not (tmp_path / "sprung").exists()
