"""A rendered face over a scene, behind occluders, through a camera: one photo."""

from typing import NamedTuple

import jax
import numpy as np

from facejax.data.photographs.lens import defocused, draw_lens, finish
from facejax.data.photographs.light import draw_lights
from facejax.data.photographs.occluders import draw_occluders, occluders
from facejax.data.photographs.ranges import PictureRanges
from facejax.data.photographs.scenes import draw_scene, scene

_HALVED_FROM = 128  # pixels: scenes of larger pictures are drawn at half the size


class Picture(NamedTuple):
    """A photo, and what of it lies before the face.

    Attributes:
      image: [S, S, 3] sRGB in [0, 1].
      covered: [S, S] in [0, 1], share of a pixel that an occluder takes.
    """

    image: jax.Array
    covered: jax.Array


def draw_picture(rng: np.random.Generator, ranges: PictureRanges) -> dict[str, np.ndarray]:
    """All numbers of a photo but those of the face: lights, scene, occluders, lens.

    See `draw_lights`, `draw_scene`, `draw_occluders`, `draw_lens`.
    """
    return (
        draw_lights(rng, ranges)
        | draw_scene(rng, ranges.scenes)
        | draw_occluders(rng, ranges)
        | draw_lens(rng, ranges)
    )


def take_picture(
    head: jax.Array,
    numbers: dict[str, jax.Array],
    key: jax.Array,
    behind: jax.Array | None = None,
) -> Picture:
    """The photo of a rendered head; one picture, no batch dims.

    Args:
      head: [S, S, 4] linear light over black, and coverage.
      numbers: of `draw_picture`.
      key: of everything that is noise.
      behind: [S, S, 3] linear light instead of a drawn scene.
    """
    size = head.shape[0]
    for_scene, for_things, for_grain = jax.random.split(key, 3)
    if behind is None:  # never quite in focus, hence at half the size
        behind = scene(numbers, for_scene, size if size < _HALVED_FROM else -(-size // 2))
    # what is behind is exposed for itself: a dark room has its own lamps
    behind = defocused(behind, numbers, size) / numbers["gain"].reshape(1, 1, 3)
    light = head[..., :3] + (1.0 - head[..., 3:]) * behind
    share, color = occluders(numbers, for_things, size)
    light = light + share * (color / numbers["gain"].reshape(1, 1, 3) - light)
    return Picture(finish(light, numbers, for_grain), share[..., 0])
