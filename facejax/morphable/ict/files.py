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

import json
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facejax.morphable.storage import read_arrays

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
    raw = read_arrays(path)
    missing = [k for k in RAW_KEYS if k not in raw]
    if missing:
        raise ValueError(
            f"{path}: found an .npz that lacks {missing}, wanted a converted ICT-FaceKit with "
            f"{list(RAW_KEYS)}; give a checkout of ICT-FaceKit or convert it again"
        )
    return {k: raw[k] for k in RAW_KEYS}


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
    index = json.loads(index_path.read_text(encoding="utf-8"))
    neutral, uv, faces, faces_uv = read_obj(folder / NEUTRAL_OBJ)
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
    names = [str(n) for n in index["expressions"]]

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
        landmarks68=new_id[np.array(index["idx_to_landmark_verts"])].astype(np.int32),
    )


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


def read_obj(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions [N, 3], UV [M, 2] and triangles [F, 3] into both; quads a b c d give abc and acd.

    Raises:
      ValueError: no vertices or faces with UV in it.
    """
    positions, uv, faces, faces_uv = [], [], [], []
    with open(path, encoding="utf-8") as file:
        for line in file:
            kind, _, rest = line.partition(" ")
            if kind == "v":
                positions.append(rest.split()[:3])
            elif kind == "vt":
                uv.append(rest.split()[:2])
            elif kind == "f":
                corners = [c.split("/")[:2] for c in rest.split()]
                for k in range(1, len(corners) - 1):
                    fan = (corners[0], corners[k], corners[k + 1])
                    faces.append([c[0] for c in fan])
                    faces_uv.append([c[1] if len(c) > 1 else "" for c in fan])
    try:
        triangles = np.array(faces, np.int64).reshape(-1, 3) - 1
        uv_triangles = np.array(faces_uv, np.int64).reshape(-1, 3) - 1
        points, coords = np.array(positions, float), np.array(uv, float)
    except ValueError as error:
        raise ValueError(
            f"{path}: found faces or vertices that are not numbers ({error}), wanted an OBJ with "
            "`f v/vt v/vt v/vt`; check out the file again"
        ) from error
    if not (len(points) and len(triangles)):
        raise ValueError(
            f"{path}: found {len(points)} vertices and {len(triangles)} faces, wanted a mesh; "
            "check out the file again (Git LFS pointers are not meshes)"
        )
    return points, coords, triangles, uv_triangles


def _read_positions(path, num):
    """Positions [num, 3] of an OBJ that shares the topology of the neutral one."""
    if not path.exists():
        raise ValueError(
            f"{path} is missing, wanted the complete FaceXModel folder of ICT-FaceKit; "
            "check out the repository again"
        )
    with open(path, encoding="utf-8") as file:
        numbers = " ".join(line[2:] for line in file if line.startswith("v ")).split()
    if len(numbers) != 3 * num:
        raise ValueError(
            f"{path}: found {len(numbers) / 3:g} vertices, wanted {num} as in {NEUTRAL_OBJ}; "
            "check out the repository again"
        )
    return np.array(numbers, float).reshape(num, 3)
