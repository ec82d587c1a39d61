"""Photo crops of random faces of a morphable model, rendered on the device while training.

The crops are those of the Deep3D family (`facejax.recon.decoder`): identity, expression,
albedo, pose and light are drawn at random, everything behind the face is smooth noise, and patches
of noise may cover its border as hair, ears and collars do.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.source import Source, check_indices
from facejax.morphable import Coefficients, MorphableModel, sample_coefficients
from facejax.nn.keys import example_keys
from facejax.recon.decoder import (
    Deep3DCamera,
    clip,
    decode,
    join,
    num_coefficients,
    skin_weights,
)
from facejax.render import interpolate, rasterize

HELD_OUT = 1_000_003  # seed of the photos that training does not see, beside that of the run
_IDENTITY_STREAM, _PHOTO_STREAM = 0, 1  # of Philox, per seed
_BACKGROUND_GRIDS = (2, 6)  # cells along a side of the two layers of noise
_COVER_GRIDS = (4, 16)  # of the border's shape and of its texture
_FACE_HALF_SIZE = (0.62, 0.8)  # of the ellipse around a face, in halves of the crop


@dataclasses.dataclass(frozen=True)
class PhotoRanges:
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


def random_light(rng: np.random.Generator, ranges: Any) -> np.ndarray:
    """[27] coefficients of the decoder's spherical harmonics: nearly white, from one side.

    Args:
      rng: the generator.
      ranges: its brightness, tint and contrast, or another object's that has them.
    """
    gamma = np.zeros((3, 9))
    ambient = 1.25 * (1 + ranges.brightness * rng.uniform(-1, 1))
    gamma[:, 0] = 0.8 * (ambient - 1)  # the decoder adds 0.8
    toward = np.array([rng.uniform(-1, 1), rng.uniform(-0.4, 1), rng.uniform(0.2, 1)])
    toward *= ranges.contrast * rng.uniform() / np.linalg.norm(toward)
    x, y, z = toward
    gamma[:, 1:4] = [-y, z, -x]  # signs of the basis
    gamma[:, 4:] = 0.1 * ranges.contrast * rng.standard_normal(5)
    tint = 1 + ranges.tint * rng.standard_normal((3, 1))
    gamma[:, 0] += 0.8
    gamma *= tint
    gamma[:, 0] -= 0.8
    return gamma.reshape(-1)


@functools.partial(jax.jit, static_argnames="camera")
def _photos(model, skin, coeffs, indices, seed, noise, covered, *, camera):
    """Images, landmarks and skin masks of a batch; compiled once for all sources of a model."""
    mesh, size = model.topology.mesh, camera.size
    face = decode(model, coeffs, camera)
    fragments = rasterize(clip(face.vertices, camera), mesh, (size, size))
    skin = jnp.broadcast_to(skin, (*face.color.shape[:-1], 1))
    drawn = interpolate(jnp.concatenate([face.color, skin], axis=-1), mesh, fragments)
    keys = example_keys(jax.random.key(seed), indices)
    behind, grain = jax.vmap(lambda key: background_and_grain(key, size))(keys)
    cover, cloth = jax.vmap(lambda key: _cover(jax.random.fold_in(key, 1), size, covered))(keys)
    hit = (fragments.triangle_id >= 0)[..., None]
    image = jnp.where(cover, cloth, jnp.where(hit, drawn[..., :3], behind)) + noise * grain
    mask = jnp.where(cover[..., 0], 0.0, drawn[..., 3])
    return jnp.clip(image, 0.0, 1.0), face.landmarks_px, mask


def background_and_grain(key, size):
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


def example_shapes(
    model: MorphableModel, size: int, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of photos, see `SyntheticPhotoSource.make`; nothing is rendered."""
    shapes = {
        "image": (size, size, 3),
        "landmarks": (68, 2),
        "mask": (size, size),
        "coeffs": (num_coefficients(model),),
        "identity": (),
    }
    return {
        name: jax.ShapeDtypeStruct(
            (batch_size, *shape), np.int32 if name == "identity" else np.float32
        )
        for name, shape in shapes.items()
    }


class SyntheticPhotoSource(Source):
    """A `Source` of rendered photo crops with everything that made them.

    Example i is a pure function of (seed, i). With `num_identities`, example i shows person
    i % num_identities: identity and albedo are the person's, the rest is the photo's.

    Attributes:
      camera: of the crops.
      num_identities: people; as many as examples unless asked for.
      meta: JSON-able description.
    """

    def __init__(
        self,
        model: MorphableModel,
        size: int,
        num_examples: int,
        seed: int = 0,
        *,
        num_identities: int | None = None,
        ranges: PhotoRanges = PhotoRanges(),
    ):
        """Nothing is rendered yet.

        Args:
          model: a face model.
          size: side of the crops in pixels.
          num_examples: the length of the set.
          seed: chooses the set, >= 0; sets of different seeds share no person.
          num_identities: how many people there are.
          ranges: how far photos differ.
        """
        if min(size, num_examples) < 1 or seed < 0:
            raise ValueError(
                "size and num_examples must be positive and seed not negative, found "
                f"{size}, {num_examples} and {seed}"
            )
        self._model, self._ranges = model, ranges
        self._num_examples, self._seed = int(num_examples), int(seed)
        self.num_identities = int(num_identities or num_examples)
        self.camera = Deep3DCamera().resized(size)
        self._skin = skin_weights(model.topology)[:, None]
        self.meta: dict[str, Any] = {
            "source": "synthetic_photos",
            "size": size,
            "num_examples": self._num_examples,
            "num_identities": self.num_identities,
            "seed": self._seed,
            "model": model.topology.name,
            "model_digest": model.topology.digest,
            "ranges": dataclasses.asdict(ranges),
        }

    def __len__(self) -> int:
        return self._num_examples

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        key = [2 * self._seed + stream, int(number)]
        return np.random.Generator(np.random.Philox(key=key))

    def identities(self, indices: np.ndarray) -> np.ndarray:
        """[B] int32, the person of each example."""
        return (indices % self.num_identities).astype(np.int32)

    def draws(self, indices: np.ndarray) -> Coefficients:
        """The coefficients of examples, numpy float32.

        Args:
          indices: [B] int64.
        """
        r, rows = self._ranges, []
        for index in indices:
            who = self._generator(_IDENTITY_STREAM, index % self.num_identities)
            person = sample_coefficients(
                self._model, who, 1, id_scale=r.id_scale, exp_scale=0.0, alb_scale=r.alb_scale
            )
            rng = self._generator(_PHOTO_STREAM, index)
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
