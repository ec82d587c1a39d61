"""Pictures of a Deep3D run: photos, and the reconstructions drawn over them."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np

from facejax.io.images import add_text_labels, image_grid, to_uint8
from facejax.recon.decoder import DecodedFace, parts_in_files, render_face, split
from facejax.render import draw_points

_log = logging.getLogger(__name__)
_TILE = 160  # least side of a picture in a strip, pixels


def points_down(points: jax.Array, size: int) -> jax.Array:
    """Crop points (y up) as points of the picture (row 0 at the top), [..., K, 2]."""
    return jnp.stack([points[..., 0], size - points[..., 1]], axis=-1)


class Gallery:
    """Everything that turns parameters into something to look at.

    Args:
      system: a `Deep3DSystem`.
    """

    def __init__(self, system):
        self.system = system
        self._draw = jax.jit(self._overlays)

    @functools.cached_property
    def photos(self) -> dict[str, np.ndarray]:
        """The photos of the strip: held-out synthetic ones, or the first of a folder."""
        system, num = self.system, self.system.config.gallery.num
        synthetic = system.config.data.source == "synthetic"
        try:
            source = system.val_source or (system.held_out(num) if synthetic else system.source())
        except ValueError as error:  # the photos of a finished run may be gone
            _log.warning("%s; rendered faces are shown instead", error)
            source = system.held_out(num)
        index = np.arange(num) % len(source)
        return {k: np.asarray(v) for k, v in source.batch(index).items()}

    def overlay(self, model, image: jax.Array, face: DecodedFace) -> jax.Array:
        """The rendered face over the photo, with its landmarks, [B, S, S, 3]."""
        picture, mask = render_face(model, face, self.system.camera)
        picture = jnp.where(mask[..., None] > 0, jnp.clip(picture, 0, 1), image)
        return self.dotted(picture, face.landmarks_px)

    def dotted(self, picture: jax.Array, landmarks: jax.Array, color=(0.1, 0.9, 0.2)) -> jax.Array:
        """Landmarks (y up) as dots, [B, S, S, 3]."""
        size = self.system.camera.size
        return draw_points(picture, points_down(landmarks, size), color=color, radius_px=size / 100)

    def _overlays(self, params, image, landmarks):
        out = self.system.predict(params, image)
        overlay = functools.partial(self.overlay, params["face_model"], image)
        columns = [self.dotted(image, landmarks, (0.9, 0.1, 0.1)), overlay(out.face)]
        if out.refined is not None:
            columns.append(overlay(out.refined))
        parts = parts_in_files(split(out.coeffs, params["face_model"]))
        return columns, {name: parts[name] for name in ("id", "exp", "tex")}

    def coefficients(self, params) -> dict[str, np.ndarray]:
        """'id', 'exp' and 'tex' of the strip's photos, [num, n] each; see `strip`."""
        return jax.device_get(self._drawn(params)[1])

    def _drawn(self, params):
        return self._draw(params, self.photos["image"], self.photos["landmarks"])

    def strip(self, params) -> np.ndarray:
        """Rows: photo with the true landmarks, linear model, graph network; [H, W, 3] uint8.

        Args:
          params: what a checkpoint holds, see `Deep3DSystem.predict`.
        """
        rows, _ = self._drawn(params)
        factor = -(-_TILE // self.system.camera.size)
        pictures = np.concatenate([np.asarray(r) for r in rows]).repeat(factor, 1).repeat(factor, 2)
        names = ("photo", "R-Net", "graph net")[: len(rows)]
        grid = image_grid(pictures, columns=len(self.photos["image"]), pad=2, background=1.0)
        return to_uint8(add_text_labels(grid, row_labels=names, pad=2))
