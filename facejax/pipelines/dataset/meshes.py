"""The surface of each face as a file."""

import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.mesh import Mesh
from facejax.io.meshes import save_mesh
from facejax.morphable import MorphableModel, decode_albedo, decode_shape, decode_texture

FORMATS = ("glb", "obj", "ply")


class MeshWriter:
    """Writes meshes/NNNNNN.FORMAT: object space, textured where the face model has a texture.

    Args:
      model: the face model.
      out: folder of the set.
      suffix: one of FORMATS.
    """

    def __init__(self, model: MorphableModel, out: pathlib.Path, suffix: str):
        self._model, self._out, self._suffix = model, out, suffix
        self._decode = jax.jit(_decode)

    def __call__(self, index: int, face: Mapping[str, np.ndarray]) -> None:
        """Writes the mesh of a face; called from several threads."""
        mesh = self._decode(self._model, face["id"], face["exp"], face["alb"])
        save_mesh(self._out / "meshes" / f"{index:06d}.{self._suffix}", mesh)


def _decode(model, id_coeffs, exp_coeffs, alb_coeffs):
    mesh = Mesh(decode_shape(model, id_coeffs, exp_coeffs), model.topology.mesh)
    if model.mean_texture is not None:
        return mesh.replace(texture=jnp.clip(decode_texture(model, alb_coeffs), 0.0, 1.0))
    return mesh.replace(vertex_colors=jnp.clip(decode_albedo(model, alb_coeffs), 0.0, 1.0))
