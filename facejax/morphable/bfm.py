"""The Basel face model in face3d's layout (`BFM.mat`), and telling Matlab files apart.

`BFM.mat` holds one struct `model`: shapeMU [3V, 1], shapePC [3V, n], shapeEV [n, 1], the same of
texMU/PC/EV and expMU/PC/EV, tri [3, F] (1-based), kpt_ind [1, 68] (1-based). Vertices are
interleaved x, y, z in micrometres; EV are standard deviations; colours are 0 .. 255. The file is
licensed by the University of Basel: the user's own download.
"""

import os

import numpy as np

from facejax.host.files import reading
from facejax.host.matlab import read_mat
from facejax.morphable.model import MorphableModel
from facejax.morphable.storage import model_from_arrays, pack_meta

MM_PER_UM = 1e-3
_FIELDS = (
    "shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "expMU", "expPC", "expEV", "tri",
    "kpt_ind",
)  # fmt: skip
_KINDS = (  # variables of a file, its kind if facejax reads it as it is, what it is
    (
        {"meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints",
         "frontmask2_idx", "skinmask"},
        "bfm_front", "Deep3D's BFM_model_front.mat",
    ),
    (
        {"meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints", "gan_mask"},
        "bfm_front", "DiscoFaceGAN's BFM_model_front_gan.mat",
    ),
    (
        {"Shape_Para", "Exp_Para"},
        "parameters", "the parameters of one picture (300W-LP, 300W-3D, AFLW2000-3D)",
    ),
    (
        {"shapeMU", "shapePC", "shapeEV"}, None,
        "the original Basel 01_MorphableModel.mat (no expressions; convert the folder with "
        "data_prep/import_bfm.py)",
    ),
    ({"meanshape", "idBase"}, None, "an incomplete BFM_model_front.mat"),
    ({"tri", "point_buf", "keypoints"}, None, "Deep3D's facemodel_info.mat (no shapes)"),
    ({"trimIndex"}, None, "Deep3D's BFM_exp_idx.mat (indices only)"),
    ({"idx"}, None, "Deep3D's BFM_front_idx.mat (indices only)"),
    ({"select_id"}, None, "Deep3D's select_vertex_id.mat (indices only)"),
    ({"lm"}, None, "Deep3D's similarity_Lm3D_all.mat (68 landmarks only)"),
    ({"model_info"}, None, "face3d's BFM_info.mat"),
    ({"UV"}, None, "face3d's BFM_UV.mat"),
    ({"pts_2d"}, None, "landmarks of 300W-LP"),
)  # fmt: skip
_SOURCE = "Basel Face Model 2009 with 3DDFA expressions, face3d layout (BFM.mat)."
_LICENCE = "University of Basel licence of the Basel Face Model; research use, no redistribution."


def mat_kind(variables: dict[str, np.ndarray]) -> tuple[str | None, str]:
    """('bfm', 'bfm_front', 'parameters' or None; what the file is, in words), by its contents.

    Args:
      variables: from `host.matlab.read_mat`.
    """
    model = variables.get("model")
    if model is not None and getattr(model.dtype, "names", None):
        names = set(model.dtype.names)
        if set(_FIELDS) <= names:
            return "bfm", "a face3d-style BFM.mat"
        return None, f"a struct 'model' without {sorted(set(_FIELDS) - names)}"
    for names, kind, words in _KINDS:
        if names <= set(variables):
            return kind, words
    return None, f"a Matlab file with the variables {sorted(variables)[:8]}"


def load_bfm(path: str | os.PathLike) -> MorphableModel:
    """A face model from face3d's `BFM.mat`.

    Coefficients get unit variance: the file's shape coefficients (micrometres) are id * shapeEV,
    its expression coefficients exp * expEV; texture coefficients stay as they are. Triangles are
    turned counter-clockwise from outside.

    Args:
      path: the file.

    Returns:
      A model in millimetres with albedo per vertex, no UV layout and no masks.

    Raises:
      ValueError: the file is of another kind, which is named.
    """
    variables = read_mat(path)
    kind, found = mat_kind(variables)
    if kind != "bfm":
        raise ValueError(
            f"{path}: found {found}, wanted a face3d-style BFM.mat (a struct 'model' with "
            f"{', '.join(_FIELDS[:3])}, ...); make one with face3d's generate.m"
        )
    with reading(path, "a face3d-style BFM.mat"):
        return _bfm_model(path, variables["model"].reshape(-1)[0])


def _bfm_model(path, record) -> MorphableModel:
    field = {name: np.asarray(record[name], np.float32) for name in _FIELDS}
    check_finite(path, field)

    def basis(name, factor):
        columns = field[f"{name}PC"].T
        return np.float32(factor) * columns.reshape(len(columns), -1, 3)

    mean = MM_PER_UM * (field["shapeMU"] + field["expMU"]).reshape(-1, 3)
    triangles = field["tri"].astype(np.int64).T - 1
    landmarks = field["kpt_ind"].astype(np.int64).reshape(-1) - 1
    _check(path, mean, triangles, landmarks)
    return model_from_arrays(
        pack_meta(
            dict(
                mean_shape=mean,
                id_basis=basis("shape", MM_PER_UM),
                id_std=field["shapeEV"].reshape(-1),
                exp_basis=basis("exp", MM_PER_UM),
                exp_std=field["expEV"].reshape(-1),
                mean_albedo=field["texMU"].reshape(-1, 3) / np.float32(255),
                alb_basis=basis("tex", 1 / 255),
                alb_std=field["texEV"].reshape(-1),
                triangles=triangles[:, ::-1].astype(np.int32),
                landmarks68=landmarks.astype(np.int32),
                landmarks5=np.array(
                    [*eye_centers(mean, landmarks), *landmarks[[30, 48, 54]]], np.int32
                ),
                mask_names=np.zeros(0, np.str_),
                masks=np.zeros((0, len(mean)), np.float32),
                exp_names=np.zeros(0, np.str_),
            ),
            name="bfm",
            source=_SOURCE,
            licence=_LICENCE,
            uv_wraps_u=False,
        )
    )


def eye_centers(mean: np.ndarray, landmarks: np.ndarray) -> list[int]:
    """The eye landmark nearest to the middle of each eye's six: image left first.

    Args:
      mean: [V, 3] vertices.
      landmarks: [68] vertex ids, iBUG order.
    """
    rings = [landmarks[36:42], landmarks[42:48]]
    away = [np.linalg.norm(mean[r] - mean[r].mean(0), axis=1) for r in rings]
    return [int(r[d.argmin()]) for r, d in zip(rings, away, strict=True)]


def check_finite(path, arrays: dict[str, np.ndarray]) -> None:
    """Refuses arrays with NaN or infinity, by name."""
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity; copy or make the file again")


def _check(path, mean, triangles, landmarks) -> None:
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(landmarks) != 68:
        raise ValueError(
            f"{path}: found tri {triangles.T.shape} and {len(landmarks)} landmarks, wanted (3, F) "
            "and 68; make the file with face3d's generate.m"
        )
    for name, ids in (("tri", triangles), ("kpt_ind", landmarks)):
        if ids.min() < 0 or ids.max() >= len(mean):
            raise ValueError(
                f"{path}: {name} has vertex ids {ids.min() + 1} .. {ids.max() + 1}, wanted "
                f"1 .. {len(mean)} (Matlab counts from 1)"
            )
