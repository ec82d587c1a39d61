"""Reading pickles of numpy arrays and plain containers without executing what they ask for.

A pickle is a program: loading one may call any importable function. Here the names that a pickle
may use are a short list, arrays and dtypes are rebuilt by our own code (numpy's own reconstruction
trusts its input), and everything else is refused by name before it is looked up. What a file may
make of its bytes is bounded by their number, so that no small file fills the memory.
"""

import collections
import io
import math
import os
import pathlib
import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from facejax.host.arrays import read_npy
from facejax.host.files import reading

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


class _Bounded:
    """A binary file that is never asked for more than it holds."""

    def __init__(self, file: BinaryIO):
        if not (hasattr(file, "seekable") and file.seekable()):
            file = io.BytesIO(file.read())
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        self._file, self._left = file, self.size

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise EOFError(f"{count} bytes are announced, {self._left} are left")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


class _Unpickler(pickle._Unpickler):  # noqa: SLF001
    """The Python implementation: its memo is a dict, that of C a table as long as the largest
    number that the file mentions. Every call is charged with the length of its arguments, which
    makes repeated copies of one remembered object cost what they cost in memory.
    """

    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: SLF001

    def __init__(
        self,
        file: _Bounded,
        encoding: str,
        allowed: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None,
    ):
        super().__init__(file, encoding=encoding)
        self._names = _names() | dict(allowed)
        self._persistent = persistent
        self._budget = file.size

    def find_class(self, module: str, name: str) -> Any:
        for key in ((module, name), ("*", name)):
            if key in self._names:
                return self._names[key]
        raise UnsafePickleError(
            f"refused {module}.{name}: this reader admits numpy arrays and plain containers only, "
            "and nothing of the file was executed"
        )

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise UnsafePickleError("refused a reference to something outside the file")
        return self._persistent(pid)

    def _charge(self, *values: Any) -> None:
        for value in values:
            items = value if type(value) is tuple else (value,)
            self._budget -= sum(len(x) for x in items if hasattr(type(x), "__len__"))
        if self._budget < 0:
            raise UnsafePickleError(
                "refused a memo bomb: it copies what it holds until that is larger than the file"
            )

    def load_bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))  # the inherited one allocates before it reads

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _charged(opcode: bytes, arguments: Callable[[list], list]) -> None:
    inherited = _Unpickler.dispatch[opcode[0]]

    def load(self: _Unpickler) -> None:
        self._charge(*arguments(self.stack))  # noqa: SLF001
        inherited(self)

    _Unpickler.dispatch[opcode[0]] = load


for _opcode in (pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ):
    _charged(_opcode, lambda stack: stack[-1:])
_charged(pickle.NEWOBJ_EX, lambda stack: stack[-2:])
for _opcode in (pickle.OBJ, pickle.INST):
    _charged(_opcode, lambda stack: stack)


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
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Loads a pickle of numpy arrays, numbers, text and plain containers; refuses anything else.

    Object arrays, structured dtypes and subclasses of ndarray are refused too, and so is a file
    that would take much more memory than its own size.

    Args:
      file: a path, or a binary file, which is left behind the pickle.
      allowed: {(module, name): replacement} for further names in the pickle; the module '*'
        stands for any. The replacement, not the original, is called with the pickle's arguments,
        and its `__setstate__` receives the state: it must be safe for any input. Arrays in the
        state are finished when this function returns, if they lie in the instance's `__dict__`.
      encoding: how to read text written by Python 2; 'latin1' if that holds numpy arrays.
      persistent: what stands for objects outside the pickle, called with their id; it must be safe
        for any id. Without one such objects are refused.

    Returns:
      The object.

    Raises:
      UnsafePickleError: names what the pickle asked for; nothing of it was executed.
      ValueError: the file is not a readable pickle.
    """
    if isinstance(file, str | os.PathLike):
        with pathlib.Path(file).open("rb") as opened:
            return restricted_load(opened, allowed, encoding, persistent)
    allowed = dict(allowed or {})
    where = getattr(file, "name", "the pickle")
    try:
        value = _Unpickler(_Bounded(file), encoding, allowed, persistent).load()
        return _Finish(tuple(c for c in allowed.values() if isinstance(c, type)))(value)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{where}: {error}") from error
    except Exception as error:  # damaged input makes the unpickler raise nearly anything
        raise ValueError(
            f"{where} is not a readable pickle: {type(error).__name__}: {error}"
        ) from error


def texts_of(file: BinaryIO, most: int = 1_000_000) -> set[str]:
    """The texts in a pickle, and the names of what it asks for ('module name'); nothing is loaded.

    Args:
      file: at the start of a pickle; afterwards behind it, or where it was damaged.
      most: the number of operations after which to stop.
    """
    found = set()
    try:
        for count, (_, argument, _) in enumerate(pickletools.genops(_Bounded(file))):
            if isinstance(argument, str):
                found.add(argument)
            if count >= most:
                break
    except (ValueError, LookupError, OverflowError, EOFError):
        pass  # what stands before the damage says enough
    return found


class _Word:
    """The type of elements of an array of texts: nothing but objects."""

    def __init__(self, code: Any = None, *unused: Any):
        if code not in ("O", "O8", "O4", "|O", "|O8"):
            raise UnsafePickleError(f"refused an array of {code!r}: wanted one of texts")

    def __setstate__(self, state: Any) -> None:
        del state  # byte order and size, of which objects have none


class _Words:
    """An array of texts in the making."""

    def __init__(self, *unused: Any):
        self.words: list[str] = []

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise UnsafePickleError("refused a numpy array with an unknown state")
        shape, dtype, _, words = state[-4:]
        if not isinstance(dtype, _Word) or type(words) is not list:
            raise UnsafePickleError("refused an array that holds anything but texts")
        found = [w.decode("utf-8", "replace") if type(w) is bytes else w for w in words]
        if not all(type(w) is str for w in found):
            raise UnsafePickleError("refused an array that holds anything but texts")
        if shape != (len(found),):
            raise UnsafePickleError(f"refused {len(found)} texts for the shape {shape!r}")
        self.words = found


def read_texts(path: str | os.PathLike) -> list[str]:
    """The texts of a .npy file of one axis, also where numpy saved them as Python objects.

    Args:
      path: of the file.

    Raises:
      UnsafePickleError: the objects are no texts; nothing of the file was executed.
      ValueError: no such array.
      OSError: the file cannot be read.
    """
    with reading(path, "an array of texts"), open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        head = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
        head = np.lib.format.read_array_header_2_0 if version == (2, 0) else head
        if head is None:
            raise ValueError(f"version {version} of the format")
        _, _, dtype = head(file)
        if dtype.kind in "US":
            words = read_npy(path).tolist()
            if not isinstance(words, list) or any(isinstance(w, list) for w in words):
                raise ValueError("wanted one axis")
            return [w.decode("utf-8", "replace") if isinstance(w, bytes) else w for w in words]
        if dtype.kind != "O":
            raise ValueError(f"holds {dtype}, no texts")
        names = {(module, "_reconstruct"): _Words for module in _NUMPY}
        names |= {("numpy", "dtype"): _Word, ("numpy", "ndarray"): _Word}
        found = restricted_load(file, names)
        if not isinstance(found, _Words):
            raise UnsafePickleError(f"holds {type(found).__name__}, no array of texts")
        return found.words
