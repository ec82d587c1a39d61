"""Photo crops of random faces of a morphable model, rendered on the device while training.

The crops are those of the Deep3D family (`facejax.recon.decoder`). Everything that makes a render a
photograph (lamps with shadows, shine, scenes, occluders, lens, noise, compression) is that of
`facejax.data.photographs`; every number of it is drawn at random and kept with the example.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.photographs import (
    Look,
    PictureRanges,
    choose_look,
    draw_picture,
    stored_light,
    take_picture,
)
from facejax.data.source import Source, check_indices
from facejax.geometry.camera import Camera
from facejax.morphable import Coefficients, MorphableModel, decode_shape
from facejax.nn.keys import example_keys
from facejax.recon.decoder import (
    MM_PER_DM,
    Deep3DCamera,
    canonical_center,
    decode,
    join,
    num_coefficients,
    rotation,
)
from facejax.render import Lamps, platform, render

HELD_OUT = 1_000_003  # seed of the photos that training does not see, beside that of the run
IDENTITY_STREAM, PHOTO_STREAM = 0, 1  # of Philox, per seed
_TEXTURE = 128  # texels of painted skin along a side
_SHADOW_SIZE = 48  # pixels of the shadow map


@dataclasses.dataclass(frozen=True)
class PhotoRanges(PictureRanges):
    """How far photos differ; uniform unless said. What it has from `PictureRanges`, and:

    Attributes:
      yaw_deg, pitch_deg, roll_deg: up to so many degrees to either side.
      shift_px: of the face in the crop, to either side along x and y, in pixels of 224.
      depth_dm: toward and from the camera.
      id_scale, exp_scale, alb_scale: factors on the coefficients of `sample_coefficients`.
    """

    yaw_deg: float = 40.0
    pitch_deg: float = 15.0
    roll_deg: float = 10.0
    shift_px: float = 6.0
    depth_dm: float = 0.5
    id_scale: float = 1.0
    exp_scale: float = 1.0
    alb_scale: float = 1.0


@functools.partial(jax.jit, static_argnames=("look", "camera"))
def _photos(model, tables, coeffs, looks, numbers, indices, seed, *, look, camera):
    """'image', 'landmarks', 'mask' and 'coeffs' of a batch; compiled once for a look."""
    size = camera.size
    vertices = decode_shape(model, coeffs.id, coeffs.exp)
    surface = look.surface(tables, looks, vertices)
    view = _camera(model, coeffs, camera)
    lamps = Lamps(numbers["sky"], numbers["lamp_directions"], numbers["lamp_colors"])
    key_lamp = jnp.einsum(
        "...ji,...j->...i", view.rotation, numbers["lamp_directions"][:, 0], precision="highest"
    )
    seen = render(
        surface.mesh, view, lamps, (size, size),
        background=np.zeros(3, np.float32), silhouette="antialias", color_space="raw",
        clip_colors=False, attributes=surface.skin[..., None],
        material=surface.material(key_lamp, numbers["shadow_mm"], _SHADOW_SIZE),
    )  # fmt: skip
    head = jnp.concatenate([seen.image, seen.mask[..., None]], axis=-1)
    keys = example_keys(jax.random.key(seed), indices)
    ranks = (3, jax.tree.map(lambda x: x.ndim - 1, numbers), 0)
    photo = platform.map_images(take_picture, (head, numbers, keys), ranks, platform.on_cpu())
    mask = seen.attributes[..., 0] * (1.0 - photo.covered)
    if surface.alb is not None:
        coeffs = coeffs.replace(alb=surface.alb)
    return {
        "image": photo.image,
        "landmarks": decode(model, coeffs, camera).landmarks_px,
        "mask": mask,
        "coeffs": join(coeffs),
    }


def _camera(model, coeffs, camera) -> Camera:
    """The decoder's fixed camera before posed faces, as one around faces in the model's frame."""
    turn = jnp.swapaxes(rotation(coeffs.angles), -1, -2)
    away = MM_PER_DM * (coeffs.trans - jnp.array([[0.0, 0.0, camera.distance]], jnp.float32))
    center = jnp.matmul(turn, canonical_center(model)[:, None], precision="highest")[..., 0]
    half = camera.size / 2
    batch = coeffs.trans.shape[:-1]
    return Camera(
        rotation=turn,
        translation=away - center,
        focal=jnp.full((*batch, 2), camera.focal / half, jnp.float32),
        center=jnp.full((*batch, 2), camera.center / half - 1, jnp.float32),
        near=jnp.full(batch, MM_PER_DM * camera.near, jnp.float32),
        far=jnp.full(batch, MM_PER_DM * camera.far, jnp.float32),
    )


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


class PhotoSource(Source):
    """What sources of rendered crops share: sizes, people, streams of random numbers.

    Attributes:
      camera: of the crops.
      num_identities: people; as many as examples unless asked for.
      meta: JSON-able description.
    """

    def __init__(self, model, size, num_examples, seed, num_identities, ranges, look: str):
        """See `SyntheticPhotoSource`; `look` is a name for `meta`."""
        if min(size, num_examples) < 1 or seed < 0:
            raise ValueError(
                "size and num_examples must be positive and seed not negative, found "
                f"{size}, {num_examples} and {seed}"
            )
        self._model, self._ranges = model, ranges
        self._num_examples, self._seed = int(num_examples), int(seed)
        self.num_identities = int(num_identities or num_examples)
        self.camera = Deep3DCamera().resized(size)
        self.meta: dict[str, Any] = {
            "source": "synthetic_photos",
            "size": size,
            "num_examples": self._num_examples,
            "num_identities": self.num_identities,
            "seed": self._seed,
            "look": look,
            "model": model.topology.name,
            "model_digest": model.topology.digest,
            "ranges": {
                k: list(v) if isinstance(v, tuple) else v
                for k, v in dataclasses.asdict(ranges).items()
            },
        }

    def __len__(self) -> int:
        return self._num_examples

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        key = [2 * self._seed + stream, int(number)]
        return np.random.Generator(np.random.Philox(key=key))

    def identities(self, indices: np.ndarray) -> np.ndarray:
        """[B] int32, the person of each example."""
        return (indices % self.num_identities).astype(np.int32)


class SyntheticPhotoSource(PhotoSource):
    """A `Source` of rendered photo crops with everything that made them.

    Example i is a pure function of (seed, i). With `num_identities`, example i shows person
    i % num_identities: identity and albedo are the person's, the rest is the photo's. The light
    among the coefficients is the nearest that the decoder can say (`photographs.stored_light`).
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
        look: str | Callable[[MorphableModel, PhotoRanges], Look] = "head",
    ):
        """Nothing is rendered yet.

        Args:
          model: a face model.
          size: side of the crops in pixels.
          num_examples: the length of the set.
          seed: chooses the set, >= 0; sets of different seeds share no person.
          num_identities: how many people there are.
          ranges: how far photos differ.
          look: what people look like, by name (`photographs.choose_look`), or what makes a look of
            the model and the ranges.
        """
        if callable(look):
            self._look = look(model, ranges)
        else:  # colours of vertices are as fine as the crops
            self._look = choose_look(
                look, model, id_scale=ranges.id_scale, exp_scale=ranges.exp_scale,
                alb_scale=ranges.alb_scale, texture_size=_TEXTURE, textured=False,
            )  # fmt: skip
        name = type(self._look).__name__
        super().__init__(model, size, num_examples, seed, num_identities, ranges, name)

    def draws(self, indices: np.ndarray) -> Coefficients:
        """The coefficients of examples, numpy float32.

        Args:
          indices: [B] int64.
        """
        return self._drawn(indices)[0]

    def _drawn(self, indices: np.ndarray) -> tuple[Coefficients, dict, dict]:
        """Coefficients, what the look drew, and the numbers of pictures; each [B, ...]."""
        r, rows, looks, numbers = self._ranges, [], [], []
        dm_per_px = Deep3DCamera().distance / Deep3DCamera().focal
        reach = np.array([r.shift_px * dm_per_px, r.shift_px * dm_per_px, r.depth_dm])
        for index in indices:
            person = self._look.person(
                self._generator(IDENTITY_STREAM, index % self.num_identities)
            )
            rng = self._generator(PHOTO_STREAM, index)
            seen = person | self._look.photo(rng, person)
            angles = np.deg2rad([r.pitch_deg, r.yaw_deg, r.roll_deg]) * rng.uniform(-1, 1, 3)
            trans = reach * rng.uniform(-1, 1, 3)
            picture = draw_picture(rng, r)
            light = stored_light(picture)
            rows.append((seen["id"], seen["exp"], seen["alb"], angles, light, trans))
            looks.append(seen)
            numbers.append(picture)
        columns = zip(*rows, strict=True)
        coeffs = Coefficients(*(np.stack(c).astype(np.float32) for c in columns))
        return coeffs, _stacked(looks), _stacked(numbers)

    def draw(self, indices: np.ndarray) -> dict[str, Any]:
        """What was drawn for examples, by number.

        Args:
          indices: [B] int64.

        Returns:
          'coeffs' (`draws`), 'look' and 'picture' (dicts of [B, ...]), 'example' and 'identity' [B]
          int32.
        """
        indices = check_indices(indices, len(self))
        coeffs, looks, numbers = self._drawn(indices)
        return {
            "coeffs": coeffs,
            "look": looks,
            "picture": numbers,
            "example": indices.astype(np.int32),
            "identity": self.identities(indices),
        }

    def tables(self) -> Any:
        """The face model, and what its look reads."""
        return self._model, self._look.tables()

    def make(self, tables: Any, drawn: dict[str, Any]) -> dict[str, Any]:
        """Renders photos.

        Args:
          tables: of `tables`.
          drawn: of `draw`.

        Returns:
          'image' [B, S, S, 3] in [0, 1], 'landmarks' [B, 68, 2] pixels with y UP, 'mask' [B, S, S]
          (visible skin, in [0, 1]), 'coeffs' [B, n] (`decoder.join`), 'identity' [B] int32.
        """
        photos = _photos(
            *tables, drawn["coeffs"], drawn["look"], drawn["picture"], drawn["example"],
            np.int32(self._seed), look=self._look, camera=self.camera,
        )  # fmt: skip
        return photos | {"identity": drawn["identity"]}


def _stacked(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]}
