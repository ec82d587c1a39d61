"""Morphable models on disk: one .npz per model, without pickles, and a cache folder per user.

Layout of a model file (`FORMAT`), all arrays little-endian as numpy writes them:

| key | shape, dtype | meaning |
|---|---|---|
| format | () str | 'facejax-morphable-1' |
| mean_shape, mean_albedo | [V, 3] f4 | mm; sRGB in [0, 1] |
| id_basis, exp_basis, alb_basis | [D, V, 3] f4 or f2 | as in `MorphableModel` |
| id_std, exp_std, alb_std | [D] f4 | |
| mean_texture, tex_basis | [T, T, 3] f4, [D_alb, T, T, 3] f4 or f2 | absent without textures |
| triangles | [F, 3] i4 | counter-clockwise from outside |
| uv, uv_triangles, uv_vertex | [S, 2] f4, [F, 3] i4, [S] i4 | v down; absent without UV |
| landmarks68, landmarks5 | [68], [5] i4 | vertex ids |
| mask_names, masks | [M] str, [M, V] f4 | |
| exp_names | [D_exp] or [0] str | |
| part_names, triangle_part | [P] str, [F] i2 | part of each triangle or -1; absent without parts |
| meta | () str | JSON: name, digest, source, licence, uv_wraps_u |
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from facejax.geometry.mesh import MeshTopology
from facejax.host.arrays import read_npz
from facejax.host.cache import cached
from facejax.host.files import atomic_path, reading
from facejax.morphable.model import FaceTopology, MorphableModel

FORMAT = "facejax-morphable-1"
_FLOATS = (
    "mean_shape", "id_basis", "id_std", "exp_basis", "exp_std", "mean_albedo", "alb_basis",
    "alb_std", "mean_texture", "tex_basis",
)  # fmt: skip
_OPTIONAL = ("mean_texture", "tex_basis", "uv", "uv_triangles", "uv_vertex")
_REQUIRED = (
    *(k for k in _FLOATS if k not in _OPTIONAL),
    "triangles", "landmarks68", "landmarks5", "mask_names", "masks", "exp_names", "meta",
)  # fmt: skip


def content_digest(arrays: dict) -> str:
    """Hex digest of named arrays (order of the names does not matter)."""
    h = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        h.update(f"{name}{value.dtype.str}{value.shape}".encode())
        h.update(value.tobytes())
    return h.hexdigest()


def pack_meta(arrays: dict, name: str, source: str, licence: str, uv_wraps_u: bool) -> dict:
    """The arrays of a model file, completed by its format and `meta` (with the content digest)."""
    arrays = {k: v for k, v in arrays.items() if v is not None}
    meta = dict(
        name=name,
        digest=content_digest(arrays),
        source=source,
        licence=licence,
        uv_wraps_u=uv_wraps_u,
    )
    return arrays | dict(format=np.array(FORMAT), meta=np.array(json.dumps(meta)))


def model_from_arrays(arrays: dict) -> MorphableModel:
    """A model of numpy arrays from those of a model file (module docstring), floats as float32.

    Raises:
      ValueError: keys are missing or shapes disagree.
    """
    missing = [k for k in _REQUIRED if k not in arrays]
    if missing:
        raise ValueError(
            f"a {FORMAT} file lacks {missing}; wanted all of {list(_REQUIRED)}; "
            "write it again with save_npz"
        )
    meta = json.loads(str(arrays["meta"]))
    num_vertices = len(arrays["mean_shape"])
    _check_arrays(arrays, num_vertices)
    for key in ("id_basis", "exp_basis", "alb_basis"):
        found, std = arrays[key].shape, arrays[key.replace("basis", "std")].shape
        if found != (*std, num_vertices, 3):
            raise ValueError(
                f"{key} has shape {found}, wanted {(*std, num_vertices, 3)} to match its standard "
                "deviations and mean_shape; write the file again with save_npz"
            )
    mesh = MeshTopology(
        arrays["triangles"],
        num_vertices,
        uv=arrays.get("uv"),
        uv_triangles=arrays.get("uv_triangles"),
        uv_vertex=arrays.get("uv_vertex"),
    )
    names = [str(n) for n in arrays["mask_names"]]
    part = arrays.get("triangle_part")
    parts = {
        str(name): np.flatnonzero(part == number)
        for number, name in enumerate(arrays.get("part_names", ()))
    }
    topology = FaceTopology(
        mesh,
        arrays["landmarks68"],
        arrays["landmarks5"],
        dict(zip(names, arrays["masks"], strict=True)),
        tuple(arrays["exp_names"]),
        parts=parts,
        **meta,
    )
    floats = {k: np.asarray(arrays[k], np.float32) if k in arrays else None for k in _FLOATS}
    return MorphableModel(topology=topology, **floats)


def _check_arrays(arrays: dict, num_vertices: int) -> None:
    """What no builder and no writer of ours makes, but a damaged or foreign file may hold."""
    shapes = {
        "mean_shape": (num_vertices, 3), "mean_albedo": (num_vertices, 3), "landmarks68": (68,),
        "landmarks5": (5,), "masks": (*arrays["mask_names"].shape, num_vertices),
        "exp_names": arrays["exp_names"].shape[:1],
    }  # fmt: skip
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise ValueError(f"{key} has shape {arrays[key].shape}, wanted {shape}")
    for key in (k for k in _FLOATS if k in arrays):
        if arrays[key].dtype.kind != "f" or not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} holds other things than finite numbers")
    limits = dict.fromkeys(("triangles", "landmarks68", "landmarks5", "uv_vertex"), num_vertices)
    limits["uv_triangles"] = len(arrays.get("uv", ()))
    for key, limit in limits.items():
        ids = arrays.get(key, np.zeros(0, np.int32))
        if ids.dtype.kind not in "iu" or (ids.size and not 0 <= ids.min() <= ids.max() < limit):
            raise ValueError(f"{key} names other things than the numbers 0 .. {limit - 1}")
    if "part_names" in arrays or "triangle_part" in arrays:
        part, names = (
            arrays.get(k, np.zeros(0, np.int16)) for k in ("triangle_part", "part_names")
        )
        inside = part.dtype.kind in "iu" and part.shape == arrays["triangles"].shape[:1]
        if not inside or part.min(initial=0) < -1 or part.max(initial=-1) >= len(names):
            raise ValueError(
                f"triangle_part must give each triangle one of {len(names)} part_names, or -1"
            )


def arrays_from_model(model: MorphableModel) -> dict:
    """The arrays of a model file (module docstring), as numpy; inverse of `model_from_arrays`."""
    topology, mesh = model.topology, model.topology.mesh
    arrays = {k: getattr(model, k) for k in _FLOATS if getattr(model, k) is not None}
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    for key in ("uv", "uv_triangles", "uv_vertex"):
        if getattr(mesh, key) is not None:
            arrays[key] = getattr(mesh, key)
    if topology.parts:
        part = np.full(len(mesh.triangles), -1, np.int16)
        for number, ids in enumerate(topology.parts.values()):
            part[ids] = number
        arrays |= dict(part_names=np.array(list(topology.parts)), triangle_part=part)
    masks = list(topology.masks.values())
    meta = {k: getattr(topology, k) for k in ("name", "digest", "source", "licence", "uv_wraps_u")}
    return arrays | dict(
        format=np.array(FORMAT),
        triangles=mesh.triangles,
        landmarks68=topology.landmarks68,
        landmarks5=topology.landmarks5,
        mask_names=np.array(list(topology.masks), dtype=np.str_),
        masks=np.stack(masks) if masks else np.zeros((0, mesh.num_vertices), np.float32),
        exp_names=np.array(topology.exp_names, dtype=np.str_),
        meta=np.array(json.dumps(meta)),
    )


def save_npz(path: str | os.PathLike, model: MorphableModel) -> None:
    """Writes a model as one uncompressed .npz (module docstring), atomically.

    Args:
      path: the file to write; its folder must exist.
      model: any face model.
    """
    write_arrays(pathlib.Path(path), arrays_from_model(model))


def load_npz(path: str | os.PathLike) -> MorphableModel:
    """Reads what `save_npz` wrote.

    Raises:
      ValueError: not such a file, or a damaged one.
      OSError: the file cannot be read.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f"{path}: no such file; wanted a face model of save_npz")
    arrays = read_npz(path)
    if str(arrays.get("format", "")) != FORMAT:
        raise ValueError(
            f"{path}: found an .npz with the arrays {sorted(arrays)[:8]}, wanted a file with "
            f"format {FORMAT!r}; write one with facejax.morphable.save_npz"
        )
    with reading(path, "a face model"):
        return model_from_arrays(arrays)


def cached_model(kind: str, key: dict, build: Callable[[], dict]) -> MorphableModel:
    """A model from the cache folder, or built and put there.

    A damaged cache file is built again with a warning; where the folder cannot be written, the
    model is built every time (with a warning).

    Args:
      kind: prefix of the file name.
      key: JSON-able description of everything that the result depends on.
      build: makes the arrays of a model file.
    """
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=10).hexdigest()
    return cached(
        f"{kind}-{digest}.npz",
        f"the {kind} face model",
        lambda: model_from_arrays(build()),
        load_npz,
        save_npz,
    )


def write_arrays(path: pathlib.Path, arrays: dict) -> None:
    """Writes named arrays as an uncompressed .npz, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
