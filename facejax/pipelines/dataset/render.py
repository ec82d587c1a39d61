"""Drawn numbers to pictures, maps and landmarks: one compiled program, spread over devices.

A device loops over its faces and the program of one face knows nothing of the batch, so that the
bits of a face depend neither on the number of faces nor on that of devices.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from facejax.geometry import rotations
from facejax.geometry.camera import Camera, camera_from_object, project
from facejax.geometry.mesh import Mesh
from facejax.image.color import linear_to_srgb, srgb_to_linear
from facejax.morphable import (
    MorphableModel,
    decode_albedo,
    decode_shape,
    decode_texture,
    landmarks,
)
from facejax.pipelines.dataset.draw import KEYS, coefficient_units
from facejax.pipelines.dataset.options import Options
from facejax.render.renderer import render
from facejax.render.scene import region_labels
from facejax.render.shading import SphericalHarmonics
from facejax.systems.manifold import networks
from facejax.systems.manifold.denoise import Denoisers

HIDDEN_MM = 3.0  # a landmark is hidden if the surface is nearer than it by more than this
_AXIS = "faces"


def region_names(model: MorphableModel) -> tuple[str, ...]:
    """What the numbers in `regions` mean: 0 'background', 1 'other', then masks, small to large."""
    masks = model.topology.masks
    return ("background", "other", *sorted(masks, key=lambda name: float(masks[name].sum())))


def model_denoisers(model: MorphableModel, options: Options, run: Denoisers | None):
    """(nets, denoisers) of `denoised`, for coefficients in the unit of the face model."""
    if options.sampling != "manifold":
        return (), {}
    nets = tuple((key, run.nets[KEYS[key]]) for key in options.wide)
    units, denoisers = coefficient_units(model, run), {}
    for key in options.wide:
        scale = np.asarray(run.scales[KEYS[key]]) / units[key]
        strength, times = run.sampling(KEYS[key])  # in small steps, faces stay varied
        denoisers[key] = (
            run.params[KEYS[key]], scale.astype(np.float32), np.float32(strength), np.int32(times),
        )  # fmt: skip
    return nets, denoisers


def triangle_regions(model: MorphableModel) -> np.ndarray:
    """[F] int32, numbers of `region_names`; of masks that overlap (lips, face) the smallest."""
    topology = model.topology
    labels = np.ones(len(topology.mesh.triangles), np.int32)
    for number, name in reversed(list(enumerate(region_names(model)))[2:]):
        inside = region_labels({name: topology.masks[name]}, topology.mesh) == 0
        labels[inside] = number
    return labels


@struct.dataclass
class _Static:
    """What is compiled in."""

    size: int
    supersample: int
    nets: tuple  # (coefficients' key, network) of the denoisers


class FaceRenderer:
    """Renders batches of drawn faces.

    Args:
      model: the face model.
      options: as for the `Drawer`.
      run: for 'manifold' sampling.
      devices: that share a batch; all local ones by default.

    Attributes:
      num_devices: how many there are.
      regions: names of the numbers in 'regions'.
    """

    def __init__(
        self,
        model: MorphableModel,
        options: Options,
        run: Denoisers | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        devices = list(devices or jax.local_devices())
        self.num_devices = len(devices)
        self.regions = region_names(model)
        nets, denoisers = model_denoisers(model, options, run)
        static = _Static(options.size, options.supersample, nets)
        mesh = jax.make_mesh(
            (len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self._split = NamedSharding(mesh, P(_AXIS))
        everywhere = NamedSharding(mesh, P())
        self._fixed = jax.device_put((model, triangle_regions(model), denoisers), everywhere)
        self._program = jax.jit(
            jax.shard_map(
                functools.partial(_render_faces, static),
                mesh=mesh, in_specs=(P(), P(_AXIS)), out_specs=P(_AXIS), check_vma=False,
            )
        )  # fmt: skip

    def __call__(self, drawn: Sequence[Mapping[str, np.ndarray]]) -> dict[str, jax.Array]:
        """Starts rendering; the arrays are ready when they are looked at.

        Args:
          drawn: faces from a `Drawer`, a multiple of the number of devices.

        Returns:
          Arrays [B, ...], see `facejax.pipelines.dataset.outputs.OUTPUTS`.
        """
        return self._program(self._fixed, jax.device_put(_stack(drawn), self._split))

    def shapes(self, drawn: Sequence[Mapping[str, np.ndarray]]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of what `__call__` would return."""
        return self._program.eval_shape(self._fixed, _stack(drawn))


def _stack(drawn):
    return {k: np.stack([d[k] for d in drawn]) for k in drawn[0]}


def _render_faces(static: _Static, fixed: Any, drawn: dict[str, jax.Array]):
    return jax.lax.map(functools.partial(_render_face, static, fixed), drawn)


def _render_face(static, fixed, drawn):
    """One face; no batch dims."""
    model, labels, denoisers = fixed
    out = dict(drawn)
    background = out.pop("background").astype(jnp.float32) / 255.0
    out |= denoised(static.nets, denoisers, drawn)
    mesh, vertices = _decode(model, out)
    camera = _camera(out)
    size = (static.size, static.size)
    maps, color, mask = _look(mesh, camera, SphericalHarmonics(out["sh_light"]), labels, static)
    hit = maps.triangle_id >= 0
    image = color + (1.0 - mask)[..., None] * srgb_to_linear(background)
    out |= {
        "image": jnp.rint(255.0 * linear_to_srgb(image)).astype(jnp.uint8),
        "mask": jnp.rint(255.0 * mask).astype(jnp.uint8),
        "regions": jnp.where(hit, maps.label, 0).astype(jnp.uint8),
        "depth_mm": jnp.where(hit, maps.depth, 0.0),
        "normal": maps.normal.astype(jnp.float16),
    }
    if maps.uv is not None:
        out["uv"] = jnp.where(hit[..., None], maps.uv, 0.0).astype(jnp.float16)
    for name in ("rotation", "translation", "focal", "center", "near", "far"):
        out[f"camera_{name}"] = getattr(camera, name)
    for kind in (68, 5):
        points = landmarks(model, vertices, kind)
        pixels = project(camera, points, size)
        far = -camera_from_object(camera, points)[..., 2]
        out[f"landmarks{kind}_mm"] = points
        out[f"landmarks{kind}_px"] = pixels
        out[f"landmarks{kind}_visible"] = _visible(pixels, far, maps.depth)
    return out


def _look(mesh, camera, light, labels, static):
    """(RenderOutput at the centres of pixels, linear colour [N, N, 3] over black, mask [N, N]).

    With two samples per pixel and axis, the mesh is rendered once, on the grid of all points half a
    pixel apart, which contains the centres. The picture is then the average with the weights 1/4,
    1/2, 1/4 around a centre, along both axes.
    """
    n = static.size
    fine = 2 * n + 1 if static.supersample == 2 else n
    if static.supersample == 2:  # a pixel more, of half the size
        zoom = 2 * n / fine
        camera = camera.replace(focal=zoom * camera.focal, center=zoom * camera.center)
    seen = render(
        mesh, camera, light, (fine, fine),
        background=np.zeros(3, np.float32), labels=labels, silhouette="none", color_space="raw",
    )  # fmt: skip
    mask = (seen.triangle_id >= 0).astype(jnp.float32)
    if static.supersample == 1:
        return seen, seen.image, mask
    picture = jnp.concatenate([seen.image, mask[..., None]], axis=-1)
    for axis in (0, 1):
        picture = jnp.swapaxes(picture, 0, axis)
        picture = 0.25 * (picture[:-2:2] + picture[2::2]) + 0.5 * picture[1::2]
        picture = jnp.swapaxes(picture, 0, axis)
    return jax.tree.map(lambda x: x[1::2, 1::2], seen), picture[..., :3], picture[..., 3]


def denoised(nets, denoisers, drawn):
    """Coefficients after and, as '..._before', before their denoisers.

    Args:
      nets: (key, NetworkConfig) of those that are denoised.
      denoisers: {key: (parameters, scale [n], strength, times)}.
      drawn: {key: [n]}.
    """
    out = {f"{key}_before": drawn[key] for key, _ in nets}
    for key, net in nets:
        params, scale, strength, times = denoisers[key]
        out[key] = networks.denoise(net, params, scale, drawn[key], strength, times)
    return out


def _decode(model, coefficients):
    """The mesh with linear colours, and its vertices [V, 3] mm."""
    vertices = decode_shape(model, coefficients["id"], coefficients["exp"])
    mesh = Mesh(vertices, model.topology.mesh)
    if model.mean_texture is not None:
        texture = decode_texture(model, coefficients["alb"])
        return mesh.replace(texture=srgb_to_linear(jnp.clip(texture, 0.0, 1.0))), vertices
    colors = decode_albedo(model, coefficients["alb"])
    return mesh.replace(vertex_colors=srgb_to_linear(jnp.clip(colors, 0.0, 1.0))), vertices


def _camera(drawn):
    """Yaw, then pitch, then roll of the head; the picture is frame_mm high at the target."""
    fov = 2.0 * jnp.arctan(0.5 * drawn["frame_mm"] / drawn["distance_mm"])
    camera = Camera.look_at(
        drawn["distance_mm"], drawn["yaw_rad"], drawn["pitch_rad"], drawn["target_mm"], fov
    )
    roll = rotations.axis_rotation(drawn["roll_rad"], "z")
    rotation = jnp.matmul(roll, camera.rotation, precision="highest")
    shift = jnp.matmul(roll, camera.translation, precision="highest")
    return camera.replace(rotation=rotation, translation=shift)


def _visible(pixels, point_depth, depth):
    """Whether points [K, 2] of depth [K] are in the picture, and no nearer surface hides them.

    A visible point is no farther than the farthest of the four pixel centres around it: the
    surface between them is nearly plane.
    """
    height, width = depth.shape
    x, y = pixels[:, 0], pixels[:, 1]
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    left = jnp.floor(x - 0.5).astype(jnp.int32)
    top = jnp.floor(y - 0.5).astype(jnp.int32)
    around = [
        depth[jnp.clip(top + i, 0, height - 1), jnp.clip(left + j, 0, width - 1)]
        for i in (0, 1)
        for j in (0, 1)
    ]
    return inside & (point_depth <= functools.reduce(jnp.maximum, around) + HIDDEN_MM)
