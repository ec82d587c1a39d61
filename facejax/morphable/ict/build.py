"""From the arrays of ICT-FaceKit to a face model with procedural albedo."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from facejax.geometry.sphere import fit_sphere
from facejax.host.files import reading
from facejax.morphable.ict.files import read_raw
from facejax.morphable.ict.paint import IctPainter
from facejax.morphable.procedural.build import MM_PER_CM, paint_basis
from facejax.morphable.procedural.paint import draw_paint
from facejax.morphable.procedural.regions import MASK_NAMES
from facejax.morphable.storage import pack_meta
from facejax.morphable.texels import nearest_covered, texel_triangles

VERSION = 4  # raise it with every change of the result: cached models of other versions are ignored
_SOURCE = (
    "ICT-FaceKit light model (Li et al., Learning Formation of Physically-Based Face Attributes, "
    "CVPR 2020; https://github.com/ICT-VGL/ICT-FaceKit), geometry only; albedo painted by facejax."
)
_LICENCE = """MIT License

Copyright (c) 2020 USC Institute for Creative Technologies

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def build_ict(
    path: str | os.PathLike,
    n_id: int = 100,
    n_alb: int = 32,
    draws: int = 200,
    seed: int = 0,
    texture_size: int = 256,
) -> dict:
    """The arrays of a model file (`facejax.morphable.storage`) from ICT-FaceKit.

    Args:
      path: a checkout folder or a converted .npz (`files.read_raw`).
      n_id: identity components, at most those of the source.
      n_alb: albedo components, below `draws`.
      draws: random paints that the albedo components are computed from.
      seed: of the draws.
      texture_size: T, texels on a side of the packed atlas.

    Raises:
      ValueError: `path` is not ICT-FaceKit, or sizes that cannot work.
    """
    raw = read_raw(path)
    if not 1 <= n_id <= len(raw["id_offsets"]):
        raise ValueError(
            f"found n_id={n_id}, wanted 1..{len(raw['id_offsets'])}, the identity "
            f"components in {path}; lower n_id"
        )
    if not 1 <= n_alb < draws:
        raise ValueError(f"found n_alb={n_alb} and draws={draws}, wanted 1 <= n_alb < draws")
    with reading(path, "a sound ICT-FaceKit"):  # numbers of a damaged file may make no face
        return _arrays(raw, n_id, n_alb, draws, seed, texture_size)


def _arrays(raw, n_id, n_alb, draws, seed, texture_size):
    points = raw["neutral"].astype(float)
    names, region = [str(n) for n in raw["region_names"]], raw["region"].astype(int)
    uv = raw["uv_atlas"] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    landmark_points = points[raw["landmarks68"]]
    spheres = {
        name: fit_sphere(points[region == i])[0]
        for i, name in enumerate(names)
        if name.startswith("eyeball")
    }

    def make_painter(where, where_region):
        return IctPainter(where, where_region, landmark_points, names, spheres)

    painter = make_painter(points, region)
    triangle, barycentric = texel_triangles(uv, raw["faces_uv"], texture_size)
    covered = triangle >= 0
    corners = raw["faces"][triangle[covered]]
    texel_points = np.einsum("nk,nkc->nc", barycentric[covered], points[corners])
    texel_painter = make_painter(texel_points, region[corners].max(axis=1))
    number = np.zeros(triangle.shape, int)
    number[covered] = np.arange(len(corners))
    number = number[nearest_covered(triangle)]  # [T, T]: the covered texel whose colour is taken

    rng = np.random.default_rng(seed)
    paints = [draw_paint(rng) for _ in range(draws)]
    with ThreadPoolExecutor() as pool:
        vertex_paints = np.stack(list(pool.map(painter, paints)))
        texture_paints = np.stack(list(pool.map(lambda p: texel_painter(p)[number], paints)))

    id_basis, id_std = _unit(MM_PER_CM * raw["id_offsets"][:n_id].astype(np.float32))
    inside = [k for k, name in enumerate(names) if name.startswith(("mouth_socket", "eyeball"))]
    masks = np.stack([*(painter.masks[name] for name in MASK_NAMES), np.isin(region, inside)])
    return pack_meta(
        dict(
            mean_shape=(MM_PER_CM * points).astype(np.float32),
            id_basis=id_basis,
            id_std=id_std,
            exp_basis=MM_PER_CM * raw["exp_offsets"].astype(np.float32),
            exp_std=np.ones(len(raw["exp_offsets"]), np.float32),
            **paint_basis(vertex_paints, texture_paints, n_alb),
            triangles=raw["faces"].astype(np.int32),
            uv=np.clip(uv, 0, 1).astype(np.float32),
            uv_triangles=raw["faces_uv"].astype(np.int32),
            uv_vertex=raw["uv_vertex"].astype(np.int32),
            landmarks68=raw["landmarks68"].astype(np.int32),
            landmarks5=_five_points(points, region, names, raw["landmarks68"]),
            mask_names=np.array([*MASK_NAMES, "interior"]),
            masks=masks.astype(np.float32),
            exp_names=np.asarray(raw["exp_names"], dtype=np.str_),
        ),
        name="ict",
        source=_SOURCE,
        licence=_LICENCE,
        uv_wraps_u=False,
    )


def _unit(offsets):
    """Offsets [K, V, 3] -> unit directions (float16) and their lengths [K] mm."""
    length = np.sqrt((offsets.astype(np.float64) ** 2).sum(axis=(1, 2)))
    directions = offsets / np.maximum(length, 1e-12)[:, None, None]
    return directions.astype(np.float16), length.astype(np.float32)


def _five_points(points, region, names, landmarks68):
    """Vertex ids: middle of the eyes (on the balls), nose tip, mouth corners; image left first."""
    ids = []
    for name, corners in (("eyeball_right", slice(36, 42)), ("eyeball_left", slice(42, 48))):
        middle = points[landmarks68[corners]].mean(axis=0)
        ball = np.flatnonzero(region == names.index(name))
        distance = np.linalg.norm(points[ball] - middle, axis=1)
        ids.append(ball[np.argmin(distance)])
    return np.array([*ids, *landmarks68[[30, 48, 54]]], np.int32)
