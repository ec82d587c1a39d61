"""Deferred shading: what each pixel sees, from triangle ids to colour, as channel planes."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.image.color import srgb_to_linear
from facejax.render import shading
from facejax.render.interpolate import interpolate_planes
from facejax.render.materials import Lamps, Material
from facejax.render.platform import live, pin, planes, sum_products, take
from facejax.render.rasterize import barycentrics
from facejax.render.scene import PLAIN_ALBEDO
from facejax.render.texture import texture_planes
from facejax.render.topology import raster_topology, uv_layout


class DeferredShader:
    """Shades pixels whose triangles are known. Holds static facts only; arrays are passed along.

    Args:
      topology: the mesh's topology.
      color_space: see `render`.
      normal_map_space: see `render`.
      cpu: which code path to take.
    """

    def __init__(self, topology: MeshTopology, color_space: str, normal_map_space: str, cpu: bool):
        self.topology, self.cpu = topology, cpu
        self.color_space, self.normal_map_space = color_space, normal_map_space
        self.tri = raster_topology(topology).tri
        self.wrap = "repeat_u" if topology.uv_wraps_u else "clamp"

    def arrays(
        self, surface: dict, camera: Camera, lights: tuple[shading.Light, ...], clip: list
    ) -> dict:
        """All that the picture depends on, as one pytree: planes where there are many pixels.

        Args:
          surface: the arrays of a `Mesh` by name.
          camera: without batch dims.
          lights: without batch dims.
          clip: planes as for `barycentrics`.
        """
        vertices = jnp.asarray(surface["vertices"], jnp.float32)
        attributes = dict(normal=planes(vertex_normals(vertices, self.topology)))
        material = surface.get("material")
        if "texture" not in surface and "vertex_colors" in surface:
            attributes["albedo"] = planes(surface["vertex_colors"])
        lamps = shading.DirectionalLight | shading.PointLight | Lamps
        if any(isinstance(x, lamps) for x in lights):
            attributes["position"] = planes(vertices)
        if material is not None:
            attributes["material"] = jax.tree.leaves(material)
        if "attributes" in surface:
            attributes["attributes"] = planes(surface["attributes"])
        images = {k: surface[k] for k in ("texture", "normal_map") if k in surface}
        out = dict(clip=clip, attributes=attributes, images=images, camera=camera, lights=lights)
        if "normal_map" in images and self.normal_map_space == "tangent":
            out["tangents"] = planes(shading.vertex_tangents(vertices, self.topology))
        return out

    def shade(self, arrays: dict, ids: jax.Array, backdrop: jax.Array) -> dict:
        """Buffers of an image or a band of its rows.

        Args:
          arrays: from `arrays`, with `clip` for these rows.
          ids: [R, W] int32, negative for none.
          backdrop: [3] or [R, W, 3] behind the mesh.

        Returns:
          Lists of planes [R, W]: color, R G B over the backdrop and the mask; ndc_z; normal, unit,
          object space; uv for meshes with a UV layout; attributes, where there are some.
        """
        bary, ndc_z = barycentrics(arrays["clip"], self.tri, ids, self.cpu)
        values = self._interpolated(arrays["attributes"], self.tri, ids, bary)
        if self.topology.uv is not None:
            uv, triangles = uv_layout(self.topology)
            attributes = dict(uv=[np.ascontiguousarray(c) for c in uv.T])
            values |= self._interpolated(attributes, triangles, ids, bary)
        uv = values.get("uv")
        normal = self._normal(arrays, values["normal"], ids, bary, uv)
        material = Material(*values["material"]) if "material" in values else None
        albedo = self._albedo(arrays["images"], values, ids, uv)
        color = self._reflect(arrays, albedo, normal, values.get("position"), material)
        hit = ids >= 0
        color = [jnp.where(hit, c, b) for c, b in zip(color, planes(backdrop), strict=True)]
        out = dict(color=[*color, hit.astype(jnp.float32)], ndc_z=[ndc_z], normal=normal)
        if "attributes" in values:
            out["attributes"] = values["attributes"]
        return out if uv is None else out | dict(uv=uv)

    def _interpolated(self, attributes, tri, ids, bary):
        """One interpolation for a dict of lists of planes."""
        flat = [p for group in attributes.values() for p in group]
        out = iter(interpolate_planes(flat, tri, ids, bary, self.cpu))
        return {name: [next(out) for _ in group] for name, group in attributes.items()}

    def _sampled(self, image, uv, ids):
        """Texels at the pixels of the mesh; 0 elsewhere, where they need not be finite."""
        sampled = texture_planes(image, *uv, self.wrap, self.cpu)
        return [jnp.where(ids >= 0, s, 0.0) for s in sampled]

    def _albedo(self, images, values, ids, uv):
        if "texture" in images:
            albedo = self._sampled(images["texture"], uv, ids)
        else:
            plain = jnp.full(ids.shape, PLAIN_ALBEDO, jnp.float32)
            albedo = values.get("albedo", [plain] * 3)
        if self.color_space == "srgb":
            albedo = [srgb_to_linear(a) for a in albedo]
        return albedo

    def _normal(self, arrays, normal, ids, bary, uv):
        normal = shading.normalize_planes(normal)
        images = arrays["images"]
        if "normal_map" not in images:
            return normal
        cpu = self.cpu
        mapped = shading.normalize_planes(self._sampled(images["normal_map"], uv, ids))
        if self.normal_map_space == "tangent":
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

    def _reflect(self, arrays, albedo, normal, position, material):
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
            more = (material,) if isinstance(light, Lamps) else ()
            new = light.reflect(albedo, n, p, view, *more)
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
