"""Pictures of a DiscoFaceGAN run: fakes beside their renders, and sheets that walk one factor."""

import pathlib

import numpy as np

from facejax.io.images import add_text_labels, image_grid, to_uint8, write_image
from facejax.nn.batching import in_batches
from facejax.systems.disco import render
from facejax.systems.disco.factors import Factors
from facejax.systems.disco.generate import Generator, draw_subjects

_TILE = 96  # least side of a picture, pixels
_PAD = 2
_BATCH = 8
_TITLES = {"exp": "expression", "rot": "pose", "gamma": "light", "id": "identity"}


def _enlarged(images: np.ndarray) -> np.ndarray:
    factor = -(-_TILE // images.shape[1])
    return images.repeat(factor, 1).repeat(factor, 2)


class Gallery:
    """Everything that turns parameters into something to look at.

    Args:
      system: a `DiscoSystem`.
    """

    def __init__(self, system):
        self._system = system
        self._options = system.config.gallery

    def renders(self, params, factors: Factors, resolution: int) -> np.ndarray:
        """Renders [N, r, r, 3] in [0, 1] of coefficients [N, n]."""
        camera = render.camera_of(resolution)

        def some(vectors):
            model = params["face_model"]
            return render.render_for_people(
                model, Factors(*vectors), self._system.sizes, camera
            )  # fmt: skip

        return in_batches(some, tuple(factors), _BATCH)

    def fakes(self, params, resolution: int, alpha: float) -> np.ndarray:
        """Fakes above the renders of their coefficients, [H, W, 3] uint8.

        Args:
          params: see `facejax.train.system.System`.
          resolution: of the stage.
          alpha: share of the stage before.
        """
        num = self._options.num
        latents, noise = draw_subjects(self._system.sizes, "all", num, 1, self._options.seed)
        maker = Generator(self._system, params, resolution, alpha)
        factors = Factors(*(x[:, 0] for x in maker.decode(latents)))
        fakes = maker.pictures(factors, noise[:, 0])
        rows = [_enlarged(x) for x in (fakes, self.renders(params, factors, resolution))]
        grid = image_grid(np.concatenate(rows), columns=num, pad=_PAD, background=1.0)
        return to_uint8(add_text_labels(grid, ["fake", "render"], pad=_PAD))

    def reals(self, resolution: int) -> np.ndarray:
        """Pictures that the generator learns from, [H, W, 3] uint8."""
        system = self._system
        source = system.source(system.stage(resolution))
        images = source.batch(np.arange(self._options.num), resolution=resolution)["image"]
        images = _enlarged(np.clip((np.asarray(images) + 1) / 2, 0, 1))
        return to_uint8(image_grid(images, columns=self._options.num, pad=_PAD, background=1.0))

    def sheet(self, params, factor: str) -> np.ndarray:
        """A row per subject, one factor drawn anew in every column, [H, W, 3] uint8."""
        o = self._options
        latents, noise = draw_subjects(self._system.sizes, factor, o.rows, o.columns, o.seed)
        maker = Generator(self._system, params)
        images = maker.pictures(maker.decode(latents), noise)
        tiles = _enlarged(images.reshape(-1, *images.shape[2:]))
        grid = image_grid(tiles, columns=o.columns, pad=_PAD, background=1.0)
        return to_uint8(grid)

    def export(self, params, folder: pathlib.Path) -> None:
        """A sheet per factor.

        Args:
          params: see `facejax.train.system.System`.
          folder: gets expression.png, pose.png, light.png and identity.png.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for factor, title in _TITLES.items():
            write_image(folder / f"{title}.png", self.sheet(params, factor))
