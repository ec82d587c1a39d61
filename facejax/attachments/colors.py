"""Colours of attachments: one small texture of tiles, a pure function of the coefficients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from facejax.attachments.clothes import COLLAR_SHARE
from facejax.attachments.strands import NODES
from facejax.attachments.worn import Worn
from facejax.image.color import linear_to_srgb
from facejax.morphable.skin.colors import hair_tone

ROWS = 64
# name: (first column, columns)
TILES = {
    "hair": (0, 128),
    "cap": (128, 96),
    "beard": (224, 32),
    "clothes": (256, 24),
    "hat": (280, 24),
    "frame": (304, 4),
    "lens": (308, 4),
    "metal": (312, 4),
}
COLUMNS = sum(width for _, width in TILES.values())
_SHADOWED = 0.8  # the shell under the strands, sRGB


def tile_uv(name: str, uv: np.ndarray) -> np.ndarray:
    """UV of the texture from UV [..., 2] of a tile; half a texel is left at its borders."""
    first, width = TILES[name]
    u = first + 0.5 + np.clip(uv[..., 0], 0, 1) * (width - 1)
    v = 0.5 + np.clip(uv[..., 1], 0, 1) * (ROWS - 1)
    return np.stack([u / COLUMNS, v / ROWS], axis=-1).astype(np.float32)


@functools.cache
def _noise() -> dict[str, np.ndarray]:
    """Fixed patterns: streaks along strands, ranks of greying, weave of cloth."""
    rng = np.random.default_rng(11)
    width = sum(TILES[k][1] for k in ("hair", "cap", "beard"))
    fine = rng.normal(size=(1, width))
    long = rng.normal(size=(9, width))
    row = np.linspace(0, 8, ROWS)
    low = np.minimum(row.astype(int), 7)
    t = (row - low)[:, None]
    streak = 0.75 * fine + 0.65 * ((1 - t) * long[low] + t * long[low + 1])
    rank = rng.permutation(width)[None] / width + 0.12 * rng.normal(size=(ROWS, width))
    rank = np.clip(rank, 0, 1)
    lock = rng.normal(size=(4, width // 4 + 1)).repeat(4, axis=1)[:, :width]
    cloth = rng.normal(size=(ROWS, TILES["clothes"][1]))
    cloth[:, -1] = cloth[:, 0]  # it goes around
    parts = dict(streak=streak, rank=rank, lock=lock, cloth=cloth)
    return {k: v.astype(np.float32) for k, v in parts.items()}


def _strand_tile(worn, name, melanin, grey, nodes, roots):
    """[ROWS, width, 3] sRGB of strands; `nodes` of one, which says where roots and tips are."""
    first, width = TILES[name]
    noise = {k: v[:, first : first + width] for k, v in _noise().items() if k != "cloth"}
    place = jnp.linspace(0.0, NODES - 1.0, ROWS) + 1e-4
    nodes = jnp.asarray(nodes, jnp.float32)
    lock = jnp.minimum(jnp.floor(place / nodes), 3).astype(jnp.int32)
    t = jnp.clip((place - nodes * lock) / (nodes - 1), 0, 1)[:, None]
    shade = noise["streak"] + 0.5 * jnp.asarray(noise["lock"])[lock]
    lighter = worn.highlights * jnp.maximum(noise["streak"], 0.0)
    local = jnp.clip(melanin - 0.05 * shade - 0.16 * lighter, 0.0, 1.0)
    color = hair_tone(local, worn.redness, 0.0)
    color = color + worn.dyed * (
        _linear(worn.dye)[None, None] * (1 + 0.25 * shade[..., None]) - color
    )
    is_grey = jax.nn.sigmoid((grey * 1.4 - 0.2 - noise["rank"]) * 16.0)[..., None]
    is_grey = is_grey * jnp.minimum(grey * 10.0, 1.0)
    white = hair_tone(local, worn.redness, 1.0) * (1 + 0.12 * shade[..., None])
    color = color + is_grey * (white - color)
    depth = 1.0 - roots * (1 - jnp.clip(t / 0.45, 0, 1)) ** 1.5
    return linear_to_srgb(jnp.clip(color * depth[..., None], 0.0, 1.0))


def _linear(color):
    return jnp.clip(color, 0.0, 1.0) ** 2.2


def paint(worn: Worn, nodes: jax.Array, skin_through: jax.Array) -> jax.Array:
    """The texture [ROWS, COLUMNS, 3] of one head's attachments, sRGB.

    Args:
      worn: coefficients without batch dims.
      nodes: [] of a strand of this hairstyle.
      skin_through: [] in [0, 1], how much of the scalp the shell under the hair lets through.
    """
    hair = _strand_tile(worn, "hair", worn.melanin, worn.grey, nodes, 0.45)
    cap = _strand_tile(worn, "cap", worn.melanin, worn.grey, NODES, 0.0)
    v = jnp.linspace(0.0, 1.0, ROWS)[:, None, None]
    through = jnp.clip(skin_through + 0.5 * jnp.clip((v - 0.96) / 0.04, 0, 1), 0, 0.9)
    scalp = worn.scalp[None, None]
    cap = _SHADOWED * cap + through * (scalp - _SHADOWED * cap)
    beard = _strand_tile(worn, "beard", worn.beard_melanin, worn.beard_grey, 4, 0.3)
    weave = 1 + 0.05 * _noise()["cloth"][..., None]
    collar = v < COLLAR_SHARE
    clothes = jnp.where(collar, worn.collar_color[None, None], worn.clothes_color[None, None])
    hat = worn.hat_color[None, None] * weave
    plain = [
        jnp.broadcast_to(color[None, None], (ROWS, TILES[name][1], 3))
        for name, color in (
            ("frame", worn.frame_color),
            ("lens", worn.lens_color),
            ("metal", worn.metal_color),
        )
    ]
    tiles = [hair, cap, beard, clothes * weave, hat, *plain]
    return jnp.clip(jnp.concatenate(tiles, axis=1), 0.0, 1.0)
