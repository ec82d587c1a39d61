"""What lies before a face: things around its border, patches before it, the end of the photo."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.photographs.scenes import dull_colors, noise_field
from facejax.image.color import srgb_to_linear

_COVER_GRIDS = (4, 16)  # cells along a side of the border's shape and of its texture
_FACE_HALF_SIZE = (0.62, 0.8)  # of the ellipse around a face, in halves of the crop


def draw_occluders(rng: np.random.Generator, ranges) -> dict[str, np.ndarray]:
    """Occluders as numbers, float32; shares of the picture, v down.

    Args:
      rng: numpy generator.
      ranges: `PictureRanges`.

    Returns:
      cover [5]: whether, how far from the middle of the crop it begins (in halves of a face's
      ellipse), sRGB; blob [9]: middle u v, half width and height (0 for none), angle (rad),
      roundness (2 an ellipse, more a box), sRGB; bars [7]: left, right, top, bottom, sRGB.
    """
    cover = [rng.uniform() < ranges.covered, rng.uniform(1.0, 1.5), *_thing_color(rng)]
    some = rng.uniform() < ranges.blobs
    blob = [
        *rng.uniform(0.1, 0.95, 2), *(some * rng.uniform(0.06, 0.22, 2)), rng.uniform(0, np.pi),
        rng.uniform(2.0, 8.0), *_thing_color(rng),
    ]  # fmt: skip
    sides = rng.permutation(4) < rng.integers(1, 3)  # one or two of them
    bars = (rng.uniform() < ranges.cut) * sides * rng.uniform(0.02, 0.2, 4)
    paint = np.full(3, rng.choice([0.0, 0.0, 1.0, rng.uniform()]))
    out = {"cover": cover, "blob": blob, "bars": [*bars, *paint]}
    return {k: np.asarray(v, np.float32) for k, v in out.items()}


def _thing_color(rng):
    """sRGB of a thing: of skin or hair, or anything, mostly dull."""
    if rng.uniform() < 0.4:
        return np.array([0.85, 0.65, 0.53]) * rng.uniform(0.1, 1.05)
    return dull_colors(rng, 1)[0]


def occluders(
    numbers: dict[str, jax.Array], key: jax.Array, size: int
) -> tuple[jax.Array, jax.Array]:
    """Everything before a face.

    Args:
      numbers: of `draw_occluders`, for one picture.
      key: of shapes and textures.
      size: pixels on a side.

    Returns:
      (share, color): [S, S, 1] in [0, 1], how much of a pixel is covered; [S, S, 3] linear light.
    """
    some = (numbers["cover"][0] > 0) | (numbers["blob"][2] > 0) | (numbers["bars"][:4].max() > 0)
    nothing = jnp.zeros((size, size, 1)), jnp.zeros((size, size, 3))
    return jax.lax.cond(some, lambda: _draw(numbers, key, size), lambda: nothing)


def _draw(numbers, key, size):
    for_shape, for_texture, for_blob = jax.random.split(key, 3)
    place = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2 / size) - 1
    x, y = place[None, :], place[:, None]
    texture = 0.12 * noise_field(for_texture, _COVER_GRIDS[1], size)
    share, color = _cover(numbers["cover"], for_shape, x, y, size), numbers["cover"][2:]
    color = srgb_to_linear(jnp.clip(color.reshape(1, 1, 3) + texture, 0.0, 1.0))
    blob = numbers["blob"]
    over = _blob(blob, for_blob, x, y, size)
    paint = srgb_to_linear(jnp.clip(blob[6:].reshape(1, 1, 3) + 0.5 * texture, 0.0, 1.0))
    share, color = share + over * (1 - share), color + over * (paint - color)
    bars = numbers["bars"]
    u, v = (x + 1) / 2, (y + 1) / 2
    ends = [(bars[0] - u), (u - 1 + bars[1]), (bars[2] - v), (v - 1 + bars[3])]
    here = jnp.broadcast_to(sum((e > 0).astype(jnp.float32) for e in ends), (size, size)) > 0
    here = here[..., None]
    share = jnp.where(here, 1.0, share)
    return share, jnp.where(here, srgb_to_linear(bars[4:]).reshape(1, 1, 3), color)


def _cover(cover, key, x, y, size):
    """Outside of a wobbly ellipse around the middle of the crop, [S, S, 1]."""
    wide, high = _FACE_HALF_SIZE
    radius = jnp.sqrt((x / wide) ** 2 + (y / high) ** 2)[..., None]
    radius = radius + 0.35 * noise_field(key, _COVER_GRIDS[0], size)
    return cover[0] * jnp.clip((radius - cover[1]) * (0.35 * size) + 0.5, 0.0, 1.0)


def _blob(blob, key, x, y, size):
    """A wobbly patch between an ellipse and a box, [S, S, 1]."""
    x, y = x - (2 * blob[0] - 1), y - (2 * blob[1] - 1)
    c, s = jnp.cos(blob[4]), jnp.sin(blob[4])
    half = 2 * jnp.maximum(blob[2:4], 1e-3)
    across = jnp.abs(c * x + s * y) / half[0] + 1e-6
    along = jnp.abs(c * y - s * x) / half[1] + 1e-6
    radius = (across ** blob[5] + along ** blob[5]) ** (1 / blob[5])
    radius = radius[..., None] + 0.15 * noise_field(key, _COVER_GRIDS[0] + 2, size)
    inside = jnp.clip((1 - radius) * (0.5 * size) * half.min() + 0.5, 0.0, 1.0)
    return jnp.where(blob[2] > 0, inside, 0.0)
