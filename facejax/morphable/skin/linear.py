"""The part of painted skin that a linear model can carry."""

import operator
from typing import NamedTuple

import jax
import numpy as np

from facejax.morphable.model import MorphableModel
from facejax.morphable.procedural.build import pca
from facejax.morphable.skin.coefficients import SkinPaint, sample_skin
from facejax.morphable.skin.fields import canvas
from facejax.morphable.skin.maps import paint

# A component with its sign turned must be a face too. What can only be there or not (freckles,
# moles, lines, a beard, make-up, grey or thin hair) and what moves (shape of brows and pupils)
# would leave its negative on other faces, as light moustaches and halos: it stays at one value.
_FIXED = dict(
    freckles=0.0, age_spots=0.0, moles=0.0, forehead_lines=0.2, eye_lines=0.2, fold_lines=0.3,
    neck_lines=0.2, pores=0.4, oil=0.5, hair_grey=0.0, brow_thickness=0.5, brow_arch=0.0,
    brow_height=0.0, brow_gap=0.0, lashes=0.5, moustache=0.0, chin_beard=0.0, jaw_beard=0.0,
    scalp_hair=0.9, hairline=0.0, recession=0.0, pupil=0.4, sclera_veins=0.25, catchlight=0.0,
    makeup=0.0, makeup_hue=0.0,
)  # fmt: skip
_BATCH = 8


class LinearAlbedo(NamedTuple):
    """albedo = mean_texture + sum_k b_k std_k tex_basis_k, b_k of unit variance.

    Attributes:
      mean_texture: [T, T, 3] float32 sRGB.
      tex_basis: [num, T, T, 3] float32, unit norm.
      std: [num] float32.
      variance_kept: share of the variance of the drawn faces.
    """

    mean_texture: np.ndarray
    tex_basis: np.ndarray
    std: np.ndarray
    variance_kept: float


def symmetric_people(draws: int, seed: int) -> SkinPaint:
    """People drawn for a linear model, in pairs that mirror each other about the middle person.

    Args:
      draws: how many, even.
      seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    num = draws // 2
    who = sample_skin(
        rng, rng.uniform(18, 70, num), rng.random(num), rng.dirichlet([0.6, 0.6, 0.6], num)
    )
    values = {}
    for name, (low, high, _) in SkinPaint.ranges().items():
        own = getattr(who, name)
        if name in _FIXED:
            own = np.full(num, _FIXED[name], np.float32)
        elif name == "stubble":  # a shadow that all have, more or less
            own = rng.uniform(0.05, 0.25, num).astype(np.float32)
        other = np.clip(2 * np.median(own) - own, low, high)
        values[name] = np.concatenate([own, other]).astype(np.float32)
    return SkinPaint(**values)


def linear_albedo(
    model: MorphableModel, size: int = 512, num: int = 24, *, draws: int = 96, seed: int = 0
) -> LinearAlbedo:
    """Principal components of painted albedo, for `mean_texture`, `tex_basis` and `alb_std`.

    Only what a linear model can show with either sign goes in: tone, blood, redness, lips, colour
    and density of brows and hair, a mild shadow of beard, dark eye rings, irises. Takes seconds
    (painting 96 faces): callers keep the result.

    Args:
      model: any model with UVs.
      size: T, texels on a side.
      num: components, below `draws`.
      draws: painted faces, even.
      seed: of the draws.

    Raises:
      ValueError: sizes that cannot work, or no UV layout.
    """
    if draws % 2 or not 1 <= num < draws:
        raise ValueError(
            f"found num={num} and draws={draws}, wanted an even number of draws above num; "
            "lower num or raise draws"
        )
    board, people = canvas(model, size), symmetric_people(draws, seed)
    albedo = np.zeros((draws, size * size * 3), np.float32)
    for start in range(0, draws, _BATCH):
        some = np.arange(start, start + _BATCH) % draws  # batches of one shape compile once
        painted = paint(board, jax.tree.map(operator.itemgetter(some), people)).albedo
        albedo[some] = np.asarray(painted).reshape(_BATCH, -1)
    mean = albedo.mean(axis=0)
    total = float(((albedo - mean) ** 2).sum()) / (draws - 1)
    _, basis, std = pca(albedo, num)
    return LinearAlbedo(
        mean.reshape(size, size, 3),
        basis.reshape(num, size, size, 3).astype(np.float32),
        std.astype(np.float32),
        float((std**2).sum() / total),
    )


def at_vertices(model: MorphableModel, texture: np.ndarray) -> np.ndarray:
    """Texture values at the vertices: [..., T, T, C] to [..., V, C], bilinear, one UV per vertex.

    Args:
      model: with a UV layout.
      texture: row 0 at v = 0.
    """
    mesh = model.topology.mesh
    first = np.zeros(mesh.num_vertices, np.int64)
    first[mesh.triangles.reshape(-1)] = mesh.uv_triangles.reshape(-1)
    height, width = texture.shape[-3:-1]
    x, y = mesh.uv[first, 0] * width - 0.5, mesh.uv[first, 1] * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    total = 0
    for dy, wy in ((0, y0 + 1 - y), (1, y - y0)):
        for dx, wx in ((0, x0 + 1 - x), (1, x - x0)):
            row, column = np.clip(y0 + dy, 0, height - 1), np.clip(x0 + dx, 0, width - 1)
            total = total + (wx * wy)[:, None] * texture[..., row, column, :]
    return total.astype(np.float32)
