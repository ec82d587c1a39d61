"""Pictures of progress: reconstruction, other poses, new identities, neural textures."""

import functools

import jax
import numpy as np

from facejax.io.images import add_text_labels, image_grid, to_uint8
from facejax.systems.varitex import data, images
from facejax.systems.varitex.metrics import overlap, psnr, turned

_YAWS_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
_PAD = 2
_TILE = 96  # least side of a tile, pixels


def _tiles(rows: list[list[np.ndarray]], labels: list[str]) -> np.ndarray:
    """A labelled grid [H, W, 3] uint8 of rows of pictures in [0, 1]."""
    flat = [np.clip(x, 0.0, 1.0) for row in rows for x in row]
    factor = max(1, -(-_TILE // flat[0].shape[0]))
    flat = [x.repeat(factor, 0).repeat(factor, 1) for x in flat]
    grid = image_grid(flat, columns=len(rows[0]), pad=_PAD, background=1.0)
    names = [f"person {k + 1}" for k in range(len(rows))]
    return to_uint8(add_text_labels(grid, names, labels, pad=_PAD))


def uv_picture(uv: np.ndarray) -> np.ndarray:
    """UV maps [..., 2] in [-1, 1] as colours [..., 3]: u red, v green."""
    half = (np.asarray(uv) + 1.0) / 2.0
    return np.concatenate([half, np.zeros_like(half[..., :1])], axis=-1)


def texture_tiles(texture: np.ndarray) -> np.ndarray:
    """One neural texture [T, T, C] as a grid of its channels, each over its own range, [0, 1]."""
    low, high = texture.min((0, 1)), texture.max((0, 1))
    scaled = (texture - low) / np.maximum(high - low, 1e-12)
    tiles = [np.repeat(scaled[..., k : k + 1], 3, axis=-1) for k in range(texture.shape[-1])]
    return image_grid(tiles, columns=max(1, int(np.sqrt(len(tiles)))), pad=_PAD, background=1.0)


class Gallery:
    """Pictures of a run on heads that training does not show.

    Args:
      system: a `VariTexSystem`.
    """

    def __init__(self, system):
        self._system = system
        self.possible = system.model is not None
        self._encode = jax.jit(system.encode)
        self._render = jax.jit(system.predict)

    @functools.cached_property
    def _views(self):
        """Pictures, UV maps and masks of some people as drawn, and their UV maps at other yaws."""
        system = self._system
        num = system.config.gallery.num
        source = data.held_out(system.config, system.model, num)
        drawn, tables = source.draw(np.arange(num)), source.tables()
        neutral = np.zeros(system.model.num_exp, np.float32)
        seen = {k: np.asarray(v) for k, v in source.make(tables, drawn).items()}
        maps = [
            np.asarray(source.make(tables, turned(drawn, yaw, neutral))["uv_rendered"])
            for yaw in _YAWS_DEG
        ]
        return seen, maps

    def figures(self, trees) -> dict[str, float]:
        """'psnr' in dB inside the head and 'iou' of its mask, means over the same people.

        Args:
          trees: see `pictures`.
        """
        seen, _ = self._views
        picture = np.asarray(images.from_network(seen["image_in_encode"]))
        code, _ = self._encode(trees, picture)
        found = self._render(trees, code, seen["uv_rendered"])
        image, mask = np.clip(found.image, 0.0, 1.0), seen["segmentation_mask"]
        return {
            "psnr": float(psnr(image, picture, mask).mean()),
            "iou": float(overlap(np.asarray(found.probability), mask).mean()),
        }

    def pictures(self, trees) -> dict[str, np.ndarray]:
        """'heads': what the networks see and make of held-out people. 'yaws': the same people
        turned. 'samples': codes from the prior in the same poses. 'texture': neural textures.

        Args:
          trees: {'gen', 'gen_stats'} of a checkpoint.

        Returns:
          {name: [H, W, 3] uint8}.
        """
        seen, maps = self._views
        picture = np.asarray(images.from_network(seen["image_in_encode"]))
        uv = seen["uv_rendered"]
        code, _ = self._encode(trees, picture)
        image, probability, texture = (np.asarray(x) for x in self._render(trees, code, uv))
        mask = np.repeat(seen["segmentation_mask"], 3, -1)
        found = np.repeat(probability, 3, -1)
        columns = (picture, image, uv_picture(uv), mask, found)
        heads = [[c[k] for c in columns] for k in range(len(picture))]
        yaws = [np.asarray(self._render(trees, code, m).image) for m in maps]
        rng = np.random.default_rng(0)
        drawn = rng.standard_normal(code.shape).astype(np.float32)
        new = [np.asarray(self._render(trees, drawn, m).image) for m in maps]
        turns = [f"yaw {yaw:g}" for yaw in _YAWS_DEG]
        people = range(len(picture))
        return {
            "heads": _tiles(heads, ["photo", "result", "UV map", "head", "found"]),
            "yaws": _tiles([[picture[k], *(y[k] for y in yaws)] for k in people],
                           ["photo", *turns]),
            "samples": _tiles([[y[k] for y in new] for k in people], turns),
            "texture": to_uint8(texture_tiles(texture[0])),
        }  # fmt: skip
