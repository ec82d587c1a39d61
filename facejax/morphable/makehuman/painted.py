"""The head with its painted skin: geometry from the package's file, paint made once and kept."""

import hashlib
import json

import numpy as np

from facejax.host.arrays import read_npz
from facejax.host.cache import cached
from facejax.morphable.makehuman.build import build_makehuman
from facejax.morphable.makehuman.file import NUM_ID
from facejax.morphable.model import MorphableModel
from facejax.morphable.skin import VERSION as SKIN_VERSION
from facejax.morphable.skin import at_vertices, linear_albedo
from facejax.morphable.storage import model_from_arrays, pack_meta, write_arrays

_PAINT = ("mean_albedo", "alb_basis", "alb_std", "mean_texture", "tex_basis")


def load_makehuman(
    subdivide: int = 1,
    num_id: int = NUM_ID,
    num_exp: int = 52,
    texture_size: int = 512,
    num_alb: int = 24,
) -> MorphableModel:
    """The built-in head; numpy arrays.

    Its file holds shapes alone. The skin is painted by `facejax.morphable.skin`, which takes about
    ten seconds, once per size: the result is kept in the cache folder.

    Args:
      subdivide, num_id, num_exp: see `build_makehuman`.
      texture_size: texels on a side of the painted skin; 0 for one plain colour per region, without
        a texture, which needs no cache.
      num_alb: components of the paint, 1 to 95; of no effect without paint.

    Raises:
      ValueError: sizes that cannot be.
    """
    if not (texture_size == 0 or 8 <= texture_size <= 4096) or not 1 <= num_alb < 96:
        raise ValueError(
            f"found texture_size={texture_size} and num_alb={num_alb} for the model 'makehuman', "
            "wanted 0 or 8..4096 texels, and 1..95 components"
        )
    arrays = build_makehuman(subdivide, num_id, num_exp)
    if not texture_size:
        return model_from_arrays(arrays)
    meta = json.loads(str(arrays["meta"]))
    paint = _paint(subdivide, texture_size, num_alb)
    arrays = {k: v for k, v in arrays.items() if k not in ("format", "meta")} | paint
    return model_from_arrays(
        pack_meta(arrays, meta["name"], meta["source"], meta["licence"], meta["uv_wraps_u"])
    )


def _paint(subdivide: int, size: int, num: int) -> dict[str, np.ndarray]:
    """The arrays `_PAINT` of a model file."""
    plain = model_from_arrays(build_makehuman(subdivide, 1, 0))  # paint knows no other face

    def make():
        painted = linear_albedo(plain, size, num)
        basis = painted.tex_basis.astype(np.float16)
        return dict(
            mean_albedo=at_vertices(plain, painted.mean_texture),
            alb_basis=at_vertices(plain, basis.astype(np.float32)).astype(np.float16),
            alb_std=painted.std,
            mean_texture=painted.mean_texture,
            tex_basis=basis,
        )

    key = f"{plain.topology.digest} {size} {num} {SKIN_VERSION}"
    digest = hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
    return cached(
        f"makehuman-paint-{digest}.npz",
        "the painted skin of the head",
        make,
        _read,
        write_arrays,
    )


def _read(path):
    arrays = read_npz(path, _PAINT)
    return {name: arrays[name] for name in _PAINT}
