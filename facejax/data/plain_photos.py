"""Plain crops of random faces: light without shadows, noise behind them; quick to make.

The photographs of `facejax.data.synthetic_photos` cost more than twice as much. Here light is the
decoder's own (spherical harmonics), everything behind the face is smooth noise, and patches of
noise may cover its border as hair, ears and collars do.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.photographs import random_light
from facejax.data.source import check_indices
from facejax.data.synthetic_photos import (
    IDENTITY_STREAM,
    PHOTO_STREAM,
    PhotoRanges,
    PhotoSource,
    SyntheticPhotoSource,
)
from facejax.morphable import Coefficients, MorphableModel, sample_coefficients
from facejax.nn.keys import example_keys
from facejax.recon.decoder import Deep3DCamera, clip, decode, join, skin_weights
from facejax.render import interpolate, rasterize

_BACKGROUND_GRIDS = (2, 6)  # cells along a side of the two layers of noise
_COVER_GRIDS = (4, 16)  # of the border's shape and of its texture
_FACE_HALF_SIZE = (0.62, 0.8)  # of the ellipse around a face, in halves of the crop


@dataclasses.dataclass(frozen=True)
class PlainRanges:
    """How far photos differ; uniform unless said.

    Attributes:
      yaw_deg, pitch_deg, roll_deg: up to so many degrees to either side.
      shift_px: of the face in the crop, to either side along x and y, in pixels of 224.
      depth_dm: toward and from the camera.
      id_scale, exp_scale, alb_scale: factors on the coefficients of `sample_coefficients`.
      brightness: of the ambient light around 1.25 times the original's default, as a share.
      tint: of a channel's light around the others, standard deviation as a share.
      contrast: largest strength of the light that depends on direction.
      noise: standard deviation of each colour value.
      covered: share of the photos in which something covers parts of the face's border.
    """

    yaw_deg: float = 40.0
    pitch_deg: float = 15.0
    roll_deg: float = 10.0
    shift_px: float = 6.0
    depth_dm: float = 0.5
    id_scale: float = 1.0
    exp_scale: float = 1.0
    alb_scale: float = 1.0
    brightness: float = 0.3
    tint: float = 0.05
    contrast: float = 0.3
    noise: float = 0.01
    covered: float = 0.0


@functools.partial(jax.jit, static_argnames="camera")
def _photos(model, skin, coeffs, indices, seed, noise, covered, *, camera):
    """Images, landmarks and skin masks of a batch; compiled once for all sources of a model."""
    mesh, size = model.topology.mesh, camera.size
    face = decode(model, coeffs, camera)
    fragments = rasterize(clip(face.vertices, camera), mesh, (size, size))
    skin = jnp.broadcast_to(skin, (*face.color.shape[:-1], 1))
    drawn = interpolate(jnp.concatenate([face.color, skin], axis=-1), mesh, fragments)
    keys = example_keys(jax.random.key(seed), indices)
    behind, grain = jax.vmap(lambda key: _nuisance(key, size))(keys)
    cover, cloth = jax.vmap(lambda key: _cover(jax.random.fold_in(key, 1), size, covered))(keys)
    hit = (fragments.triangle_id >= 0)[..., None]
    image = jnp.where(cover, cloth, jnp.where(hit, drawn[..., :3], behind)) + noise * grain
    mask = jnp.where(cover[..., 0], 0.0, drawn[..., 3])
    return jnp.clip(image, 0.0, 1.0), face.landmarks_px, mask


def _nuisance(key, size):
    """A smooth coloured background and white noise of variance 1, [S, S, 3] each."""
    for_level, for_noise, *for_layers = jax.random.split(key, 2 + len(_BACKGROUND_GRIDS))
    behind = jax.random.uniform(for_level, (1, 1, 3), minval=0.1, maxval=0.9)
    for layer_key, cells in zip(for_layers, _BACKGROUND_GRIDS, strict=True):
        layer = jax.random.uniform(layer_key, (cells, cells, 3), minval=-0.2, maxval=0.2)
        behind = behind + jax.image.resize(layer, (size, size, 3), "cubic")
    return behind, jax.random.normal(for_noise, (size, size, 3))


def _cover(key, size, share):
    """What hides the outside of a wobbly ellipse: where [S, S, 1], and its colours [S, S, 3]."""
    for_one, for_reach, for_shape, for_color, for_texture = jax.random.split(key, 5)
    x = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2 / size) - 1
    wide, high = _FACE_HALF_SIZE
    radius = jnp.sqrt((x[None, :] / wide) ** 2 + (x[:, None] / high) ** 2)[..., None]
    cells, fine = _COVER_GRIDS
    wobble = jax.random.uniform(for_shape, (cells, cells, 1), minval=-0.35, maxval=0.35)
    radius = radius + jax.image.resize(wobble, (size, size, 1), "cubic")
    reach = jax.random.uniform(for_reach, minval=1.0, maxval=1.5)
    here = jax.random.uniform(for_one) < share
    color = jax.random.uniform(for_color, (1, 1, 3), maxval=0.9)
    texture = jax.random.uniform(for_texture, (fine, fine, 1), minval=-0.2, maxval=0.2)
    return here & (radius > reach), color + jax.image.resize(texture, (size, size, 1), "cubic")


class PlainPhotoSource(PhotoSource):
    """A `Source` of plain crops with everything that made them.

    Example i is a pure function of (seed, i). With `num_identities`, example i shows person
    i % num_identities: identity and albedo are the person's, the rest is the photo's.
    """

    def __init__(
        self,
        model: MorphableModel,
        size: int,
        num_examples: int,
        seed: int = 0,
        *,
        num_identities: int | None = None,
        ranges: PlainRanges = PlainRanges(),
    ):
        """Nothing is rendered yet; see `facejax.data.synthetic_photos.SyntheticPhotoSource`."""
        super().__init__(model, size, num_examples, seed, num_identities, ranges, "plain")
        self._skin = skin_weights(model.topology)[:, None]

    def draws(self, indices: np.ndarray) -> Coefficients:
        """The coefficients of examples, numpy float32.

        Args:
          indices: [B] int64.
        """
        r, rows = self._ranges, []
        for index in indices:
            who = self._generator(IDENTITY_STREAM, index % self.num_identities)
            person = sample_coefficients(
                self._model, who, 1, id_scale=r.id_scale, exp_scale=0.0, alb_scale=r.alb_scale
            )
            rng = self._generator(PHOTO_STREAM, index)
            photo = sample_coefficients(self._model, rng, 1, exp_scale=r.exp_scale)
            angles = np.deg2rad([r.pitch_deg, r.yaw_deg, r.roll_deg]) * rng.uniform(-1, 1, 3)
            dm_per_px = Deep3DCamera().distance / Deep3DCamera().focal
            reach = np.array([r.shift_px * dm_per_px, r.shift_px * dm_per_px, r.depth_dm])
            trans = reach * rng.uniform(-1, 1, 3)
            light = random_light(rng, r)
            rows.append((person.id[0], photo.exp[0], person.alb[0], angles, light, trans))
        columns = zip(*rows, strict=True)
        return Coefficients(*(np.stack(c).astype(np.float32) for c in columns))

    def draw(self, indices: np.ndarray) -> dict[str, Any]:
        """What was drawn for examples, by number.

        Args:
          indices: [B] int64.

        Returns:
          'coeffs' (`draws`), 'example' and 'identity' [B] int32.
        """
        indices = check_indices(indices, len(self))
        return {
            "coeffs": self.draws(indices),
            "example": indices.astype(np.int32),
            "identity": self.identities(indices),
        }

    def tables(self) -> Any:
        """The face model, and its skin [V, 1]."""
        return self._model, self._skin

    def make(self, tables: Any, drawn: dict[str, Any]) -> dict[str, Any]:
        """Renders photos.

        Args:
          tables: of `tables`.
          drawn: of `draw`.

        Returns:
          'image' [B, S, S, 3] in [0, 1], 'landmarks' [B, 68, 2] pixels with y UP, 'mask' [B, S, S]
          (visible skin, in [0, 1]), 'coeffs' [B, n] (`decoder.join`), 'identity' [B] int32.
        """
        image, landmarks, mask = _photos(
            *tables, drawn["coeffs"], drawn["example"], np.int32(self._seed),
            np.float32(self._ranges.noise), np.float32(self._ranges.covered), camera=self.camera,
        )  # fmt: skip
        return {
            "image": image,
            "landmarks": landmarks,
            "mask": mask,
            "coeffs": join(drawn["coeffs"]),
            "identity": drawn["identity"],
        }


def photo_source(
    look: str, model: MorphableModel, size: int, num_examples: int, seed: int, *,
    ranges: Mapping[str, Any], num_identities: int | None = None,
) -> PhotoSource:  # fmt: skip
    """Rendered crops as a configuration asks for them.

    Args:
      look: 'plain' (`PlainPhotoSource`), or a name of `facejax.data.photographs.LOOKS`.
      model, size, num_examples, seed, num_identities: see `SyntheticPhotoSource`.
      ranges: fields of `PlainRanges`, or of `PhotoRanges`.
    """
    plain = look == "plain"
    kind = PlainPhotoSource if plain else SyntheticPhotoSource
    options = {} if plain else {"look": look}
    ranges = (PlainRanges if plain else PhotoRanges)(**ranges)
    return kind(
        model, size, num_examples, seed, num_identities=num_identities, ranges=ranges, **options
    )
