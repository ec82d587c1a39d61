"""Folders of single maps, one file per face: how data come from other programs.

Files of one face share their stem: texture/anna.png, shape/anna.npy, normals/anna.pkl.
"""

import csv
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from facejax.io.images import read_image
from facejax.io.pickles import restricted_load

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ARRAY_SUFFIXES = (".npy", ".npz", ".pkl", ".pickle")
_SHOWN = 8  # names in one message


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def find_files(
    folders: Mapping[str, str | pathlib.Path], suffixes: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, pathlib.Path]]:
    """Pairs the files of several folders by stem.

    Args:
      folders: {kind: folder}.
      suffixes: {kind: suffixes that count}.

    Returns:
      {stem: {kind: path}}, stems in sorted order.

    Raises:
      ValueError: a folder is missing or empty, two files of a folder share a stem, or a stem is not
        in every folder; the message lists the odd ones.
    """
    found: dict[str, dict[str, pathlib.Path]] = {}
    for kind, folder in folders.items():
        folder = pathlib.Path(folder)
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; wanted the one with the {kind} files")
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes[kind])
        if not files:
            raise ValueError(f"{folder} holds no {kind} files ({', '.join(suffixes[kind])})")
        found[kind] = {}
        for path in files:
            if path.stem in found[kind]:
                raise ValueError(f"{path} and {found[kind][path.stem].name} share a stem")
            found[kind][path.stem] = path
    every = sorted(set().union(*found.values()))
    odd = [
        f"{_some(missing)} not in {folders[kind]}"
        for kind in found
        if (missing := [stem for stem in every if stem not in found[kind]])
    ]
    if odd:
        raise ValueError(f"files cannot be paired by stem: {'; '.join(odd)}")
    return {stem: {kind: found[kind][stem] for kind in found} for stem in every}


def read_array(path: pathlib.Path) -> np.ndarray:
    """One map of three channels, [H, W, 3] float32, from .npy, .npz (one array) or a pickle.

    Args:
      path: holds [H, W, 3] or [3, H, W]; pickles are read by the restricted unpickler.

    Raises:
      ValueError: the file is not such a map, or holds values that are not finite.
    """
    try:
        if path.suffix.lower() in (".pkl", ".pickle"):
            array = restricted_load(path, encoding="latin1")
        else:
            array = np.load(path, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                with array:
                    if len(array.files) != 1:
                        raise ValueError(f"wanted one array, found {array.files}")
                    array = array[array.files[0]]
    except (ValueError, OSError, EOFError) as error:
        message = str(error)
        raise ValueError(message if str(path) in message else f"{path}: {message}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 3:
        kind = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array)
        raise ValueError(f"{path}: wanted numbers [H, W, 3] or [3, H, W], found {kind}")
    first, last = array.shape[0] == 3, array.shape[2] == 3
    if first == last:
        raise ValueError(
            f"{path}: wanted [H, W, 3] or [3, H, W], found {list(array.shape)}"
            + (", which could be either" if first else "")
        )
    array = np.asarray(array.transpose(1, 2, 0) if first else array, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: holds NaN or infinity")
    return array


def read_maps(paths: Mapping[str, pathlib.Path]) -> dict[str, np.ndarray]:
    """The maps of one face, {kind: [H, W, 3] float32}; texture in [0, 1].

    Raises:
      ValueError: a file is unreadable or the sizes differ.
    """
    maps = {
        kind: read_image(path, mode="RGB") if kind == "texture" else read_array(path)
        for kind, path in paths.items()
    }
    sizes = {kind: value.shape[:2] for kind, value in maps.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"maps of different sizes: {sizes} in {[str(p) for p in paths.values()]}")
    return maps


def read_labels(path: str | pathlib.Path, ids: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of the given faces.

    Args:
      path: .csv whose header is `id,name,name,...`; .npz with `ids` [N] and `labels` [N, L]; or
        .npy [N, L] with one row per id, in the order given.
      ids: the faces.

    Returns:
      labels [N, L] float32 in the order of `ids`, and L names.

    Raises:
      ValueError: ids without a label, or a file of another form.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted labels (.csv, .npz or .npy)")
    names: tuple[str, ...] | None = None
    if path.suffix == ".npy":
        labels = np.load(path, allow_pickle=False)
        if labels.ndim != 2 or len(labels) != len(ids):
            raise ValueError(f"{path}: found {labels.shape}, wanted ({len(ids)}, L)")
        table = dict(zip(ids, labels, strict=True))
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            if {"ids", "labels"} - set(arrays.files) or len(arrays["ids"]) != len(arrays["labels"]):
                raise ValueError(f"{path}: wanted `ids` [N] and `labels` [N, L]")
            table = dict(zip(map(str, arrays["ids"]), arrays["labels"], strict=True))
    elif path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
        if len(header) < 2 or header[0] != "id":
            raise ValueError(f"{path}: wanted a header `id,name,...`, found {header}")
        names = tuple(header[1:])
        table = {}
        for number, row in enumerate(rows, start=2):
            try:
                table[row[0]] = np.array([float(x) for x in row[1:]])
            except ValueError as error:
                raise ValueError(f"{path}, row {number}: {error}") from error
            if len(row) != len(header):
                raise ValueError(f"{path}, row {number}: {len(row)} cells, wanted {len(header)}")
    else:
        raise ValueError(f"{path}: labels are .csv, .npz or .npy")
    missing = [i for i in ids if i not in table]
    if missing:
        raise ValueError(f"{path}: no label for {_some(missing)}")
    labels = np.stack([table[i] for i in ids]).astype(np.float32)
    return labels, names or tuple(f"label{k}" for k in range(labels.shape[1]))
