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

from facejax.data.photographs import Look, choose_look, take_picture
from facejax.geometry import rotations
from facejax.geometry.camera import Camera, camera_from_object, project
from facejax.image.sensor import undevelop
from facejax.morphable import MorphableModel, decode_shape, landmarks
from facejax.pipelines.dataset.draw import KEYS, coefficient_units
from facejax.pipelines.dataset.options import Options
from facejax.render.materials import Lamps
from facejax.render.renderer import render
from facejax.render.scene import region_labels
from facejax.systems.manifold import networks
from facejax.systems.manifold.denoise import Denoisers

HIDDEN_MM = 3.0  # a landmark is hidden if the surface is nearer than it by more than this
_AXIS = "faces"
_SHADOW_SHARE = 0.5  # pixels of the shadow map along a side, per pixel of the picture
_SHADOW_LEAST, _SHADOW_MOST = 32, 192


def region_names(model: MorphableModel, look: Look | None = None) -> tuple[str, ...]:
    """What the numbers in `regions` mean.

    0 'background', 1 'other', then masks, small to large, then what a look adds to the head, and
    last 'occluder'.
    """
    masks = model.topology.masks
    worn = () if look is None else look.materials[1:]
    by_size = sorted(masks, key=lambda name: float(masks[name].sum()))
    return ("background", "other", *by_size, *worn, "occluder")


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


def triangle_regions(model: MorphableModel, look: Look | None = None) -> np.ndarray:
    """[F] int32, numbers of `region_names`; of masks that overlap (lips, face) the smallest."""
    topology = model.topology
    labels = np.ones(len(topology.mesh.triangles), np.int32)
    last = 2 + len(topology.masks)
    for number, name in reversed(list(enumerate(region_names(model)))[2:last]):
        inside = region_labels({name: topology.masks[name]}, topology.mesh) == 0
        labels[inside] = number
    if look is None:
        return labels
    worn = look.triangle_material[len(labels) :]
    return np.concatenate([labels, last - 1 + worn]).astype(np.int32)


@struct.dataclass
class _Static:
    """What is compiled in."""

    size: int
    supersample: int
    num_regions: int
    nets: tuple  # (coefficients' key, network) of the denoisers
    look: Look


class FaceRenderer:
    """Renders batches of drawn faces.

    Args:
      model: the face model.
      options: as for the `Drawer`.
      run: for 'manifold' sampling.
      devices: that share a batch; all local ones by default.
      look: as for the `Drawer`.

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
        look: Look | None = None,
    ):
        devices = list(devices or jax.local_devices())
        look = look or choose_look(options.look, model)
        self.num_devices = len(devices)
        self.regions = region_names(model, look)
        nets, denoisers = model_denoisers(model, options, run)
        static = _Static(options.size, options.supersample, len(self.regions), nets, look)
        mesh = jax.make_mesh(
            (len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self._split = NamedSharding(mesh, P(_AXIS))
        everywhere = NamedSharding(mesh, P())
        labels = triangle_regions(model, look)
        self._fixed = jax.device_put((model, look.tables(), labels, denoisers), everywhere)
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
    return jax.tree.map(lambda *rows: np.stack(rows), *drawn)


def _render_faces(static: _Static, fixed: Any, drawn: dict[str, jax.Array]):
    return jax.lax.map(functools.partial(_render_face, static, fixed), drawn)


def _render_face(static, fixed, drawn):
    """One face; no batch dims."""
    model, tables, labels, denoisers = fixed
    out = dict(drawn)
    picture, look, seed = (out.pop(k) for k in ("picture", "look", "noise_seed"))
    behind = out.pop("background", None)
    out |= denoised(static.nets, denoisers, drawn)
    vertices = decode_shape(model, out["id"], out["exp"])
    surface = static.look.surface(
        tables, look | {k: out[k] for k in ("id", "exp", "alb")}, vertices
    )
    if surface.alb is not None:
        out["alb"] = surface.alb
    camera = _camera(out)
    size = (static.size, static.size)
    maps, head = _look(surface, camera, picture, labels, static)
    if behind is not None:
        behind = undevelop(behind.astype(jnp.float32) / 255.0)
    photo = take_picture(head, picture, jax.random.key(seed), behind)
    hit, hidden = maps.triangle_id >= 0, photo.covered > 0.5
    seen = jnp.where(hidden, static.num_regions - 1, jnp.where(hit, maps.label, 0))
    out |= {
        "image": jnp.rint(255.0 * photo.image).astype(jnp.uint8),
        "mask": jnp.rint(255.0 * head[..., 3] * (1.0 - photo.covered)).astype(jnp.uint8),
        "regions": seen.astype(jnp.uint8),
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
        out[f"landmarks{kind}_visible"] = _visible(pixels, far, maps.depth, hidden)
    return out


def _look(surface, camera, picture, labels, static):
    """(RenderOutput at the centres of pixels, linear light over black and coverage [N, N, 4]).

    With one sample per pixel, those that silhouettes cut are blended. With two per axis, the mesh
    is rendered once, on the grid of all points half a pixel apart, which contains the centres. The
    picture is then the average with the weights 1/4, 1/2, 1/4 around a centre, along both axes.
    """
    n = static.size
    lamps = Lamps(picture["sky"], picture["lamp_directions"], picture["lamp_colors"])
    key_lamp = jnp.matmul(picture["lamp_directions"][0], camera.rotation, precision="highest")
    shadow = int(np.clip(_SHADOW_SHARE * n, _SHADOW_LEAST, _SHADOW_MOST))
    fine, silhouette = (n, "antialias") if static.supersample == 1 else (2 * n + 1, "none")
    if static.supersample == 2:  # a pixel more, of half the size
        zoom = 2 * n / fine
        camera = camera.replace(focal=zoom * camera.focal, center=zoom * camera.center)
    seen = render(
        surface.mesh, camera, lamps, (fine, fine),
        background=np.zeros(3, np.float32), labels=labels, silhouette=silhouette, color_space="raw",
        clip_colors=False, material=surface.material(key_lamp, picture["shadow_mm"], shadow),
    )  # fmt: skip
    head = jnp.concatenate([seen.image, seen.mask[..., None]], axis=-1)
    if static.supersample == 1:
        return seen, head
    for axis in (0, 1):
        head = jnp.swapaxes(head, 0, axis)
        head = 0.25 * (head[:-2:2] + head[2::2]) + 0.5 * head[1::2]
        head = jnp.swapaxes(head, 0, axis)
    return jax.tree.map(lambda x: x[1::2, 1::2], seen), head


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


def _visible(pixels, point_depth, depth, hidden):
    """Whether points [K, 2] of depth [K] are in the picture, and nothing hides them.

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
    row, column = (jnp.floor(v).astype(jnp.int32) for v in (y, x))
    inside &= ~hidden[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return inside & (point_depth <= functools.reduce(jnp.maximum, around) + HIDDEN_MM)
