"""From generated UV maps to textured meshes.

Maps coded as offsets hold low frequencies only, so the smoothed offset is added to the face model's
template at full resolution: identity, expression and complexion come from the maps; eyes, brows,
lips and all fine detail come from the template. Maps coded absolutely are taken as they are.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.uvmaps import UVCodec
from facejax.geometry.math import safe_normalize
from facejax.geometry.mesh import Mesh, vertex_normals
from facejax.image.resample import gaussian_blur, resize
from facejax.image.sample import sample_bicubic
from facejax.morphable import MorphableModel
from facejax.morphable.interior import Interior
from facejax.render.uv import bake, uv_atlas

# Gaussian blur of the offsets in texels, by resolution: removes what the generator's noise adds
# above the model's own frequencies; found by eye and by the distance to the model's span.
SMOOTHING = {4: 0.3, 8: 0.4, 16: 0.5, 32: 0.75, 64: 1.2, 128: 2.0, 256: 3.0, 512: 4.0}
MAP_NOISE_MM = 1.0  # of a coordinate in a generated shape map


@dataclasses.dataclass(frozen=True)
class FaceOptions:
    """How maps become faces.

    Attributes:
      smoothing: factor on the blur of SMOOTHING, 0 for none.
      texture_size: of the finished texture and normal map, pixels.
    """

    smoothing: float = 1.0
    texture_size: int = 256


class FaceMaker:
    """Turns network maps into meshes of one face model.

    Args:
      model: whose template, topology and UV layout the maps belong to.
      codec: between network channels and physical units.
      options: smoothing and texture size.

    Raises:
      ValueError: the maps were made for another model.
    """

    def __init__(self, model: MorphableModel, codec: UVCodec, options: FaceOptions = FaceOptions()):
        if codec.model_digest and codec.model_digest != model.topology.digest:
            raise ValueError(
                f"these maps were made for face model {codec.model!r} ({codec.model_digest}), the "
                f"loaded one is {model.topology.name!r} ({model.topology.digest}): load the model "
                "that the run was trained with (--config.data.model, --config.data.model_path)"
            )
        self.model, self.codec, self.options = model, codec, options
        self.topology = model.topology.mesh
        self._jitted = jax.jit(self._make)
        self._template = None
        self._interiors: dict[int, Interior] = {}

    def _templates(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(texture, normal map, mask) of the mean face at texture size; made on first use."""
        if self._template is None:
            size = self.options.texture_size
            atlas = uv_atlas(self.topology, (size, size))
            normals = vertex_normals(self.model.mean_shape, self.topology)
            texture = self.model.mean_texture
            if texture is None:
                texture = bake(atlas, self.model.mean_albedo)
            texture = resize(texture, (size, size), wrap_u=self.model.topology.uv_wraps_u)
            self._template = texture, bake(atlas, normals), jnp.asarray(atlas.mask)
        return self._template

    def __call__(self, maps: jax.Array) -> Mesh:
        """Meshes of maps.

        Args:
          maps: [B, r, r, C] network channels.

        Returns:
          Mesh with vertices [B, V, 3] mm, texture [B, T, T, 3] and normal_map [B, T, T, 3]; parts
          whose modality the maps lack come from the template.
        """
        maps = jnp.asarray(maps, jnp.float32)
        self._interior(maps.shape[-2])  # made outside of the compiled function
        return self._jitted(maps, self.model, self._templates())

    def _interior(self, resolution: int) -> Interior | None:
        """What completes parts inside the head from maps of a resolution; None where nothing is."""
        masks = self.model.topology.masks
        if "interior" not in masks:
            return None
        if resolution not in self._interiors:
            vertices = max(1.0, float(masks["face"].sum()) / self.codec.mask(resolution).sum())
            self._interiors[resolution] = Interior(self.model, MAP_NOISE_MM * vertices**0.5)
        return self._interiors[resolution]

    def _fill(self, maps: jax.Array, weight: np.ndarray) -> jax.Array:
        """Extends maps beyond their mask by blurred neighbours: sampling must not mix in zeros."""
        if weight.all():
            return maps
        wrap = self.model.topology.uv_wraps_u
        known = jnp.asarray(weight[..., None], jnp.float32)
        inside = jnp.broadcast_to(known.reshape((1,) * (maps.ndim - 3) + known.shape), maps.shape)
        filled, have = maps * inside, inside
        for sigma in (0.7, 1.5, 3.0):
            blur = gaussian_blur(maps * inside, sigma, wrap)
            mass = gaussian_blur(inside, sigma, wrap)
            take = (have < 0.5) & (mass > 1e-3)
            filled = jnp.where(take, blur / jnp.maximum(mass, 1e-6), filled)
            have = jnp.where(take, 1.0, have)
        return filled

    def offsets(self, maps: jax.Array) -> dict[str, jax.Array]:
        """Smoothed differences from the mean maps, physical units, by modality: [B, r, r, 3]."""
        decoded = self.codec.decode(maps)
        mean = self.codec.decode(jnp.zeros_like(maps))
        return {name: self.smoothed(value - mean[name]) for name, value in decoded.items()}

    def smoothed(self, offset: jax.Array) -> jax.Array:
        """Offsets [..., r, r, 3] filled in beyond the mask and blurred for their resolution."""
        resolution = offset.shape[-2]
        offset = self._fill(jnp.asarray(offset), self.codec.mask(resolution))
        sigma = SMOOTHING.get(resolution, 1.0) * self.options.smoothing
        if not sigma:
            return offset
        return gaussian_blur(offset, sigma, self.model.topology.uv_wraps_u)

    def _to_vertices(self, values: jax.Array) -> jax.Array:
        """Bicubic samples of [B, r, r, 3] at the vertices; the mean over the copies of a seam."""
        t = self.topology
        samples = sample_bicubic(values, t.uv, self.model.topology.uv_wraps_u)
        count = np.maximum(np.bincount(t.uv_vertex, minlength=t.num_vertices), 1)
        total = jnp.zeros((*samples.shape[:-2], t.num_vertices, 3), samples.dtype)
        total = total.at[..., t.uv_vertex, :].add(samples)
        return total / jnp.asarray(count, samples.dtype).reshape((1,) * (total.ndim - 2) + (-1, 1))

    def _make(self, maps, model, templates) -> Mesh:
        texture, normal_map, mask = templates
        size, wrap = self.options.texture_size, model.topology.uv_wraps_u
        batch = maps.shape[:-3]
        vertices = jnp.broadcast_to(model.mean_shape, (*batch, *model.mean_shape.shape))
        texture = jnp.broadcast_to(texture, (*batch, *texture.shape))
        normal_map = jnp.broadcast_to(normal_map, (*batch, *normal_map.shape))
        if self.codec.encoding == "offset":
            parts = self.offsets(maps)
            large = {k: resize(v, (size, size), "bicubic", wrap) for k, v in parts.items()}
            if "shape" in parts:
                offsets = self._to_vertices(parts["shape"])
                interior = self._interior(maps.shape[-2])
                vertices = vertices + (interior(offsets) if interior else offsets)
            if "texture" in parts:
                texture = texture + large["texture"]
            if "normals" in parts:
                normal_map = safe_normalize(normal_map + large["normals"])
        else:
            mask_low = self.codec.mask(maps.shape[-2])
            parts = {k: self._fill(v, mask_low) for k, v in self.codec.decode(maps).items()}
            if "shape" in parts:
                vertices = self._to_vertices(parts["shape"])
            if "texture" in parts:
                texture = resize(parts["texture"], (size, size), "bicubic", wrap)
            if "normals" in parts:
                normal_map = safe_normalize(resize(parts["normals"], (size, size), "bicubic", wrap))
        inside = mask.reshape((1,) * len(batch) + (*mask.shape, 1))
        return Mesh(
            vertices=vertices,
            topology=self.topology,
            texture=jnp.clip(texture, 0.0, 1.0),
            normal_map=jnp.where(inside, normal_map, 0.0),
        )
