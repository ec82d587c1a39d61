"""The public verbs: load a face model, draw or decode faces, look at them, save them.

    import facejax as fj

    model = fj.load_morphable("procedural")
    face = fj.sample_face(model, seed=7)
    image = fj.render_image(face, fj.Camera.look_at(distance_mm=900.0), size=(256, 256))
    fj.save_asset("face.glb", face)

The verb is `render_image` and not `render`, because `facejax.render` is the package of the
rendering core: `facejax.render.render` gives the picture together with its depth, normals and mask.
"""

import difflib
import os
import pathlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh
from facejax.io.images import write_image
from facejax.io.meshes import save_mesh
from facejax.morphable import (
    Coefficients,
    MorphableModel,
    decode_albedo,
    decode_shape,
    decode_texture,
    expression_presets,
    load_morphable,
    sample_coefficients,
    split_coefficients,
)
from facejax.render.renderer import render
from facejax.render.shading import Light

__all__ = [
    "Camera",
    "Coefficients",
    "Mesh",
    "MorphableModel",
    "decode_face",
    "load_morphable",
    "render_image",
    "sample_face",
    "save_asset",
    "save_image",
]


def decode_face(model: MorphableModel, coefficients: Coefficients | jax.Array) -> Mesh:
    """The face of coefficients, textured if the model has a texture, else with vertex colours.

    Args:
      model: the face model.
      coefficients: `Coefficients`, of which the photo's part has no effect; or one vector
        [..., D_id + D_exp + D_alb].

    Returns:
      Mesh with the batch dims of the coefficients; colours clipped to [0, 1].

    Raises:
      ValueError: the coefficients have the wrong length for this model.
    """
    if not isinstance(coefficients, Coefficients):
        coefficients = split_coefficients(model, jnp.asarray(coefficients, jnp.float32))
    albedo = coefficients.alb
    vertices = decode_shape(model, coefficients.id, coefficients.exp)
    mesh = Mesh(vertices, model.topology.mesh)
    if model.mean_texture is not None:
        return mesh.replace(texture=jnp.clip(decode_texture(model, albedo), 0.0, 1.0))
    return mesh.replace(vertex_colors=jnp.clip(decode_albedo(model, albedo), 0.0, 1.0))


def sample_face(
    model: MorphableModel,
    seed: int = 0,
    expression: str | Mapping[str, float] | Sequence[float] | None = None,
    *,
    id_scale: float = 1.0,
    alb_scale: float = 1.0,
) -> Mesh:
    """A random person. The same seed is the same person, whatever the expression.

    Args:
      model: the face model.
      seed: of the identity, of the complexion and, where none is given, of the expression.
      expression: None to draw one; a preset ('neutral', 'happy', 'sad', 'surprise', 'fear',
        'disgust', 'anger'); weights in [0, 1] of named blendshapes, {'jawOpen': 0.5}; or all
        weights, [D_exp].
      id_scale: factor on the identity; 0 is the mean face.
      alb_scale: factor on the complexion; 0 is the mean one.

    Returns:
      Mesh without batch dims.

    Raises:
      ValueError: an unknown preset or blendshape, or the wrong number of weights.
    """
    rng = np.random.default_rng(seed)
    drawn = sample_coefficients(model, rng, 1, id_scale=id_scale, alb_scale=alb_scale)
    coefficients = jax.tree.map(lambda c: c[0], drawn)
    if expression is not None:
        coefficients = coefficients.replace(exp=_expression_weights(model, expression))
    return decode_face(model, coefficients)


def _expression_weights(model, expression):
    if isinstance(expression, str):
        names, weights = expression_presets(model)
        if expression not in names:
            raise ValueError(_unknown("expression", expression, names))
        return weights[names.index(expression)]
    if isinstance(expression, Mapping):
        weights = np.zeros(model.num_exp, np.float32)
        for name, weight in expression.items():
            if name not in model.topology.exp_index:
                raise ValueError(_unknown("blendshape", name, model.topology.exp_names))
            weights[model.topology.exp_index[name]] = weight
        return weights
    weights = np.asarray(expression, np.float32)
    if weights.shape != (model.num_exp,):
        raise ValueError(
            f"expression has shape {weights.shape}, wanted ({model.num_exp},) for the model "
            f"{model.topology.name!r}; name single blendshapes by a dict, {{'jawOpen': 0.5}}"
        )
    return weights


def _unknown(what, name, known):
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"found no {what} {name!r}, wanted one of {', '.join(known) or '(none)'}{hint}"


def render_image(
    face: Mesh,
    camera: Camera | None = None,
    light: Light | tuple[Light, ...] | None = None,
    size: tuple[int, int] = (256, 256),
    *,
    supersample: int = 2,
    **options,
) -> jax.Array:
    """A picture of a face.

    Args:
      face: Mesh; batch dims broadcast with those of camera and light.
      camera: None looks at the face's origin from 900 mm in front.
      light: a light or a tuple of lights of `facejax.render.shading`; None is a soft key light.
      size: (height, width) pixels.
      supersample: samples per pixel along each axis.
      **options: background, cull, color_space, ...: see `facejax.render.render`.

    Returns:
      [..., H, W, 3] float32 sRGB in [0, 1], row 0 at the top.

    Raises:
      ValueError: a size that is no pair of positive numbers, an unknown option.
    """
    if np.shape(size) != (2,) or min(size) < 1:
        raise ValueError(f"size is {size!r}, wanted (height, width) in pixels; use (256, 256)")
    camera = Camera.look_at() if camera is None else camera
    size = (int(size[0]), int(size[1]))
    return render(face, camera, light, size, supersample=supersample, **options).image


def save_asset(path: str | os.PathLike, face: Mesh) -> pathlib.Path:
    """Writes a face as .glb (metres), .obj or .ply (millimetres); see `facejax.io.meshes`.

    Args:
      path: the suffix chooses the format; folders are made.
      face: Mesh without batch dims.

    Returns:
      The path written.

    Raises:
      ValueError: an unknown suffix or a batch of faces.
    """
    return save_mesh(pathlib.Path(path), face)


def save_image(path: str | os.PathLike, image: jax.Array) -> pathlib.Path:
    """Writes a picture, .png or .jpg.

    Args:
      path: the suffix chooses the format; folders are made.
      image: [H, W] or [H, W, C], float in [0, 1] or uint8.

    Returns:
      The path written.

    Raises:
      ValueError: an unknown suffix or the wrong shape.
    """
    return write_image(pathlib.Path(path), image)
