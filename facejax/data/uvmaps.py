"""UV maps in physical units <-> the channels of a network, and masked pyramids of maps.

TBGAN (arXiv 1909.02215) generates texture, shape and normals as channels of one image. Stored as
they are ('absolute') the shape of a face is a template of some 8 cm with the identity in its last
millimetres; stored as the difference from the model's mean maps ('offset') network noise stays
below a millimetre.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.math import safe_normalize
from facejax.host.arrays import read_npz
from facejax.host.files import atomic_path, read_json, reading

KINDS = ("texture", "shape", "normals")
VERSION = 1


def log2_resolution(resolution: int) -> int:
    """log2 of a power of two >= 1; a ValueError otherwise."""
    if resolution < 1 or resolution & (resolution - 1):
        raise ValueError(
            f"a resolution of {resolution} is not a power of two: resize the maps to "
            f"{2 ** max(int(resolution), 1).bit_length()} first"
        )
    return int(resolution).bit_length() - 1


def _blocks(x: jax.Array) -> jax.Array:
    """[..., H, W, C] -> [..., H / 2, 2, W / 2, 2, C]."""
    *lead, height, width, channels = x.shape
    return x.reshape(*lead, height // 2, 2, width // 2, 2, channels)


def masked_downsample2(maps: jax.Array, mask: np.ndarray) -> tuple[jax.Array, np.ndarray]:
    """2x2 means over the texels inside the mask; zero where a whole block lies outside.

    With a full mask this is the plain 2x2 mean.

    Args:
      maps: [..., H, W, C] float, H and W even; numpy in, numpy out.
      mask: [H, W] bool.

    Returns:
      maps [..., H / 2, W / 2, C] and mask [H / 2, W / 2] bool, true where any texel was inside.
    """
    inside = _blocks(mask[..., None].astype(np.float32))  # [H / 2, 2, W / 2, 2, 1]
    count = inside.sum((1, 3))
    total = (_blocks(maps) * inside.reshape((1,) * (maps.ndim - 3) + inside.shape)).sum((-4, -2))
    weight = (1.0 / np.maximum(count, 1.0)).astype(np.float32)
    return total * weight.reshape((1,) * (maps.ndim - 3) + weight.shape), count[..., 0] > 0


def pyramid(
    maps: np.ndarray, mask: np.ndarray | None = None, smallest: int = 4
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Repeated (masked) 2x2 means.

    Args:
      maps: [..., R, R, C] float32, R a power of two.
      mask: [R, R] bool, or None for all inside.
      smallest: the lowest resolution made (or R, if that is smaller).

    Returns:
      {r: maps [..., r, r, C]} and {r: mask [r, r]} for r = R, R / 2, ..., smallest.
    """
    resolution = maps.shape[-2]
    log2_resolution(resolution)
    if maps.shape[-3] != resolution:
        raise ValueError(f"maps must be square, found {maps.shape[-3]} x {resolution}")
    mask = np.ones((resolution, resolution), bool) if mask is None else np.asarray(mask, bool)
    levels, masks = {resolution: maps}, {resolution: mask}
    while resolution > smallest:
        maps, mask = masked_downsample2(maps, mask)
        resolution //= 2
        levels[resolution], masks[resolution] = maps, mask
    return levels, masks


@dataclasses.dataclass(frozen=True, eq=False)
class UVCodec:
    """Texture, shape and normals in physical units <-> network channels.

    offset:   (a - mean) * texture_scale, (v - mean) / shape_scale_mm, (n - mean) * normals_scale
    absolute: 2 a - 1, (v - center_mm) / extent_mm, n

    Outside the mask encoded channels and decoded maps are zero. Compared by identity; compare
    `to_dict()` for the content.

    Attributes:
      modalities: (name, width) in channel order; names from 'texture', 'shape', 'normals'.
      encoding: 'offset' or 'absolute'.
      texture_scale: per unit of albedo.
      shape_scale_mm: millimetres per network unit (offset).
      normals_scale: network units per unit of normal (offset).
      center_mm: (3,) object space (absolute).
      extent_mm: millimetres per network unit (absolute).
      model: id of the face model, '' if none.
      model_digest: content hash of the face model, '' if none.
      uv_digest: content hash of the UV layout, '' if unknown.
      mean_maps: {r: [r, r, C]} float32 in physical units, channels as `modalities` (offset).
      masks: {r: [r, r]} bool; a resolution that is absent counts as all inside.
    """

    modalities: tuple[tuple[str, int], ...] = tuple((kind, 3) for kind in KINDS)
    encoding: str = "offset"
    texture_scale: float = 2.5
    shape_scale_mm: float = 10.0
    normals_scale: float = 1.0
    center_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    extent_mm: float = 175.0
    model: str = ""
    model_digest: str = ""
    uv_digest: str = ""
    mean_maps: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    masks: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self):
        names = [name for name, _ in self.modalities]
        if not names or len(set(names)) != len(names) or not set(names) <= set(KINDS):
            raise ValueError(f"modalities must be distinct names of {KINDS}, found {names}")
        if any(width != 3 for _, width in self.modalities):
            raise ValueError(f"each modality has 3 channels, found {self.modalities}")
        if self.encoding not in ("offset", "absolute"):
            raise ValueError(f"encoding must be 'offset' or 'absolute', found {self.encoding!r}")
        for name in ("texture_scale", "shape_scale_mm", "normals_scale", "extent_mm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")
        if self.encoding == "offset" and not self.mean_maps:
            raise ValueError("an offset encoding needs mean maps: see UVCodec.from_mean")
        for resolution, maps in self.mean_maps.items():
            wanted = (resolution, resolution, self.channels)
            if maps.shape != wanted:
                raise ValueError(f"mean map at {resolution}: found {maps.shape}, wanted {wanted}")
        for resolution, mask in self.masks.items():
            if mask.shape != (resolution, resolution):
                raise ValueError(f"mask at {resolution}: found {mask.shape}")

    @classmethod
    def from_mean(cls, mean: np.ndarray, mask: np.ndarray | None = None, **fields) -> "UVCodec":
        """A codec whose mean maps at lower resolutions are masked 2x2 means of the given one.

        Args:
          mean: [R, R, C] float32 in physical units, R a power of two.
          mask: [R, R] bool, or None for all inside.
          **fields: the other attributes.
        """
        levels, masks = pyramid(np.asarray(mean, np.float32), mask)
        return cls(mean_maps=levels, masks=masks, **fields)

    @property
    def channels(self) -> int:
        """The number of network channels."""
        return sum(width for _, width in self.modalities)

    def slices(self) -> dict[str, slice]:
        """Where each modality lies along the channel axis."""
        ends = np.cumsum([width for _, width in self.modalities]).tolist()
        return {n: slice(e - w, e) for (n, w), e in zip(self.modalities, ends, strict=True)}

    def mask(self, resolution: int) -> np.ndarray:
        """[r, r] bool, true inside the UV layout."""
        known = self.masks.get(resolution)
        return np.ones((resolution, resolution), bool) if known is None else known

    def _mean(self, name: str, resolution: int) -> np.ndarray:
        if resolution not in self.mean_maps:
            raise ValueError(
                f"no mean map at {resolution} px: this encoding holds {sorted(self.mean_maps)}"
            )
        return self.mean_maps[resolution][..., self.slices()[name]]

    def _affine(self, name: str, resolution: int) -> tuple[np.ndarray, float]:
        """(origin, unit) of a modality: encoded = (value - origin) / unit."""
        if self.encoding == "offset":
            unit = {
                "texture": 1 / self.texture_scale,
                "shape": self.shape_scale_mm,
                "normals": 1 / self.normals_scale,
            }[name]
            return self._mean(name, resolution), unit
        origin, unit = {
            "texture": ((0.5, 0.5, 0.5), 0.5),
            "shape": (self.center_mm, self.extent_mm),
            "normals": ((0.0, 0.0, 0.0), 1.0),
        }[name]
        return np.asarray(origin, np.float32).reshape(1, 1, 3), unit

    def _in_batch(self, constant: np.ndarray, ndim: int) -> np.ndarray:
        return constant.reshape((1,) * (ndim - 3) + constant.shape)

    def encode(
        self,
        texture: jax.Array | None = None,
        shape_mm: jax.Array | None = None,
        normals: jax.Array | None = None,
    ) -> jax.Array:
        """Physical units -> network channels, [..., H, W, C] float32.

        Args:
          texture: [..., H, W, 3] albedo in [0, 1], sRGB.
          shape_mm: [..., H, W, 3] object-space positions, mm.
          normals: [..., H, W, 3] unit vectors, object space.
        """
        given = {"texture": texture, "shape": shape_mm, "normals": normals}
        wanted = [name for name, _ in self.modalities]
        found = [name for name in KINDS if given[name] is not None]
        if set(found) != set(wanted):
            raise ValueError(f"this encoding holds {wanted}, but {found} were given")
        parts = []
        for name in wanted:
            value = jnp.asarray(given[name], jnp.float32)
            origin, unit = self._affine(name, value.shape[-2])
            inside = self.mask(value.shape[-2])[..., None]
            encoded = (value - self._in_batch(origin, value.ndim)) * np.float32(1 / unit)
            parts.append(jnp.where(self._in_batch(inside, value.ndim), encoded, 0.0))
        return jnp.concatenate(parts, axis=-1)

    def decode(self, maps: jax.Array) -> dict[str, jax.Array]:
        """Network channels -> physical units, by modality.

        Args:
          maps: [..., H, W, C] network channels.

        Returns:
          'texture' [..., H, W, 3] (not clipped), 'shape' [..., H, W, 3] mm and 'normals'
          [..., H, W, 3] of length one, as far as the encoding holds them; zero outside the mask.
        """
        maps = jnp.asarray(maps, jnp.float32)
        if maps.shape[-1] != self.channels:
            raise ValueError(f"found {maps.shape[-1]} channels, wanted {self.channels}")
        resolution = maps.shape[-2]
        inside = self._in_batch(self.mask(resolution)[..., None], maps.ndim)
        out = {}
        for name, part in self.slices().items():
            origin, unit = self._affine(name, resolution)
            value = maps[..., part] * np.float32(unit) + self._in_batch(origin, maps.ndim)
            value = safe_normalize(value) if name == "normals" else value
            out[name] = jnp.where(inside, value, 0.0)
        return out

    def to_dict(self) -> dict[str, Any]:
        """The JSON part: everything but the arrays, which `arrays` returns."""
        meta = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("mean_maps", "masks")
        }
        meta["modalities"] = [list(pair) for pair in self.modalities]
        meta["center_mm"] = list(self.center_mm)
        return meta | {"version": VERSION, "resolutions": sorted(self.masks or self.mean_maps)}

    def arrays(self) -> dict[str, np.ndarray]:
        """The npz part: 'mean_<r>' [r, r, C] float32 and 'mask_<r>' [r, r] bool."""
        means = {f"mean_{r}": np.asarray(m, np.float32) for r, m in self.mean_maps.items()}
        return means | {f"mask_{r}": np.asarray(m, bool) for r, m in self.masks.items()}

    @classmethod
    def from_dict(
        cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None
    ) -> "UVCodec":
        """The inverse of `to_dict` and `arrays`.

        Args:
          meta: as `to_dict` returns it, also after a round trip through JSON.
          arrays: as `arrays` returns them; may be left out for an absolute encoding.
        """
        fields = dict(meta)
        fields.pop("resolutions", None)
        version = fields.pop("version", None)
        if version != VERSION:
            raise ValueError(f"UV encoding of version {version}: this program reads {VERSION}")
        unknown = set(fields) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"unknown entries in a UV encoding: {sorted(unknown)}")
        fields["modalities"] = tuple((name, int(width)) for name, width in fields["modalities"])
        fields["center_mm"] = tuple(fields["center_mm"])
        levels: dict[str, dict[int, np.ndarray]] = {"mean": {}, "mask": {}}
        for key in arrays or ():
            kind, _, resolution = key.partition("_")
            levels[kind][int(resolution)] = np.asarray(arrays[key])
        return cls(mean_maps=levels["mean"], masks=levels["mask"], **fields)

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes codec.json and codec.npz into an existing folder."""
        folder = pathlib.Path(folder)
        with atomic_path(folder / "codec.npz") as path:
            np.savez_compressed(path, **self.arrays())
        with atomic_path(folder / "codec.json") as path:
            path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "UVCodec":
        """Reads what `save` wrote.

        Raises:
          ValueError: files that are missing or damaged; the message names them.
        """
        folder = pathlib.Path(folder)
        for name in ("codec.json", "codec.npz"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} is missing: is {folder} a saved UV encoding?")
        arrays = read_npz(folder / "codec.npz")
        with reading(folder / "codec.json", "a UV encoding"):
            return cls.from_dict(read_json(folder / "codec.json"), arrays)
