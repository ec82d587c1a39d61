"""Fitted face parameters of 300W-LP, 300W-3D and AFLW2000-3D: one .mat per picture.

| key | shape | meaning |
|---|---|---|
| Shape_Para, Exp_Para, Tex_Para | [199, 1], [29, 1], [199, 1] | raw Basel 2009 coefficients |
| Pose_Para | [1, 7] | pitch, yaw, roll (radians), tx, ty, tz (pixels), scale (pixels / um) |
| Illum_Para, Color_Para | [1, 10], [1, 7] | light and colour transform |
| pt2d, pt3d_68, roi | [2, 68 or 21], [3, 68], [1, 4] | landmarks in pixels; crop |
"""

import os
import pathlib

import numpy as np

from facejax.morphable.bfm import mat_kind, read_mat

_VECTORS = ("Shape_Para", "Exp_Para", "Tex_Para", "Pose_Para", "Illum_Para", "Color_Para", "roi")
_POINTS = ("pt2d", "pt3d_68")


def read_parameters(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The parameters of one picture.

    Args:
      path: a .mat file of 300W-LP, 300W-3D or AFLW2000-3D.

    Returns:
      What the file holds of: Shape_Para [n], Exp_Para [m], Tex_Para, Pose_Para [7], Illum_Para,
      Color_Para, roi as vectors; pt2d [P, 2] and pt3d_68 [68, 3] as points. Float64 unless the file
      says otherwise, values as stored.

    Raises:
      ValueError: the file is of another kind, which is named.
    """
    variables = read_mat(path)
    kind, found = mat_kind(variables)
    if kind != "parameters":
        raise ValueError(
            f"{path}: found {found}, wanted the parameters of one picture (300W-LP, 300W-3D, "
            "AFLW2000-3D: Shape_Para, Exp_Para, ...)"
        )
    out = {k: variables[k].reshape(-1) for k in _VECTORS if k in variables}
    out |= {k: np.ascontiguousarray(variables[k].T) for k in _POINTS if k in variables}
    return out


def read_coefficients(folder: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Shape and expression coefficients of all parameter files under a folder, sorted by path.

    Landmark files (folders named 'landmarks' or names that end in '_pts') are passed over.

    Args:
      folder: searched with its sub-folders.

    Returns:
      [N, n] and [N, m] float32, raw coefficients.

    Raises:
      ValueError: there is no such file, or lengths differ.
    """
    folder = pathlib.Path(folder)
    files = [
        f
        for f in sorted(folder.rglob("*.mat"))
        if "landmarks" not in f.relative_to(folder).parts[:-1] and not f.stem.endswith("_pts")
    ]
    if not files:
        raise ValueError(
            f"{folder}: found no .mat files, wanted those of 300W-3D, 300W-LP or AFLW2000-3D, one "
            "per picture"
        )
    shape, expression = [], []
    for file in files:
        found = read_parameters(file)
        shape.append(found["Shape_Para"])
        expression.append(found["Exp_Para"])
        if len(shape[-1]) != len(shape[0]) or len(expression[-1]) != len(expression[0]):
            raise ValueError(
                f"{file}: found {len(shape[-1])} shape and {len(expression[-1])} expression "
                f"coefficients, wanted {len(shape[0])} and {len(expression[0])} as in {files[0]}"
            )
    return np.stack(shape).astype(np.float32), np.stack(expression).astype(np.float32)
