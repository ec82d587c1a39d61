"""People for photographs: heads with painted skin, hair, clothes and what else they wear."""

import dataclasses
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.attachments import (
    MATERIALS,
    Worn,
    attach,
    colors,
    load_wardrobe,
    material_ids,
    sample_worn,
    wardrobe,
)
from facejax.data.photographs.looks import HeadLook, Look, Surface, mean_openness, part_materials
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.image.color import srgb_to_linear
from facejax.morphable import MorphableModel, sample_coefficients
from facejax.morphable.makehuman import sample_attributes, sample_identity
from facejax.morphable.skin import SkinPaint, canvas, paint, sample_skin
from facejax.recon.decoder import skin_weights
from facejax.render.scene import concatenate_meshes

# Roughness, reflectance at normal incidence, scattering, by material of an attachment.
_WORN = {
    "hair": (0.6, 0.03, 0.15),
    "beard": (0.65, 0.03, 0.15),
    "frame": (0.3, 0.04, 0.0),
    "lens": (0.06, 0.04, 0.0),
    "hat": (0.9, 0.02, 0.0),
    "metal": (0.25, 0.6, 0.0),
    "cloth": (0.9, 0.02, 0.0),
}
_log = logging.getLogger(__name__)
_SPECULAR_UNIT = 0.08  # of painted specular maps: Burley 2012
_SKIN_FIELDS = tuple(f.name for f in dataclasses.fields(SkinPaint))
_DAILY = ("hat", "hat_color", "clothes", "clothes_color", "collar_color")  # change with the photo
_WORN_PREFIX = "worn_"
_COLOR_NOISE = 0.1  # sRGB, of what the albedo basis does not explain
_INDEPENDENT = 300  # colour values of a face that are, roughly


LOOKS = ("auto", "people", "head")


def choose_look(
    name: str,
    model: MorphableModel,
    *,
    id_scale: float = 1.0,
    exp_scale: float = 1.0,
    alb_scale: float = 1.0,
    texture_size: int = 256,
    textured: bool = True,
) -> Look:
    """A look by its name.

    Args:
      name: 'people', 'head' (the face model as it is), or 'auto': people if the model can.
      model: the face model.
      id_scale, exp_scale, alb_scale: factors on coefficients; the last of 'head' alone.
      texture_size: texels of painted skin along a side.
      textured: whether 'head' takes the model's texture, where it has one.

    Raises:
      ValueError: another name, or people of a model without UVs, 68 landmarks or ears.
    """
    if name not in LOOKS:
        raise ValueError(f"found the look {name!r}, wanted one of {LOOKS}")
    if name != "head":
        try:
            return PeopleLook(model, id_scale, exp_scale, texture_size)
        except ValueError as error:
            if name == "people":
                raise
            _log.info("faces of %s are shown as they are: %s", model.topology.name, error)
    return HeadLook(model, id_scale, exp_scale, alb_scale, textured)


class PeopleLook:
    """A `Look` of random people: age, sex and ancestry decide what goes together, loosely.

    Skin and hair belong to the person; expression, hat and clothes to the photo. The albedo
    coefficients among the labels are the nearest that the model's basis has to the painted skin.

    Args:
      model: with UVs, 68 landmarks and ears.
      id_scale, exp_scale: factors on identity and expression coefficients.
      texture_size: of the painted skin, texels on a side.
    """

    def __init__(
        self,
        model: MorphableModel,
        id_scale: float = 1.0,
        exp_scale: float = 1.0,
        texture_size: int = 256,
    ):
        self._model, self._scales = model, (id_scale, exp_scale)
        self._of_people = model.topology.name == "makehuman"  # whose identities know of people
        self._canvas, self._wardrobe = canvas(model, texture_size), load_wardrobe(model)
        head = Mesh(
            np.asarray(model.mean_shape), model.topology.mesh,
            texture=np.zeros((texture_size, texture_size, 3), np.float32),
        )  # fmt: skip
        worn_topology = wardrobe.topology()[0]
        added = Mesh(
            np.zeros((worn_topology.num_vertices, 3), np.float32), worn_topology,
            texture=np.zeros((colors.ROWS, colors.COLUMNS, 3), np.float32),
        )  # fmt: skip
        scene, part = concatenate_meshes([head, added])
        self.topology: MeshTopology = scene.topology
        self.materials = ("head", *MATERIALS)
        self.triangle_material = part.copy()
        self.triangle_material[part == 1] = 1 + material_ids()
        self._of_added = _vertex_materials(added.topology)

    def person(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Identity, skin, hair and glasses."""
        age, sex, ancestry = sample_attributes(rng, 1)
        if self._of_people:
            identity = sample_identity(rng, age, sex, ancestry, self._model.num_id)
        else:
            identity = sample_coefficients(self._model, rng, 1, exp_scale=0.0).id
        worn = sample_worn(rng, age, sex, ancestry)
        skin = sample_skin(rng, age, sex, ancestry)
        bald = worn.hair == 0
        skin = skin.replace(
            hair_melanin=worn.melanin, hair_red=worn.redness, hair_grey=worn.grey,
            scalp_hair=np.where(bald, 0.5 * skin.scalp_hair, 0.0).astype(np.float32),
        )  # fmt: skip
        values = np.concatenate([getattr(skin, name) for name in _SKIN_FIELDS])
        worn = {f.name: getattr(worn, f.name)[0] for f in dataclasses.fields(worn)}
        about = np.concatenate([age, sex, ancestry[0]])
        return {
            "id": np.float32(self._scales[0] * identity[0]),
            "alb": np.zeros(self._model.num_alb, np.float32),
            "about": about.astype(np.float32),
            "skin": values.astype(np.float32),
        } | {_WORN_PREFIX + k: v for k, v in worn.items()}

    def photo(self, rng: np.random.Generator, person: dict) -> dict[str, np.ndarray]:
        """Expression, hat and clothes."""
        drawn = sample_coefficients(self._model, rng, 1, exp_scale=self._scales[1])
        age, sex, *ancestry = person["about"]
        today = sample_worn(rng, np.array([age]), np.array([sex]), np.array([ancestry]))
        return {"exp": np.float32(drawn.exp[0])} | {
            _WORN_PREFIX + name: getattr(today, name)[0] for name in _DAILY
        }

    def _worn(self, drawn) -> Worn:
        return Worn(**{f.name: drawn[_WORN_PREFIX + f.name] for f in dataclasses.fields(Worn)})

    def tables(self) -> Any:
        """Canvas, wardrobe, solver of the albedo coefficients, and what vertices always have."""
        model = self._model
        basis = np.asarray(model.alb_basis) * np.asarray(model.alb_std)[:, None, None]
        basis = basis.reshape(model.num_alb, -1).astype(np.float64)
        noise = _COLOR_NOISE**2 * basis.shape[1] / _INDEPENDENT
        solve = np.linalg.solve(basis @ basis.T + noise * np.eye(len(basis)), basis)
        fixed = np.stack([part_materials(model.topology)[2], mean_openness(model)])
        fixed = np.stack([*fixed, skin_weights(model.topology)])
        return {
            "canvas": self._canvas,
            "wardrobe": self._wardrobe,
            "solve": jnp.asarray(solve, jnp.float32),
            "mean_albedo": jnp.asarray(model.mean_albedo),
            "head": jnp.asarray(fixed),
            "added": jnp.asarray(self._of_added),
        }

    def surface(self, tables: Any, drawn: dict[str, jax.Array], vertices: jax.Array) -> Surface:
        """Head and everything worn."""
        skin = SkinPaint(**{k: drawn["skin"][..., i] for i, k in enumerate(_SKIN_FIELDS)})
        maps = paint(tables["canvas"], skin)
        looks = jnp.concatenate(
            [maps.albedo, maps.roughness[..., None], maps.specular[..., None]], axis=-1
        )
        at = _at_vertices(self._model, looks)
        worn = self._worn(drawn)
        hair = self._model.topology.masks.get("hair")
        if hair is not None:
            share = jnp.asarray(hair / max(float(hair.sum()), 1.0))
            worn = worn.replace(scalp=jnp.einsum("v,...vc->...c", share, at[..., :3]))
        added = attach(tables["wardrobe"], vertices, worn)
        head = Mesh(vertices, self._model.topology.mesh, texture=maps.albedo)
        scene, _ = concatenate_meshes([head, added])
        scene = scene.replace(topology=self.topology, texture=srgb_to_linear(scene.texture))
        batch = vertices.shape[:-2]
        scatter, opened, seen = (jnp.broadcast_to(x, (*batch, len(x))) for x in tables["head"])
        rough, specular, through = (jnp.broadcast_to(x, (*batch, len(x))) for x in tables["added"])

        def joined(a, b):
            return jnp.concatenate([a, b], axis=-1)

        mean = tables["mean_albedo"].reshape((1,) * len(batch) + (-1, 3))
        off = (at[..., :3] - mean).reshape(*batch, -1)
        return Surface(
            scene,
            joined(at[..., 3], rough),
            joined(_SPECULAR_UNIT * at[..., 4], specular),
            joined(scatter, through),
            joined(opened, jnp.ones_like(rough)),
            joined(seen, jnp.zeros_like(rough)),
            alb=jnp.einsum("...n,kn->...k", off, tables["solve"], precision="highest"),
        )


def _vertex_materials(topology: MeshTopology) -> np.ndarray:
    """[3, N] roughness, specular, scatter of the vertices of attachments."""
    table = np.array([_WORN[name] for name in MATERIALS], np.float32).T
    out = np.zeros((3, topology.num_vertices), np.float32)
    for k in range(3):
        out[:, topology.triangles[:, k]] = table[:, material_ids()]
    return out


def _at_vertices(model: MorphableModel, maps: jax.Array) -> jax.Array:
    """[..., T, T, C] at the nearest texel of each vertex, [..., V, C]."""
    mesh = model.topology.mesh
    first = np.zeros(mesh.num_vertices, np.int64)
    first[mesh.triangles.reshape(-1)] = mesh.uv_triangles.reshape(-1)
    height, width = maps.shape[-3:-1]
    column = np.clip((mesh.uv[first, 0] * width).astype(int), 0, width - 1)
    row = np.clip((mesh.uv[first, 1] * height).astype(int), 0, height - 1)
    flat = maps.reshape(*maps.shape[:-3], height * width, maps.shape[-1])
    return jnp.take(flat, row * width + column, axis=-2)
