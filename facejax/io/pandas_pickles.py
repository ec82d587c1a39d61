"""Pickled pandas frames, read and written without pandas and without executing what they ask for.

The original Face Manifold keeps coefficients in such files: one row per face, each cell an array.
Reading maps the few names that a frame's pickle needs (pandas 0.20 to 3) to inert stand-ins on top
of `restricted_load`; any other name is refused. What is written is the state that pandas has read
since 0.14.1.
"""

import math
import os
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from facejax.host.files import atomic_path
from facejax.io.pickles import UnsafePickleError, _Array, _Dtype, restricted_load

PICKLE_START = b"\x80"  # of protocol 2 and later
_OBJECT_CODES = ("O", "O4", "O8", b"O", b"O4", b"O8")
_INDEX_KINDS = ("Int64Index", "UInt64Index", "Float64Index")


class _AnyDtype(_Dtype):
    """Also the dtype of object arrays."""

    def __init__(self, code: Any, *unused: Any):
        if isinstance(code, str | bytes) and code in _OBJECT_CODES:
            self.dtype = np.dtype(object)
        else:
            super().__init__(code)

    def __setstate__(self, state: Any) -> None:
        if self.dtype != object:
            super().__setstate__(state)


class _AnyArray(_Array):
    """Also an object array: its items are a list of pickled values, no memory addresses."""

    def __setstate__(self, state: Any) -> None:
        dtype = state[-3] if isinstance(state, tuple) and len(state) >= 4 else None
        if not isinstance(dtype, _AnyDtype) or dtype.dtype != object:
            super().__setstate__(state)
            return
        shape, items = state[-4], state[-1]
        if (
            not isinstance(shape, tuple)
            or not all(isinstance(n, int) and n >= 0 for n in shape)
            or not isinstance(items, list)
            or len(items) != math.prod(shape)
        ):
            raise UnsafePickleError("refused an object array: its items do not fit its shape")
        flat = np.empty(len(items), object)
        for i, item in enumerate(items):
            flat[i] = item
        self.array = flat.reshape(shape)  # the list is in C order, whatever the array was


class _StandIn:
    """Keeps what a pickle says of an object; `__setstate__` exists, lest a class be changed."""

    args: tuple = ()
    state: Any = None

    def __init__(self, *args: Any):
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_StandIn):
    pass


class _Manager(_StandIn):
    pass


class _Index(_StandIn):
    pass


class _Text(_StandIn):
    """pandas 3: an index of text; state (values, dtype, ...) in either order."""


class _TextType(_StandIn):
    pass


class _Functions:
    """The functions that a frame's pickle gets to see, as bound methods: see facejax.io.pickles."""

    def reconstruct(self, cls: Any, *unused: Any) -> _AnyArray:
        if cls is not _AnyArray:
            raise UnsafePickleError("refused a subclass of numpy.ndarray")
        return _AnyArray()

    def block(self, values: Any, placement: Any, *unused: Any) -> dict[str, Any]:
        return {"values": values, "mgr_locs": placement}

    def index(self, cls: Any, fields: Any) -> _Index:
        if cls is not _Index:
            raise UnsafePickleError("refused an unknown kind of pandas index")
        return _Index(fields)

    def text(self, cls: Any, *unused: Any) -> _Text:
        if cls is not _Text:
            raise UnsafePickleError("refused an unknown kind of pandas array")
        return _Text()

    def slice(self, *ends: Any) -> slice:
        if len(ends) != 3 or not all(e is None or isinstance(e, int) for e in ends):
            raise UnsafePickleError("refused a slice that is not made of three integers")
        return slice(*ends)


def _names() -> dict[tuple[str, str], Any]:
    known = _Functions()
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _AnyArray,
        ("numpy", "dtype"): _AnyDtype,
        ("numpy.core.multiarray", "_reconstruct"): known.reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): known.reconstruct,
        ("builtins", "slice"): known.slice,
        ("__builtin__", "slice"): known.slice,
        ("pandas.core.frame", "DataFrame"): _Frame,
        ("pandas", "DataFrame"): _Frame,
        ("pandas.core.internals", "BlockManager"): _Manager,
        ("pandas.core.internals.managers", "BlockManager"): _Manager,
        ("pandas._libs.internals", "_unpickle_block"): known.block,
        ("pandas.core.indexes.base", "_new_Index"): known.index,
        ("pandas.core.indexes.base", "Index"): _Index,
        ("pandas", "Index"): _Index,
        ("pandas.core.indexes.range", "RangeIndex"): _Index,
        ("pandas", "RangeIndex"): _Index,
        ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"): known.text,
        ("pandas.arrays", "StringArray"): _Text,
        ("pandas", "StringDtype"): _TextType,
    }
    return names | {("pandas.core.indexes.numeric", kind): _Index for kind in _INDEX_KINDS}


def read_frame(file: str | os.PathLike | BinaryIO) -> dict[str, np.ndarray]:
    """The columns of a pickled pandas frame.

    Args:
      file: a path, or a binary file.

    Returns:
      {column: [rows, ...]}: a column whose cells are arrays of one shape is stacked, a column of
      numbers is [rows].

    Raises:
      UnsafePickleError: the pickle asks for anything but a frame of numbers, text and arrays; what
        it asked for is named, and nothing of it was executed.
      ValueError: the file is no readable pickle, holds something else, or a column's cells differ
        in shape.
    """
    where = os.fspath(file) if isinstance(file, str | os.PathLike) else "the pickle"
    frame = restricted_load(file, _names(), encoding="latin1")
    if not isinstance(frame, _Frame):
        raise ValueError(f"{where}: found a pickled {_kind(frame)}, wanted a pandas DataFrame")
    try:
        columns, blocks = _manager_parts(frame)
        found = _columns(columns, blocks)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: cannot make sense of this pandas frame ({type(error).__name__}: {error}); "
            "save its columns with numpy.savez instead"
        ) from error
    return {name: _stack(where, name, cells) for name, cells in found.items()}


def _kind(value: Any) -> str:
    return "pandas object" if isinstance(value, _StandIn) else type(value).__name__


def _manager_parts(frame: _Frame) -> tuple[list[str], list[dict[str, Any]]]:
    """Names of the columns; the blocks, each 'values' [columns, rows] and 'mgr_locs'."""
    manager = frame.state["_mgr"] if "_mgr" in frame.state else frame.state["_data"]
    if manager.state is not None:  # up to pandas 1.2
        state = manager.state[3]["0.14.1"]
        blocks, axes = state["blocks"], state["axes"]
    else:
        blocks, axes = manager.args[:2]
    labels = axes[0].args[0]["data"]
    if isinstance(labels, _Text):
        labels = next(v for v in labels.state if isinstance(v, _AnyArray | np.ndarray))
    return [str(label) for label in _array(labels)], list(blocks)


def _array(value: Any) -> np.ndarray:
    value = value.array if isinstance(value, _Array) else value
    if not isinstance(value, np.ndarray):
        raise TypeError(f"found {type(value).__name__} where pandas has an array")
    return value


def _columns(names: list[str], blocks: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for block in blocks:
        values, place = _array(block["values"]), block["mgr_locs"]
        place = range(*place.indices(len(names))) if isinstance(place, slice) else _array(place)
        for row, column in zip(values, place, strict=True):
            found[names[column]] = row
    if set(found) != set(names) or len({len(v) for v in found.values()}) > 1:
        raise ValueError("its blocks do not cover its columns")
    return {name: found[name] for name in names}


def _stack(where: str, name: str, cells: np.ndarray) -> np.ndarray:
    if cells.dtype != object:
        return cells
    arrays = [np.asarray(c.array if isinstance(c, _Array) else c) for c in cells]
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1 or any(a.dtype == object for a in arrays):
        raise ValueError(
            f"{where}: the cells of column {name!r} have shapes {sorted(shapes)}, wanted numbers "
            "or arrays of one shape"
        )
    return np.stack(arrays) if arrays else np.zeros(0)


def write_frame(path: str | os.PathLike, columns: Mapping[str, np.ndarray]) -> pathlib.Path:
    """Writes a pickle that pandas.read_pickle opens as a frame with one array per cell.

    Args:
      path: of the file.
      columns: {name: [rows, ...]}, equally many rows; cell i of a column is its [i].

    Raises:
      ValueError: there are no columns, or their numbers of rows differ.
    """
    rows = {len(v) for v in columns.values()}
    if len(rows) != 1:
        raise ValueError(f"wanted columns of equally many rows, found {sorted(rows)}")
    cells = np.empty((len(columns), *rows), object)
    for k, values in enumerate(columns.values()):
        for i, value in enumerate(values):
            cells[k, i] = np.asarray(value)
    base = "pandas.core.indexes.base"
    names = np.array(list(columns), object)
    axes = [
        _call(_name(base, "_new_Index"), _name(base, "Index"), {"data": names, "name": None}),
        _call(
            _name(base, "_new_Index"),
            _name("pandas.core.indexes.range", "RangeIndex"),
            {"name": None, "start": 0, "stop": cells.shape[1], "step": 1},
        ),
    ]
    block = _dict(values=cells, mgr_locs=slice(0, len(columns), 1))
    state = _dict(axes=_list(axes), blocks=_list([block]))
    manager = _object(
        _name("pandas.core.internals.managers", "BlockManager"),
        _tuple(_list(axes), _list([_value(cells)]), _list(axes[:1]), _dict(**{"0.14.1": state})),
    )
    frame = _object(
        _name("pandas.core.frame", "DataFrame"),
        _dict(_data=manager, _typ="dataframe", _metadata=[]),
    )
    path = pathlib.Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(pickle.PROTO + b"\x02" + frame + pickle.STOP)
    return path


# Opcodes put together: pickling by name would need pandas. Parts are bytes, values anything else.


def _value(value: Any) -> bytes:
    return value if isinstance(value, bytes) else pickle.dumps(value, 2)[2:-1]


def _name(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _tuple(*items: Any) -> bytes:
    return pickle.MARK + b"".join(map(_value, items)) + pickle.TUPLE


def _list(items: list[Any]) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(_value, items)) + pickle.APPENDS


def _dict(**items: Any) -> bytes:
    pairs = b"".join(_value(k) + _value(v) for k, v in items.items())
    return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS


def _call(function: bytes, *arguments: Any) -> bytes:
    return function + _tuple(*arguments) + pickle.REDUCE


def _object(cls: bytes, state: bytes) -> bytes:
    return cls + pickle.EMPTY_TUPLE + pickle.NEWOBJ + state + pickle.BUILD
