"""Reads ICT-FaceKit (Li et al. 2020, MIT licence): OBJ files of a checkout, or a converted .npz.

Both give the same dict of arrays, `RAW_KEYS`: the "light" linear model restricted to face, head and
neck, mouth socket and the outer spheres of the eyeballs. Teeth, gums, tongue, lashes, tear film
and eye sockets are left out. Centimetres, v up, as in the OBJ files; `build` converts.

| key | shape | meaning |
|---|---|---|
| neutral | [V, 3] | mean head |
| id_offsets, exp_offsets | [K, V, 3] | offsets from neutral at coefficient 1 |
| exp_names | [D_exp] str | |
| faces, faces_uv | [F, 3] | triangles into vertices and into render vertices |
| uv_atlas, uv_vertex | [S, 2], [S] | all UV tiles packed in [0, 1]^2; vertex of a render vertex |
| region, region_names | [V], [R] | region number of each vertex |
| landmarks68 | [68] | vertex ids |
"""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facejax.geometry.obj import read_obj, read_vertices
from facejax.host.arrays import read_npz
from facejax.host.files import describe_content, read_json, reading

RAW_KEYS = (
    "neutral", "id_offsets", "exp_offsets", "exp_names", "faces", "faces_uv", "uv_atlas",
    "uv_vertex", "region", "region_names", "landmarks68",
)  # fmt: skip
NEUTRAL_OBJ, INDEX_JSON = "generic_neutral_mesh.obj", "vertex_indices.json"


class Region(NamedTuple):
    """A range of vertices of the OBJ files that is kept.

    Attributes:
      name: of the region.
      first: its first vertex.
      end: one behind its last vertex.
      tile: (u, v) of the lower left corner of its UV tile in the packed atlas.
      scale: side length of that tile in the atlas.
    """

    name: str
    first: int
    end: int
    tile: tuple[float, float]
    scale: float


_FACE_TILE, _HEAD_TILE = ((0.0, 0.25), 0.75), ((0.75, 0.75), 0.25)
REGIONS = (
    Region("face_narrow", 0, 6706, *_FACE_TILE),
    Region("face_outer", 6706, 9409, *_FACE_TILE),
    Region("head_neck", 9409, 11248, *_HEAD_TILE),
    Region("mouth_socket", 11248, 13294, *_HEAD_TILE),
    Region("eyeball_left", 21451, 22221, (0.75, 0.5), 0.25),
    Region("eyeball_right", 23021, 23791, (0.75, 0.25), 0.25),
)


def read_raw(path: str | os.PathLike, regions: Sequence[Region] = REGIONS) -> dict:
    """The arrays `RAW_KEYS` of a checkout folder or of a converted .npz.

    Args:
      path: folder that contains `generic_neutral_mesh.obj` (or a folder `FaceXModel` with it),
        or an .npz.
      regions: the vertex ranges to keep of the OBJ files.

    Raises:
      ValueError: neither of the two.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        folder = find_obj_folder(path)
        if folder is None:
            raise ValueError(
                f"{path}: found a folder without {NEUTRAL_OBJ}, wanted a checkout of ICT-FaceKit; "
                "give the folder that holds FaceXModel/"
            )
        return read_obj_folder(folder, regions)
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder; wanted ICT-FaceKit")
    raw = read_npz(path, RAW_KEYS)
    missing = [k for k in RAW_KEYS if k not in raw]
    if missing:
        raise ValueError(
            f"{path}: found an .npz that lacks {missing}, wanted a converted ICT-FaceKit with "
            f"{list(RAW_KEYS)}; give a checkout of ICT-FaceKit or convert it again"
        )
    with reading(path, "a converted ICT-FaceKit"):
        _check_raw(raw)
    return {k: raw[k] for k in RAW_KEYS}


def _check_raw(raw: dict[str, np.ndarray]) -> None:
    """Shapes, and numbers that name others of its arrays."""
    count, atlas = len(raw["neutral"]), len(raw["uv_atlas"])
    shapes = {
        "neutral": (count, 3), "id_offsets": (len(raw["id_offsets"]), count, 3),
        "exp_offsets": (*raw["exp_names"].shape, count, 3), "faces": (len(raw["faces"]), 3),
        "faces_uv": (len(raw["faces"]), 3), "uv_atlas": (atlas, 2), "uv_vertex": (atlas,),
        "region": (count,), "landmarks68": (68,),
    }  # fmt: skip
    for key, shape in shapes.items():
        if raw[key].shape != shape:
            raise ValueError(f"{key} has shape {raw[key].shape}, wanted {shape}")
    for key in ("neutral", "id_offsets", "exp_offsets", "uv_atlas"):
        if raw[key].dtype.kind != "f" or not np.isfinite(raw[key]).all():
            raise ValueError(f"{key} holds other things than finite numbers")
    limits = dict.fromkeys(("faces", "uv_vertex", "landmarks68"), count)
    limits |= {"faces_uv": atlas, "region": len(raw["region_names"])}
    for key, limit in limits.items():
        ids = raw[key]
        if ids.dtype.kind not in "iu" or (ids.size and not 0 <= ids.min() <= ids.max() < limit):
            raise ValueError(f"{key} names other things than the numbers 0 .. {limit - 1}")


def find_obj_folder(path: str | os.PathLike) -> pathlib.Path | None:
    """The folder of the OBJ files in or at `path`, or None."""
    for folder in (pathlib.Path(path), pathlib.Path(path) / "FaceXModel"):
        if (folder / NEUTRAL_OBJ).exists():
            return folder
    return None


def read_obj_folder(folder: pathlib.Path, regions: Sequence[Region] = REGIONS) -> dict:
    """The arrays `RAW_KEYS` from the OBJ files of `FaceXModel`.

    Args:
      folder: with generic_neutral_mesh.obj, identity000.obj ..., one OBJ per expression and
        vertex_indices.json (its `expressions` name the files).
      regions: the vertex ranges to keep.

    Raises:
      ValueError: files are missing or meshes disagree.
    """
    index_path = folder / INDEX_JSON
    if not index_path.exists():
        raise ValueError(
            f"{folder}: {INDEX_JSON} is missing, wanted the complete FaceXModel folder of "
            "ICT-FaceKit; check out the repository again"
        )
    names, landmarks = _read_index(index_path)
    mesh = read_obj(folder / NEUTRAL_OBJ)
    neutral, uv, faces, faces_uv = mesh.vertices, mesh.uv, mesh.triangles, mesh.uv_triangles
    if (faces_uv < 0).any():
        raise ValueError(
            f"{folder / NEUTRAL_OBJ}: found faces without texture coordinates, wanted `f v/vt v/vt "
            "v/vt`; check out the file again"
        )
    if len(neutral) < max(r.end for r in regions):
        raise ValueError(
            f"{folder / NEUTRAL_OBJ}: found {len(neutral)} vertices, wanted at least "
            f"{max(r.end for r in regions)}; this is not the mesh of ICT-FaceKit's light model"
        )
    kept = np.concatenate([np.arange(r.first, r.end) for r in regions])
    region = np.repeat(np.arange(len(regions)), [r.end - r.first for r in regions])
    new_id = np.full(len(neutral), -1)
    new_id[kept] = np.arange(len(kept))

    identities = sorted(folder.glob("identity*.obj"))
    if not identities:
        raise ValueError(
            f"{folder}: found no identity000.obj ..., wanted the complete FaceXModel folder of "
            "ICT-FaceKit; check out the repository again"
        )
    if max(landmarks) >= len(neutral) or (new_id[landmarks] < 0).any():
        raise ValueError(f"{index_path}: its landmarks are no vertices of the face")

    def offsets(files):
        return np.stack([_read_positions(f, len(neutral))[kept] - neutral[kept] for f in files])

    inside = (new_id[faces] >= 0).all(axis=1)
    faces, faces_uv = new_id[faces[inside]], faces_uv[inside]
    pairs, render = np.unique(
        np.stack([faces.reshape(-1), faces_uv.reshape(-1)]), axis=1, return_inverse=True
    )
    return dict(
        neutral=neutral[kept].astype(np.float32),
        id_offsets=offsets(identities).astype(np.float32),
        exp_offsets=offsets([folder / f"{n}.obj" for n in names]).astype(np.float32),
        exp_names=np.array(names),
        faces=faces.astype(np.int32),
        faces_uv=render.reshape(-1, 3).astype(np.int32),
        uv_atlas=_pack(uv[pairs[1]], region[pairs[0]], regions).astype(np.float32),
        uv_vertex=pairs[0].astype(np.int32),
        region=region.astype(np.uint8),
        region_names=np.array([r.name for r in regions]),
        landmarks68=new_id[landmarks].astype(np.int32),
    )


def _read_index(path: pathlib.Path) -> tuple[list[str], list[int]]:
    """(names of the expressions, 68 vertices) of vertex_indices.json."""
    index = read_json(path)
    found = index if isinstance(index, dict) else {}
    names, landmarks = found.get("expressions"), found.get("idx_to_landmark_verts")
    good = isinstance(names, list) and all(isinstance(n, str) and n for n in names)
    good = good and isinstance(landmarks, list) and len(landmarks) == 68
    if not (good and all(type(n) is int and 0 <= n < 1 << 31 for n in landmarks)):
        raise ValueError(
            f"{path}: wanted `expressions` (names) and `idx_to_landmark_verts` (68 vertices); "
            "check out the file again"
        )
    return names, landmarks


def _pack(uv, region, regions):
    """UV of the UDIM tiles -> the packed atlas.

    A face vertex on the border to the back of the head also has a UV in the head's tile (u > 1).
    """
    home = np.array([r.tile for r in regions])[region]
    scale = np.array([r.scale for r in regions])[region][:, None]
    in_head_tile = (uv[:, :1] > 1) & (scale == _FACE_TILE[1])
    home = np.where(in_head_tile, _HEAD_TILE[0], home)
    scale = np.where(in_head_tile, _HEAD_TILE[1], scale)
    return home + scale * (uv - np.floor(np.clip(uv - 1e-9, 0, None)))


def _read_positions(path, num):
    """Positions [num, 3] of an OBJ that shares the topology of the neutral one."""
    if not path.is_file():
        raise ValueError(
            f"{path} is missing, which {INDEX_JSON} names; wanted the complete FaceXModel folder "
            "of ICT-FaceKit: check out the repository again"
        )
    points = read_vertices(path)
    if len(points) != num or not np.isfinite(points).all():
        found = describe_content(path) or f"found {len(points)} vertices"
        raise ValueError(
            f"{path}: {found}, wanted {num} finite ones as in {NEUTRAL_OBJ}; check out the "
            "repository again"
        )
    return points
