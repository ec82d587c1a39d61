"""A photo on a fitted face: sampled where the photo sees the surface, completed by the model.

A texel takes the photo's colour where its surface point faces the camera, passes a depth test
against the whole head, and lies on what looks like skin or well inside the face. Elsewhere it takes
the model's albedo times a smooth colour ratio: measured where the photo is seen and carried on
along the surface by Laplace's equation on the mesh, so that the two agree at the seam and texture
charts do not matter. The photo's light stays in the texture unless the fitted light is given: then
the photo is divided by it first.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.mesh import MeshTopology
from facejax.image.sample import sample_bilinear
from facejax.image.skin import skin_mask
from facejax.morphable.model import MorphableModel, decode_texture
from facejax.recon import decoder
from facejax.render.interpolate import interpolate
from facejax.render.rasterize import rasterize
from facejax.render.shading import SphericalHarmonics, shade
from facejax.render.uv import bake, unbake, uv_atlas

DETAIL = 2  # pixels of the depth buffer per pixel of the crop
_DEPTH_GAP = 0.04  # dm
_FACING = (0.2, 0.5)  # cosine to the camera at which the photo starts to count, and counts fully
_CORE_PX = (6.0, 18.0)  # crop pixels inside the face from which the photo needs not look like skin
_OUTLINE_PX = (2.0, 8.0)  # crop pixels inside the head: a fit is not exact at its outline
_FEATHER = 0.025  # of the texture's side
_SMOOTH, _SCREEN = 0.02, 2e-6  # of ratios along the surface; pull of far-away ones to their mean
_DARK = 0.03
_SHADE = (0.6, 1.8)  # of the mean: what is darker or brighter is shadow or gloss, not this light
_SHADE_DM = 0.2  # over which the light is smoothed


class PhotoTexture(NamedTuple):
    """A completed texture.

    Attributes:
      texture: [T, T, 3] float32 in [0, 1], row 0 at v = 0.
      weight: [T, T] float32 in [0, 1], the photo's share.
    """

    texture: np.ndarray
    weight: np.ndarray


@functools.lru_cache(maxsize=8)
def textured_topology(model_topology, shape_key: bytes, num: int) -> MeshTopology:
    """A layout around the vertical axis for models without one; see `uv_topology`."""
    mesh = model_topology.mesh
    shape = np.frombuffer(shape_key, np.float32).reshape(num, 3)
    low, high = shape.min(axis=0), shape.max(axis=0)
    axis_z = low[2] - 0.1 * (high[2] - low[2])  # behind everything: no chart wraps
    angle = np.arctan2(shape[:, 0] - (low[0] + high[0]) / 2, shape[:, 2] - axis_z)
    u = 0.02 + 0.96 * (angle - angle.min()) / max(np.ptp(angle), 1e-6)
    v = 0.02 + 0.96 * (high[1] - shape[:, 1]) / max(high[1] - low[1], 1e-6)
    return MeshTopology(mesh.triangles, mesh.num_vertices, np.stack([u, v], axis=1))


def uv_topology(model: MorphableModel) -> MeshTopology:
    """The model's own UV layout, or a cylinder around the mean face where it has none."""
    mesh = model.topology.mesh
    if mesh.uv is not None:
        return mesh
    shape = np.asarray(model.mean_shape, np.float32)
    return textured_topology(model.topology, shape.tobytes(), len(shape))


@jax.jit
def _view(model, face):
    """What of the face a texture needs: per vertex [V, 4] and images of DETAIL * 224 pixels."""
    camera = decoder.Deep3DCamera()
    fine = camera.resized(DETAIL * camera.size)
    toward = np.array([[0.0, 0.0, camera.distance]], np.float32) - face.vertices
    toward = toward / jnp.linalg.norm(toward, axis=-1, keepdims=True)
    facing = jnp.sum(toward * face.normals_posed, axis=-1, keepdims=True)
    depth = face.camera_vertices[..., 2:]
    vertices = jnp.concatenate([face.pixels, depth, facing], axis=-1)
    position, size = decoder.clip(face.vertices, fine), (fine.size, fine.size)
    front = jnp.asarray(decoder.front_weights(model.topology))[:, None]
    mesh = model.topology.mesh
    fragments = rasterize(position, mesh, size)
    planes = interpolate(jnp.concatenate([depth, front], axis=-1), mesh, fragments)
    hit = fragments.triangle_id >= 0
    return vertices, jnp.where(hit, planes[..., 0], jnp.inf), planes[..., 1] * hit


def make_texture(
    model: MorphableModel,
    face: decoder.DecodedFace,
    tex_coeffs: jax.Array,
    photo: np.ndarray,
    box: tuple[float, float, float, float],
    size: int = 1024,
    gamma: jax.Array | None = None,
) -> PhotoTexture:
    """The texture of a face that was fitted to a crop of a photo.

    Args:
      model: the face model.
      face: decoded for a crop of 224, without batch dims.
      tex_coeffs: [D_alb], for the completing albedo.
      photo: [H, W, 3] uint8 RGB, the whole photo.
      box: the crop's (left, top, right, bottom) in the photo (`Transform.box`).
      size: T, side of the texture.
      gamma: [27] the fitted light, to be taken out of the photo's colours; None leaves it in.
    """
    from scipy import ndimage

    mesh = uv_topology(model)
    atlas = uv_atlas(mesh, size)
    vertices, depth, front = (np.asarray(a) for a in _view(model, face))
    texels = np.asarray(bake(atlas, vertices))
    pixels, texel_depth, facing = texels[..., :2], texels[..., 2], texels[..., 3]
    spot = np.stack([pixels[..., 0], 224 - pixels[..., 1]], axis=-1)  # crop, y down
    regions = np.asarray(bake(atlas, _photo_regions(model)))
    region, eye, mouth = np.moveaxis(regions, -1, 0)
    # eyeballs curve away within a few pixels; teeth and tongue are seen through a narrow gap
    weight = np.where(eye > 0.5, _ramp(facing, 0.0, 0.2), _ramp(facing, *_FACING))
    weight = np.where(mouth > 0.5, 1.0, weight) * region
    seen = texel_depth < _nearest(depth, spot / 224) + _DEPTH_GAP
    gap = ndimage.maximum_filter(np.where(np.isfinite(depth), depth, 0), 2 * DETAIL + 1)
    through = (mouth > 0.5) & (texel_depth < _nearest(gap, spot / 224) + _DEPTH_GAP)
    weight *= seen | through
    weight *= _nearest(_trusted(photo, box, front, depth), spot / 224)
    left, top, right, bottom = box
    place = spot / 224 * (right - left, bottom - top) + (left, top)
    height, width = photo.shape[:2]
    border = np.minimum(place, (width, height) - place).min(axis=-1)
    weight *= np.clip(border / 4, 0, 1)
    soft = _feather(weight, _FEATHER * size, atlas.wraps_u)
    weight = np.where(np.maximum(eye, mouth) > 0.5, weight, soft)  # they end at lids and lips
    colors = _sample(photo, place, weight, atlas.mask)
    if gamma is not None:
        colors = colors / _shading(mesh, face, gamma, atlas, weight)
    base = _albedo_texture(model, face, tex_coeffs, atlas, size)
    ratio = _extended_ratio(model, mesh, face, atlas, colors, base, weight)
    filled = (base + _DARK) * np.exp(np.asarray(bake(atlas, ratio))) - _DARK
    out = weight[..., None] * colors + (1 - weight[..., None]) * filled
    out = np.asarray(atlas.dilate(out.astype(np.float32), max(4, size // 128)))
    return PhotoTexture(np.clip(out, 0, 1), weight.astype(np.float32))


def _shading(mesh, face, gamma, atlas, weight):
    """[T, T, 3] the light that falls on the surface, 1 on average: bright light on dark skin looks
    like dim light on fair skin.

    Smooth, because the fitted creases lie beside the photo's; of one colour, because skin that is
    overexposed in one channel looks as if the light had another colour there.
    """
    from scipy import sparse
    from scipy.sparse import linalg

    white = np.ones(face.albedo.shape, np.float32)
    light = np.asarray(shade(SphericalHarmonics.deep3d(gamma), white, face.normals_posed))
    seen = np.asarray(unbake(atlas, weight[..., None]), np.float64)[:, 0]
    mean = (light * seen[:, None]).sum(axis=0) / max(seen.sum(), 1e-6)
    mean = np.maximum(mean, 0.1)
    edges = face.shape[mesh.triangles] - face.shape[np.roll(mesh.triangles, 1, axis=1)]
    reach = _SHADE_DM / float(np.median(np.linalg.norm(edges, axis=-1)))
    system = sparse.identity(len(light)) + reach**2 * _laplacian(mesh)
    relative = np.clip(light.mean(axis=1) / mean.mean(), *_SHADE).astype(np.float64)
    smooth = np.exp(linalg.splu(system.tocsc()).solve(np.log(relative)))
    baked = np.asarray(bake(atlas, smooth[:, None].astype(np.float32)))
    return np.maximum(baked, _SHADE[0]) * mean / mean.mean()  # beside the charts it is 0


def _laplacian(mesh):
    """The graph Laplacian of the mesh, sparse [V, V]."""
    from scipy import sparse

    i = mesh.triangles.reshape(-1)
    j = np.roll(mesh.triangles, 1, axis=1).reshape(-1)
    edges = sparse.coo_matrix((np.ones(len(i)), (i, j)), (mesh.num_vertices,) * 2).tocsr()
    edges = edges.maximum(edges.T)
    return sparse.diags(np.asarray(edges.sum(axis=1)).ravel()) - edges


def _ramp(x, low, high):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _nearest(image, uv):
    """Values at uv [..., 2] in [0, 1]; the border continues."""
    size = np.array(image.shape[1::-1])
    index = np.clip((np.nan_to_num(uv) * size).astype(int), 0, size - 1)
    return image[index[..., 1], index[..., 0]]


def _trusted(photo, box, front, depth):
    """[S, S] in [0, 1]: whether a pixel of the crop shows the face, not what surrounds it."""
    from PIL import Image
    from scipy import ndimage

    side = len(front)
    image = Image.fromarray(photo).transform(
        (side, side),
        Image.Transform.EXTENT,
        data=tuple(box),
        resample=Image.Resampling.BILINEAR,
    )
    skin = skin_mask(np.asarray(image)) > 100
    skin = ndimage.binary_closing(skin, iterations=3 * DETAIL)
    skin = ndimage.binary_erosion(skin, iterations=2 * DETAIL, border_value=1)
    inner = ndimage.binary_fill_holes(front > 0.5)  # with eyes and mouth
    inside = ndimage.distance_transform_edt(inner) / DETAIL
    outline = ndimage.distance_transform_edt(np.isfinite(depth)) / DETAIL
    trust = np.maximum(_ramp(inside, *_CORE_PX), ndimage.gaussian_filter(1.0 * skin, DETAIL))
    return trust * _ramp(outline, *_OUTLINE_PX)


def _photo_regions(model):
    """[V, 3] in [0, 1]: what may take the photo's colour; eyes; the inside of the mouth."""
    masks, none = model.topology.masks, np.float32(0)
    eye, mouth = masks.get("eye", none), masks.get("mouth_inside", none)
    region = np.maximum(decoder.front_weights(model.topology), masks.get("skin", none))
    region = np.maximum(region, np.maximum(eye, mouth)) * (1 - masks.get("hair", none))
    return np.stack(np.broadcast_arrays(region, eye, mouth), axis=1).astype(np.float32)


def _feather(weight, texels, wraps):
    """Weights that fall to zero smoothly before they end."""
    from scipy import ndimage

    pad = int(2 * texels) if wraps else 0
    wide = np.pad(weight, ((0, 0), (pad, pad)), mode="wrap") if pad else weight
    solid = ndimage.binary_opening(wide > 0.05, iterations=max(1, int(texels / 8)))
    distance = ndimage.distance_transform_edt(solid)
    wide = wide * _ramp(distance, 0, texels)
    return wide[:, pad : wide.shape[1] - pad] if pad else wide


def _sample(photo, place, weight, mask):
    """The photo at continuous pixels [T, T, 2]; made smaller first where texels are coarser."""
    from PIL import Image

    step = np.hypot(*np.moveaxis(np.diff(place, axis=1), -1, 0))
    seen = (weight[:, 1:] > 0.5) & mask[:, :-1]
    factor = int(np.median(step[seen]) if seen.any() else 1)
    height, width = photo.shape[:2]
    image = Image.fromarray(photo)
    if factor > 1:
        image = image.reduce(factor)
    image = np.asarray(image, np.float32) / 255
    uv = np.clip(np.nan_to_num(place) / (width, height), 0, 1).astype(np.float32)
    return np.asarray(sample_bilinear(image, uv))


def _albedo_texture(model, face, tex_coeffs, atlas, size):
    """[T, T, 3] the model's albedo."""
    from PIL import Image

    if model.tex_basis is None:
        return np.clip(np.asarray(bake(atlas, face.albedo)), 0, 1)
    texture = np.clip(np.asarray(decode_texture(model, tex_coeffs)), 0, 1)
    planes = [
        np.asarray(Image.fromarray(texture[..., c]).resize((size, size), Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    return np.clip(np.stack(planes, axis=-1), 0, 1)


def _extended_ratio(model, mesh, face, atlas, colors, base, weight):
    """[V, 3] log colour ratio of photo to model, harmonic where the photo sees nothing."""
    from scipy import sparse
    from scipy.sparse import linalg

    log = np.log(colors + _DARK) - np.log(base + _DARK)
    weight = weight**2  # from where the photo is seen best: its rim may show something else
    planes = np.concatenate([log * weight[..., None], weight[..., None]], axis=-1)
    values = np.asarray(unbake(atlas, planes.astype(np.float32)), np.float64)
    w = values[:, 3]
    known = values[:, :3] / np.maximum(w, 1e-6)[:, None]
    if w.sum() < 1e-3:
        return np.zeros((mesh.num_vertices, 3), np.float32)
    mean = (known * w[:, None]).sum(axis=0) / w.sum()
    num = mesh.num_vertices
    system = (sparse.diags(w + _SCREEN) + _SMOOTH * _laplacian(mesh)).tocsc()
    right = w[:, None] * known + _SCREEN * mean
    ratio = linalg.splu(system).solve(right)
    masks = model.topology.masks
    other = np.zeros(num)  # what has no skin colour keeps its hue
    for name in ("eye", "mouth_inside", "hair"):
        other = np.maximum(other, masks.get(name, 0))
    other = (other * (1 - np.clip(2 * w, 0, 1)))[:, None]
    ratio = ratio * (1 - other) + other * ratio.mean(axis=1, keepdims=True)
    dark = np.broadcast_to(np.asarray(masks.get("mouth_inside", 0.0))[..., None], (num, 1))
    ratio = ratio - dark * np.maximum(ratio, 0)  # no light falls there
    return ratio.astype(np.float32)
