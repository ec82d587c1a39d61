"""PyTorch files of tensors (.pth, .pt, .ckpt, .tar), read without PyTorch and without running them.

Since PyTorch 1.6 such a file is a zip archive: `*/data.pkl`, whose tensors refer to storages by
number, and `*/data/<number>`, the bytes of each storage. Before, it was a row of pickles with the
storages behind them.
"""

import os
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from facejax.host.files import reading
from facejax.io.pickles import UnsafePickleError, restricted_load

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_BFLOAT16 = "bfloat16"  # numpy has none: read as float32, which holds all its values
_STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?", "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}  # fmt: skip
_MAX_DEPTH, _MAX_ENTRIES = 64, 1_000_000


class _Sealed:
    """What a pickle gets to hold but not to change."""

    def __setstate__(self, state: Any) -> None:
        raise UnsafePickleError("refused to set the state of a tensor or storage")


class _Kind(_Sealed):
    """A storage class of PyTorch in a pickle: only its name."""

    def __init__(self, name: str):
        self.name = name


class _Storage(_Sealed):
    """The numbers that one or several tensors share; `values` [numel] come when they are read."""

    def __init__(self, kind: str, numel: int):
        self.kind, self.numel = kind, numel
        self.values: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return self.numel * (2 if self.kind == _BFLOAT16 else np.dtype(self.kind).itemsize)

    def fill(self, raw: bytes, order: str) -> None:
        if len(raw) != self.nbytes:
            raise ValueError(f"a storage of {self.numel} {self.kind} has {len(raw)} bytes")
        if self.kind == _BFLOAT16:
            bits = np.frombuffer(raw, order + "u2").astype(np.uint32) << np.uint32(16)
            self.values = bits.view(np.float32)
        else:
            self.values = np.frombuffer(raw, np.dtype(self.kind).newbyteorder(order))


class _Tensor(_Sealed):
    """A tensor in the making: part of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any):
        whole = [offset, *_tuple(shape), *_tuple(strides)]
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise UnsafePickleError("refused a tensor that is not made of a storage")
        if not all(type(n) is int and 0 <= n < 1 << 62 for n in whole):
            raise UnsafePickleError(f"refused a tensor of shape {shape}, strides {strides}")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        """The tensor; views of one storage share its memory."""
        count = 1
        for n in self.shape:
            count *= n
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        values = self.storage.values
        if count and (last >= len(values) or count > len(values)):
            raise ValueError(
                f"a tensor of shape {self.shape}, strides {self.strides} at {self.offset} does "
                f"not fit a storage of {len(values)} numbers"
            )
        if not count:
            return np.zeros(self.shape, values.dtype.newbyteorder("="))
        steps = [step * values.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, steps, writeable=False
        )
        native = view.dtype.newbyteorder("=")
        return view if view.dtype == native else view.astype(native)


def _tuple(value: Any) -> tuple:
    if type(value) is not tuple:
        raise UnsafePickleError(f"refused a tensor with a shape of type {type(value).__name__}")
    return value


class _Torch:
    """The functions that a pickle gets to see, as bound methods."""

    def rebuild_tensor(self, storage, offset, shape, strides, *unused) -> _Tensor:
        return _Tensor(storage, offset, shape, strides)

    def rebuild_parameter(self, tensor, *unused) -> _Tensor:
        if not isinstance(tensor, _Tensor):
            raise UnsafePickleError("refused a parameter that is not made of a tensor")
        return tensor


def _allowed() -> dict[tuple[str, str], Any]:
    known = _Torch()
    names: dict[tuple[str, str], Any] = {
        ("torch._utils", "_rebuild_tensor_v2"): known.rebuild_tensor,
        ("torch._utils", "_rebuild_tensor"): known.rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): known.rebuild_parameter,
    }
    return names | {("torch", name): _Kind(kind) for name, kind in _STORAGES.items()}


class _Storages:
    """The storages that a pickle refers to."""

    def __init__(self) -> None:
        self.by_key: dict[str, _Storage] = {}

    def __call__(self, pid: Any) -> _Storage:
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise UnsafePickleError(
                "refused a reference that is no storage: the file holds a program or a whole "
                "module; save its state_dict() instead"
            )
        _, kind, key, _, numel, *view = pid
        if not isinstance(kind, _Kind) or type(numel) is not int or numel < 0:
            raise UnsafePickleError("refused a storage of unknown type or size")
        if any(v is not None for v in view):
            raise UnsafePickleError("refused a view of a storage: save the file with PyTorch >= 1")
        storage = self.by_key.setdefault(str(key), _Storage(kind.name, numel))
        if (storage.kind, storage.numel) != (kind.name, numel):
            raise UnsafePickleError(f"refused storage {key}, which has two sizes")
        return storage


def _read_zip(file: BinaryIO, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        roots = [n.removesuffix("data.pkl") for n in entries if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip archive without a data.pkl")
        root = roots[0]
        if root + "constants.pkl" in entries:
            raise ValueError("a TorchScript program; save its state_dict() instead")
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise ValueError("a compressed zip archive, which PyTorch does not write")
        storages = _Storages()
        with archive.open(root + "data.pkl") as pickled:
            value = restricted_load(pickled, _allowed(), "utf-8", storages)
        if sum(s.nbytes for s in storages.by_key.values()) > size:
            raise ValueError("storages that are larger than the file")
        order = "<"
        if root + "byteorder" in entries and archive.read(root + "byteorder") == b"big":
            order = ">"
        for key, storage in storages.by_key.items():
            name = f"{root}data/{key}"
            if name not in entries or entries[name].file_size != storage.nbytes:
                found = entries[name].file_size if name in entries else "no"
                raise ValueError(f"storage {key} has {found} bytes, wanted {storage.nbytes}")
            storage.fill(archive.read(name), order)
    return value


def _read_legacy(file: BinaryIO, size: int) -> Any:
    for number in (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        found = restricted_load(file)
        if type(found) is not int or found != number:
            raise ValueError("a pickle, but not one of PyTorch")
    info = restricted_load(file, encoding="latin1")
    order = "<" if not isinstance(info, Mapping) or info.get("little_endian", True) else ">"
    storages = _Storages()
    value = restricted_load(file, _allowed(), "latin1", storages)
    if sum(s.nbytes for s in storages.by_key.values()) > size:
        raise ValueError("storages that are larger than the file")
    keys = restricted_load(file, encoding="latin1")
    if not isinstance(keys, list):
        raise ValueError("no list of storages behind the tensors")
    for key in map(str, keys):
        storage, head = storages.by_key.get(key), file.read(8)
        if storage is None or head != struct.pack(order + "q", storage.numel):
            raise ValueError(f"storage {key} is damaged or not referred to")
        storage.fill(file.read(storage.nbytes), order)
    missing = [key for key, storage in storages.by_key.items() if storage.values is None]
    if missing:
        raise ValueError(f"storage {missing[0]} is missing")
    return value


def _flatten(value: Any) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    visits = 0

    def walk(node: Any, path: tuple[str, ...]) -> None:
        nonlocal visits
        visits += 1
        if len(path) > _MAX_DEPTH or visits > _MAX_ENTRIES:
            raise UnsafePickleError("refused endless nesting")
        if isinstance(node, dict):
            items = list(dict.items(node))
        elif isinstance(node, list | tuple):
            items = list(enumerate(node))
        elif isinstance(node, _Tensor | np.ndarray | np.number | np.bool_ | int | float | complex):
            name = ".".join(path)
            if name in out:
                raise ValueError(f"two entries are called {name!r}")
            out[name] = node.array() if isinstance(node, _Tensor) else np.asarray(node)
            return
        else:
            return  # text, None: nothing to compute with
        for key, item in items:
            walk(item, (*path, str(key)))

    walk(value, ())
    return out


def load_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file; PyTorch is not needed, and nothing in the file is executed.

    Args:
      path: what `torch.save` wrote: a state dict, or nested dicts, lists and tuples of tensors and
        numbers. Both the zip format and the one before PyTorch 1.6.

    Returns:
      {name: array}, in the order of the file. Names of nested entries are joined by dots
      ('state_dict.conv1.weight', 'optimizer.state.0.step'); numbers become arrays of shape []; text
      is left out. bfloat16 becomes float32, half precision stays. The arrays are read-only, and
      tensors that share memory in the file share it here.

    Raises:
      ValueError: the file is of another kind, damaged, or (UnsafePickleError) asks for anything but
        tensors and plain containers; one line that names the file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a PyTorch file (.pth, .pt)")
    size = path.stat().st_size
    try:
        with reading(path, "a PyTorch file of tensors (.pth, .pt)"), path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            if head == b"PK\x03\x04":
                value = _read_zip(file, size)
            elif head[:1] == b"\x80":
                value = _read_legacy(file, size)
            else:
                raise ValueError(f"it begins with {head!r}")
            found = _flatten(value)
    except ValueError as error:
        if isinstance(error.__cause__, UnsafePickleError):
            raise UnsafePickleError(str(error)) from error
        raise
    if not found or not isinstance(value, dict):
        raise ValueError(
            f"{path}: found {type(value).__name__} with {len(found)} tensors, wanted a dict of "
            "tensors: save model.state_dict()"
        )
    return found
