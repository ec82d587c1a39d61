"""Writes what torch.save writes, opcode by opcode, without PyTorch."""

import pickle
import struct
import zipfile

import numpy as np

STORAGES = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "bf16": "BFloat16Storage",
    "i8": "LongStorage", "u1": "ByteStorage", "b1": "BoolStorage",
}  # fmt: skip


class Tensor:
    """A view [shape] with strides, in numbers, of a storage (a flat array, or bf16 as uint16)."""

    def __init__(self, values, shape=None, strides=None, offset=0, kind=None):
        self.values = np.ascontiguousarray(values).reshape(-1)
        self.kind = kind or self.values.dtype.str[1:]
        self.shape = np.shape(values) if shape is None else shape
        steps = np.cumprod([1, *self.shape[:0:-1]])[::-1] if self.shape else ()
        self.strides = tuple(int(s) for s in steps) if strides is None else strides
        self.offset = offset


def _global(module, name):
    return f"c{module}\n{name}\n".encode()


def _tuple(*items):
    return b"(" + b"".join(items) + b"t"


def _value(value, storages, legacy):
    def inner(v):
        return _value(v, storages, legacy)

    if isinstance(value, Tensor):
        keys = [k for k, v in storages.items() if v is value.values]
        key = keys[0] if keys else str(len(storages))
        storages[key] = value.values
        pid = [inner("storage"), _global("torch", STORAGES[value.kind]), inner(key)]
        pid += [inner("cpu"), inner(len(value.values))] + [b"N"] * legacy
        hooks = _global("collections", "OrderedDict") + b")R"
        args = (_tuple(*pid) + b"Q", inner(value.offset), inner(tuple(value.shape)),
                inner(tuple(value.strides)), b"\x89", hooks)  # fmt: skip
        return _global("torch._utils", "_rebuild_tensor_v2") + _tuple(*args) + b"R"
    if isinstance(value, dict):
        return b"}(" + b"".join(inner(k) + inner(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(inner, value)) + b"e"
    if isinstance(value, tuple):
        return _tuple(*map(inner, value))
    if isinstance(value, bytes):  # opcodes, as they are
        return value
    return pickle.dumps(value, protocol=2)[2:-1]


def write_zip(path, value, byteorder="little", extra=None):
    """The format since PyTorch 1.6."""
    storages = {}
    pickled = b"\x80\x02" + _value(value, storages, False) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", byteorder)
        for key, values in storages.items():
            order = values if byteorder == "little" else values.byteswap()
            archive.writestr(f"archive/data/{key}", order.tobytes())
        archive.writestr("archive/version", "3\n")
        for name, content in (extra or {}).items():
            archive.writestr(f"archive/{name}", content)


def write_legacy(path, value):
    """The format before."""
    storages = {}
    pickled = b"\x80\x02" + _value(value, storages, True) + b"."
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    with open(path, "wb") as file:
        file.write(b"".join(pickle.dumps(x, protocol=2) for x in head) + pickled)
        file.write(pickle.dumps(list(storages), protocol=2))
        for values in storages.values():
            file.write(struct.pack("<q", len(values)) + values.tobytes())
