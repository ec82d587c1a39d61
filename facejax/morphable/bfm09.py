"""The Deep3D family's face model: `BFM_model_front.mat`, and its making from Basel 2009 files.

`BFM_model_front.mat` (microsoft/Deep3DFaceReconstruction, sicxu/Deep3DFaceRecon_pytorch) holds the
front of the Basel Face Model 2009 with the expressions of Guo et al.:

| key | shape | meaning |
|---|---|---|
| meanshape, meantex | [1, 3V] | decimetres; 0 .. 255; interleaved x, y, z and r, g, b |
| idBase, exBase, texBase | [3V, 80], [3V, 64], [3V, 80] | offsets at one standard deviation |
| tri | [F, 3] | 1-based, counter-clockwise from outside |
| point_buf | [V, 8] | 1-based triangles around each vertex, padded with F + 1 |
| frontmask2_idx, tri_mask2 | [Vf, 1], [Ff, 3] | photometric region, and its triangles inside it |
| skinmask, keypoints | [1, V], [1, 68] | skin region; 1-based landmarks |

DiscoFaceGAN's `BFM_model_front_gan.mat` is the same model with gan_mask [Vf, 1] (the region that is
rendered) and gan_tl (its triangles) instead of the last two masks; all of it counts as skin.

All of it is licensed by the University of Basel: the user's own download.
"""

import os

import numpy as np

from facejax.geometry.mesh import MeshTopology
from facejax.host.files import atomic_path, reading
from facejax.host.matlab import read_mat
from facejax.morphable.bfm import check_finite, eye_centers, mat_kind
from facejax.morphable.model import MorphableModel
from facejax.morphable.storage import arrays_from_model, model_from_arrays, pack_meta

NAME = "bfm09"
MM_PER_DM = 100.0
_BASES = ("idBase", "exBase", "texBase")
_SOURCE = "Front of the Basel Face Model 2009 with Guo et al.'s expressions (BFM_model_front.mat)."
_LICENCE = "University of Basel licence of the Basel Face Model; research use, no redistribution."


def load_bfm_front(path: str | os.PathLike) -> MorphableModel:
    """The model of a `BFM_model_front.mat`.

    The mean over the vertices of the mean shape is subtracted, as the originals do; a coefficient
    of 1 is one standard deviation (`id_std` and so on are 1).

    Args:
      path: the file.

    Returns:
      A model in millimetres, albedo in [0, 1] per vertex, masks 'skin' and 'front' (the region
      that photometric losses look at), no UV layout.

    Raises:
      ValueError: the file is of another kind, which is named, or is inconsistent.
    """
    return model_from_front(read_bfm_front(path))


def read_bfm_front(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The contents of a `BFM_model_front.mat`, in our orientation and counted from 0.

    Args:
      path: the file.

    Returns:
      meanshape [V, 3] decimetres, meantex [V, 3] in 0 .. 255, idBase, exBase, texBase [n, V, 3],
      tri [F, 3] int32, keypoints [68] int32, front [V] and skin [V] 0 or 1; floats are float32.

    Raises:
      ValueError: another kind of file, or sizes and indices that disagree.
    """
    variables = read_mat(path)
    kind, found = mat_kind(variables)
    if kind != "bfm_front":
        raise ValueError(
            f"{path}: found {found}, wanted Deep3D's BFM_model_front.mat; make one from the Basel "
            "files with data_prep/import_bfm.py"
        )
    with reading(path, "Deep3D's BFM_model_front.mat"):
        return _front_arrays(path, variables)


def _front_arrays(path, variables) -> dict[str, np.ndarray]:
    out = {k: np.asarray(variables[k], np.float32).reshape(-1, 3) for k in ("meanshape", "meantex")}
    num = len(out["meanshape"])
    for key in _BASES:
        basis = np.asarray(variables[key], np.float32)
        if basis.ndim != 2 or basis.shape[0] != 3 * num:
            raise ValueError(
                f"{path}: {key} has shape {basis.shape}, wanted ({3 * num}, n) to match meanshape; "
                "make the file again with data_prep/import_bfm.py"
            )
        out[key] = np.ascontiguousarray(basis.T).reshape(-1, num, 3)
    out["tri"] = _indices(path, "tri", variables["tri"], num).reshape(-1, 3)
    out["keypoints"] = _indices(path, "keypoints", variables["keypoints"], num)
    if len(out["keypoints"]) != 68:
        raise ValueError(
            f"{path}: keypoints has {len(out['keypoints'])} entries, wanted 68; make the file "
            "again with data_prep/import_bfm.py"
        )
    out["front"] = np.zeros(num, np.float32)
    region = "frontmask2_idx" if "frontmask2_idx" in variables else "gan_mask"
    out["front"][_indices(path, region, variables[region], num)] = 1
    skin = variables.get("skinmask", np.ones(num))
    out["skin"] = np.asarray(skin, np.float32).reshape(-1)
    if len(out["skin"]) != num or len(out["meantex"]) != num:
        raise ValueError(
            f"{path}: skinmask has {len(out['skin'])} and meantex {len(out['meantex'])} vertices, "
            f"wanted {num} as meanshape; make the file again with data_prep/import_bfm.py"
        )
    check_finite(path, out)
    return out


def _indices(path, key, values, count) -> np.ndarray:
    values = np.asarray(values, np.float64).reshape(-1)
    ids = np.nan_to_num(values, nan=-1).clip(-1, 1 << 40).astype(np.int64) - 1
    if not len(ids) or ids.min() < 0 or ids.max() >= count:
        span = f"{ids.min() + 1} .. {ids.max() + 1}" if len(ids) else "nothing"
        raise ValueError(
            f"{path}: {key} holds {span}, wanted numbers in 1 .. {count} (Matlab counts from 1); "
            "the files do not belong together or one is damaged"
        )
    return ids.astype(np.int32)


def write_bfm_front(path: str | os.PathLike, front: dict[str, np.ndarray]) -> None:
    """Writes a `BFM_model_front.mat` that the original programs read.

    Args:
      path: the file to write.
      front: as `read_bfm_front` returns it; `front_from_model` makes it of any face model.
    """
    from scipy.io import savemat

    num = len(front["meanshape"])
    tri = np.asarray(front["tri"], np.int32)
    inside = np.flatnonzero(front["front"] > 0.5)
    rank = np.full(num, -1)
    rank[inside] = np.arange(len(inside))
    inner = rank[tri]
    columns = {k: np.asarray(front[k], np.float32).reshape(len(front[k]), -1).T for k in _BASES}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        savemat(
            file,
            columns
            | dict(
                meanshape=np.asarray(front["meanshape"], np.float32).reshape(1, -1),
                meantex=np.asarray(front["meantex"], np.float32).reshape(1, -1),
                tri=(tri + 1).astype(np.float32),
                point_buf=(MeshTopology(tri, num).vertex_faces + 1).astype(np.float32),
                tri_mask2=(inner[(inner >= 0).all(axis=1)] + 1).astype(np.float32),
                frontmask2_idx=(inside[:, None] + 1).astype(np.float32),
                keypoints=(np.asarray(front["keypoints"])[None] + 1).astype(np.float32),
                skinmask=np.asarray(front["skin"], np.float32)[None],
            ),
            do_compression=True,
        )


def model_from_front(front: dict[str, np.ndarray]) -> MorphableModel:
    """The face model of `read_bfm_front`'s arrays; see `load_bfm_front`."""
    mean = front["meanshape"] - front["meanshape"].mean(axis=0, keepdims=True)
    keypoints = front["keypoints"]
    scale = np.float32(MM_PER_DM)
    arrays = dict(
        mean_shape=scale * mean,
        id_basis=scale * front["idBase"],
        id_std=np.ones(len(front["idBase"]), np.float32),
        exp_basis=scale * front["exBase"],
        exp_std=np.ones(len(front["exBase"]), np.float32),
        mean_albedo=front["meantex"] / np.float32(255),
        alb_basis=front["texBase"] / np.float32(255),
        alb_std=np.ones(len(front["texBase"]), np.float32),
        triangles=front["tri"],
        landmarks68=keypoints,
        landmarks5=np.array([*eye_centers(mean, keypoints), *keypoints[[30, 48, 54]]], np.int32),
        mask_names=np.array(["skin", "front"]),
        masks=np.stack([front["skin"], front["front"]]).astype(np.float32),
        exp_names=np.zeros(0, np.str_),
    )
    packed = pack_meta(arrays, name=NAME, source=_SOURCE, licence=_LICENCE, uv_wraps_u=False)
    return model_from_arrays(packed)


def front_from_model(
    model: MorphableModel, skin: np.ndarray | None = None, front: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The arrays of `write_bfm_front` for any face model: inverse of `model_from_front`.

    Args:
      model: any face model; standard deviations are folded into the bases.
      skin: [V] weights of the skin region; None takes the mask 'skin'.
      front: [V] weights of the photometric region; None takes the mask 'front'.

    Raises:
      ValueError: a mask is neither given nor part of the model.
    """
    found = arrays_from_model(model)
    masks = {"skin": skin, "front": front}
    for name, value in masks.items():
        masks[name] = model.topology.masks.get(name) if value is None else value
        if masks[name] is None:
            raise ValueError(
                f"the model {model.topology.name!r} has the masks {sorted(model.topology.masks)}, "
                f"wanted {name!r}; give it as an argument"
            )

    def basis(name, factor):
        return np.float32(factor) * found[f"{name}_basis"] * found[f"{name}_std"][:, None, None]

    return dict(
        meanshape=found["mean_shape"] / np.float32(MM_PER_DM),
        meantex=found["mean_albedo"] * np.float32(255),
        idBase=basis("id", 1 / MM_PER_DM),
        exBase=basis("exp", 1 / MM_PER_DM),
        texBase=basis("alb", 255),
        tri=found["triangles"],
        keypoints=found["landmarks68"],
        skin=np.asarray(masks["skin"], np.float32),
        front=np.asarray(masks["front"], np.float32),
    )
