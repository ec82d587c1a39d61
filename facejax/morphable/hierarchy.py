"""Mesh hierarchies on disk: the cache of those of face models, and the files of the originals."""

import hashlib
import json
import os
import pathlib

import numpy as np

from facejax.geometry.hierarchy import MeshHierarchy, build_hierarchy, padded_rows
from facejax.host.arrays import read_npz
from facejax.host.cache import cached
from facejax.host.files import reading
from facejax.morphable.model import MorphableModel
from facejax.morphable.storage import content_digest, write_arrays

_VERSION = 1  # of the algorithm; part of the cache's key
_FIELDS = ("neighbors", "weights", "keep", "up_index", "up_weight")


def cached_hierarchy(
    model: MorphableModel, factor: int = 4, levels: int = 4, legacy: bool = False
) -> MeshHierarchy:
    """The hierarchy of a face model's mean shape, from the cache folder or built and put there.

    A damaged cache file is built again with a warning; where the folder cannot be written, the
    hierarchy is built every time (with a warning).

    Args:
      model: any face model; decimated in its rest pose.
      factor, levels, legacy: of `build_hierarchy`.

    Returns:
      Numpy arrays.
    """
    vertices = np.asarray(model.mean_shape)
    triangles = model.topology.mesh.triangles
    key = dict(
        version=_VERSION,
        mesh=content_digest({"vertices": vertices, "triangles": triangles}),
        factor=int(factor),
        levels=int(levels),
        legacy=bool(legacy),
    )
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=10).hexdigest()
    return cached(
        f"hierarchy-{digest}.npz",
        "the mesh hierarchy",
        lambda: build_hierarchy(vertices, triangles, factor, levels, legacy),
        lambda path: _unpack(read_npz(path)),
        lambda path, hierarchy: write_arrays(path, _pack(hierarchy)),
    )


def _pack(hierarchy: MeshHierarchy) -> dict[str, np.ndarray]:
    named = {name: getattr(hierarchy, name) for name in _FIELDS}
    return {f"{name}{k}": v for name, values in named.items() for k, v in enumerate(values)}


def _unpack(arrays: dict[str, np.ndarray]) -> MeshHierarchy:
    levels = sum(name.startswith("keep") for name in arrays)
    return MeshHierarchy(
        *(
            tuple(arrays[f"{name}{k}"] for k in range(levels + (name in ("neighbors", "weights"))))
            for name in _FIELDS
        )
    )


def read_original_hierarchy(folder: str | os.PathLike) -> MeshHierarchy:
    """The matrices that GCN_ResNet and 3D-Face-GCNs keep in their `data/`.

    Args:
      folder: with laplacians{0..n}.npz, downsamp_trans{0..n-1}.npz and upsamp_trans{0..n-1}.npz,
        as scipy.sparse.save_npz writes them.

    Raises:
      ValueError: files are missing, hold pickled objects or do not belong together.
    """
    folder = pathlib.Path(folder)
    levels = sum(1 for _ in folder.glob("downsamp_trans[0-9]*.npz")) if folder.is_dir() else 0
    if not levels:
        raise ValueError(
            f"{folder}: found no downsamp_trans0.npz; wanted the folder of matrices that "
            "GCN_ResNet keeps in data/ (laplacians*.npz, downsamp_trans*.npz, upsamp_trans*.npz)"
        )
    graphs = [_sparse(folder / f"laplacians{k}.npz") for k in range(levels + 1)]
    sizes = [shape[0] for *_, shape in graphs]
    rows = []
    for k, (row, column, value, shape) in enumerate(graphs):
        if shape != (sizes[k], sizes[k]):
            raise ValueError(f"{folder}/laplacians{k}.npz: found {shape}, wanted a square matrix")
        inside = row != column  # rescaling by lambda_max = 2 takes the diagonal of ones away
        diagonal = np.zeros(sizes[k])
        diagonal[row[~inside]] = value[~inside]
        alone = ~np.isin(np.arange(sizes[k]), row[inside])  # has no neighbours: 0 or 1
        if not (np.isclose(diagonal, 1.0, atol=1e-5) | (alone & (diagonal == 0))).all():
            raise ValueError(
                f"{folder}/laplacians{k}.npz: found a diagonal other than 1, wanted a normalised "
                "Laplacian"
            )
        rows.append(padded_rows(row[inside], column[inside], value[inside], shape))
    keep, ups = [], []
    for k in range(levels):
        row, column, value, shape = _sparse(folder / f"downsamp_trans{k}.npz")
        order = np.argsort(row, kind="stable")
        selects = np.array_equal(row[order], np.arange(shape[0])) and (value == 1).all()
        if shape != (sizes[k + 1], sizes[k]) or not selects:
            raise ValueError(
                f"{folder}/downsamp_trans{k}.npz: found {shape} with {len(row)} entries, wanted "
                f"{(sizes[k + 1], sizes[k])} with a single 1 per row"
            )
        keep.append(column[order].astype(np.int32))
        row, column, value, shape = _sparse(folder / f"upsamp_trans{k}.npz")
        if shape != (sizes[k], sizes[k + 1]):
            raise ValueError(
                f"{folder}/upsamp_trans{k}.npz: found {shape}, wanted {(sizes[k], sizes[k + 1])}"
            )
        ups.append(padded_rows(row, column, value, shape))
    index, weight = zip(*rows, strict=True)
    up_index, up_weight = zip(*ups, strict=True)
    return MeshHierarchy(index, weight, tuple(keep), up_index, up_weight)


def _sparse(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """(row, column, value) of a matrix in compressed rows or columns, and its shape."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a matrix of scipy.sparse.save_npz")
    arrays = read_npz(path)
    with reading(path, "a matrix of scipy.sparse.save_npz"):
        return _matrix(path, arrays)


def _matrix(path, arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    kind = np.asarray(arrays.get("format", "")).item()
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    wanted = {"indices", "indptr", "data", "shape"}
    if kind not in ("csr", "csc") or not wanted <= set(arrays):
        raise ValueError(
            f"{path}: found the arrays {sorted(arrays)} of format {kind!r}, wanted a matrix in "
            "csr or csc format from scipy.sparse.save_npz"
        )
    shape = tuple(int(n) for n in arrays["shape"])
    pointer, minor = arrays["indptr"], arrays["indices"]
    major_size, minor_size = shape if kind == "csr" else shape[::-1]
    if (
        len(pointer) != major_size + 1
        or arrays["data"].dtype.kind not in "fiu"
        or not np.isfinite(arrays["data"]).all()
        or pointer[0] != 0
        or (np.diff(pointer) < 0).any()
        or pointer[-1] != len(minor)
        or len(minor) != len(arrays["data"])
        or (len(minor) and not 0 <= minor.min() <= minor.max() < minor_size)
    ):
        raise ValueError(f"{path}: the indices do not fit a matrix of shape {shape}")
    major = np.repeat(np.arange(major_size), np.diff(pointer))
    row, column = (major, minor) if kind == "csr" else (minor, major)
    return row, column, arrays["data"], shape
