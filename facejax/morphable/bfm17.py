"""The Basel face models of 2017 and 2019: HDF5 files of scalismo, with their UV layout in JSON.

For each of 'shape', 'color' and 'expression', M/model/mean [3V] (x, y, z of a vertex after each
other; millimetres, colours in [0, 1]), M/model/pcaBasis [3V, K], M/model/pcaVariance [K], and
M/representer/cells [3, F] (from 0). Version 0.9 has columns of unit length; in version 0.8 they are
times their standard deviation. Of `face12.json` the 'textureMapping' is read: 'pointData' [M, 2]
with v up, and 'triangles' [F, 3] into it, in the order of the mesh. The files are licensed by the
University of Basel: the user's own downloads.
"""

import os
import pathlib

import numpy as np

from facejax.host.files import read_json, read_list, reading
from facejax.host.hdf5 import read_hdf5
from facejax.morphable.bfm import check_finite, eye_centers
from facejax.morphable.model import MorphableModel
from facejax.morphable.storage import model_from_arrays, pack_meta

PARTS = ("shape", "expression", "color")
LAYOUT = "face12.json"  # looked for beside the model
_ARRAYS = ("mean", "pcaBasis", "pcaVariance")
_CELLS = "shape/representer/cells"
_VERSIONS = tuple(f"{p}version/minorVersion" for p in ("", *(f"{m}/" for m in PARTS)))
REQUIRED = frozenset({_CELLS, *(f"{m}/model/{a}" for m in PARTS for a in _ARRAYS)})
_SOURCE = "Basel Face Model of 2017 or 2019 (HDF5)."
_LICENCE = "University of Basel licence of the Basel Face Model; research use, no redistribution."
_REACH_MM = 300.0  # of a face: further away the unit is another one


def load_bfm17(
    path: str | os.PathLike,
    *,
    uv: str | os.PathLike | None = None,
    landmarks: str | os.PathLike | None = None,
    expression_mean: bool = False,
    num_id: int = 0,
    num_exp: int = 0,
    num_alb: int = 0,
    reference: np.ndarray | None = None,
) -> MorphableModel:
    """A face model from a file of the Basel models of 2017 and 2019, of any of its meshes.

    Coefficients get unit variance: the raw ones of other programs are id * id_std, exp * exp_std.

    Args:
      path: the .h5 file.
      uv: the .json with its UV layout; None takes LAYOUT beside the model if it fits, '' none.
      landmarks: a text file with the ids of the 68 vertices, which the model does not tell.
      expression_mean: add the mean of the expressions to that of the shapes, as most programs do;
        VariTex does not.
      num_id, num_exp, num_alb: components that are kept; 0 for all.
      reference: [68, 3] mm, landmarks of another face in the same frame, for a model without the
        ids: the nearest vertices are taken once the noses lie on each other. Good to a centimetre.

    Returns:
      A model in millimetres with albedo per vertex and no masks.

    Raises:
      ValueError: the file is of another kind or damaged, or the layout belongs to another mesh.
    """
    arrays = read_hdf5(path, REQUIRED | set(_VERSIONS))
    missing = sorted(REQUIRED - set(arrays))
    if missing:
        raise ValueError(
            f"{path}: found no {missing[0]} ({len(missing)} of {len(REQUIRED)} data sets are "
            "missing), wanted a Basel model of 2017 or 2019 with shape, expression and color"
        )
    with reading(path, "a Basel model of 2017 or 2019"):
        return _model(
            path, arrays, _find_layout(path, uv), landmarks, bool(expression_mean),
            dict(shape=num_id, expression=num_exp, color=num_alb), reference,
        )  # fmt: skip


def _find_layout(path, uv) -> tuple[pathlib.Path, bool] | None:
    """(file, whether it was asked for)."""
    if uv is not None:
        return (pathlib.Path(uv), True) if os.fspath(uv) else None
    beside = pathlib.Path(path).parent / LAYOUT
    return (beside, False) if beside.is_file() else None


def read_layout(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """The UV layout of a .json file.

    Args:
      path: of a TextureMappedProperty, 'face12.json'.

    Returns:
      uv [M, 2] float32 with v down, and triangles [F, 3] int32 into it.

    Raises:
      ValueError: no such layout.
    """
    content = read_json(path)
    mapping = content.get("textureMapping") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not {"pointData", "triangles"} <= set(mapping):
        raise ValueError(
            f"{path}: wanted a 'textureMapping' with 'pointData' and 'triangles', as in the "
            "Basel model's face12.json"
        )
    with reading(path, "a UV layout like face12.json"):
        uv = np.asarray(mapping["pointData"], np.float32)
        triangles = np.asarray(mapping["triangles"], np.float64)
        if uv.ndim != 2 or uv.shape[1] != 2 or triangles.ndim != 2 or triangles.shape[1] != 3:
            raise ValueError(
                f"pointData is {uv.shape} and triangles {triangles.shape}, wanted [M, 2] and [F, 3]"
            )
        if not (np.isfinite(uv).all() and (uv >= -1e-3).all() and (uv <= 1 + 1e-3).all()):
            raise ValueError("pointData leaves [0, 1]")
        ids = _ids(triangles, len(uv), "triangles")
        return np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1), ids


def _ids(values: np.ndarray, count: int, name: str) -> np.ndarray:
    """Whole numbers in [0, count) as int32, of whatever type they are stored in."""
    values = np.asarray(values)
    ids = np.round(np.nan_to_num(values, nan=-1.0)).astype(np.int64)
    if not np.array_equal(ids, values) or (ids.size and not (ids.min() >= 0 and ids.max() < count)):
        raise ValueError(f"{name} name other points than 0 .. {count - 1}")
    return ids.astype(np.int32)


def _unit_columns(part: str, arrays, version: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Basis [K, V, 3] of unit directions and its standard deviations [K]."""
    basis = np.asarray(arrays[f"{part}/model/pcaBasis"], np.float32)
    variance = np.asarray(arrays[f"{part}/model/pcaVariance"], np.float32).reshape(-1)
    mean = arrays[f"{part}/model/mean"]
    if basis.shape != (mean.size, len(variance)) or mean.size % 3 or not len(variance):
        raise ValueError(
            f"{part}: the mean has {mean.size} numbers, the basis {basis.shape}, the variance "
            f"{len(variance)}; wanted (3V), (3V, K) and K"
        )
    if (variance < 0).any():
        raise ValueError(f"{part}: a variance is negative")
    std, norm = np.sqrt(variance), np.linalg.norm(basis, axis=0)
    used = (std > 0) & (norm > 0)
    if version is None and used.any():  # by the lengths of the columns themselves
        off = np.abs(np.log(norm[used])).mean()
        version = 8 if np.abs(np.log(norm[used] / std[used])).mean() < off else 9
    if version == 8:
        basis = basis / np.where(used, std, 1.0)
    return np.ascontiguousarray(basis.T).reshape(len(std), -1, 3), std


def _version(arrays) -> int | None:
    """The minor version of the format, None where the file does not say it."""
    found = {int(arrays[n].reshape(-1)[0]) for n in _VERSIONS if n in arrays and arrays[n].size}
    known = found & {8, 9}
    return known.pop() if len(found) == 1 and known else None


def _model(path, arrays, layout, landmarks, expression_mean, counts, reference) -> MorphableModel:
    check_finite(path, {k: v for k, v in arrays.items() if v.dtype.kind == "f"})
    version, parts = _version(arrays), {}
    for part in PARTS:
        basis, std = _unit_columns(part, arrays, version)
        keep = counts[part] or len(std)
        parts[part] = (basis[:keep], std[:keep])
    mean = np.asarray(arrays["shape/model/mean"], np.float32).reshape(-1, 3)
    offset = np.asarray(arrays["expression/model/mean"], np.float32).reshape(-1, 3)
    color = np.asarray(arrays["color/model/mean"], np.float32).reshape(-1, 3)
    if not len(mean) == len(offset) == len(color):
        raise ValueError(
            f"shape, expression and color have {len(mean)}, {len(offset)} and {len(color)} vertices"
        )
    cells = arrays[_CELLS]
    if cells.ndim != 2 or cells.shape[0] != 3:
        raise ValueError(f"{_CELLS} is {cells.shape}, wanted (3, F)")
    triangles = _ids(cells.T, len(mean), _CELLS)
    if np.abs(mean).max() > _REACH_MM:
        raise ValueError(
            f"the mean reaches {np.abs(mean).max():.0f}, wanted millimetres within {_REACH_MM:.0f}"
        )
    mean = mean + offset if expression_mean else mean
    uv, uv_triangles = _layout_of(path, layout, len(triangles))
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    if np.cross(b - a, c - a)[:, 2].sum() < 0:  # clockwise
        triangles = triangles[:, ::-1]
        uv_triangles = None if uv_triangles is None else uv_triangles[:, ::-1]
    ids = _landmark_ids(path, landmarks, reference, mean)
    return model_from_arrays(
        pack_meta(
            dict(
                mean_shape=mean,
                id_basis=parts["shape"][0],
                id_std=parts["shape"][1],
                exp_basis=parts["expression"][0],
                exp_std=parts["expression"][1],
                mean_albedo=color,
                alb_basis=parts["color"][0],
                alb_std=parts["color"][1],
                triangles=triangles,
                uv=uv,
                uv_triangles=uv_triangles,
                landmarks68=ids,
                landmarks5=np.array([*eye_centers(mean, ids), *ids[[30, 48, 54]]], np.int32),
                mask_names=np.zeros(0, np.str_),
                masks=np.zeros((0, len(mean)), np.float32),
                exp_names=np.zeros(0, np.str_),
            ),
            name="bfm17",
            source=_SOURCE,
            licence=_LICENCE,
            uv_wraps_u=False,
        )
    )


def _layout_of(path, layout, count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    if layout is None:
        return None, None
    file, asked = layout
    uv, triangles = read_layout(file)
    if len(triangles) != count:
        if not asked:  # of another of the Basel meshes
            return None, None
        raise ValueError(
            f"{file} has {len(triangles)} triangles and the mesh {count}: it belongs to another of "
            "the Basel models"
        )
    return uv, triangles


def _landmark_ids(path, landmarks, reference, mean: np.ndarray) -> np.ndarray:
    """[68] int32, of a file or by the nearest vertices."""
    if landmarks:
        words = " ".join(read_list(landmarks)).replace(",", " ").split()
        with reading(landmarks, "a list of 68 vertex ids"):
            ids = _ids(np.array([float(w) for w in words]), len(mean), "the ids")
            if len(ids) != 68:
                raise ValueError(f"found {len(ids)} numbers")
            return ids
    if reference is None:
        raise ValueError(
            "the model does not tell which vertices are the 68 landmarks: give a text file of "
            "their ids as landmarks=FILE"
        )
    # the middle of the face protrudes most at the tip of the nose
    middle = np.abs(mean[:, 0] - np.median(mean[:, 0])) < 30.0
    tip = mean[np.where(middle, mean[:, 2], -np.inf).argmax()]
    wanted = reference - reference[30] + tip
    away = ((mean[None] - wanted[:, None]) ** 2).sum(-1)
    return away.argmin(axis=1).astype(np.int32)
