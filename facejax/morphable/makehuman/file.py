"""The file of the head, `head.npz` beside this module: what `data_prep/build_head.py` writes.

| key | shape, dtype | meaning |
|---|---|---|
| format | () str | 'facejax-head-1' |
| mean | [V, 3] f4 | mm, the cage: control points of a Catmull-Clark surface |
| identity | [D_id, V, 3] f2 | mm at coefficient 1, of falling size |
| exp_names, exp_start | [D_exp] str, [D_exp + 1] i4 | expression k: rows start k to start k + 1 |
| exp_vertex, exp_offset | [N] u2, [N, 3] f2 | vertices, and mm at weight 1; all others stay |
| quads, quads_uv | [Q, 4] u2 | counter-clockwise from outside, into vertices and into |
| uv, uv_vertex | [S, 2] f4, [S] u2 | v down; the vertex of each |
| part_names, part | [P] str, [Q] u1 | 'skin', 'mouth', 'lid', 'eye', ... |
| mask_names, masks | [M] str, [M, V] u1 | 0 to 255 |
| landmarks68, landmarks5 | [2, 68], [2, 5] u2 | vertices of the cage; of the refined cage |
| attribute_names, attribute_weights | [F] str, [D_id, F] f4 | see `people` |
| attribute_mean, attribute_covariance | [F], [F, F] f4 | of the attributes' features |
| source | () str | where it comes from |
"""

import functools
import pathlib

import numpy as np

from facejax.host.arrays import read_npz
from facejax.host.files import reading

FORMAT = "facejax-head-1"
PATH = pathlib.Path(__file__).with_name("head.npz")
LICENCE_PATH = pathlib.Path(__file__).with_name("LICENSE.txt")
NUM_ID = 80  # components that are used where nothing else is asked for; the file holds more
KEYS = (
    "format", "mean", "identity", "exp_names", "exp_start", "exp_vertex", "exp_offset", "quads",
    "quads_uv", "uv", "uv_vertex", "part_names", "part", "mask_names", "masks", "landmarks68",
    "landmarks5", "attribute_names", "attribute_weights", "attribute_mean", "attribute_covariance",
    "source",
)  # fmt: skip


@functools.cache
def read_head(path: pathlib.Path = PATH) -> dict[str, np.ndarray]:
    """The arrays of a head's file (module docstring); kept, so do not write into them.

    Raises:
      ValueError: no such file, a damaged one, or one of another format.
      OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; it belongs to facejax: install facejax again, or build it with "
            "data_prep/build_head.py"
        )
    arrays = read_npz(path, KEYS)
    if str(arrays.get("format", "")) != FORMAT or set(arrays) != set(KEYS):
        raise ValueError(
            f"{path}: found an .npz with the arrays {sorted(arrays)[:8]}, wanted a head of format "
            f"{FORMAT!r}; install facejax again, or build it with data_prep/build_head.py"
        )
    with reading(path, "a head of facejax"):
        _check(arrays)
    return arrays


def _check(arrays):
    vertices, corners = len(arrays["mean"]), len(arrays["uv"])
    quads, num_id = len(arrays["quads"]), len(arrays["identity"])
    features, rows = len(arrays["attribute_names"]), len(arrays["exp_vertex"])
    shapes = {
        "mean": (vertices, 3), "identity": (num_id, vertices, 3), "exp_offset": (rows, 3),
        "exp_start": (len(arrays["exp_names"]) + 1,), "quads": (quads, 4), "quads_uv": (quads, 4),
        "uv": (corners, 2), "uv_vertex": (corners,), "part": (quads,),
        "masks": (len(arrays["mask_names"]), vertices), "landmarks68": (2, 68),
        "landmarks5": (2, 5), "attribute_weights": (num_id, features),
        "attribute_mean": (features,), "attribute_covariance": (features, features),
    }  # fmt: skip
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise ValueError(f"{key} has shape {arrays[key].shape}, wanted {shape}")
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} holds numbers that are not finite")
    limits = dict(exp_vertex=vertices, quads=vertices, uv_vertex=vertices, quads_uv=corners)
    for key, limit in (limits | {"part": len(arrays["part_names"])}).items():
        if arrays[key].size and not 0 <= arrays[key].min() <= arrays[key].max() < limit:
            raise ValueError(f"{key} names other things than the numbers 0 .. {limit - 1}")
    start = arrays["exp_start"]
    if start[0] != 0 or start[-1] != rows or (np.diff(start) < 0).any():
        raise ValueError("exp_start does not divide exp_vertex")
