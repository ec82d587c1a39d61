"""Linear 3D morphable face models: the pytree, its static part, decoding and coefficients.

shape  = mean_shape  + sum_k a_k id_std_k id_basis_k + sum_j e_j exp_std_j exp_basis_j
albedo = mean_albedo + sum_k b_k alb_std_k alb_basis_k           (Blanz and Vetter 1999, eq. 1)

Identity and albedo coefficients have unit variance. Expression coefficients are weights in [0, 1]
for blendshape models (`exp_std` is 1 there) and unit variance for PCA expressions.

Frame: right-handed, millimetres, y up, z out of the face, x = the subject's left.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry.mesh import MeshTopology


class FaceTopology:
    """What identity and expression never change; numpy arrays, hashed and compared by identity.

    Attributes:
      mesh: triangles and UV layout.
      landmarks68: [68] int32 vertex ids, iBUG order (0 = the subject's right jaw = image left).
      landmarks5: [5] int32 vertex ids: image-left eye, image-right eye, nose tip, image-left and
        image-right mouth corner.
      masks: name -> [V] float32 in [0, 1].
      exp_names: names of the expressions, one per component, or () for PCA expressions.
      name: family of the model: 'procedural', 'ict', ...
      digest: content hash of the whole model, for caches and for telling models apart.
      source: where the model comes from, one sentence.
      licence: its terms, one sentence or the full text.
      uv_wraps_u: whether u = 0 and u = 1 are the same line of the surface.
      parts: name -> [N] int32 sorted triangle ids, 'skin', 'eye', 'upper_teeth', ...; no triangle
        is in two of them; {} for models that do not tell.
    """

    def __init__(
        self,
        mesh: MeshTopology,
        landmarks68: np.ndarray,
        landmarks5: np.ndarray,
        masks: dict[str, np.ndarray],
        exp_names: tuple[str, ...],
        name: str,
        digest: str,
        source: str = "",
        licence: str = "",
        uv_wraps_u: bool = False,
        parts: dict[str, np.ndarray] | None = None,
    ):
        self.mesh = mesh
        self.landmarks68 = np.ascontiguousarray(landmarks68, np.int32)
        self.landmarks5 = np.ascontiguousarray(landmarks5, np.int32)
        self.masks = {k: np.ascontiguousarray(v, np.float32) for k, v in masks.items()}
        self.exp_names = tuple(str(n) for n in exp_names)
        self.name, self.digest = str(name), str(digest)
        self.source, self.licence = str(source), str(licence)
        self.uv_wraps_u = bool(uv_wraps_u)
        self.parts = {k: np.ascontiguousarray(v, np.int32) for k, v in (parts or {}).items()}

    @functools.cached_property
    def exp_index(self) -> dict[str, int]:
        """Number of each named expression."""
        return {name: i for i, name in enumerate(self.exp_names)}


@struct.dataclass
class MorphableModel:
    """A linear face model; a pytree: pass it to jitted functions as an argument, not by closure.

    Attributes:
      mean_shape: [V, 3] mm.
      id_basis: [D_id, V, 3], directions; id_std: [D_id], mm where the directions have unit norm.
      exp_basis: [D_exp, V, 3] mm at weight 1; exp_std: [D_exp].
      mean_albedo: [V, 3] sRGB in [0, 1]; alb_basis: [D_alb, V, 3]; alb_std: [D_alb].
      mean_texture: [T, T, 3] sRGB, row 0 at v = 0, or None: the albedo at texture resolution.
      tex_basis: [D_alb, T, T, 3] or None: shares `alb_std` and the albedo coefficients.
      topology: static.
    """

    mean_shape: jax.Array
    id_basis: jax.Array
    id_std: jax.Array
    exp_basis: jax.Array
    exp_std: jax.Array
    mean_albedo: jax.Array
    alb_basis: jax.Array
    alb_std: jax.Array
    mean_texture: jax.Array | None
    tex_basis: jax.Array | None
    topology: FaceTopology = struct.field(pytree_node=False)

    @property
    def num_vertices(self) -> int:
        """V."""
        return self.topology.mesh.num_vertices

    @property
    def num_id(self) -> int:
        """D_id."""
        return self.id_std.shape[0]

    @property
    def num_exp(self) -> int:
        """D_exp."""
        return self.exp_std.shape[0]

    @property
    def num_alb(self) -> int:
        """D_alb."""
        return self.alb_std.shape[0]


@struct.dataclass
class Coefficients:
    """Coefficients of one or many faces; batch dims lead.

    The last three say how a photo shows the face (`facejax.recon.decoder`), and are None where
    there is no photo.

    Attributes:
      id: [..., D_id], unit variance.
      exp: [..., D_exp]: unit variance for PCA expressions, weights (0 neutral to 1 full) for
        blendshapes.
      alb: [..., D_alb] albedo, unit variance.
      angles: [..., 3] radians about x, y, z, or None.
      gamma: [..., 27] light: spherical harmonics, nine each for R, G, B; 0 is dim ambient light;
        or None.
      trans: [..., 3] decimetres, or None.
    """

    id: jax.Array
    exp: jax.Array
    alb: jax.Array
    angles: jax.Array | None = None
    gamma: jax.Array | None = None
    trans: jax.Array | None = None


def _linear(mean: jax.Array, *terms: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """mean + sum of (coeffs * std) @ basis: one matrix product per term."""
    batch = jnp.broadcast_shapes(*(coeffs.shape[:-1] for coeffs, _, _ in terms))
    total = jnp.broadcast_to(mean.reshape(-1), (*batch, mean.size))
    for coeffs, std, basis in terms:
        if coeffs.shape[-1] != std.shape[0]:
            raise ValueError(
                f"found coefficients of shape {coeffs.shape}, wanted [..., {std.shape[0]}] for "
                "this model; pad with zeros or load the model with another number of components"
            )
        scaled = coeffs * jnp.broadcast_to(std, coeffs.shape)
        offset = scaled @ basis.reshape(basis.shape[0], -1)
        total = total + jnp.broadcast_to(offset, total.shape)
    return total.reshape(*batch, *mean.shape)


def decode_shape(model: MorphableModel, id_coeffs: jax.Array, exp_coeffs: jax.Array) -> jax.Array:
    """Vertices, [..., V, 3] mm.

    Args:
      model: the face model.
      id_coeffs: [..., D_id], unit variance.
      exp_coeffs: [..., D_exp]; batch dims broadcast against those of `id_coeffs`.
    """
    return _linear(
        model.mean_shape,
        (jnp.asarray(id_coeffs), model.id_std, model.id_basis),
        (jnp.asarray(exp_coeffs), model.exp_std, model.exp_basis),
    )


def decode_albedo(model: MorphableModel, alb_coeffs: jax.Array) -> jax.Array:
    """Albedo per vertex, [..., V, 3] sRGB; linear in the coefficients, hence not clipped to [0, 1].

    Args:
      model: the face model.
      alb_coeffs: [..., D_alb], unit variance.
    """
    return _linear(model.mean_albedo, (jnp.asarray(alb_coeffs), model.alb_std, model.alb_basis))


def decode_texture(model: MorphableModel, alb_coeffs: jax.Array) -> jax.Array:
    """Albedo texture, [..., T, T, 3] sRGB, row 0 at v = 0; linear, hence not clipped to [0, 1].

    Args:
      model: a model with textures.
      alb_coeffs: [..., D_alb], unit variance.

    Raises:
      ValueError: the model has albedo per vertex only.
    """
    if model.tex_basis is None:
        raise ValueError(
            f"the model {model.topology.name!r} has no textures (mean_texture is None), "
            "decode_texture needs them; use decode_albedo (colours per vertex) and bake them"
        )
    return _linear(model.mean_texture, (jnp.asarray(alb_coeffs), model.alb_std, model.tex_basis))


def landmarks(model: MorphableModel, vertices: jax.Array, kind: int = 68) -> jax.Array:
    """Landmark positions, [..., 68, 3] or [..., 5, 3], in the unit of the vertices.

    Args:
      model: the face model.
      vertices: [..., V, 3].
      kind: 68 (iBUG order) or 5 (eyes, nose tip, mouth corners; image left first).

    Raises:
      ValueError: another kind.
    """
    ids = {68: model.topology.landmarks68, 5: model.topology.landmarks5}
    if kind not in ids:
        raise ValueError(f"found landmark kind {kind!r}, wanted 68 or 5")
    return jnp.take(vertices, ids[kind], axis=-2)


def split_coefficients(model: MorphableModel, coeffs: jax.Array) -> Coefficients:
    """Cuts one vector [..., D_id + D_exp + D_alb] into identity, expression and albedo.

    Raises:
      ValueError: the vector has another length.
    """
    want = model.num_id + model.num_exp + model.num_alb
    if coeffs.shape[-1] != want:
        raise ValueError(
            f"found a coefficient vector of length {coeffs.shape[-1]}, wanted {want} = "
            f"{model.num_id} identity + {model.num_exp} expression + {model.num_alb} albedo; "
            "use the model that the vector was made with"
        )
    a, b = model.num_id, model.num_id + model.num_exp
    return Coefficients(coeffs[..., :a], coeffs[..., a:b], coeffs[..., b:])


def join_coefficients(coeffs: Coefficients) -> jax.Array:
    """One vector of the parts that there are, in their order; batch dims broadcast.

    [..., D_id + D_exp + D_alb] without a photo: the inverse of `split_coefficients`.
    """
    parts = [getattr(coeffs, field.name) for field in dataclasses.fields(coeffs)]
    parts = [part for part in parts if part is not None]
    batch = jnp.broadcast_shapes(*(p.shape[:-1] for p in parts))
    return jnp.concatenate([jnp.broadcast_to(p, (*batch, p.shape[-1])) for p in parts], axis=-1)
