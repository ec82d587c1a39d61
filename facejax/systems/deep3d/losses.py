"""The training losses, put together: R-Net through the renderer, and the graph network.

Deng et al. 2019 (arXiv 1903.08527) for R-Net, steventai0212/GCN_ResNet for the graph network; the
single terms are in `facejax.losses`. Landmark distances count in pixels of a crop of 224, whatever
the size of the images, so that the published weights keep their meaning.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from facejax import losses
from facejax.morphable import Coefficients, MorphableModel
from facejax.recon.decoder import (
    MM_PER_DM,
    DecodedFace,
    Deep3DCamera,
    clip,
    decode,
    front_weights,
    render_face,
    skin_weights,
)
from facejax.recon.landmark_step import landmark_step
from facejax.render import interpolate, rasterize

_REFERENCE_SIZE = Deep3DCamera().size


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights; 0 leaves a term out.

    Attributes:
      photo, landmark, perceptual, gamma, reflectance: of R-Net's terms.
      coefficients: of the prior, in which id, exp and tex weigh as the next three say.
      id, exp, tex: see `coefficients`.
      landmark_focus: weight of nose bridge and inner lips among the landmarks.
      fit: of the distance, in squared mm, to the shape that the landmarks ask for, see
        `facejax.recon.landmark_step`; the originals lack it.
      form: 'pytorch' or 'tensorflow', see `facejax.losses`.
      inner_face: what the photometric loss counts as rendered inner face: 'separate' draws it
        alone, as the originals do, 'visible' is what shows of it in the whole render and saves a
        rasterisation. They differ where hair or ears hide a cheek.
      graph_landmark, graph_shape, graph_normal: of the graph network's published terms.
      graph_photo, graph_perceptual, graph_smooth, graph_fit: of terms that the original lacks:
        photo and identity of the refined mesh, the Laplacian of its offset from the linear model,
        and `fit` of the refined mesh.
    """

    photo: float = 1.92
    landmark: float = 1.6e-3
    perceptual: float = 0.2
    coefficients: float = 3e-4
    id: float = 1.0
    exp: float = 0.8
    tex: float = 0.017
    gamma: float = 10.0
    reflectance: float = 5.0
    landmark_focus: float = 20.0
    fit: float = 0.0
    form: str = "pytorch"
    inner_face: str = "separate"
    graph_landmark: float = 1.6e-3
    graph_shape: float = 100.0
    graph_normal: float = 100.0
    graph_photo: float = 0.0
    graph_perceptual: float = 0.0
    graph_smooth: float = 0.0
    graph_fit: float = 0.0


def landmark_terms(
    face: DecodedFace, landmarks: jax.Array, size: int, focus: float = 20.0
) -> dict[str, jax.Array]:
    """'landmark' (weighted, squared pixels of 224); for people the mean of the photos' roots of it,
    'landmark_px', and 'nme' in percent.

    Args:
      face: decoded, batch dims [B].
      landmarks: [B, 68, 2] pixels of the image, y up.
      size: side of the image.
      focus: weight of nose bridge and inner lips.
    """
    scale = _REFERENCE_SIZE / size
    weights = np.where(losses.LANDMARK_WEIGHTS > 1, focus, 1.0)
    term = losses.landmark(scale * face.landmarks_px, scale * landmarks, weights)
    extent = jnp.max(landmarks, axis=-2) - jnp.min(landmarks, axis=-2)
    length = jnp.sqrt(jnp.prod(extent, axis=-1))
    distance = jnp.linalg.norm(face.landmarks_px - landmarks, axis=-1).mean(axis=-1)
    # the root of every photo: that of their mean would depend on how devices share the batch
    each = jax.vmap(losses.landmark, (0, 0, None))(
        scale * lax.stop_gradient(face.landmarks_px), scale * landmarks, weights
    )
    root = jnp.mean(jnp.sqrt(each))
    return {"landmark": term, "landmark_px": root, "nme": 100 * jnp.mean(distance / length)}


def fit_terms(
    model: MorphableModel,
    face: DecodedFace,
    coeffs: Coefficients,
    landmarks: jax.Array,
    size: int,
    cfg: LossConfig,
    weight: float,
) -> dict[str, jax.Array]:
    """'fit': mean squared distance, mm^2, of a face to the shape that the landmarks ask for.

    Args:
      model: the face model.
      face: decoded or refined, batch dims [B].
      coeffs: R-Net's, from which that shape is found; no gradient flows into them.
      landmarks: [B, 68, 2] pixels of the image, y up.
      size: side of the image.
      cfg: for the priors of identity and expression.
      weight: of the term, which is left out for 0.
    """
    if not weight:
        return {}
    coeffs = lax.stop_gradient(coeffs)
    wanted = landmark_step(model, coeffs, _REFERENCE_SIZE / size * landmarks, cfg.id, cfg.exp)
    region = front_weights(model.topology)
    squares = jnp.sum((face.shape - decode(model, wanted).shape) ** 2, axis=-1)
    return {"fit": MM_PER_DM**2 * jnp.mean(squares @ (region / region.sum()))}


def prior_terms(
    model: MorphableModel, coeffs: Coefficients, face: DecodedFace, cfg: LossConfig
) -> dict[str, jax.Array]:
    """'coefficients', 'gamma' and 'reflectance'."""
    return {
        "coefficients": losses.coefficient_prior(coeffs, cfg.id, cfg.exp, cfg.tex),
        "gamma": losses.gamma_prior(coeffs.gamma),
        "reflectance": losses.reflectance(face.albedo, skin_weights(model.topology)),
    }


def render_with_inner(
    model: MorphableModel, face: DecodedFace, camera: Deep3DCamera, cfg: LossConfig
) -> tuple[jax.Array, jax.Array]:
    """The face on black, [B, S, S, 3], and the mask of its inner part, [B, S, S]."""
    if cfg.inner_face == "separate":
        picture, _ = render_face(model, face, camera)
        return picture, render_face(model, face, camera, front_only=True)[1]
    mesh = model.topology.mesh
    fragments = rasterize(clip(face.vertices, camera), mesh, (camera.size, camera.size))
    inside = front_weights(model.topology)[mesh.triangles].min(axis=1)
    inside = np.append(inside, np.float32(0))  # triangle -1: nothing hit
    return interpolate(face.color, mesh, fragments), jnp.asarray(inside)[fragments.triangle_id]


def photo_term(
    rendered: jax.Array, image: jax.Array, skin: jax.Array, inner: jax.Array, cfg: LossConfig
) -> jax.Array:
    """Mean colour distance where the photo shows skin and the render shows the inner face.

    Args:
      rendered, image: [B, S, S, 3] in [0, 1].
      skin: [B, S, S] attention of the photo, in [0, 1].
      inner: [B, S, S] mask of the rendered inner face.
      cfg: for the form.
    """
    return losses.photometric(rendered, image, skin * inner, cfg.form)


def graph_terms(
    face: DecodedFace, reference: DecodedFace, topology, cfg: LossConfig
) -> dict[str, jax.Array]:
    """'shape', 'normal' and 'smooth': the refined mesh against that of the linear model.

    Args:
      face: assembled from the graph network's vertices.
      reference: decoded from the coefficients; no gradient flows into it.
      topology: of the mesh.
      cfg: decides whether 'smooth' is computed.
    """
    reference = lax.stop_gradient(reference)
    terms = {
        "shape": losses.gcn_shape(face.shape, reference.shape),
        "normal": losses.gcn_normal(face.normals, reference.normals),
    }
    if cfg.graph_smooth:
        terms["smooth"] = losses.laplacian_smoothness(face.shape, topology, reference.shape)
    return terms


def weighted_sum(terms: dict[str, jax.Array], cfg: LossConfig, prefix: str = "") -> jax.Array:
    """Total of the terms that have a weight `prefix + name` in the config; others are ignored."""
    weights = dataclasses.asdict(cfg)
    return sum(
        (
            weights[prefix + name] * value
            for name, value in terms.items()
            if prefix + name in weights
        ),
        start=jnp.zeros(()),
    )
