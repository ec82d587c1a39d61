"""What a camera sees of a person: surfaces of drawn numbers.

A `Look` turns a face model into more than its own mesh: skin, hair, clothes. `HeadLook` is the
face model alone.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.host.arrays import read_npy
from facejax.host.cache import cached
from facejax.host.files import atomic_path
from facejax.image.color import srgb_to_linear
from facejax.morphable import (
    FaceTopology,
    MorphableModel,
    decode_albedo,
    decode_texture,
    sample_coefficients,
)
from facejax.recon.decoder import skin_weights
from facejax.render.materials import SKIN_SPECULAR, Material
from facejax.render.visibility import lit_share, openness

# Roughness, reflectance at normal incidence and scattering of parts, by mask; later rows win.
PARTS = {
    "skin": (0.48, SKIN_SPECULAR, 1.0),
    "hair": (0.55, 0.04, 0.2),
    "brow": (0.6, 0.03, 0.6),
    "lips": (0.34, SKIN_SPECULAR, 1.0),
    "mouth_inside": (0.3, 0.03, 0.8),
    "teeth": (0.2, 0.045, 0.3),
    "eye": (0.06, 0.025, 0.1),
}
_RECIPE = "1"  # of the cached openness


@struct.dataclass
class Surface:
    """Everything that is seen of a person; batch dims lead.

    Attributes:
      mesh: object space, mm, colours and textures in linear light. The head's vertices come first.
      roughness, specular, scatter, openness: [..., N], as in `render.Material`.
      skin: [..., N] in [0, 1]: visible skin of the face, for the mask.
      alb: [..., D_alb] albedo coefficients nearest to what is seen; None for those drawn.
    """

    mesh: Mesh
    roughness: jax.Array
    specular: jax.Array
    scatter: jax.Array
    openness: jax.Array
    skin: jax.Array
    alb: jax.Array | None = None

    def material(self, direction: jax.Array, spread_mm: jax.Array, size: int) -> Material:
        """The material under a key lamp, with the shadows that it casts.

        Args:
          direction: [..., 3] toward the lamp, object space.
          spread_mm: [...], see `lit_share`.
          size: of the shadow map.
        """
        lit = lit_share(self.mesh.vertices, self.mesh.topology, direction, spread_mm, size)
        return Material(self.roughness, self.specular, self.scatter, self.openness, lit)


class Look(Protocol):
    """What a person looks like beyond the shape of the head.

    Hashed by identity: what `person` and `photo` return is data, everything else is compiled in or
    in `tables`.

    Attributes:
      topology: of `surface`'s mesh; the head's vertices and triangles come first.
      materials: names; `triangle_material` [F] int32 says which each triangle is. 0 is the head.
    """

    topology: MeshTopology
    materials: tuple[str, ...]
    triangle_material: np.ndarray

    def person(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Host: what stays with a person. float32; 'id' [D_id] and 'alb' [D_alb] among it."""

    def photo(self, rng: np.random.Generator, person: dict) -> dict[str, np.ndarray]:
        """Host: what changes between photos. float32; 'exp' [D_exp] among it."""

    def tables(self) -> Any:
        """A pytree that `surface` reads."""

    def surface(self, tables: Any, drawn: dict[str, jax.Array], vertices: jax.Array) -> Surface:
        """Device, traced: the surface around a head.

        Args:
          tables: of `tables`.
          drawn: what `person` and `photo` returned; batch dims [...].
          vertices: [..., V, 3] mm of the head, identity and expression included.
        """


def part_materials(topology: FaceTopology) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(roughness, specular, scatter) of a face model's vertices, [V] float32 each, by its masks."""
    table = np.empty((3, topology.mesh.num_vertices), np.float32)
    table[:] = np.array(PARTS["skin"], np.float32)[:, None]
    for name, values in PARTS.items():
        mask = topology.masks.get(name)
        if mask is not None:
            table += mask * (np.array(values, np.float32)[:, None] - table)
    return tuple(table)


def mean_openness(model: MorphableModel) -> np.ndarray:
    """[V] float32: ambient occlusion of a model's mean shape; a second, then cached."""
    topology = model.topology

    def make():
        return np.asarray(openness(model.mean_shape, topology.mesh), np.float32)

    def read(path):
        found = read_npy(path)
        if found.shape != (topology.mesh.num_vertices,) or found.dtype != np.float32:
            raise ValueError(f"found {found.shape}, wanted {topology.mesh.num_vertices} numbers")
        return found

    def write(path, value):
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, value)

    name = f"openness-{_RECIPE}-{topology.digest}.npy"
    return cached(name, f"ambient occlusion of {topology.name}", make, read, write)


class HeadLook:
    """A face model as it is: its albedo, materials by its masks, nothing worn.

    Args:
      model: the face model.
      id_scale, exp_scale, alb_scale: factors on the coefficients of `sample_coefficients`.
      textured: colours from the model's textures, where it has some, and not from its vertices.
    """

    materials = ("head",)

    def __init__(
        self,
        model: MorphableModel,
        id_scale: float = 1.0,
        exp_scale: float = 1.0,
        alb_scale: float = 1.0,
        textured: bool = True,
    ):
        self._model = model
        self._scales = id_scale, exp_scale, alb_scale
        self._textured = textured and model.mean_texture is not None
        self.topology = model.topology.mesh
        self.triangle_material = np.zeros(len(self.topology.triangles), np.int32)

    def person(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Identity and albedo."""
        id_scale, _, alb_scale = self._scales
        drawn = sample_coefficients(
            self._model, rng, 1, id_scale=id_scale, exp_scale=0.0, alb_scale=alb_scale
        )
        return {"id": np.float32(drawn.id[0]), "alb": np.float32(drawn.alb[0])}

    def photo(self, rng: np.random.Generator, person: dict) -> dict[str, np.ndarray]:
        """The expression."""
        del person
        drawn = sample_coefficients(self._model, rng, 1, exp_scale=self._scales[1])
        return {"exp": np.float32(drawn.exp[0])}

    def tables(self) -> Any:
        """The face model, and per vertex roughness, specular, scatter, openness and skin."""
        topology = self._model.topology
        fixed = (*part_materials(topology), mean_openness(self._model), skin_weights(topology))
        return self._model, tuple(jnp.asarray(x) for x in fixed)

    def surface(self, tables: Any, drawn: dict[str, jax.Array], vertices: jax.Array) -> Surface:
        """The head."""
        model, fixed = tables
        mesh = Mesh(vertices, self.topology)
        if self._textured:
            texture = decode_texture(model, drawn["alb"])
            mesh = mesh.replace(texture=srgb_to_linear(jnp.clip(texture, 0.0, 1.0)))
        else:
            colors = decode_albedo(model, drawn["alb"])
            mesh = mesh.replace(vertex_colors=srgb_to_linear(jnp.clip(colors, 0.0, 1.0)))
        batch = vertices.shape[:-2]
        fixed = [jnp.broadcast_to(x, (*batch, *x.shape)) for x in fixed]
        return Surface(mesh, *fixed)
