"""Folders of single maps, one file per face: how data come from other programs.

Files of one face share their stem: texture/anna.png, shape/anna.npy, normals/anna.pkl.
"""

import logging
import pathlib
from collections.abc import Mapping

import numpy as np

from facejax.host.arrays import describe_array, read_npy, read_npz
from facejax.host.files import list_files, name_key, reading, some_names
from facejax.io.images import image_names, read_image
from facejax.io.pickles import restricted_load

_log = logging.getLogger(__name__)


ARRAY_SUFFIXES = (".npy", ".npz", ".pkl", ".pickle")


def find_files(
    folders: Mapping[str, str | pathlib.Path], suffixes: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, pathlib.Path]]:
    """Pairs the files of several folders by stem.

    Where a folder holds sub-folders only, one for each class say, their files are taken, and a stem
    is the path below the folder: 'happy/anna'.

    Args:
      folders: {kind: folder}; hidden files do not count.
      suffixes: {kind: suffixes that count, in any case}.

    Returns:
      {stem: {kind: path}}, stems in sorted order.

    Raises:
      ValueError: a folder is missing or empty, two files of a folder share a stem, or a stem is not
        in every folder; the message lists the odd ones.
      OSError: a folder cannot be read.
    """
    found: dict[str, dict[str, pathlib.Path]] = {}
    for kind, folder in folders.items():
        folder = pathlib.Path(folder)
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; wanted the one with the {kind} files")
        files = list_files(folder, suffixes[kind])
        if not files:
            files = list_files(folder, suffixes[kind], recursive=True)
            if not files:
                raise ValueError(
                    f"{folder} holds no {kind} files ({', '.join(suffixes[kind])}), and neither do "
                    "its sub-folders"
                )
            places = len({path.parent for path in files})
            _log.warning("%s: taking %d files of %d sub-folders", folder, len(files), places)
        found[kind] = {}
        for path, stem in zip(files, map(name_key, image_names(files, folder)), strict=True):
            if stem in found[kind]:
                raise ValueError(f"{path} and {found[kind][stem].name} share a stem")
            found[kind][stem] = path
    every = sorted(set().union(*found.values()))
    odd = [
        f"{some_names(missing)} not in {folders[kind]}"
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
      OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        with reading(path, "a readable pickle of a map"):
            array = restricted_load(path, encoding="latin1")
    elif suffix == ".npz":
        arrays = read_npz(path)
        if len(arrays) != 1:
            raise ValueError(f"{path}: wanted one array, found {sorted(arrays)}")
        array = next(iter(arrays.values()))
    else:
        array = read_npy(path)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 3:
        kind = describe_array(array) if isinstance(array, np.ndarray) else type(array)
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
        found = (f"{paths[kind]} {h}x{w}" for kind, (h, w) in sizes.items())
        raise ValueError(f"maps of different sizes: {', '.join(found)}")
    return maps
