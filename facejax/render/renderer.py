"""Meshes to pictures: rasterising, shading and silhouettes put together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from facejax.geometry.camera import Camera, clip_from_object, depth_from_ndc
from facejax.geometry.mesh import Mesh
from facejax.image.color import linear_to_srgb, srgb_to_linear
from facejax.render import platform, shading
from facejax.render.antialias import antialias_planes
from facejax.render.deferred import DeferredShader
from facejax.render.materials import Lamps, Material
from facejax.render.platform import live, map_images, pin, planes, take, zero_cotangent
from facejax.render.rasterize import image_clip, triangle_ids
from facejax.render.silhouette import DEPTH_GAP, OUTSIDE, boundary_images
from facejax.render.topology import raster_topology

BACKGROUND = (0.75, 0.78, 0.82)
_BAND_PIXELS_CPU, _BAND_PIXELS_ACCELERATOR = 65536, 1 << 22
# Rows beyond a band that its silhouettes depend on.
_REACH = {"boundary": 3, "antialias": 1, "none": 0}
_MESH_RANKS = dict(vertices=2, vertex_colors=2, texture=3, normal_map=3)
_CAMERA_RANKS = dict(rotation=2, translation=1, focal=1, center=1, near=0, far=0)


@struct.dataclass
class RenderOutput:
    """A picture and what is seen in it. Row 0 is the top; batch dims lead.

    With supersampling, image and mask are averages; the others are taken at one sample per pixel.

    Attributes:
      image: [..., H, W, 3] over the background, in [0, 1] unless clipping was turned off.
      mask: [..., H, W] in [0, 1], coverage.
      depth: [..., H, W] mm along the viewing axis; the far plane's where nothing is hit.
      normal: [..., H, W, 3] unit, object space, as shaded; 0 where nothing is hit.
      triangle_id: [..., H, W] int32, -1 where nothing is hit.
      uv: [..., H, W, 2], or None for meshes without a UV layout.
      label: [..., H, W] int32, the segmentation by `labels`, -1 where nothing is hit; or None.
      attributes: [..., H, W, C], those of the vertices; 0 where nothing is hit; or None.
    """

    image: jax.Array
    mask: jax.Array
    depth: jax.Array
    normal: jax.Array
    triangle_id: jax.Array
    uv: jax.Array | None = None
    label: jax.Array | None = None
    attributes: jax.Array | None = None


@struct.dataclass
class _Options:
    """Everything static in one compiled call."""

    size: tuple = struct.field(pytree_node=False)
    supersample: int = struct.field(pytree_node=False)
    silhouette: str = struct.field(pytree_node=False)
    depth_gap: float = struct.field(pytree_node=False)
    cull: str = struct.field(pytree_node=False)
    color_space: str = struct.field(pytree_node=False)
    clip_colors: bool = struct.field(pytree_node=False)
    normal_map_space: str = struct.field(pytree_node=False)
    band_pixels: int = struct.field(pytree_node=False)
    cpu: bool = struct.field(pytree_node=False)


def render(
    mesh: Mesh,
    camera: Camera,
    light: shading.Light | tuple[shading.Light, ...] | None = None,
    size: tuple[int, int] = (256, 256),
    *,
    background: tuple | jax.Array = BACKGROUND,
    labels: np.ndarray | jax.Array | None = None,
    material: Material | None = None,
    attributes: jax.Array | None = None,
    supersample: int = 1,
    silhouette: str = "boundary",
    depth_gap: float = DEPTH_GAP,
    cull: str = "none",
    color_space: str = "srgb",
    clip_colors: bool = True,
    normal_map_space: str = "object",
    band_pixels: int | None = None,
) -> RenderOutput:
    """Renders a mesh; differentiable in mesh, camera, light and background.

    Colours come from the mesh's texture, else its vertex colours, else a plain grey; normals from
    its normal map, else its vertices. Shading is per pixel. Batch dims of mesh, camera, light and
    background broadcast. A vertex that is not finite takes its triangles away and nothing else:
    picture and gradients are those of the mesh without them.

    Args:
      mesh: batch dims [...].
      camera: batch dims [...].
      light: one light, a tuple of lights, or None for a soft key light; see facejax.render.shading.
      size: (height, width).
      background: [3] colour or [..., H, W, 3] image, in [0, 1], encoded like the albedo.
      labels: [F] int32, what each triangle is (`region_labels`, the material ids of
        `concatenate_meshes`), for the `label` output.
      material: how the surface reflects, for `Lamps`; batch dims [...].
      attributes: [..., V, C] of the vertices, for the `attributes` output.
      supersample: samples per pixel along each axis, for pictures.
      silhouette: 'boundary' for the gradient of moving silhouettes without touching the image,
        'antialias' to blend the pixels that silhouette edges cut, 'none'.
      depth_gap: ndc, see `boundary_grad`.
      cull: 'none', 'back' or 'front'.
      color_space: 'srgb' decodes colours, shades in linear light and encodes the result; 'raw' lets
        the light multiply the stored values, as the Deep3D family does.
      clip_colors: clips the image to [0, 1].
      normal_map_space: 'object', or 'tangent' for maps in the surface's frame (x along u, y against
        v, z out).
      band_pixels: images with more pixels (before averaging) are shaded in bands of rows whose
        intermediate values are recomputed for the gradient; None picks by platform.

    Returns:
      RenderOutput.

    Raises:
      ValueError: for an unknown option, labels that do not fit the triangles, or a texture or
        normal map without a UV layout.
    """
    cpu = platform.on_cpu()
    options = _Options(
        size=tuple(size),
        supersample=int(supersample),
        silhouette=silhouette,
        depth_gap=float(depth_gap),
        cull=cull,
        color_space=color_space,
        clip_colors=bool(clip_colors),
        normal_map_space=normal_map_space,
        band_pixels=band_pixels or (_BAND_PIXELS_CPU if cpu else _BAND_PIXELS_ACCELERATOR),
        cpu=cpu,
    )
    lights = shading.as_lights(light)
    _check(mesh, options, lights, material)
    background = jnp.asarray(background, jnp.float32)
    out = _render(mesh, camera, lights, background, material, attributes, options)
    if labels is None:
        return out
    return out.replace(label=_pixel_labels(labels, out.triangle_id, mesh.topology))


def _pixel_labels(labels, ids, topology):
    labels = jnp.asarray(labels, jnp.int32)
    if labels.shape != (len(topology.triangles),):
        raise ValueError(
            f"labels have shape {labels.shape}; wanted ({len(topology.triangles)},), one per "
            "triangle of the mesh."
        )
    return jnp.where(ids >= 0, take(labels, jnp.maximum(ids, 0)), -1)


def _check(mesh, options, lights, material):
    for name, allowed in (
        ("silhouette", tuple(_REACH)),
        ("cull", ("none", "back", "front")),
        ("color_space", ("srgb", "raw")),
        ("normal_map_space", ("object", "tangent")),
    ):
        if getattr(options, name) not in allowed:
            raise ValueError(f"{name} is {getattr(options, name)!r}; use one of {allowed}.")
    if options.supersample < 1:
        raise ValueError(f"supersample is {options.supersample}; use 1 or more.")
    if mesh.topology.uv is None and (mesh.texture is not None or mesh.normal_map is not None):
        raise ValueError(
            "the mesh has a texture or a normal map but its topology has no UV layout; build "
            "MeshTopology with uv, or use vertex_colors."
        )
    if material is None and any(isinstance(x, Lamps) for x in lights):
        raise ValueError(
            "Lamps need to know how the surface reflects; give material=Material(...)."
        )


@jax.jit
def _render(mesh, camera, lights, background, material, attributes, options):
    topology = mesh.topology
    surface = {k: getattr(mesh, k) for k in _MESH_RANKS if getattr(mesh, k) is not None}
    surface_ranks = {k: _MESH_RANKS[k] for k in surface}
    if material is not None:
        surface["material"] = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), material)
        surface_ranks["material"] = jax.tree.map(lambda _: 1, material)
    if attributes is not None:
        surface["attributes"], surface_ranks["attributes"] = jnp.asarray(attributes), 2
    ranks = (
        surface_ranks,
        camera.replace(**_CAMERA_RANKS),
        tuple(x.replace(**x.ranks) for x in lights),
        1 if background.ndim == 1 else 3,
    )
    image = functools.partial(_render_image, topology=topology, options=options)
    return map_images(image, (surface, camera, lights, background), ranks, options.cpu)


def _render_image(surface, camera, lights, background, *, topology, options):
    """One image. Everything channel-first as lists of planes until the very end."""
    scale = options.supersample
    size = (options.size[0] * scale, options.size[1] * scale)
    clip = _image_clip(camera, surface["vertices"], size)
    topo = raster_topology(topology)
    ids = triangle_ids(clip, topo, size, cull=options.cull, cpu=options.cpu)
    shader = DeferredShader(topology, options.color_space, options.normal_map_space, options.cpu)
    arrays = shader.arrays(surface, camera, lights, clip)
    buffers = _in_bands(shader, arrays, ids, _backdrop(background, options), options)
    (mask,), (ndc_z,) = buffers["mask"], buffers["ndc_z"]
    return RenderOutput(
        image=jnp.stack(buffers["image"], axis=-1),
        mask=mask,
        depth=depth_from_ndc(camera, ndc_z),
        normal=jnp.stack(buffers["normal"], axis=-1),
        triangle_id=_one_sample(ids, options.supersample),
        uv=jnp.stack(buffers["uv"], axis=-1) if "uv" in buffers else None,
        attributes=jnp.stack(buffers["attributes"], axis=-1) if "attributes" in buffers else None,
    )


def _image_clip(camera, vertices, size):
    """Clip planes of object-space vertices, y along the rows: planes are cheaper than matrices."""
    matrix = clip_from_object(camera, size)
    parts = planes(jnp.asarray(vertices, jnp.float32))
    # Zero times a NaN would be NaN in the camera's gradient: such vertices are taken out before the
    # product, and put back after it so that nothing is drawn with them.
    finite = functools.reduce(jnp.logical_and, [jnp.isfinite(p) for p in parts])
    x, y, z = (jnp.where(finite, p, 0.0) for p in parts)
    first, *rest = (m[0] * x + m[1] * y + m[2] * z + m[3] for m in matrix)
    return image_clip(jnp.stack([jnp.where(finite, first, jnp.nan), *rest], axis=-1))


def _backdrop(background, options):
    """The background as it is shaded: one colour, or an image of samples."""
    if options.color_space == "srgb":
        background = srgb_to_linear(background)
    if background.ndim == 3:
        for axis in (0, 1):
            background = jnp.repeat(background, options.supersample, axis=axis)
    return background


def _average(plane, scale):
    if scale == 1:
        return plane
    height, width = plane.shape
    return plane.reshape(height // scale, scale, width // scale, scale).mean(axis=(1, 3))


def _one_sample(buffer, scale):
    """The middle one of the samples of each pixel."""
    return buffer[scale // 2 :: scale, scale // 2 :: scale]


def _rows(shader, arrays, ids, backdrop, options, halo):
    """The picture and its buffers in rows of samples, less `halo` of them at either end."""
    buffers = shader.shade(arrays, ids, backdrop)
    color, depth = buffers.pop("color"), lax.stop_gradient(buffers["ndc_z"][0])
    clip, topology = arrays["clip"], raster_topology(shader.topology)
    if options.silhouette == "boundary":
        gap = (options.depth_gap, options.cpu)
        color = boundary_images(color, clip, topology.tri, ids, depth, gap)
    elif options.silhouette == "antialias":
        color = antialias_planes(color, clip, topology, ids, depth, options.cpu)
    own, scale = slice(halo, ids.shape[0] - halo), options.supersample

    def picture():
        *image, mask = [_average(c[own], scale) for c in color]
        if options.clip_colors:
            # not jnp.clip: a background of exactly 0 or 1 keeps its gradient, for silhouettes
            image = [jnp.where(c < 0, 0.0, jnp.where(c > 1, 1.0, c)) for c in image]
        if options.color_space == "srgb":
            image = [linear_to_srgb(c) for c in image]
        return dict(image=image, mask=[mask])

    samples = {k: [_one_sample(x[own], scale) for x in v] for k, v in buffers.items()}
    return samples | pin(live(ids, options.cpu), picture)


def _in_bands(shader, arrays, ids, backdrop, options):
    """`_rows` of the whole image: in bands for large images, computed again for the gradient."""
    height, width = ids.shape
    if height * width <= options.band_pixels:
        return _rows(shader, arrays, ids, backdrop, options, 0)
    num = -(-height // max(1, options.band_pixels // width))
    rows = -(-height // (num * options.supersample)) * options.supersample
    num = -(-height // rows)
    # Silhouettes look across the border: at the image itself for blending, else for the gradient.
    reach = _REACH[options.silhouette]
    blend_reach = reach if options.silhouette == "antialias" else 0
    margin = (reach, num * rows - height + reach)
    ids = jnp.pad(ids, (margin, (0, 0)), constant_values=OUTSIDE)
    scenery = None
    if backdrop.ndim == 3:
        taken = jnp.arange(num)[:, None] * rows + jnp.arange(rows + 2 * reach)[None]
        scenery = take(jnp.pad(backdrop, (margin, (0, 0), (0, 0))), taken)

    def extended(arrays, backdrop, scenery, ids, k, halo):
        start, size = k * rows + (reach - halo), rows + 2 * halo
        mine = lax.dynamic_slice_in_dim(ids, start, size)
        if scenery is not None:
            backdrop = scenery[reach - halo :][:size]
        clip = _stretched(arrays["clip"], (k * rows - halo).astype(jnp.float32), size, height)
        return _rows(shader, arrays | dict(clip=clip), mine, backdrop, options, halo)

    @jax.custom_vjp
    def band(*args):
        return extended(*args, halo=blend_reach)

    def backward(args, cotangents):
        _, pullback = jax.vjp(lambda *a: extended(*a, *args[3:], halo=reach), *args[:3])
        return *pullback(cotangents), *(zero_cotangent(a) for a in args[3:])

    band.defvjp(lambda *args: (band(*args), args), backward)
    steps = (scenery, jnp.arange(num, dtype=jnp.int32))
    out = lax.map(lambda x: band(arrays, backdrop, x[0], ids, x[1]), steps)
    shown = height // options.supersample
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:shown], out)


def _stretched(clip, top, rows, height):
    """Clip planes in which rows from `top` on are an image of their own."""
    x, y, z, w = clip
    return [x, (y + w * (1 - 2 * top / height)) * (height / rows) - w, z, w]
