"""What VariTex is trained on: rendered heads of a face model, or photos prepared as published."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.photographs import random_light
from facejax.data.source import Source, check_indices
from facejax.data.synthetic_photos import HELD_OUT
from facejax.geometry.mesh import vertex_normals
from facejax.host.arrays import describe_array, read_npy, read_npz
from facejax.io.images import read_image, to_uint8
from facejax.io.pickles import read_texts
from facejax.morphable import MorphableModel, decode_albedo, decode_shape, sample_coefficients
from facejax.recon.decoder import front_weights
from facejax.render import interpolate, rasterize
from facejax.render.shading import SphericalHarmonics, shade
from facejax.systems.varitex import geometry, images
from facejax.systems.varitex.preprocess import (
    Affine,
    Preprocess,
    check_letters,
    draw_affine,
)

_PERSON, _VIEW = 0, 1  # streams of Philox, per seed
RENDERED_BACKGROUNDS = ("min", "gray", "black")


@dataclasses.dataclass(frozen=True)
class HeadRanges:
    """How far rendered heads differ; uniform unless said.

    Attributes:
      yaw_deg, pitch_deg, roll_deg: up to so many degrees to either side.
      depth: of the head's middle from the camera, in the camera's unit (centimetres).
      shift, depth_shift: to either side of the middle, and of the depth; same unit.
      id_scale, exp_scale, alb_scale: see `sample_coefficients`.
      brightness, tint, contrast: of the light, see `facejax.data.photographs.random_light`.
    """

    yaw_deg: float = 35.0
    pitch_deg: float = 15.0
    roll_deg: float = 5.0
    depth: float = 60.0
    shift: float = 0.5
    depth_shift: float = 2.0
    id_scale: float = 1.0
    exp_scale: float = 1.0
    alb_scale: float = 1.0
    brightness: float = 0.15
    tint: float = 0.02
    contrast: float = 0.15


def affine_arrays(affines: list[Affine], size: int) -> dict[str, np.ndarray]:
    """Maps as arrays for `similar_clip`.

    Args:
      affines: B maps for images of `size` pixels.
      size: see above.

    Returns:
      'angle' [B] radians, 'shift' [B, 2] in halves of the image, y down, 'scale' [B], 'mirror' [B]
      1 or -1; float32.
    """
    columns = {
        "angle": [np.deg2rad(a.angle_deg) for a in affines],
        "shift": [np.asarray(a.shift_px) * 2.0 / size for a in affines],
        "scale": [a.scale for a in affines],
        "mirror": [-1.0 if a.flip else 1.0 for a in affines],
    }
    return {name: np.asarray(column, np.float32) for name, column in columns.items()}


def similar_clip(clip: jax.Array, affine: dict[str, jax.Array]) -> jax.Array:
    """Clip-space positions whose picture is that of `clip` under a map, exactly.

    Args:
      clip: [B, V, 4].
      affine: of `affine_arrays`.
    """
    angle, scale, mirror = (affine[k][:, None] for k in ("angle", "scale", "mirror"))
    cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
    x, y, w = mirror * clip[..., 0], clip[..., 1], clip[..., 3]
    moved_x = cos * x + sin * y + affine["shift"][:, :1] * w
    moved_y = cos * y - sin * x - affine["shift"][:, 1:] * w
    return jnp.stack([moved_x, moved_y, clip[..., 2], w], axis=-1)


def face_triangles(model: MorphableModel) -> np.ndarray:
    """[F] bool: what the neural texture covers; the rest is left to the additive features.

    The face without the inside of the mouth; everything of models without a mask of the face.
    """
    inside = front_weights(model.topology) > 0.5
    return inside[model.topology.mesh.triangles].all(axis=1)


def _view(clip, mesh, color, inside, layout, size, background):
    """Network image, UV map and mask of positions in clip space."""
    fragments = rasterize(clip, mesh, (size, size))
    hit = (fragments.triangle_id >= 0)[..., None]
    picture = jnp.clip(interpolate(color, mesh, fragments), 0.0, 1.0)
    uv = geometry.map_of(fragments, mesh, layout, inside)
    network = images.to_network(jnp.where(hit, picture, 0.0))
    if background == "min":
        level = jnp.where(hit, network, 0.0).min(axis=(1, 2, 3), keepdims=True)
    elif background == "gray":
        level = 0.0
    else:
        level = network  # black, as it was drawn
    return jnp.where(hit, network, level), uv, hit.astype(jnp.float32)


@functools.partial(jax.jit, static_argnames=("size", "background", "v_up"))
def _heads(model, inside, drawn, *, size, background, v_up):
    mesh = model.topology.mesh
    shape = decode_shape(model, drawn["id"], drawn["exp"])
    albedo = decode_albedo(model, drawn["alb"])
    normals = jnp.einsum(
        "bvi,bij->bvj", vertex_normals(shape, mesh), drawn["R"], precision="highest"
    )
    color = shade(SphericalHarmonics.deep3d(drawn["light"]), albedo, normals)
    posed = geometry.pose(shape, drawn["R"], drawn["t"], drawn["s"])
    clip = geometry.clip_of(posed, size)
    layout = geometry.layout_pm1(mesh, v_up)
    arguments = (mesh, color, inside, layout, size, background)
    encode, _, _ = _view(clip, *arguments)
    image, uv, mask = _view(similar_clip(clip, drawn["affine"]), *arguments)
    return {
        "image_in_encode": encode,
        "image_in": image,
        "uv_rendered": uv,
        "segmentation_mask": mask,
    }


def example_shapes(size: int, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch, whatever its source."""
    channels = {"image_in_encode": 3, "image_in": 3, "uv_rendered": 2, "segmentation_mask": 1}
    return {
        name: jax.ShapeDtypeStruct((batch_size, size, size, c), np.float32)
        for name, c in channels.items()
    }


class RenderedHeads(Source):
    """A `Source` of rendered heads in the form of prepared photos.

    Example i shows person i % num_identities in a pose, expression and light of its own. The
    augmented view is rendered, not resampled.

    Attributes:
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
        ranges: HeadRanges = HeadRanges(),
        transforms: str = "all",
        background: str = "black",
        v_up: bool = False,
    ):
        """Nothing is rendered yet.

        Args:
          model: a face model with a UV layout.
          size: side of the images in pixels.
          num_examples: the length of the set.
          seed: chooses the set, >= 0; sets of different seeds share no person.
          num_identities: how many people; None: as many as examples.
          ranges: how far heads differ.
          transforms: of the target, see `preprocess.check_letters`.
          background: one of RENDERED_BACKGROUNDS, see `preprocess.Preprocess`.
          v_up: see `geometry.layout_pm1`.
        """
        if min(size, num_examples) < 1 or seed < 0:
            raise ValueError(
                "size and num_examples must be positive and seed not negative, found "
                f"{size}, {num_examples} and {seed}"
            )
        if background not in RENDERED_BACKGROUNDS:
            raise ValueError(
                f"data.background is {background!r}, wanted one of "
                f"{', '.join(RENDERED_BACKGROUNDS)}: rendered heads have no photo behind them"
            )
        geometry.layout_pm1(model.topology.mesh)  # there has to be one
        self.model, self._ranges, self._size = model, ranges, int(size)
        self._num_examples, self._seed = int(num_examples), int(seed)
        self.num_identities = int(num_identities or num_examples)
        self._letters, self._background, self._v_up = check_letters(transforms), background, v_up
        self._inside = face_triangles(model)
        self._center = np.asarray(model.mean_shape).mean(axis=0)
        self.meta = {
            "source": "rendered",
            "size": self._size,
            "num_examples": self._num_examples,
            "num_identities": self.num_identities,
            "seed": self._seed,
            "model": model.topology.name,
            "model_digest": model.topology.digest,
            "ranges": dataclasses.asdict(ranges),
            "transforms": self._letters,
            "background": background,
        }

    def __len__(self) -> int:
        return self._num_examples

    def translation(self, scale: float = geometry.DEFAULT_S) -> np.ndarray:
        """[3] float32: puts the middle of the mean head before the camera."""
        middle = np.array([0.0, 0.0, -self._ranges.depth])
        return (middle - scale * self._center).astype(np.float32)

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        key = [2 * self._seed + stream, int(number)]
        return np.random.Generator(np.random.Philox(key=key))

    def _draw_one(self, index: int) -> dict[str, Any]:
        r = self._ranges
        who = self._generator(_PERSON, index % self.num_identities)
        person = sample_coefficients(
            self.model, who, 1, id_scale=r.id_scale, exp_scale=0.0, alb_scale=r.alb_scale
        )
        rng = self._generator(_VIEW, index)
        expression = sample_coefficients(self.model, rng, 1, exp_scale=r.exp_scale).exp[0]
        theta = np.array([r.pitch_deg, r.yaw_deg, r.roll_deg]) * rng.uniform(-1, 1, 3)
        shift = np.array([r.shift, r.shift, r.depth_shift]) * rng.uniform(-1, 1, 3)
        light = random_light(rng, r)
        return dict(
            id=person.id[0], exp=expression, alb=person.alb[0], light=light, theta=theta,
            R=rotation(theta), t=self.translation() + shift, s=geometry.DEFAULT_S,
            affine=draw_affine(rng, self._size, self._letters),
        )  # fmt: skip

    def draw(self, indices: np.ndarray) -> dict[str, Any]:
        """What was drawn for examples.

        Args:
          indices: [B] int64.

        Returns:
          'id', 'exp', 'alb' coefficients, 'light' [B, 27], 'theta' [B, 3] degrees (pitch, yaw,
          roll), 'R', 't', 's', float32, and 'affine' (`affine_arrays`).
        """
        rows = [self._draw_one(i) for i in check_indices(indices, len(self))]
        affines = affine_arrays([row.pop("affine") for row in rows], self._size)
        drawn = {k: np.stack([row[k] for row in rows]).astype(np.float32) for k in rows[0]}
        return drawn | {"affine": affines}

    def tables(self) -> Any:
        """The face model, and which of its triangles are the face's."""
        return self.model, self._inside

    def make(self, tables: Any, drawn: dict[str, Any]) -> dict[str, Any]:
        """Renders heads.

        Args:
          tables: of `tables`.
          drawn: of `draw`.

        Returns:
          What `example_shapes` says: 'image_in_encode' and 'image_in' (augmented) network images,
          'uv_rendered' and 'segmentation_mask' of the augmented one.
        """
        return _heads(*tables, drawn, size=self._size, background=self._background, v_up=self._v_up)


def rotation(theta_deg: np.ndarray) -> np.ndarray:
    """`geometry.rotation_of` [3] degrees on the host, float64."""
    signs = np.array([1.0, 1.0, -1.0])
    (cx, cy, cz), (sx, sy, sz) = (f(np.deg2rad(theta_deg) * signs) for f in (np.cos, np.sin))
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return z @ y @ x


# --- Photos as the published program's data set has them -----------------------------------------

COEFFICIENTS = {"R": (3, 3), "t": (3,), "s": (1,)}
SPLITS = ("all", "train", "val")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The files of a published data set, arrays mapped into memory.

    Attributes:
      folder: where they lie.
      names: [N] stems of the photos.
      arrays: 'R', 't', 's', 'sp', 'ep', 'segmentation', and 'uv' where there is one.
      splits: {'all', 'train', 'val': indices}; the last two where there is a dataset_splits.npz.
    """

    folder: pathlib.Path
    names: list[str]
    arrays: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]


def read_prepared(folder: str | pathlib.Path) -> Prepared:
    """The data set of a folder.

    Args:
      folder: with R.npy [N, 3, 3], t.npy [N, 3], s.npy [N, 1], sp.npy, ep.npy (raw coefficients),
        segmentation.npy [N, L, L], filename.npy [N], perhaps uv.npy [N, L, L, 2] and
        dataset_splits.npz.

    Raises:
      ValueError: files are missing or of another shape.
    """
    folder = pathlib.Path(folder)
    wanted = (*COEFFICIENTS, "sp", "ep", "segmentation", "filename")
    missing = [name for name in wanted if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise ValueError(
            f"{folder}: found no {missing[0]}.npy, wanted a prepared data set: "
            f"{', '.join(f'{name}.npy' for name in wanted)}, and uv.npy or a face model"
        )
    names = read_texts(folder / "filename.npy")
    arrays = {}
    for name in (*wanted[:-1], "uv"):
        path = folder / f"{name}.npy"
        if name == "uv" and not path.is_file():
            continue
        array = read_npy(path, mmap=True)
        shape = COEFFICIENTS.get(name)
        fits = {
            "segmentation": array.ndim == 3 and array.shape[1] == array.shape[2],
            "uv": array.ndim == 4 and array.shape[1] == array.shape[2] and array.shape[3] == 2,
        }.get(name, array.shape[1:] == shape if shape else array.ndim == 2)
        kinds = "iu" if name == "segmentation" else "f"
        if not fits or len(array) != len(names) or array.dtype.kind not in kinds:
            raise ValueError(
                f"{path}: found {describe_array(array)}, wanted {len(names)} rows, as many as "
                f"filename.npy has, of {name} as the published data set has them"
            )
        arrays[name] = array
    if not names:
        raise ValueError(f"{folder}: the data set is empty")
    splits = {"all": np.arange(len(names))}
    path = folder / "dataset_splits.npz"
    if path.is_file():
        for name, index in read_npz(path, ("train", "val")).items():
            if index.ndim != 1 or index.dtype.kind not in "iu" or not index.size:
                raise ValueError(f"{path}: {name} is {describe_array(index)}, wanted numbers")
            if index.min() < 0 or index.max() >= len(names):
                raise ValueError(f"{path}: {name} names examples beyond the {len(names)} there are")
            splits[name] = index.astype(np.int64)
    return Prepared(folder, names, arrays, splits)


class PreparedPhotos(Source):
    """A `Source` of photos that were prepared as published.

    Example i shows photo i % n of the split under an augmentation of its own.

    Attributes:
      meta: JSON-able description.
    """

    in_threads = True

    def __init__(
        self,
        prepared: Prepared,
        image_folder: str | pathlib.Path,
        how: Preprocess,
        *,
        split: str = "train",
        views: int = 1,
        seed: int = 0,
        transforms: str = "all",
        model: MorphableModel | None = None,
        v_up: bool = True,
    ):
        """Nothing is read yet.

        Args:
          prepared: the files.
          image_folder: with <name>.png of every photo.
          how: sizes, regions, background.
          split: one of SPLITS.
          views: augmentations of a photo.
          seed: of the augmentations.
          transforms: see `preprocess.check_letters`.
          model: whose UV maps are drawn from the coefficients; None reads uv.npy.
          v_up: of drawn UV maps, see `geometry.layout_pm1`; True as those of uv.npy.
        """
        if split not in prepared.splits:
            raise ValueError(
                f"{prepared.folder}: found no split {split!r}, wanted one of "
                f"{', '.join(prepared.splits)}; dataset_splits.npz says which"
            )
        if views < 1:
            raise ValueError(f"data.views is {views}, wanted at least 1")
        if model is None and "uv" not in prepared.arrays:
            raise ValueError(
                f"{prepared.folder}: found no uv.npy: name the face model of the coefficients as "
                "data.model_path, then UV maps are drawn"
            )
        for name in ("segmentation", "uv") if model is None else ("segmentation",):
            side = prepared.arrays[name].shape[1]
            if side != how.load_size:
                raise ValueError(
                    f"{prepared.folder / name}.npy has {side} pixels a side, data.load_size is "
                    f"{how.load_size}: set it to {side}"
                )
        self._prepared, self._images, self._how = prepared, pathlib.Path(image_folder), how
        self._rows, self._views, self._seed = prepared.splits[split], int(views), int(seed)
        self._letters, self._v_up = check_letters(transforms), bool(v_up)
        self._model = model
        if model is not None:
            for name, std in (("sp", model.id_std), ("ep", model.exp_std)):
                count = prepared.arrays[name].shape[1]
                if count != len(std):
                    raise ValueError(
                        f"{prepared.folder}/{name}.npy has {count} coefficients, the face model "
                        f"{len(std)}: they belong to another model"
                    )
        self.meta = {
            "source": "prepared",
            "size": how.size,
            "num_examples": len(self),
            "split": split,
            "photos": len(self._rows),
            "seed": self._seed,
            "transforms": self._letters,
            "background": how.background,
            "uv": "drawn" if model is not None else "read",
        }

    def __len__(self) -> int:
        return len(self._rows) * self._views

    def _photo(self, row: int) -> np.ndarray:
        path = self._images / f"{self._prepared.names[row]}.png"
        return self._how.load(to_uint8(read_image(path, mode="RGB")))

    def _uv(self, row: int) -> np.ndarray:
        arrays = self._prepared.arrays
        if self._model is None:
            uv = np.asarray(arrays["uv"][row], np.float32)
            if not (np.abs(uv) <= 1.0).all():
                raise ValueError(
                    f"{self._prepared.folder / 'uv.npy'}, row {row}: wanted values in [-1, 1]"
                )
            return uv
        given = {k: np.asarray(arrays[k][row], np.float32) for k in ("sp", "ep", "R", "t", "s")}
        return np.asarray(_drawn_uv(self._model, given, size=self._how.load_size, v_up=self._v_up))

    def example(self, index: int) -> dict[str, np.ndarray]:
        """One example: the arrays of `example_shapes` without their leading axis."""
        row = int(self._rows[index % len(self._rows)])
        image, uv = self._photo(row), self._uv(row)
        segmentation = np.asarray(self._prepared.arrays["segmentation"][row])
        rng = np.random.Generator(np.random.Philox(key=[self._seed, int(index)]))
        clean = self._how.view(image, uv, segmentation)
        target = clean
        if self._letters:
            affine = draw_affine(rng, self._how.load_size, self._letters)
            target = self._how.view(image, uv, segmentation, affine)
        return {
            "image_in_encode": clean["image"],
            "image_in": target["image"],
            "uv_rendered": target["uv_rendered"],
            "segmentation_mask": target["segmentation_mask"],
        }

    def draw(self, indices: np.ndarray) -> dict[str, Any]:
        """The examples, see `example_shapes`.

        Args:
          indices: [B] int64.
        """
        rows = [self.example(i) for i in check_indices(indices, len(self))]
        return {k: np.stack([row[k] for row in rows]) for k in rows[0]}


@functools.partial(jax.jit, static_argnames=("size", "v_up"))
def _drawn_uv(model, given, *, size, v_up):
    raw = {"sp": model.id_std, "ep": model.exp_std}
    coeffs = [jnp.where(s > 0, given[k] / jnp.where(s > 0, s, 1.0), 0.0) for k, s in raw.items()]
    posed = geometry.pose(decode_shape(model, *coeffs), given["R"], given["t"], given["s"][0])
    return geometry.uv_map(posed, model.topology.mesh, size, v_up)


def make_source(config, model: MorphableModel | None) -> Source:
    """The training examples that `config.data` names.

    Raises:
      ValueError: an unknown source, or files that do not fit.
    """
    c = config.data
    if c.source == "rendered":
        return rendered(config, model, c.num_examples, c.num_identities, config.seed)
    if c.source != "prepared":
        raise ValueError(f"data.source is {c.source!r}, wanted 'rendered' or 'prepared'")
    how = Preprocess(
        size=config.model.image_size,
        load_size=c.load_size,
        regions=tuple(c.regions),
        background=c.background,
        uv_resize=c.uv_resize,
        mask_resize=c.mask_resize,
        uv_quantize=c.uv_quantize,
    )
    return PreparedPhotos(
        read_prepared(c.path), c.image_folder, how, split=c.split, views=c.views,
        seed=config.seed, transforms=c.transforms, model=model if c.model_path else None,
        v_up=c.v_up,
    )  # fmt: skip


def rendered(
    config, model: MorphableModel, num_examples: int, num_identities: int, seed: int,
    transforms: str | None = None,
) -> RenderedHeads:  # fmt: skip
    """Rendered heads as `config.data` says.

    Args:
      config: of the run.
      model: the face model.
      num_examples, num_identities, seed: see `RenderedHeads`.
      transforms: None for those of the configuration.
    """
    c = config.data
    return RenderedHeads(
        model, config.model.image_size, num_examples, seed, num_identities=num_identities,
        ranges=HeadRanges(**c.ranges),
        transforms=c.transforms if transforms is None else transforms,
        background=c.background, v_up=c.v_up,
    )  # fmt: skip


def held_out(config, model: MorphableModel, num: int, transforms: str = "") -> RenderedHeads:
    """Heads of people that training does not see, one picture each; not augmented."""
    return rendered(config, model, num, num, config.seed + HELD_OUT, transforms)
