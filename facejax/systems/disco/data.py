"""Where DiscoFaceGAN's examples come from: rendered photographs, TFRecords, tables of coefficients.

Rendered photographs show faces of the face model, and what its coefficients say nothing about:
hair of any colour, clothes, backgrounds and glasses. The generator's noise has to explain those.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.source import Source, check_indices
from facejax.data.synthetic_photos import (
    HELD_OUT,
    PhotoRanges,
    SyntheticPhotoSource,
)
from facejax.host.arrays import read_npy
from facejax.host.files import list_files
from facejax.host.matlab import read_mat
from facejax.image.resample import downsample2
from facejax.io.tfrecord_images import MultiResolutionTFRecords
from facejax.morphable import Coefficients, MorphableModel
from facejax.nn.keys import example_keys
from facejax.recon.decoder import assemble, clip, decode
from facejax.render import interpolate, rasterize
from facejax.systems.disco import parser
from facejax.systems.disco.factors import FactorSizes, from_recon, join_coefficients
from facejax.systems.disco.render import camera_of

SOURCES = ("synthetic", "tfrecords")
_BACKGROUND_GRIDS = (2, 6)  # cells along a side of the two layers of noise
_GLASSES_SHARE = 0.25
_EYES = (slice(36, 42), slice(42, 48))
_CHIN, _BROWS = 8, slice(17, 27)


class _Extras(NamedTuple):
    """What a photograph shows beside the face; each of one example, or [B, ...]."""

    hair: jax.Array  # [3] colour
    cloth: jax.Array  # [3] colour
    collar: jax.Array  # [2] how far below the chin, in heights of the face; how curved
    glasses: jax.Array  # 1 or 0
    frame: jax.Array  # [3] colour
    behind: jax.Array  # [S, S, 3]
    grain: jax.Array  # [S, S, 3] of variance 1


def _background_and_grain(key, size):
    """A smooth coloured background and white noise of variance 1, [S, S, 3] each."""
    for_level, for_noise, *for_layers = jax.random.split(key, 2 + len(_BACKGROUND_GRIDS))
    behind = jax.random.uniform(for_level, (1, 1, 3), minval=0.1, maxval=0.9)
    for layer_key, cells in zip(for_layers, _BACKGROUND_GRIDS, strict=True):
        layer = jax.random.uniform(layer_key, (cells, cells, 3), minval=-0.2, maxval=0.2)
        behind = behind + jax.image.resize(layer, (size, size, 3), "cubic")
    return behind, jax.random.normal(for_noise, (size, size, 3))


def _draw_extras(key, size) -> _Extras:
    keys = jax.random.split(key, 6)
    behind, grain = _background_and_grain(keys[0], size)
    shade = jax.random.uniform(keys[1], minval=0.03, maxval=0.75)
    warmth = jax.random.uniform(keys[2], minval=0.45, maxval=1.0)
    hair = shade * jnp.stack([jnp.ones(()), 0.35 + 0.6 * warmth, warmth**2])
    cloth = jax.random.uniform(keys[3], (3,), minval=0.05, maxval=0.9)
    collar = jax.random.uniform(keys[4], (2,))
    draws = jax.random.uniform(keys[5], (4,))
    glasses = (draws[0] < _GLASSES_SHARE).astype(jnp.float32)
    return _Extras(hair, cloth, collar, glasses, 0.35 * draws[1:], behind, grain)


def _glasses(landmarks, size):
    """[B, S, S] how much of a pixel the frame covers: two rings and a bridge, in the picture."""
    eyes = jnp.stack([landmarks[:, k].mean(axis=1) for k in _EYES], axis=1)  # [B, 2, 2], y up
    across = eyes[:, 1] - eyes[:, 0]
    apart = jnp.maximum(jnp.linalg.norm(across, axis=-1), 1e-3)[:, None, None]
    y, x = jnp.indices((size, size), jnp.float32) + 0.5
    here = jnp.stack([x, size - y], axis=-1)[None]
    axis = (across / apart[:, :, 0])[:, None, None]
    covered = jnp.zeros((len(eyes), size, size))
    thick = jnp.maximum(0.05 * apart, 0.5)

    def drawn(distance):
        return jnp.clip(thick + 0.5 - distance, 0.0, 1.0)

    for k in range(2):
        off = here - eyes[:, k][:, None, None]
        along = jnp.sum(off * axis, axis=-1)
        up = axis[..., 0] * off[..., 1] - axis[..., 1] * off[..., 0]
        radius = jnp.sqrt(along**2 + (1.2 * up) ** 2 + 1e-6)
        covered = jnp.maximum(covered, drawn(jnp.abs(radius - 0.38 * apart)))
    middle = here - eyes.mean(axis=1)[:, None, None]
    along = jnp.sum(middle * axis, axis=-1)
    up = axis[..., 0] * middle[..., 1] - axis[..., 1] * middle[..., 0]
    bridge = drawn(jnp.abs(up)) * (jnp.abs(along) < 0.12 * apart)
    return jnp.maximum(covered, bridge)


@functools.partial(jax.jit, static_argnames="camera")
def _photographs(model, hair, coeffs, example, seed, noise, *, camera):
    """Pictures [B, S, S, 3] in [0, 1] and labels [B, S, S] of a batch."""
    size, mesh = camera.size, model.topology.mesh
    keys = example_keys(jax.random.key(seed), example)
    extras = jax.vmap(lambda key: _draw_extras(key, size))(keys)
    face = decode(model, coeffs, camera)
    hair = jnp.broadcast_to(hair, (*face.albedo.shape[:-1], 1))
    albedo = face.albedo * (1 - hair) + extras.hair[:, None] * hair
    face = assemble(model, face.shape, albedo, coeffs, camera)
    fragments = rasterize(clip(face.vertices, camera), mesh, (size, size))
    drawn = interpolate(jnp.concatenate([face.color, hair], axis=-1), mesh, fragments)
    hit = fragments.triangle_id >= 0

    marks = face.landmarks_px
    chin, brows = marks[:, _CHIN, 1], marks[:, _BROWS, 1].mean(axis=1)
    y, x = jnp.indices((size, size), jnp.float32)[..., None] + 0.5
    sideways = ((x[None] - marks[:, _CHIN, 0, None, None, None]) / size)[..., 0]
    collar = (0.2 + 0.2 * extras.collar[:, 0]) * (brows - chin)
    curve = size * 0.6 * extras.collar[:, 1, None, None] * sideways**2
    edge = (chin - collar)[:, None, None] + curve
    cloth = (size - y[None])[..., 0] < edge

    image = jnp.where(hit[..., None], drawn[..., :3], extras.behind)
    image = jnp.where(cloth[..., None], extras.cloth[:, None, None], image)
    frame = (_glasses(marks, size) * extras.glasses[:, None, None])[..., None]
    image = image * (1 - frame) + extras.frame[:, None, None] * frame
    image = jnp.clip(image + noise * extras.grain, 0.0, 1.0)
    is_hair = hit & (drawn[..., 3] > 0.5) & ~cloth
    labels = jnp.where(is_hair, parser.HAIR, jnp.where(hit & ~cloth, 1, 0)).astype(jnp.int32)
    return image, labels


class PhotographSource(Source):
    """Rendered photographs; example i is a pure function of (seed, i).

    Args:
      model: the face model; its mask 'hair' is recoloured, where it has one.
      size: side of the pictures at the final resolution.
      num_examples: the length of the set.
      seed: chooses the set.
      ranges: how far faces differ; the face always stands at the centre.
    """

    def __init__(self, model, size: int, num_examples: int, seed: int, ranges: PhotoRanges):
        self._model, self._camera, self._seed = model, camera_of(size), int(seed)
        self._faces = SyntheticPhotoSource(model, size, num_examples, seed, ranges=ranges)
        self._noise = ranges.noise
        masks = model.topology.masks
        hair = masks.get("hair", np.zeros(model.num_vertices, np.float32))
        self._hair = np.asarray(hair, np.float32)[:, None]
        self.meta: dict[str, Any] = dict(self._faces.meta) | {"source": "disco photographs"}

    def __len__(self) -> int:
        return len(self._faces)

    def coefficients(self, indices: np.ndarray) -> Coefficients:
        """What the faces of examples [B] were made of, numpy; no translation."""
        found = self._faces.draws(check_indices(indices, len(self)))
        return found.replace(trans=np.zeros_like(found.trans))

    def draw(self, indices: np.ndarray, resolution: int, labels: bool = False) -> dict[str, Any]:
        """Coefficients and numbers of examples.

        Args:
          indices: [B] int64.
          resolution, labels: see `make`.
        """
        del resolution, labels
        coeffs = self.coefficients(indices)
        return {"coeffs": coeffs, "example": np.asarray(indices, np.int32)}

    def tables(self, resolution: int, labels: bool = False) -> Any:
        """The face model, and its hair [V, 1]."""
        del resolution, labels
        return self._model, self._hair

    def make(
        self, tables: Any, drawn: dict[str, Any], resolution: int, labels: bool = False
    ) -> dict[str, Any]:
        """Renders photographs.

        Args:
          tables: of `tables`.
          drawn: of `draw`.
          resolution: side of the pictures, a power of two of at most the final one: 2x2 means.
          labels: make 'labels' too.

        Returns:
          'image' [B, r, r, 3] in [-1, 1]; 'labels' [B, S, S] int32, see `parser.CLASSES`, at the
          final resolution.
        """
        image, found = _photographs(
            *tables, drawn["coeffs"], drawn["example"], np.int32(self._seed),
            np.float32(self._noise), camera=self._camera,
        )  # fmt: skip
        while image.shape[1] > resolution:
            image = downsample2(image)
        made = {"image": 2.0 * image - 1.0}
        return made | {"labels": found} if labels else made


class RecordSource(Source):
    """Pictures of multi-resolution TFRecords, as the original's dataset_tool writes them."""

    in_threads = True

    def __init__(self, folder: str, size: int):
        """Opens a set.

        Raises:
          ValueError: no such set, one without colours, or one that is too small.
        """
        self._records = MultiResolutionTFRecords(folder)
        self.meta = dict(self._records.meta)
        if self.meta["channels"] != 3 or self.meta["resolution"] < size:
            raise ValueError(
                f"{folder} holds pictures of {self.meta['resolution']} pixels and "
                f"{self.meta['channels']} channels, wanted RGB of at least {size} "
                "(--config.model.resolution)"
            )

    def __len__(self) -> int:
        return len(self._records)

    def draw(self, indices: np.ndarray, resolution: int) -> dict[str, np.ndarray]:
        """'image' [B, r, r, 3] in [-1, 1]."""
        return {"image": self._records.batch(indices, resolution)["maps"]}


class CoefficientSource(Source):
    """Rows of coefficients: what the autoencoders learn from.

    Args:
      rows: [N, num_coefficients] float32, in the generator's order.
    """

    def __init__(self, rows: np.ndarray):
        self._rows = rows
        self.meta = {"source": "coefficients", "num_examples": len(rows)}

    def __len__(self) -> int:
        return len(self._rows)

    def draw(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """'coeffs' [B, num_coefficients]."""
        return {"coeffs": self._rows[check_indices(indices, len(self))]}


def photographs(config, model: MorphableModel, num: int, seed: int) -> PhotographSource:
    """Rendered photographs as `config.data` describes them."""
    ranges = PhotoRanges(shift_px=0.0, depth_dm=0.0, **config.data.ranges)
    return PhotographSource(model, config.model.resolution, num, seed, ranges)


def held_out(config, model: MorphableModel, num: int) -> PhotographSource:
    """Rendered photographs that training does not see."""
    return photographs(config, model, num, config.seed + HELD_OUT)


def make_source(config, model: MorphableModel) -> Source:
    """The pictures that the generator learns from.

    Raises:
      ValueError: an unknown source, a path too many or too few, or pictures that do not fit.
    """
    c = config.data
    if c.source not in SOURCES:
        raise ValueError(f"data.source must be one of {SOURCES}, found {c.source!r}")
    if c.source == "synthetic":
        if c.path:
            raise ValueError("data.path is set, but not data.source='tfrecords', which reads it")
        return photographs(config, model, c.num_examples, config.seed)
    if not c.path:
        raise ValueError(
            "data.source='tfrecords' needs --config.data.path=FOLDER, made by "
            "data_prep/dataset_tool.py create_from_images"
        )
    return RecordSource(c.path, config.model.resolution)


def coefficient_source(config, model: MorphableModel, sizes: FactorSizes) -> CoefficientSource:
    """The rows that the autoencoders learn from: of `data.coefficients`, or of random faces.

    Raises:
      ValueError: no rows, or rows of another face model.
    """
    c = config.data
    if c.coefficients:
        return CoefficientSource(read_rows(c.coefficients, sizes))
    faces = photographs(config, model, c.num_coefficients, config.seed)
    coeffs = faces.coefficients(np.arange(len(faces)))
    return CoefficientSource(np.asarray(join_coefficients(from_recon(coeffs))))


def read_rows(path: str, sizes: FactorSizes) -> np.ndarray:
    """Coefficients of photos, [N, num_coefficients] float32.

    Args:
      path: an .npy file of rows, or a folder of .mat files with a row 'coeff' each, as the
        original's preprocess_data.py writes them. Rows may end in the translation, which is left
        out.
      sizes: of the face model.

    Raises:
      ValueError: no such file, or rows of another length.
    """
    place = pathlib.Path(path)
    if place.is_dir():
        files = list_files(place, (".mat",))
        if not files:
            raise ValueError(f"{place} holds no .mat files with coefficients")
        rows = []
        for file in files:
            found = read_mat(file).get("coeff")
            if found is None:
                raise ValueError(f"{file}: wanted a variable 'coeff', as preprocess_data.py writes")
            rows.append(np.asarray(found, np.float32).reshape(-1))
            _check_row(file, len(rows[-1]), sizes)
        table = np.stack([row[: sizes.num_coefficients] for row in rows])
    else:
        table = np.asarray(read_npy(place), np.float32)
        if table.ndim != 2 or not len(table):
            raise ValueError(f"{place}: found an array {table.shape}, wanted rows of coefficients")
        _check_row(place, table.shape[1], sizes)
        table = table[:, : sizes.num_coefficients]
    if not np.isfinite(table).all():
        raise ValueError(f"{place}: coefficients hold NaN or infinity")
    return table


def _check_row(path, length: int, sizes: FactorSizes) -> None:
    wanted = sizes.num_coefficients
    if length not in (wanted, wanted + 3):
        raise ValueError(
            f"{path}: found {length} coefficients, wanted {wanted} ({sizes.shape} shape, "
            f"{sizes.albedo} albedo, {sizes.exp} expression, 3 angles, 27 light) or three more "
            "with the translation: they are of another face model"
        )
