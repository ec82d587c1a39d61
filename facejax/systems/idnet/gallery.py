"""A picture of what the embedding sees: held-out people, and how alike it finds their photos."""

import functools

import jax
import numpy as np

from facejax.io.images import add_text_labels, image_grid, to_uint8
from facejax.systems.idnet import data

_PEOPLE, _EACH = 6, 5
_TILE = 96  # least side of a crop in the picture, pixels
_PAD = 3


class Gallery:
    """Crops of people that training never saw, with their cosines.

    Args:
      system: an `IdentitySystem`.
    """

    def __init__(self, system):
        self._system = system
        self._embed = jax.jit(system.predict)

    @functools.cached_property
    def _photos(self) -> dict[str, np.ndarray]:
        source = data.held_out(self._system.config, self._system.model, _PEOPLE, _EACH)
        # example i shows person i % people: now one person after the other
        order = np.arange(len(source)).reshape(_EACH, _PEOPLE).T.reshape(-1)
        return {k: np.asarray(v) for k, v in source.batch(order).items()}

    def people(self, trees) -> np.ndarray:
        """A row per person: its photos and the next person's, [H, W, 3] uint8.

        Above each stands the cosine of its embedding to that of the row's first photo.

        Args:
          trees: {'idnet', 'idnet_stats'} of a checkpoint.
        """
        found = self._embed(trees, self._photos["image"], self._photos["landmarks"])
        embedding, crops = (np.asarray(x).reshape(_PEOPLE, _EACH, *x.shape[1:]) for x in found)
        factor = -(-_TILE // crops.shape[2])
        crops = ((crops + 1) / 2).repeat(factor, 2).repeat(factor, 3)
        tiles = []
        for k in range(_PEOPLE):
            other = (k + 1) % _PEOPLE
            row = [
                *zip(crops[k], embedding[k], strict=True),
                (crops[other, 0], embedding[other, 0]),
            ]
            for crop, vector in row:
                text = f"{float(vector @ embedding[k, 0]):.2f}"
                tiles.append(add_text_labels(crop, column_labels=[text]))
        grid = image_grid(tiles, columns=_EACH + 1, pad=_PAD, background=1.0)
        rows = [f"person {k + 1}" for k in range(_PEOPLE)]
        columns = ["first", *(f"photo {k + 1}" for k in range(1, _EACH)), "next person"]
        return to_uint8(add_text_labels(grid, rows, columns, pad=_PAD))
