"""Reading pickles of numpy arrays and plain containers without executing what they ask for.

A pickle is a program: loading one may call any importable function. Here the names that a pickle
may use are a short list, arrays and dtypes are rebuilt by our own code (numpy's own reconstruction
trusts its input), and everything else is refused by name before it is looked up.
"""

import collections
import math
import os
import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY5 = ("numpy.core.numeric", "numpy._core.numeric")
_CONTAINERS = {"set": set, "frozenset": frozenset, "complex": complex}
_KINDS = "biufcSUV?"  # no 'O': the items of object arrays are pickles of their own


class UnsafePickleError(ValueError):
    """The pickle asks for something outside the allowed list."""


class _Dtype:
    """A dtype in the making; numpy's own would believe any flags and sizes that it is told."""

    def __init__(self, code: Any):
        if not isinstance(code, str | bytes):
            raise UnsafePickleError(f"refused a numpy dtype made of {type(code).__name__}")
        code = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if code.lstrip("<>=|")[:1] not in tuple(_KINDS) or "," in code:
            raise UnsafePickleError(f"refused a numpy dtype {code!r}: wanted plain numbers or text")
        try:
            self.dtype = np.dtype(code)
        except TypeError as error:
            raise UnsafePickleError(f"refused a numpy dtype {code!r}") from error

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, sub-array, field names, fields, item size, alignment, flags, ...)
        if not isinstance(state, tuple) or len(state) < 8 or any(s is not None for s in state[2:5]):
            raise UnsafePickleError("refused a structured numpy dtype: save plain arrays instead")
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "=", "|"):
            raise UnsafePickleError(f"refused a numpy byte order {order!r}")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


def _resolve(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise UnsafePickleError(f"refused a numpy dtype of type {type(dtype).__name__}")
    return dtype.dtype


def _array(raw: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """A fresh array from bytes, after checking that there are as many as the shape asks for."""
    dtype = _resolve(dtype)
    raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote text
    if not isinstance(raw, bytes | bytearray | memoryview | pickle.PickleBuffer):
        raise UnsafePickleError(f"refused array data of type {type(raw).__name__}")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise UnsafePickleError(f"refused an array of shape {shape!r}")
    raw = memoryview(raw)
    if raw.nbytes != math.prod(shape) * dtype.itemsize:
        raise UnsafePickleError(
            f"refused an array: {raw.nbytes} bytes for shape {shape} of {dtype}"
        )
    flat = np.frombuffer(raw, dtype) if raw.nbytes else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")


class _Array:
    """An array in the making; `_Finish` puts the finished one in its place."""

    __hash__ = None  # like arrays: neither a key nor a member of a set

    def __init__(self):
        self.array = np.zeros(0, np.float32)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise UnsafePickleError("refused a numpy array with an unknown state")
        shape, dtype, fortran, raw = state[-4:]
        self.array = _array(raw, dtype, shape, bool(fortran))


class _Namespace:
    """The functions that a pickle gets to see: bound methods, whose attributes it cannot set."""

    def reconstruct(self, cls: Any, *unused: Any) -> _Array:
        if cls is not _Array:
            raise UnsafePickleError("refused a subclass of numpy.ndarray")
        return _Array()

    def frombuffer(self, raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
        return _array(raw, dtype, shape, order == "F")

    def scalar(self, dtype: Any, raw: Any = None) -> np.generic:
        if raw is None:
            raise UnsafePickleError("refused a numpy scalar without a value")
        return _array(raw, dtype, (), False)[()]

    def dtype(self, code: Any, *unused: Any) -> _Dtype:
        return _Dtype(code)

    def encode(self, text: Any, codec: Any = None) -> bytes:
        """`_codecs.encode`, by which protocols below 3 write bytes."""
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise UnsafePickleError(f"refused _codecs.encode with codec {codec!r}")
        return text.encode("latin1")

    def empty_bytes(self) -> bytes:
        """`bytes()`, by which protocols below 3 write b"": no argument can ask for memory."""
        return b""

    def bytearray(self, content: Any = b"", codec: Any = "latin1") -> bytearray:
        return bytearray(content if isinstance(content, bytes) else self.encode(content, codec))


def _names() -> dict[tuple[str, str], Any]:
    known = _Namespace()
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): known.dtype,
        ("_codecs", "encode"): known.encode,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    for module in _NUMPY:
        names[module, "_reconstruct"] = known.reconstruct
        names[module, "scalar"] = known.scalar
    for module in _NUMPY5:
        names[module, "_frombuffer"] = known.frombuffer
    for module in ("builtins", "__builtin__"):
        names |= {(module, name): kind for name, kind in _CONTAINERS.items()}
        names[module, "bytes"] = known.empty_bytes
        names[module, "bytearray"] = known.bytearray
    return names


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, encoding: str, allowed: Mapping[tuple[str, str], Any]):
        super().__init__(file, encoding=encoding)
        self._names = _names() | dict(allowed)

    def find_class(self, module: str, name: str) -> Any:
        for key in ((module, name), ("*", name)):
            if key in self._names:
                return self._names[key]
        raise UnsafePickleError(
            f"refused {module}.{name}: this reader admits numpy arrays and plain containers only, "
            "and nothing of the file was executed"
        )


class _Finish:
    """Replaces arrays and dtypes in the making by the finished ones, in place where possible."""

    def __init__(self, replaced: tuple[type, ...]):
        self.replaced = replaced
        self.done: dict[int, Any] = {}
        self.alive: list[Any] = []  # keeps ids unique while we walk

    def __call__(self, value: Any) -> Any:
        if isinstance(value, _Array):
            return value.array
        if isinstance(value, _Dtype):
            return value.dtype
        kinds = (list, dict, tuple, set, frozenset, *self.replaced)
        if not isinstance(value, kinds):
            return value
        if id(value) not in self.done:
            self.alive.append(value)
            self.done[id(value)] = value  # a cycle through a tuple sees the unfinished tuple
            self.done[id(value)] = self._rebuild(value)
        return self.done[id(value)]

    def _rebuild(self, value: Any) -> Any:
        if isinstance(value, list):
            value[:] = [self(item) for item in value]
        elif isinstance(value, dict):
            for key in value:
                value[key] = self(value[key])
        elif isinstance(value, tuple | set | frozenset):
            items = [self(item) for item in value]
            if any(a is not b for a, b in zip(items, value, strict=True)):
                return type(value)(items)
        if hasattr(value, "__dict__") and isinstance(value, self.replaced):
            for key, item in vars(value).items():
                setattr(value, key, self(item))
        return value


def restricted_load(
    file: str | os.PathLike | BinaryIO,
    allowed: Mapping[tuple[str, str], Callable] | None = None,
    encoding: str = "ASCII",
) -> Any:
    """Loads a pickle of numpy arrays, numbers, text and plain containers; refuses anything else.

    Object arrays, structured dtypes and subclasses of ndarray are refused too.

    Args:
      file: a path, or a binary file.
      allowed: {(module, name): replacement} for further names in the pickle; the module '*'
        stands for any. The replacement, not the original, is called with the pickle's arguments,
        and its `__setstate__` receives the state: it must be safe for any input. Arrays in the
        state are finished when this function returns, if they lie in the instance's `__dict__`.
      encoding: how to read text written by Python 2; 'latin1' if that holds numpy arrays.

    Returns:
      The object.

    Raises:
      UnsafePickleError: names what the pickle asked for; nothing of it was executed.
      ValueError: the file is not a readable pickle.
    """
    if isinstance(file, str | os.PathLike):
        with pathlib.Path(file).open("rb") as opened:
            return restricted_load(opened, allowed, encoding)
    allowed = dict(allowed or {})
    where = getattr(file, "name", "the pickle")
    try:
        value = _Unpickler(file, encoding, allowed).load()
        return _Finish(tuple(c for c in allowed.values() if isinstance(c, type)))(value)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{where}: {error}") from error
    except Exception as error:  # damaged input makes the unpickler raise nearly anything
        raise ValueError(
            f"{where} is not a readable pickle: {type(error).__name__}: {error}"
        ) from error
