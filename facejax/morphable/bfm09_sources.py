"""From the Basel and Guo et al. downloads to Deep3D's front model, as its programs convert them.

| file | contents |
|---|---|
| 01_MorphableModel.mat | shapeMU, texMU [3N, 1]; shapePC, texPC [3N, n]; shapeEV, texEV [n, 1] |
| Exp_Pca.bin | int32 n, float32 mean [3M], float32 components [n, 3M] |
| std_exp.txt | n standard deviations |
| BFM_exp_idx.mat | trimIndex [M, 1]: the M expression vertices among the N, 1-based |
| BFM_front_idx.mat | idx [V, 1]: the V front vertices among the M, 1-based |
| facemodel_info.mat | tri, keypoints, frontmask2_idx, skinmask of the front, 1-based |

Shapes are in micrometres, EV are standard deviations despite their name. The mean of the
expressions is not used. Files are told apart by their contents, so names do not matter.
"""

import os
import pathlib

import numpy as np

from facejax.host.files import list_files, reading
from facejax.host.matlab import mat_names, read_mat
from facejax.morphable.bfm import mat_kind

UM_PER_DM = 1e5
ROLES = {  # what each file is, and where it comes from
    "basel": "01_MorphableModel.mat, from https://faces.dmi.unibas.ch (licence form)",
    "expressions": "Exp_Pca.bin, from Guo et al.'s CNN-based face reconstruction (coarse data)",
    "exp_std": "std_exp.txt, from Deep3DFaceReconstruction/BFM",
    "exp_idx": "BFM_exp_idx.mat, from Deep3DFaceReconstruction/BFM",
    "front_idx": "BFM_front_idx.mat, from Deep3DFaceReconstruction/BFM",
    "info": "facemodel_info.mat, from Deep3DFaceReconstruction/BFM",
}
FRONT = "Deep3D's BFM_model_front.mat"
_BASEL = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV")
_INFO = ("tri", "keypoints", "frontmask2_idx", "skinmask")
_MAT_ROLES = (("basel", _BASEL), ("exp_idx", ("trimIndex",)), ("info", _INFO),
              ("front_idx", ("idx",)))  # fmt: skip


def find_sources(folder: str | os.PathLike) -> tuple[dict[str, pathlib.Path], dict[str, str]]:
    """Which file of a folder is which, by contents.

    Args:
      folder: searched with its sub-folders for .mat, .bin and .txt files.

    Returns:
      (role, a key of ROLES -> file; other file -> what it is, in words).

    Raises:
      ValueError: no such folder, or two files of one role.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; wanted one with {', '.join(ROLES.values())}")
    roles, others = {}, {}
    for path in list_files(folder, (".mat", ".bin", ".txt"), recursive=True):
        role, words = _role(path)
        if role is None:
            others[str(path)] = words
        elif role in roles:
            raise ValueError(
                f"{folder}: found two files of one kind, {roles[role]} and {path}; wanted one "
                f"{ROLES[role].split(',')[0]}: move the other away"
            )
        else:
            roles[role] = path
    return roles, others


def describe_file(path: str | os.PathLike) -> str:
    """What a file is, in words, by its contents: one of the sources, or another kind."""
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".mat", ".bin", ".txt"):
        return f"a file of type {path.suffix or 'unknown'}"
    role, words = _role(path)
    return ROLES[role].split(",")[0] if role else words


def find_front(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The finished models (`BFM_model_front.mat`, under any names) of a folder, sorted."""
    files = list_files(folder, (".mat",), recursive=True)
    return [p for p in files if describe_file(p) == FRONT]


def _role(path: pathlib.Path) -> tuple[str | None, str]:
    suffix = path.suffix.lower()
    if suffix == ".bin":
        counts = _expression_counts(path)
        return ("expressions", "") if counts else (None, "no Exp_Pca.bin: its length does not fit")
    if suffix == ".txt":
        try:
            _read_numbers(path)
        except ValueError:
            return None, "a text that is no list of standard deviations"
        return "exp_std", ""
    try:
        names = mat_names(path)
    except ValueError as error:
        return None, str(error)
    kind, words = mat_kind(dict.fromkeys(names, np.zeros(0)))
    if kind is None:  # a finished model holds the indices of facemodel_info.mat too
        for role, wanted in _MAT_ROLES:
            if set(wanted) <= names:
                return role, ""
    return None, words


def _read_numbers(path: pathlib.Path) -> np.ndarray:
    lines = path.read_text(errors="replace", encoding="utf-8").split("\n")
    values = np.array(" ".join(lines).split(), np.float64)
    table = sum(bool(line.strip()) for line in lines) not in (1, len(values))  # landmarks, say
    if table or len(values) < 2 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"{path}: no list of positive numbers")
    return values


def _expression_counts(path: pathlib.Path) -> tuple[int, int] | None:
    """(components, vertices) of an Exp_Pca.bin, or None if its length does not fit its head."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(4)
    if len(head) < 4 or size % 4:
        return None
    count = int(np.frombuffer(head, "<i4")[0])
    floats = size // 4 - 1
    if not 1 <= count <= 1000 or floats % (3 * (count + 1)) or not floats:
        return None
    return count, floats // (3 * (count + 1))


def read_expressions(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """`Exp_Pca.bin`: mean [M, 3] and components [n, M, 3], float32, micrometres.

    Raises:
      ValueError: no such file, or its length does not fit the number of components it states.
    """
    path = pathlib.Path(path)
    counts = _expression_counts(path) if path.is_file() else None
    if counts is None:
        raise ValueError(
            f"{path}: no Exp_Pca.bin (an int32 n, a mean and n components of equal length); copy "
            "it again from Guo et al.'s coarse data"
        )
    values = np.fromfile(path, "<f4", offset=4).reshape(counts[0] + 1, counts[1], 3)
    return values[0], values[1:]


def front_from_sources(
    folder: str | os.PathLike, n_id: int = 80, n_exp: int = 64, n_tex: int = 80
) -> dict[str, np.ndarray]:
    """Deep3D's front model from the downloaded files.

    Args:
      folder: holds the files of the module's table, under any names.
      n_id: identity components to keep.
      n_exp: expression components to keep.
      n_tex: albedo components to keep.

    Returns:
      As `facejax.morphable.bfm09.read_bfm_front`.

    Raises:
      ValueError: files are missing or do not belong together; wrong files are named.
    """
    roles, others = find_sources(folder)
    missing = [ROLES[r] for r in ROLES if r not in roles]
    if missing:
        besides = "; ".join(f"{path} is {words}" for path, words in others.items())
        raise ValueError(
            f"{folder}: found {', '.join(sorted(p.name for p in roles.values())) or 'none'} of the "
            f"files, wanted also {'; '.join(missing)}"
            + (f". Not used: {besides}" if others else "")
        )
    basel = read_mat(roles["basel"])
    exp_idx = _indices(roles["exp_idx"], "trimIndex", len(basel["shapeMU"]) // 3)
    exp_std = _read_numbers(roles["exp_std"])
    _, components = read_expressions(roles["expressions"])
    if len(components) != len(exp_std) or components.shape[1] != len(exp_idx):
        raise ValueError(
            f"{roles['expressions']}: found {len(components)} components of {components.shape[1]} "
            f"vertices, wanted {len(exp_std)} as {roles['exp_std'].name} and {len(exp_idx)} as "
            f"{roles['exp_idx'].name}"
        )
    front_idx = _indices(roles["front_idx"], "idx", len(exp_idx))
    in_basel = exp_idx[front_idx]
    num = len(front_idx)

    def basis(name, factor, keep):
        columns = (
            basel[f"{name}PC"][:, :keep] * (factor * basel[f"{name}EV"].reshape(1, -1))[:, :keep]
        )
        return np.float32(columns.T.reshape(columns.shape[1], -1, 3)[:, in_basel])

    scale = (exp_std[:n_exp] / UM_PER_DM)[:, None, None]
    info = read_mat(roles["info"])
    front = np.zeros(num, np.float32)
    front[_indices(roles["info"], "frontmask2_idx", num)] = 1
    skin = np.float32(info["skinmask"].reshape(-1))
    if len(skin) != num:
        raise ValueError(
            f"{roles['info']}: skinmask has {len(skin)} vertices, wanted {num} as "
            f"{roles['front_idx'].name}: the files do not belong together"
        )
    return dict(
        meanshape=np.float32(basel["shapeMU"].reshape(-1, 3)[in_basel] / UM_PER_DM),
        meantex=np.float32(basel["texMU"].reshape(-1, 3)[in_basel]),
        idBase=basis("shape", 1 / UM_PER_DM, n_id),
        exBase=np.float32(components[:n_exp, front_idx] * scale),
        texBase=basis("tex", 1.0, n_tex),
        tri=_indices(roles["info"], "tri", num).reshape(-1, 3).astype(np.int32),
        keypoints=_indices(roles["info"], "keypoints", num).astype(np.int32),
        skin=skin,
        front=front,
    )


def _indices(path: pathlib.Path, key: str, count: int) -> np.ndarray:
    """A variable's 1-based numbers, from 0, checked against how many things they choose from."""
    with reading(path, "numbers that choose vertices"):
        values = np.asarray(read_mat(path)[key], np.float64).reshape(-1)
    ids = np.nan_to_num(values, nan=-1).clip(-1, 1 << 40).astype(np.int64) - 1
    if not len(ids) or ids.min() < 0 or ids.max() >= count:
        raise ValueError(
            f"{path}: {key} holds {len(ids)} numbers up to {ids.max(initial=-1) + 1}, wanted some "
            f"in 1 .. {count}: the files do not belong together"
        )
    return ids
