"""Figures of a trained TBGAN, each beside the same figure of real maps.

Distances are between generated and real maps ('fake') and between two halves of real maps
('floor'); measures of the model use faces of one-hot labels ('fake') and real maps of the same
labels ('real'). Definitions: facejax/metrics; Karras et al. 2018 for SWD and MS-SSIM.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data.synthetic_uv import MorphableUVSource
from facejax.geometry.mesh import vertex_normals
from facejax.image.resample import resize
from facejax.io.images import to_uint8, write_image
from facejax.metrics import plausibility, uvmaps
from facejax.metrics.detector import face_detector
from facejax.metrics.distribution import distribution_figures
from facejax.nn.batching import in_batches
from facejax.render.uv import bake, uv_atlas
from facejax.systems.tbgan.gallery import BATCH, Gallery

_DETECTOR_FACES = 64
_NOISE_MM = 1.0  # of a coordinate of a generated shape map, against identities of unit variance
_TEXTURE_PIXELS = 64  # albedo is compared at this size: bases at full size would not fit


def _pictures(maps: np.ndarray, modality: slice, encoding: str) -> np.ndarray:
    """One modality in [0, 1], at least 32 pixels; offsets are shown at a quarter of their scale."""
    scale = 0.25 if encoding == "offset" else 0.5
    image = np.clip(maps[..., modality] * scale + 0.5, 0.0, 1.0)
    size = max(32, image.shape[-2])
    return np.asarray(resize(jnp.asarray(image), (size, size), "bilinear"))


def _measure_faces(gallery: Gallery, maps: np.ndarray) -> dict[str, np.ndarray]:
    """Vertices [N, V, 3] mm, texture [N, 64, 64, 3] and normal angle [N] degrees of maps' faces."""
    size = gallery.options.texture_size
    atlas = uv_atlas(gallery.maker.topology, (size, size))

    @jax.jit
    def angles(mesh):
        normals = vertex_normals(mesh.vertices, mesh.topology)
        return uvmaps.normal_angle_deg(bake(atlas, normals), mesh.normal_map, atlas.mask)

    def some(part):
        mesh = gallery.maker(part)
        small = resize(mesh.texture, (_TEXTURE_PIXELS, _TEXTURE_PIXELS))
        return {"vertices": mesh.vertices, "texture": small, "angle_deg": angles(mesh)}

    return in_batches(some, maps, BATCH)


def detected(gallery: Gallery, maps: np.ndarray) -> dict[str, Any] | None:
    """Share of frontal renders at 256 pixels in which a detector finds a face; None without one."""
    found = face_detector()
    if found is None:
        return None
    name, detect = found
    pictures = to_uint8(gallery.rendered(maps, [0.0], 256)[0])
    return {"detector": name, "share": float(np.mean([detect(p) for p in pictures]))}


def expression_coefficients(gallery: Gallery, maps: np.ndarray) -> np.ndarray:
    """How much of each expression a shape map holds, identity and expression fitted together.

    Args:
      gallery: makes faces of maps; its face model has the expressions.
      maps: [N, r, r, C] network channels.

    Returns:
      [N, K - 1] of the expressions after the neutral one; 1 is the expression in full.
    """
    resolution = maps.shape[-2]
    # on the maps, all smoothed alike: decoded meshes have lost half of a faint expression
    source = MorphableUVSource(gallery.maker.model, resolution, 1)
    identity, expressions = (
        np.asarray(gallery.maker.smoothed(basis)) for basis in source.shape_basis(resolution)
    )
    basis = np.concatenate([identity, expressions[1:]])
    # from the model's mean, whatever the maps are coded from
    mean = source.codec.mean_maps[resolution][..., source.codec.slices()["shape"]]
    shapes = gallery.maker.codec.decode(jnp.asarray(maps))["shape"]
    offsets = np.asarray(gallery.maker.smoothed(shapes - mean[None]))
    return uvmaps.project_coefficients(offsets, basis, _NOISE_MM**2)[:, len(identity) :]


def face_figures(gallery: Gallery, maps: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How well the faces of maps fit the face model that the data came from.

    Args:
      gallery: makes faces of maps.
      maps: [N, r, r, C].
      labels: [N] integers, the expression asked for.

    Returns:
      'shape_span_mm': RMS distance per vertex from the model's span of identities and expressions;
      'albedo_span': the same per colour value; 'label_accuracy': share of the shape maps whose most
      likely expression is the label, identity and expression fitted together; 'normals_deg':
      generated normals against those of the generated shape;
      'shape_std_mm', 'texture_std': standard deviation within one label.
    """
    from facejax.morphable import expression_presets

    model = gallery.maker.model
    found = _measure_faces(gallery, maps)
    names, presets = expression_presets(model)
    identity = np.asarray(model.id_basis) * np.asarray(model.id_std)[:, None, None]
    expression = np.tensordot(presets[1:], np.asarray(model.exp_basis), 1)
    offsets = found["vertices"] - np.asarray(model.mean_shape)
    span = np.concatenate([identity, expression])
    # distances per vertex, hence sqrt(3): span_distance averages over coordinates
    distance = uvmaps.span_distance(offsets, span) * np.sqrt(3.0)
    asked = uvmaps.nearest_label(expression_coefficients(gallery, maps), np.eye(len(names))[:, 1:])
    accuracy = float((asked == labels).mean())
    if model.tex_basis is not None:
        size = (_TEXTURE_PIXELS, _TEXTURE_PIXELS)
        basis = np.asarray(resize(model.tex_basis, size))
        mean = np.asarray(resize(model.mean_texture, size))
        albedo = float(uvmaps.span_distance(found["texture"] - mean, basis).mean())
    else:
        albedo = None
    vertices = found["vertices"][:, None]  # as [N, 1, V, 3] maps
    return {
        "shape_span_mm": float(distance.mean()),
        "albedo_span": albedo,
        "label_accuracy": accuracy,
        "normals_deg": float(found["angle_deg"].mean()),
        "shape_std_mm": float(np.nanmean(uvmaps.diversity_within_labels(vertices, labels))),
        "texture_std": float(np.nanmean(uvmaps.diversity_within_labels(found["texture"], labels))),
    }


def evaluate(
    system, gen, workdir: pathlib.Path, faces: bool = True, extractor=None
) -> dict[str, Any]:
    """All figures of a generator; JSON-able.

    Args:
      system: the TBGANSystem.
      gen: parameters of the (averaged) generator.
      workdir: of the run; a contact sheet of the measured faces is written there.
      faces: also what is measured on meshes and renders, where there is a face model.
      extractor: see `facejax.metrics.distribution.distribution_figures`.

    Raises:
      ValueError: there are no real maps, or fewer than four; maps that are not finite.
    """
    if system.config.data.source == "black":
        raise ValueError(
            "there are no real maps to compare with (data.source is 'black'): import the weights "
            "again with --data=DIR, a set of real maps"
        )
    gallery, config = system.gallery, system.config.evaluate
    source, resolution = gallery.source, gallery.stage[0]
    num, count = config.num_faces, max(system.net.label_size, 1)
    rng = np.random.default_rng(config.seed)
    # examples are drawn at random: real maps seen in training, in another order
    index = rng.choice(len(source), size=min(2 * num, len(source)), replace=False)
    half = len(index) // 2
    if half < 2:
        raise ValueError(f"evaluation needs at least 4 examples, the data set has {len(index)}")
    batches = [
        source.batch(i, resolution=resolution) for i in np.array_split(index, -(-len(index) // 64))
    ]
    real = np.concatenate([np.asarray(b["maps"]) for b in batches])[: 2 * half]
    labels = np.concatenate([np.asarray(b["labels"]) for b in batches])[:half]
    latents = gallery.latents(half, config.seed)
    fake = gallery.maps(gen, latents, labels)
    plausibility.check_finite(fake, "maps that the generator makes")
    plausibility.check_finite(real, "real maps")
    codec = source.codec
    encoding = codec.encoding if codec else "absolute"
    if codec:
        slices = codec.slices()
    else:
        ends = np.cumsum([w for _, w in system.net.modalities])
        slices = {n: slice(e - w, e) for (n, w), e in zip(system.net.modalities, ends, strict=True)}
    out: dict[str, Any] = {
        "num_faces": half,
        "resolution": resolution,
        "modalities": {
            name: distribution_figures(
                _pictures(fake, part, encoding),
                _pictures(real, part, encoding),
                jax.random.key(config.seed),
                extractor,
            )
            for name, part in slices.items()
        },
    }
    mask = codec.mask(resolution) if codec else np.ones((resolution, resolution), bool)
    if mask.all():
        out["energy_outside_mask"] = None  # the layout fills the whole square
    else:
        out["energy_outside_mask"] = {
            k: float(np.mean(uvmaps.energy_outside(m, mask)))
            for k, m in (("fake", fake), ("real", real))
        }
    if not faces or gallery.maker is None or not system.net.label_size:
        return out
    classes = np.arange(half) % count
    one_hot = np.eye(count, dtype=np.float32)[classes]
    fake = gallery.maps(gen, latents, one_hot)
    figures = {"fake": face_figures(gallery, fake, classes)}
    real_labelled = getattr(source, "labelled", None)
    if real_labelled is not None:
        figures["real"] = face_figures(gallery, real_labelled(index[:half], one_hot), classes)
    out["faces"] = {k: {which: f[k] for which, f in figures.items()} for k in figures["fake"]}
    shares = {"fake": detected(gallery, fake[:_DETECTOR_FACES])}
    if real_labelled is not None:
        some = slice(0, _DETECTOR_FACES)
        shares["real"] = detected(
            gallery, np.asarray(real_labelled(index[:half][some], one_hot[some]))
        )
    if shares["fake"] is not None:
        name = f"detected_{shares['fake']['detector']}"
        out["faces"][name] = {which: s["share"] for which, s in shares.items()}
    sheet = min(half, 8 * count)
    write_image(workdir / "evaluation_faces.png", gallery.contact_sheet(fake[:sheet], count))
    return out
