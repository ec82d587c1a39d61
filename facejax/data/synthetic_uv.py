"""UV maps of random faces of a morphable model, baked on the device while training.

Texture and shape maps are linear in the coefficients, so a batch of them is one product with bases
that were baked once; normals are those of the decoded mesh, baked per batch.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.source import Source, check_indices
from facejax.data.uvmaps import UVCodec, log2_resolution, masked_downsample2, pyramid
from facejax.geometry.math import safe_normalize
from facejax.geometry.mesh import MeshTopology
from facejax.morphable import Coefficients, MorphableModel, expression_presets
from facejax.render.uv import UVAtlas, uv_atlas

ID_CLIP, ALBEDO_CLIP = 2.5, 2.2  # standard deviations; wilder faces fold or glow
NEUTRAL_SHARE, SINGLE_SHARE = 0.15, 0.7  # pure neutral; of the rest, one expression and not two
WEAKEST = (
    0.4  # strength of an expression: uniform in [WEAKEST, 1], the rest of the label is neutral
)
_COLUMNS = 24  # channels baked at a time while the bases are made: bounds the memory
_RING = 8  # triangles around a vertex that are summed for all vertices alike
_EXTENT_EXAMPLES = 64


def _normalize3(x: jax.Array) -> jax.Array:
    """Unit vectors along the last axis but one."""
    return jnp.swapaxes(safe_normalize(jnp.swapaxes(x, -2, -1)), -2, -1)


def _vertex_normals(vertices: jax.Array, topology: MeshTopology) -> jax.Array:
    """`geometry.mesh.vertex_normals` with the batch last: [V, 3, B] -> [V, 3, B].

    A gather then moves whole rows of the batch, which halves the time of a batch on CPU.
    """
    a, b, c = (vertices[topology.triangles[:, k]] for k in range(3))
    faces = jnp.cross(b - a, c - a, axis=1)
    faces = jnp.concatenate([faces, jnp.zeros_like(faces[:1])])
    table = topology.vertex_faces
    total = sum(faces[column] for column in table[:, :_RING].T)
    rest = table[:, _RING:]
    busy = np.flatnonzero((rest < len(topology.triangles)).any(1))
    if len(busy):
        total = total.at[busy].add(faces[rest[busy]].sum(1), unique_indices=True)
    return _normalize3(total)


def _random_label(rng: np.random.Generator, num_labels: int) -> np.ndarray:
    """A probability vector over the expressions; entry 0 is neutral."""
    pure, single, strength, share = rng.uniform(size=4)
    first, second = 1 + rng.choice(num_labels - 1, size=2, replace=False)
    label = np.zeros(num_labels, np.float32)
    if pure >= NEUTRAL_SHARE:
        strength = WEAKEST + (1 - WEAKEST) * strength
        share = 1.0 if single < SINGLE_SHARE else 0.25 + 0.5 * share
        label[first], label[second] = strength * share, strength * (1 - share)
    label[0] = 1 - label.sum()
    return label


def _bake_rows(atlas: UVAtlas, rows: jax.Array) -> jax.Array:
    """`render.uv.bake` for many channels, [V, C] -> [H, W, C]: gathers whole rows.

    `bake` works channel by channel, which suits few channels and costs compile time for many.
    """
    size = atlas.mask.shape
    corners = zip(
        atlas.sample_vertex.reshape(-1, size[0] * size[1]),
        atlas.sample_weight.reshape(-1, size[0] * size[1], 1),
        strict=True,
    )
    return sum(rows[vertex] * weight for vertex, weight in corners).reshape(*size, -1)


def _bake_columns(atlas: UVAtlas, columns: np.ndarray) -> np.ndarray:
    """The same in numpy, [V, ...] -> [H, W, ...], a few columns at a time."""
    flat = columns.reshape(len(columns), -1)
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % _COLUMNS)))
    step = jax.jit(_bake_rows)
    parts = [
        np.asarray(step(atlas, padded[:, i : i + _COLUMNS]))
        for i in range(0, padded.shape[1], _COLUMNS)
    ]
    maps = np.concatenate(parts, axis=-1)[..., : flat.shape[1]]
    return maps.reshape(*maps.shape[:2], *columns.shape[1:])


def _columns(mean: jax.Array, *terms: tuple[np.ndarray, jax.Array]) -> np.ndarray:
    """mean [..., 3] and (weights [K, D], basis [D, ..., 3]) as one array [..., 3, 1 + sum K].

    Its product with (1, coefficients) is the linear model.
    """
    mean = np.asarray(mean)
    parts = [mean.reshape(1, -1)]
    parts += [np.asarray(w) @ np.asarray(b).reshape(len(b), -1) for w, b in terms]
    rows = np.concatenate(parts).astype(np.float32)
    return np.ascontiguousarray(rows.T).reshape(*mean.shape, len(rows))


def _levels(columns: np.ndarray, mask: np.ndarray) -> dict[int, np.ndarray]:
    """[R, R, 3, K] -> {r: [r, r, 3, K]}."""
    *size, channels, count = columns.shape
    levels, _ = pyramid(columns.reshape(*size, -1), mask)
    return {r: level.reshape(r, r, channels, count) for r, level in levels.items()}


def _texture_columns(model: MorphableModel, atlas: UVAtlas) -> np.ndarray:
    """Albedo at the atlas's resolution, [R, R, 3, 1 + D_alb], from textures if there are any."""
    stds = np.diag(np.asarray(model.alb_std))
    if model.tex_basis is None:
        return _bake_columns(atlas, _columns(model.mean_albedo, (stds, model.alb_basis)))
    columns = _columns(model.mean_texture, (stds, model.tex_basis))
    size, resolution = len(columns), len(atlas.mask)
    maps = columns.reshape(size, size, -1)
    if size >= resolution and size & (size - 1) == 0:
        mask = np.asarray(uv_atlas(model.topology.mesh, size).mask)
        maps = pyramid(maps, mask, smallest=resolution)[0][resolution]
    else:
        maps = jax.image.resize(maps, (resolution, resolution, maps.shape[-1]), "linear")
    maps = np.asarray(maps) * np.asarray(atlas.mask)[..., None]
    return maps.reshape(resolution, resolution, *columns.shape[2:])


class MorphableUVSource(Source):
    """A `Source` of UV maps of random faces: texture, shape and normals, with expression labels.

    Example i is a pure function of (seed, i): its draws come from numpy's counter-based Philox
    generator with that key, alike on every platform. Lower resolutions are (masked) 2x2 means of
    the top one, whose normals have length one. Albedo is linear in its coefficients and so may
    leave [0, 1] by a few percent.

    Attributes:
      codec: the UV encoding.
      meta: JSON-able description.
      label_names: the expressions, 'neutral' first.
      resolutions: what can be asked for, ascending.
    """

    def __init__(
        self,
        model: MorphableModel,
        resolution: int,
        num_examples: int,
        seed: int = 0,
        *,
        encoding: str = "offset",
        supersample: int = 2,
        **scales: float,
    ):
        """Bakes the bases.

        Args:
          model: a face model with UV and ARKit-style expressions.
          resolution: the highest one, a power of two >= 4.
          num_examples: the length of the set.
          seed: chooses the set, >= 0.
          encoding: 'offset' or 'absolute', see `UVCodec`.
          supersample: maps are baked this many times finer, then averaged.
          **scales: texture_scale, shape_scale_mm, normals_scale of `UVCodec`.
        """
        if log2_resolution(resolution) < 2:
            raise ValueError(f"resolution must be at least 4, found {resolution}")
        if num_examples < 1 or seed < 0:
            raise ValueError(
                "num_examples must be positive and seed not negative, found "
                f"{num_examples} and {seed}"
            )
        self._num_examples, self._seed = int(num_examples), int(seed)
        self._num_id, self._num_alb = model.num_id, model.num_alb
        self.label_names, self._presets = expression_presets(model)
        self._mesh = model.topology.mesh
        self._atlas = jax.device_put(uv_atlas(self._mesh, resolution, supersample=supersample))
        vertices = _columns(
            model.mean_shape,
            (np.diag(np.asarray(model.id_std)), model.id_basis),
            (self._presets * np.asarray(model.exp_std), model.exp_basis),
        )
        mask = np.asarray(self._atlas.mask)
        self._shape = _levels(_bake_columns(self._atlas, vertices), mask)
        self._texture = _levels(_texture_columns(model, self._atlas), mask)
        self._vertices = jnp.asarray(vertices)
        self.resolutions = tuple(sorted(self._shape))
        self.codec = self._make_codec(model, encoding, scales)
        self.meta: dict[str, Any] = {
            "source": "morphable_uv",
            "resolution": resolution,
            "channels": self.codec.channels,
            "num_examples": self._num_examples,
            "seed": self._seed,
            "supersample": supersample,
            "label_names": list(self.label_names),
            "codec": self.codec.to_dict(),
        }
        self._step = jax.jit(self._maps)

    def _make_codec(self, model: MorphableModel, encoding: str, scales: dict) -> UVCodec:
        top, mask = self.resolutions[-1], np.asarray(self._atlas.mask)
        shape = self._shape[top]
        normals = jax.jit(self._normal_map)(self._atlas, self._vertices[..., :1])
        mean = [self._texture[top][..., 0], shape[..., 0], np.asarray(normals)[..., 0]]
        inside = shape[mask]  # [texels, 3, 1 + K]
        center = (inside[..., 0].min(0) + inside[..., 0].max(0)) / 2
        drawn = self.draws(np.arange(min(_EXTENT_EXAMPLES, len(self))))
        extent = np.abs(inside @ self._columns_of(*drawn)["shape"].T - center[:, None]).max() / 0.95
        return UVCodec.from_mean(
            np.concatenate(mean, axis=-1),
            mask,
            encoding=encoding,
            center_mm=tuple(float(x) for x in center),
            extent_mm=float(extent),
            model=model.topology.name,
            model_digest=model.topology.digest,
            uv_digest=self._mesh.digest,
            **scales,
        )

    def __len__(self) -> int:
        return self._num_examples

    def mask(self, resolution: int) -> np.ndarray:
        """[r, r] bool, true inside the UV layout."""
        return self.codec.mask(resolution)

    def draws(self, indices: np.ndarray) -> tuple[Coefficients, np.ndarray]:
        """The random part of examples, numpy float32.

        Args:
          indices: [B] int64.

        Returns:
          coefficients (id [B, D_id], exp [B, D_exp], alb [B, D_alb]) and labels [B, 7], each a
          probability vector.
        """
        identity = np.zeros((len(indices), self._num_id), np.float32)
        albedo = np.zeros((len(indices), self._num_alb), np.float32)
        labels = np.zeros((len(indices), len(self.label_names)), np.float32)
        for row, index in enumerate(indices):
            rng = np.random.Generator(np.random.Philox(key=[self._seed, int(index)]))
            labels[row] = _random_label(rng, len(self.label_names))
            identity[row] = np.clip(rng.standard_normal(self._num_id), -ID_CLIP, ID_CLIP)
            albedo[row] = np.clip(rng.standard_normal(self._num_alb), -ALBEDO_CLIP, ALBEDO_CLIP)
        return Coefficients(identity, labels @ self._presets, albedo), labels

    def _columns_of(self, coeffs: Coefficients, labels: np.ndarray) -> dict[str, np.ndarray]:
        """What multiplies the columns of shapes, [B, 1 + D_id + 7], and of albedo."""
        one = np.ones((len(labels), 1), np.float32)
        return {
            "shape": np.concatenate([one, coeffs.id, labels], axis=1),
            "albedo": np.concatenate([one, coeffs.alb], axis=1),
        }

    def _normal_map(self, atlas: UVAtlas, vertices: jax.Array) -> jax.Array:
        """[V, 3, B] mm -> unit normals at the top resolution, [R, R, 3, B]."""
        normals = _vertex_normals(vertices, self._mesh)
        maps = _bake_rows(atlas, normals.reshape(len(normals), -1))
        return _normalize3(maps.reshape(*maps.shape[:2], *normals.shape[1:]))

    def _maps(
        self,
        atlas: UVAtlas,
        tables: tuple[jax.Array, jax.Array, jax.Array],
        shape_coeffs: jax.Array,
        albedo_coeffs: jax.Array,
    ) -> jax.Array:
        """Encoded maps [B, r, r, C]; the tables decide the resolution."""
        vertices, shape, texture = tables
        dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        normals = self._normal_map(atlas, dot(vertices, shape_coeffs))
        size, batch = len(normals), normals.shape[-1]
        normals = normals.reshape(size, size, -1)
        while size > len(shape):
            normals, _ = masked_downsample2(normals, self.codec.mask(size))
            size //= 2
        values = dot(texture, albedo_coeffs), dot(shape, shape_coeffs), normals
        return self.codec.encode(
            *(jnp.moveaxis(value.reshape(size, size, 3, batch), -1, 0) for value in values)
        )

    def draw(self, indices: np.ndarray, resolution: int | None = None) -> dict[str, np.ndarray]:
        """What multiplies the tables, by number.

        Args:
          indices: [B] int64.
          resolution: one of `resolutions`, or None for the highest.

        Returns:
          'shape' [B, 1 + D_id + 7], 'albedo' [B, 1 + D_alb], 'labels' [B, 7], float32.
        """
        self._checked(resolution)
        coeffs, labels = self.draws(check_indices(indices, len(self)))
        return self._columns_of(coeffs, labels) | {"labels": labels}

    def _checked(self, resolution: int | None) -> int:
        resolution = self.resolutions[-1] if resolution is None else resolution
        if resolution not in self.resolutions:
            raise ValueError(
                f"this source makes {self.resolutions} px, found a request for {resolution} px"
            )
        return resolution

    def tables(self, resolution: int | None = None) -> Any:
        """The atlas, and the bases of vertices, shape and texture maps at a resolution."""
        resolution = self._checked(resolution)
        return self._atlas, (self._vertices, self._shape[resolution], self._texture[resolution])

    def make(
        self, tables: Any, drawn: dict[str, Any], resolution: int | None = None
    ) -> dict[str, Any]:
        """'maps' [B, r, r, C] float32 network channels and 'labels' [B, 7]; see `draw`."""
        del resolution  # the tables have it
        maps = self._step(*tables, drawn["shape"].T, drawn["albedo"].T)
        return {"maps": maps, "labels": drawn["labels"]}

    def labelled(self, indices: np.ndarray, labels: np.ndarray) -> jax.Array:
        """The same people with other expressions, [B, R, R, C] at the top resolution.

        Args:
          indices: [B] int64, whose identity and albedo are taken.
          labels: [B, 7] float32, probability vectors over `label_names`.
        """
        coeffs, _ = self.draws(check_indices(indices, len(self)))
        drawn = self._columns_of(coeffs, labels) | {"labels": labels}
        return self.make(self.tables(), drawn)["maps"]

    def shape_basis(self, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        """The linear model of shape maps at one of `resolutions`, mm.

        Returns:
          identity [D_id, r, r, 3] per standard deviation; expressions [7, r, r, 3] at strength 1.
        """
        columns = np.moveaxis(np.asarray(self._shape[resolution]), -1, 0)
        return columns[1 : 1 + self._num_id], columns[1 + self._num_id :]
