"""The graph network's other use: the albedo of the vertices, from what the photo shows of them.

Lin et al. 2020, "Towards High-Fidelity 3D Face Reconstruction from In-the-Wild Images Using Graph
Convolutional Networks" (arXiv 2003.05653) and its code (FuxiCV/3D-Face-GCNs); its adversarial
variant is in `critic.py`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from facejax.geometry.math import safe_norm
from facejax.image.skin import skin_mask
from facejax.morphable import MorphableModel
from facejax.recon.decoder import DecodedFace, skin_weights

_SEEN = 0.5  # skin posterior above which a pixel counts
_FULLY_RENDERED = 0.2  # share of the reference term that stays


@dataclasses.dataclass(frozen=True)
class TextureWeights:
    """Weights inside the rendered part of the loss.

    Attributes:
      hidden: of the distance to the linear model's colour where the photo does not show a vertex.
      identity: of one minus the cosine of identity features.
      symmetry: of the difference between mirrored vertices.
      variance: of the colour variance over the skin.
      decay: of the squared weights of fully connected layers, outside.
    """

    hidden: float = 0.3
    identity: float = 0.2
    symmetry: float = 0.5
    variance: float = 0.01
    decay: float = 5e-4


def visible_colors(
    image: jax.Array, face: DecodedFace, size: int, skin: jax.Array | None = None
) -> jax.Array:
    """What the photo shows at every vertex: nearest pixel, and whether it counts.

    A vertex counts where its normal points to the camera and the pixel, with all around it, is
    skin; nothing asks whether another part of the head is in front.

    Args:
      image: [B, S, S, 3] in [0, 1].
      face: decoded; no gradient flows into it.
      size: S.
      skin: [B, S, S] posterior; None computes it.

    Returns:
      [B, V, 4]: colour in [-1, 1], zero where it does not count, and 1 or 0.
    """
    skin = skin_mask(image) if skin is None else skin
    eroded = lax.reduce_window(skin, np.inf, lax.min, (1, 3, 3), (1, 1, 1), "SAME")
    x, y = face.pixels[..., 0], size - face.pixels[..., 1]
    column, row = (jnp.floor(c).astype(jnp.int32) for c in (x, y))
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    flat = jnp.clip(row, 0, size - 1) * size + jnp.clip(column, 0, size - 1)
    pixels = image.reshape(image.shape[0], -1, 3)
    color = jnp.take_along_axis(pixels, flat[..., None], axis=1)
    seen = jnp.take_along_axis(eroded.reshape(image.shape[0], -1), flat, axis=1) > _SEEN
    seen = (seen & inside & (face.normals_posed[..., 2] > 0)).astype(jnp.float32)[..., None]
    return lax.stop_gradient(jnp.concatenate([(2 * color - 1) * seen, seen], axis=-1))


def painted(image: jax.Array, picture: jax.Array, share: jax.Array) -> jax.Array:
    """Photos with a rendered face over them, [B, S, S, 3]: what recogniser and critic see.

    Args:
      image: [B, S, S, 3] photos.
      picture: [B, S, S, 3] renders.
      share: [B, S, S] in [0, 1] of the render in a pixel: where it covers the photo's skin, so that
        hair and glasses stay in front. No gradient flows into it.
    """
    share = lax.stop_gradient(share)[..., None]
    return image + share * (picture - image)


def mirror_pairs(model: MorphableModel) -> np.ndarray:
    """[V] int32: the vertex nearest to the mirror image of each one on the mean face."""
    from scipy.spatial import cKDTree

    vertices = np.asarray(model.mean_shape)
    _, found = cKDTree(vertices).query(vertices * np.array([-1.0, 1.0, 1.0]))
    return found.astype(np.int32)


def texture_terms(
    face: DecodedFace,
    reference: DecodedFace,
    seen_color: jax.Array,
    mirror: np.ndarray,
    model: MorphableModel,
) -> dict[str, jax.Array]:
    """Unweighted terms; colours in [-1, 1] as in the original.

    Args:
      face: with the graph network's albedo, lit.
      reference: of the linear model, same light.
      seen_color: from `visible_colors`.
      mirror: from `mirror_pairs`.
      model: for its skin.

    Returns:
      'reference' (albedo against the linear model's), 'projected' (lit colour against the photo's),
      'hidden', 'symmetry' and 'variance'.
    """
    reference = lax.stop_gradient(reference)
    texture, base = 2 * face.albedo - 1, 2 * reference.albedo - 1
    color, base_color = 2 * face.color - 1, 2 * reference.color - 1
    photo, seen = seen_color[..., :3], seen_color[..., 3:]
    skin = skin_weights(model.topology)
    skin = (skin / max(float(skin.sum()), 1e-12)).reshape(1, -1, 1)
    mean = jnp.sum(texture * skin, axis=1, keepdims=True)
    return {
        "reference": jnp.mean(jnp.abs(texture - base)),
        "projected": jnp.mean(jnp.abs(color * seen - photo)),
        "hidden": jnp.mean(jnp.abs((color - base_color) * (1 - seen))),
        "symmetry": jnp.mean(safe_norm(texture - jnp.take(texture, mirror, axis=1))),
        "variance": jnp.mean(jnp.sum((texture - mean) ** 2 * skin, axis=1)),
    }


def texture_loss(
    terms: dict[str, jax.Array], params, rendered: jax.Array, weights: TextureWeights
) -> jax.Array:
    """The total: from the linear model's albedo over to the photo as `rendered` goes to 1.

    Args:
      terms: of `texture_terms`, and 'perceptual' where there is a recogniser.
      params: of the graph network.
      rendered: [] in [0, 1].
      weights: see `TextureWeights`.
    """
    dense = jax.tree_util.tree_leaves_with_path(params)
    squares = sum(
        0.5 * jnp.sum(leaf**2) for path, leaf in dense if any("fc" in str(p.key) for p in path)
    )
    photo = (
        terms["projected"]
        + weights.hidden * terms["hidden"]
        + weights.identity * terms.get("perceptual", 0.0)
        + weights.symmetry * terms["symmetry"]
        + weights.variance * terms["variance"]
    )
    kept = jnp.clip(1 - rendered, _FULLY_RENDERED, 1)
    return kept * terms["reference"] + rendered * photo + weights.decay * squares
