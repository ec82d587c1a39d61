"""Meshes to pictures: rasterising, shading and silhouettes put together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from facejax.geometry.camera import Camera, clip_from_object, depth_from_ndc
from facejax.geometry.mesh import Mesh, vertex_normals
from facejax.image.color import linear_to_srgb, srgb_to_linear
from facejax.render import platform, shading
from facejax.render.interpolate import interpolate_planes
from facejax.render.platform import live, map_images, pin, planes, sum_products, take
from facejax.render.rasterize import barycentrics, image_clip, triangle_ids
from facejax.render.scene import PLAIN_ALBEDO
from facejax.render.silhouette import DEPTH_GAP, antialias_planes, boundary_planes
from facejax.render.texture import texture_planes
from facejax.render.topology import raster_topology, uv_layout

BACKGROUND = (0.75, 0.78, 0.82)
_BAND_PIXELS_CPU, _BAND_PIXELS_ACCELERATOR = 65536, 1 << 22
_SILHOUETTES = ("boundary", "antialias", "none")
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
    """

    image: jax.Array
    mask: jax.Array
    depth: jax.Array
    normal: jax.Array
    triangle_id: jax.Array
    uv: jax.Array | None = None
    label: jax.Array | None = None


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
    background broadcast.

    Args:
      mesh: batch dims [...].
      camera: batch dims [...].
      light: one light, a tuple of lights, or None for a soft key light; see facejax.render.shading.
      size: (height, width).
      background: [3] colour or [..., H, W, 3] image, in [0, 1], encoded like the albedo.
      labels: [F] int32, what each triangle is (`region_labels`, the material ids of
        `concatenate_meshes`), for the `label` output.
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
    _check(mesh, options)
    lights = shading.as_lights(light)
    background = jnp.asarray(background, jnp.float32)
    out = _render(mesh, camera, lights, background, options)
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


def _check(mesh, options):
    for name, allowed in (
        ("silhouette", _SILHOUETTES),
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


@jax.jit
def _render(mesh, camera, lights, background, options):
    topology = mesh.topology
    surface = {k: getattr(mesh, k) for k in _MESH_RANKS if getattr(mesh, k) is not None}
    ranks = (
        {k: _MESH_RANKS[k] for k in surface},
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
    scene = _Scene(surface, camera, lights, topology, options)
    buffers = _in_bands(scene, clip, ids)
    hit = ids >= 0
    backdrop = _backdrop(background, size, options)
    color = [jnp.where(hit, c, b) for c, b in zip(buffers["color"], backdrop, strict=True)]
    color.append(hit.astype(jnp.float32))
    depth = lax.stop_gradient(buffers["ndc_z"])
    if options.silhouette == "boundary":
        bary = lax.stop_gradient(buffers["bary"])
        color = boundary_planes(
            color, clip, topo.tri, ids, bary, depth, (options.depth_gap, options.cpu)
        )
    elif options.silhouette == "antialias":
        color = antialias_planes(color, clip, topo, ids, depth, options.cpu)
    *color, mask = color
    image = _encode(color, scale, options.clip_colors, options.color_space)

    def pick(plane):
        return plane[scale // 2 :: scale, scale // 2 :: scale]

    uv = buffers.get("uv")
    return RenderOutput(
        image=image,
        mask=_average(mask, scale),
        depth=depth_from_ndc(camera, pick(buffers["ndc_z"])),
        normal=jnp.stack([pick(n) for n in buffers["normal"]], axis=-1),
        triangle_id=pick(ids),
        uv=None if uv is None else jnp.stack([pick(x) for x in uv], axis=-1),
    )


def _image_clip(camera, vertices, size):
    """Clip planes of object-space vertices, y along the rows: planes are cheaper than matrices."""
    matrix = clip_from_object(camera, size)
    x, y, z = planes(jnp.asarray(vertices, jnp.float32))
    rows = [m[0] * x + m[1] * y + m[2] * z + m[3] for m in matrix]
    return image_clip(jnp.stack(rows, axis=-1))


def _backdrop(background, size, options):
    if options.color_space == "srgb":
        background = srgb_to_linear(background)
    if background.ndim == 1:
        return [jnp.broadcast_to(c, size) for c in planes(background)]
    scale = options.supersample
    return [jnp.repeat(jnp.repeat(c, scale, axis=0), scale, axis=1) for c in planes(background)]


@functools.partial(jax.checkpoint, static_argnums=(1, 2, 3))
def _encode(color, scale, clip_colors, color_space):
    """Planes of shaded colour to the image; its intermediate planes are not kept for a gradient."""
    color = [_average(c, scale) for c in color]
    if clip_colors:
        # not jnp.clip: a background of exactly 0 or 1 keeps its gradient, which silhouettes need
        color = [jnp.where(c < 0, 0.0, jnp.where(c > 1, 1.0, c)) for c in color]
    if color_space == "srgb":
        color = [linear_to_srgb(c) for c in color]
    return jnp.stack(color, axis=-1)


def _average(plane, scale):
    if scale == 1:
        return plane
    height, width = plane.shape
    return plane.reshape(height // scale, scale, width // scale, scale).mean(axis=(1, 3))


def _in_bands(scene, clip, ids):
    """`scene.shade_rows` over the image, in bands of rows for large images."""
    height, width = ids.shape
    limit = scene.options.band_pixels
    if height * width <= limit:
        return scene.shade_rows(scene.arrays, clip, ids)
    num = -(-height // max(1, limit // width))
    rows = -(-height // num)
    padded = jnp.pad(ids, ((0, num * rows - height), (0, 0)), constant_values=-1)

    @jax.checkpoint
    def band(clip, arrays, ids, k):
        x, y, z, w = clip  # a band is an image of its own: stretch it to the whole of clip space
        y = (y + w * (1 - 2 * k * rows / height)) * (height / rows) - w
        return scene.shade_rows(arrays, [x, y, z, w], ids)

    k = jnp.arange(num, dtype=jnp.float32)
    out = lax.map(lambda a: band(clip, scene.arrays, *a), (padded.reshape(num, rows, width), k))
    return jax.tree.map(lambda x: x.reshape(num * rows, width)[:height], out)


class _Scene:
    """What shading one band needs; arrays are passed separately so that gradients reach them."""

    def __init__(self, surface, camera, lights, topology, options):
        self.topology, self.options = topology, options
        vertices = jnp.asarray(surface["vertices"], jnp.float32)
        self.arrays = dict(surface=surface, camera=camera, lights=lights)
        attributes = dict(normal=planes(vertex_normals(vertices, topology)))
        if "texture" not in surface and "vertex_colors" in surface:
            attributes["albedo"] = planes(surface["vertex_colors"])
        if any(isinstance(x, shading.DirectionalLight | shading.PointLight) for x in lights):
            attributes["position"] = planes(vertices)
        self.arrays["attributes"] = attributes
        uv_attributes = {}
        if topology.uv is not None:
            uv, triangles = uv_layout(topology)
            uv_attributes["uv"] = [np.ascontiguousarray(c) for c in uv.T]
            self.uv_tri = triangles
            if "normal_map" in surface and options.normal_map_space == "tangent":
                tangents = shading.vertex_tangents(vertices, topology)
                self.arrays["tangents"] = planes(tangents)
        self.uv_attributes = uv_attributes
        self.wrap = "repeat_u" if topology.uv_wraps_u else "clamp"

    def shade_rows(self, arrays, clip, ids):
        """Buffers of a band as planes: color, normal, bary, ndc_z, uv."""
        cpu = self.options.cpu
        tri = raster_topology(self.topology).tri
        bary, ndc_z = barycentrics(clip, tri, ids, cpu)
        values = _interpolate_all(arrays["attributes"], tri, ids, bary, cpu)
        out = dict(bary=bary, ndc_z=ndc_z)
        surface = arrays["surface"]
        if self.topology.uv is not None:
            out |= _interpolate_all(self.uv_attributes, self.uv_tri, ids, bary, cpu)
        normal = self._normal(arrays, values["normal"], ids, bary, out.get("uv"))
        out["normal"] = normal
        albedo = self._albedo(surface, values, ids, out.get("uv"))
        out["color"] = self._reflect(arrays, albedo, normal, values.get("position"))
        return out

    def _albedo(self, surface, values, ids, uv):
        if "texture" in surface:
            albedo = texture_planes(surface["texture"], *uv, self.wrap, self.options.cpu)
        else:
            plain = jnp.full(ids.shape, PLAIN_ALBEDO, jnp.float32)
            albedo = values.get("albedo", [plain] * 3)
        if self.options.color_space == "srgb":
            albedo = [srgb_to_linear(a) for a in albedo]
        return albedo

    def _normal(self, arrays, normal, ids, bary, uv):
        normal = shading.normalize_planes(normal)
        surface = arrays["surface"]
        if "normal_map" not in surface:
            return normal
        cpu = self.options.cpu
        mapped = texture_planes(surface["normal_map"], *uv, self.wrap, cpu)
        mapped = shading.normalize_planes(mapped)
        if self.options.normal_map_space == "tangent":
            tri = raster_topology(self.topology, "uv").tri
            tangent = interpolate_planes(arrays["tangents"], tri, ids, bary, cpu)
            flip = pin(live(ids, cpu), lambda: take(self._mirror(), jnp.maximum(ids, 0)))
            mapped = shading.tangent_to_object(mapped, normal, tangent, flip)
        return [jnp.where(ids >= 0, n, 0.0) for n in mapped]

    def _mirror(self):
        """Per triangle +1, or -1 where the UV layout (v down) shows it mirrored."""
        uv, tri = uv_layout(self.topology)
        (ax, ay), (bx, by), (cx, cy) = (uv[tri[:, k]].T for k in range(3))
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        return np.where(area > 0, -1.0, 1.0).astype(np.float32)

    def _reflect(self, arrays, albedo, normal, position):
        camera = arrays["camera"]
        rotation = [planes(row) for row in camera.rotation]
        shift = planes(camera.translation)
        zero = jnp.zeros_like(normal[0])
        position = position or [zero] * 3
        total = None
        for light in arrays["lights"]:
            if light.frame == "camera":
                n = [sum_products(row, normal) for row in rotation]
                p = [sum_products(r, position) + t for r, t in zip(rotation, shift, strict=True)]
                view = _toward_camera(camera, p)
            else:
                n, p = normal, position
                view = _toward_camera_object(camera, rotation, shift, p)
            new = light.reflect(albedo, n, p, view)
            total = new if total is None else [a + b for a, b in zip(total, new, strict=True)]
        return total


def _toward_camera(camera, position):
    """Unit vectors from camera-frame points to the viewer."""
    zero = jnp.zeros_like(position[0])
    if camera.kind == "orthographic":
        return [zero, zero, zero + 1.0]
    return shading.normalize_planes([-p for p in position])


def _toward_camera_object(camera, rotation, shift, position):
    """The same in object space, where the camera sits at -R^T t."""
    zero = jnp.zeros_like(position[0])
    if camera.kind == "orthographic":
        return [zero + c for c in rotation[2]]
    columns = list(zip(*rotation, strict=True))
    eye = [-sum_products(column, shift) for column in columns]
    return shading.normalize_planes([e - p for e, p in zip(eye, position, strict=True)])


def _interpolate_all(attributes, tri, ids, bary, cpu):
    """One interpolation for a dict of lists of planes."""
    flat = [p for group in attributes.values() for p in group]
    out = iter(interpolate_planes(flat, tri, ids, bary, cpu))
    return {name: [next(out) for _ in group] for name, group in attributes.items()}
