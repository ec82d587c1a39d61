"""Coefficients to a posed, lit face in a photo crop: the conventions of the Deep3D family.

Deng et al. 2019, "Accurate 3D Face Reconstruction with Weakly-Supervised Learning" (arXiv
1903.08527), and its code (microsoft/Deep3DFaceReconstruction, sicxu/Deep3DFaceRecon_pytorch),
for any linear face model and any number of coefficients.

Frame: right-handed, x right, y up, z toward the camera, DECIMETRES (face models are in mm). The
camera is fixed at z = 10 and looks along -z; the face moves: S_t = S R + t on row vectors, with
R = (Rz Ry Rx)^T. Landmark pixels have y UP from the bottom of the crop: x = 1015 X / d + 112 with
the depth d = 10 - Z. Images have row 0 at the top, so a point (x, y) lies at column x, row 224 - y
of the continuous image, in which the first pixel's centre is (.5, .5).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.geometry import camera_frames, rotations
from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.morphable.model import (
    Coefficients,
    FaceTopology,
    MorphableModel,
    decode_albedo,
    decode_shape,
    join_coefficients,
)
from facejax.render.interpolate import interpolate
from facejax.render.rasterize import rasterize
from facejax.render.shading import SphericalHarmonics, shade
from facejax.render.silhouette import boundary_grad

MM_PER_DM = 100.0
NUM_ANGLES, NUM_GAMMA, NUM_TRANS = 3, 27, 3
PARTS = ("id", "exp", "alb", "angles", "gamma", "trans")  # in the order of the vector
_FIVE = ((36, 42, 30, 48, 54), (39, 45, 30, 48, 54))  # each point is the mean of two landmarks
# Eyes (means of their corners), nose tip and mouth corners of the Basel mean face, image left
# first; decimetres from the mean of the 35,709 front vertices.
STANDARD_POINTS_DM = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032534988, -0.046179324, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)


@struct.dataclass
class DecodedFace:
    """A face in the canonical frame, in the world and in the crop; batch dims lead.

    Attributes:
      shape: [..., V, 3] dm, canonical: not posed, origin as in `canonical_center`.
      albedo: [..., V, 3] in [0, 1] up to the model's linearity; not clipped.
      normals: [..., V, 3] unit, canonical.
      normals_posed: [..., V, 3] unit, world.
      color: [..., V, 3] lit, same scale as the albedo; not clipped.
      vertices: [..., V, 3] dm, posed, world.
      camera_vertices: [..., V, 3] dm: x, y and the depth, positive in front of the camera.
      pixels: [..., V, 2], y UP.
      landmarks_px: [..., 68, 2], y UP.
    """

    shape: jax.Array
    albedo: jax.Array
    normals: jax.Array
    normals_posed: jax.Array
    color: jax.Array
    vertices: jax.Array
    camera_vertices: jax.Array
    pixels: jax.Array
    landmarks_px: jax.Array


class Reconstruction(NamedTuple):
    """What the networks make of photos.

    Attributes:
      coeffs: [B, n], see `split`.
      face: of the linear model; None where a network comes without its face model.
      refined: with the graph network's mesh or albedo; None without such a network.
    """

    coeffs: jax.Array
    face: DecodedFace | None = None
    refined: DecodedFace | None = None


@dataclasses.dataclass(frozen=True)
class Deep3DCamera:
    """The fixed camera; hashable, so that it can be a static argument.

    Attributes:
      focal: pixels.
      center: pixels, of both axes.
      distance: dm from the world's origin.
      size: side of the square crop in pixels.
      near: dm, depth of ndc z = -1; far: dm, depth of ndc z = 1.
    """

    focal: float = camera_frames.DEEP3D_FOCAL_PX
    center: float = camera_frames.DEEP3D_SIZE_PX / 2
    distance: float = camera_frames.DEEP3D_DISTANCE_DM
    size: int = camera_frames.DEEP3D_SIZE_PX
    near: float = 5.0
    far: float = 15.0

    def resized(self, size: int) -> "Deep3DCamera":
        """The same view in a crop of another side length."""
        ratio = size / self.size
        return dataclasses.replace(
            self, focal=self.focal * ratio, center=self.center * ratio, size=size
        )


def coefficient_sizes(model: MorphableModel | Sequence[int]) -> dict[str, int]:
    """Length of each part of a coefficient vector, in order.

    Args:
      model: a face model, or its (D_id, D_exp, D_alb).
    """
    if isinstance(model, MorphableModel):
        model = (model.num_id, model.num_exp, model.num_alb)
    counts = (*(int(n) for n in model), NUM_ANGLES, NUM_GAMMA, NUM_TRANS)
    return dict(zip(PARTS, counts, strict=True))


def num_coefficients(model: MorphableModel | Sequence[int]) -> int:
    """Length of the coefficient vector: 257 for Deep3D's model (80 + 64 + 80 + 3 + 27 + 3)."""
    return sum(coefficient_sizes(model).values())


def split(vector: jax.Array, model: MorphableModel | Sequence[int]) -> Coefficients:
    """Cuts coefficient vectors into their named parts.

    Args:
      vector: [..., n]: id, exp, alb, angles, gamma, trans.
      model: a face model, or its (D_id, D_exp, D_alb).

    Raises:
      ValueError: the vector has another length.
    """
    sizes = coefficient_sizes(model)
    vector = jnp.asarray(vector)
    if vector.shape[-1:] != (sum(sizes.values()),):
        raise ValueError(
            f"found coefficients of shape {vector.shape}, wanted [..., {sum(sizes.values())}] = "
            f"{' + '.join(f'{n} {k}' for k, n in sizes.items())}; use the face model that the "
            "coefficients were made with"
        )
    ends = np.cumsum(list(sizes.values()))[:-1]
    return Coefficients(*jnp.split(vector, ends, axis=-1))


def join(coeffs: Coefficients) -> jax.Array:
    """One vector [..., n] of the named parts, whose batch dims broadcast; inverse of `split`.

    Raises:
      ValueError: a part is absent.
    """
    absent = [name for name in PARTS if getattr(coeffs, name) is None]
    if absent:
        raise ValueError(
            f"found coefficients without {', '.join(absent)}, wanted all of {', '.join(PARTS)}; "
            "the coefficients of a face alone become a vector by `join_coefficients`"
        )
    return join_coefficients(coeffs)


def parts_in_files(coeffs: Coefficients) -> dict[str, jax.Array]:
    """The parts by the names that files and printed figures have for them: 'tex' for the albedo."""
    return {"tex" if name == "alb" else name: getattr(coeffs, name) for name in PARTS}


def zero_coefficients(model: MorphableModel | Sequence[int], batch: tuple = ()) -> Coefficients:
    """The frontal mean face in the middle of the crop, with leading dims `batch`."""
    return split(jnp.zeros((*batch, num_coefficients(model)), jnp.float32), model)


def canonical_center(model: MorphableModel, rule: str | None = None) -> jax.Array:
    """The point of the model's space that becomes the canonical origin, [3] mm.

    The camera stands at a fixed distance from that origin, so it decides the framing of zero
    coefficients. It depends on the mean face only: identity and expression move no origin.

    Args:
      model: a face model.
      rule: 'vertices': the mean over the vertices of the mean shape, as the originals do for
        their cut-out of the Basel face; 'landmarks': puts the centroid of eyes, nose tip and mouth
        corners where it is on the Basel mean face, which frames whole heads like Deep3D's crops;
        None: 'vertices' for Deep3D's own model, 'landmarks' for every other.

    Raises:
      ValueError: another rule.
    """
    rule = rule or ("vertices" if "front" in model.topology.masks else "landmarks")
    if rule == "vertices":
        return model.mean_shape.mean(axis=0)
    if rule != "landmarks":
        raise ValueError(f"found the centring rule {rule!r}, wanted 'vertices' or 'landmarks'")
    five = five_points(jnp.take(model.mean_shape, model.topology.landmarks68, axis=0))
    return five.mean(0) - np.float32(MM_PER_DM * STANDARD_POINTS_DM.mean(0))


def five_points(landmarks: jax.Array) -> jax.Array:
    """Eyes, nose tip and mouth corners (image left first) of 68 landmarks.

    Args:
      landmarks: [..., 68, C], iBUG order.

    Returns:
      [..., 5, C]; an eye is the mean of its two corners, as in the originals.
    """
    ends = [jnp.take(landmarks, np.array(ids), axis=-2) for ids in _FIVE]
    return 0.5 * (ends[0] + ends[1])


def rotation(angles_rad: jax.Array) -> jax.Array:
    """R = (Rz Ry Rx)^T, [..., 3, 3]: acts on ROW vectors, S R.

    Args:
      angles_rad: [..., 3] radians about x, y, z. Positive x tips the face down, positive y turns
        it toward the image's right, positive z tips its top toward the image's left.
    """
    return jnp.swapaxes(rotations.euler_to_matrix(angles_rad, "xyz"), -1, -2)


def decode(
    model: MorphableModel,
    coeffs: Coefficients,
    camera: Deep3DCamera = Deep3DCamera(),
    *,
    center_mm: jax.Array | None = None,
) -> DecodedFace:
    """The face of some coefficients.

    Matrix products are exact float32 on every platform: landmarks scale by about 100 pixels per
    dm, so shorter products would show.

    Args:
      model: a face model.
      coeffs: batch dims [...].
      camera: the fixed camera.
      center_mm: [3] mm, see `canonical_center`; None takes its default.

    Returns:
      Everything, with the batch dims of the coefficients; what is not used costs nothing under jit.
    """
    center = canonical_center(model) if center_mm is None else jnp.asarray(center_mm)
    with jax.default_matmul_precision("highest"):
        shape_mm = decode_shape(model, coeffs.id, coeffs.exp)
        albedo = decode_albedo(model, coeffs.alb)
    center = center.reshape((1,) * (shape_mm.ndim - 1) + (3,))
    return assemble(model, (shape_mm - center) / MM_PER_DM, albedo, coeffs, camera)


def assemble(
    model: MorphableModel,
    shape: jax.Array,
    albedo: jax.Array,
    coeffs: Coefficients,
    camera: Deep3DCamera = Deep3DCamera(),
) -> DecodedFace:
    """Poses, lights and projects a given shape and albedo, for example those of a graph network.

    Args:
      model: a face model; its triangles and landmarks are used.
      shape: [..., V, 3] dm, canonical.
      albedo: [..., V, 3] in [0, 1].
      coeffs: batch dims [...]; angles, gamma and trans are used.
      camera: the fixed camera.
    """
    topology = model.topology
    turn = rotation(coeffs.angles)
    # in mm, lest small triangles pass for degenerate ones
    normals = vertex_normals(MM_PER_DM * shape, topology.mesh, "uniform")
    normals_posed = _turned(normals, turn)
    turned = _turned(shape, turn)
    vertices = turned + jnp.broadcast_to(coeffs.trans[..., None, :], turned.shape)
    camera_vertices = to_camera(vertices, camera)
    pixels = project(camera_vertices, camera)
    return DecodedFace(
        shape=shape,
        albedo=albedo,
        normals=normals,
        normals_posed=normals_posed,
        color=shade(SphericalHarmonics.deep3d(coeffs.gamma), albedo, normals_posed),
        vertices=vertices,
        camera_vertices=camera_vertices,
        pixels=pixels,
        landmarks_px=jnp.take(pixels, topology.landmarks68, axis=-2),
    )


def decode_landmarks(
    model: MorphableModel, coeffs: Coefficients, camera: Deep3DCamera = Deep3DCamera()
) -> jax.Array:
    """`decode(...).landmarks_px` alone, [..., 68, 2]: 68 vertices instead of all of them.

    For losses of landmarks: a compiler does not move the choice of vertices before the products
    of their bases.
    """
    ids = model.topology.landmarks68
    few = model.replace(
        mean_shape=jnp.take(model.mean_shape, ids, axis=0),
        id_basis=jnp.take(model.id_basis, ids, axis=1),
        exp_basis=jnp.take(model.exp_basis, ids, axis=1),
    )
    with jax.default_matmul_precision("highest"):
        shape_mm = decode_shape(few, coeffs.id, coeffs.exp)
    center = canonical_center(model).reshape((1,) * (shape_mm.ndim - 1) + (3,))
    turned = _turned((shape_mm - center) / MM_PER_DM, rotation(coeffs.angles))
    vertices = turned + jnp.broadcast_to(coeffs.trans[..., None, :], turned.shape)
    return project(to_camera(vertices, camera), camera)


def _turned(vectors, turn):
    return jnp.einsum("...ni,...ij->...nj", vectors, turn, precision="highest")


def to_camera(vertices: jax.Array, camera: Deep3DCamera = Deep3DCamera()) -> jax.Array:
    """World to camera, [..., V, 3] dm: x, y and the depth, positive in front of the camera."""
    x, y, z = (vertices[..., i] for i in range(3))
    return jnp.stack([x, y, camera.distance - z], axis=-1)


def project(camera_vertices: jax.Array, camera: Deep3DCamera = Deep3DCamera()) -> jax.Array:
    """Camera space to pixels of the crop, [..., V, 2], y UP from the bottom."""
    return camera.focal * camera_vertices[..., :2] / camera_vertices[..., 2:] + camera.center


def clip(vertices: jax.Array, camera: Deep3DCamera = Deep3DCamera()) -> jax.Array:
    """Posed vertices, [..., V, 3] dm, in the clip space of `rasterize`, [..., V, 4].

    For the default camera (9.0625 X, 9.0625 Y, 2 d - 15, d): as in the original, with y up.
    """
    x, y, depth = (to_camera(vertices, camera)[..., i] for i in range(3))
    half = camera.size / 2
    shift = camera.center / half - 1
    near, far = camera.near, camera.far
    z = ((far + near) * depth - 2 * far * near) / (far - near)
    gain = camera.focal / half
    return jnp.stack([gain * x + shift * depth, gain * y + shift * depth, z, depth], axis=-1)


def render_face(
    model: MorphableModel,
    decoded: DecodedFace,
    camera: Deep3DCamera = Deep3DCamera(),
    *,
    front_only: bool = False,
    boundary: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The face on black.

    Colours are interpolated between vertices, without clipping and without anti-aliasing. As in
    the originals the picture has no gradient with respect to its outline (pose is learnt from
    landmarks), unless `boundary` asks for it.

    Args:
      model: a face model.
      decoded: from `decode` or `assemble`, with the same camera.
      camera: the fixed camera.
      front_only: draw the photometric region alone (`front_weights`): its mask is the inner face
        of the photometric loss. Not hidden by the rest of the head.
      boundary: let colours and mask move the outline (`facejax.render.boundary_grad`).

    Returns:
      image [..., S, S, 3] and mask [..., S, S] (1 on the face, 0 elsewhere), S = camera.size.
    """
    mesh = front_topology(model.topology) if front_only else model.topology.mesh
    size = (camera.size, camera.size)
    position = clip(decoded.vertices, camera)
    fragments = rasterize(position, mesh, size)
    image = interpolate(decoded.color, mesh, fragments)
    mask = (fragments.triangle_id >= 0).astype(jnp.float32)
    if boundary:
        both = jnp.concatenate([image, mask[..., None]], axis=-1)
        both = boundary_grad(both, position, mesh, fragments)
        image, mask = both[..., :3], both[..., 3]
    return image, mask


def front_weights(topology: FaceTopology) -> np.ndarray:
    """[V] 0 or 1: vertices of the photometric region.

    The mask 'front' of Deep3D's model; else the mask 'face' without the inside of the mouth and
    other hidden parts; all vertices of models without either.
    """
    masks = topology.masks
    if "front" in masks:
        return (masks["front"] > 0.5).astype(np.float32)
    if "face" not in masks:
        return np.ones(topology.mesh.num_vertices, np.float32)
    inside = masks["face"] > 0.5
    for name in ("interior", "mouth_inside"):
        inside &= masks.get(name, 0) <= 0.5
    return inside.astype(np.float32)


def skin_weights(topology: FaceTopology) -> np.ndarray:
    """[V] in [0, 1]: skin of even colour, where the reflectance loss wants a constant albedo.

    The mask 'skin' of Deep3D's model; else the skin of the face without lips, brows, hair and
    nostrils; all vertices of models without masks.
    """
    masks = topology.masks
    if "skin" not in masks:
        return np.ones(topology.mesh.num_vertices, np.float32)
    weights = masks["skin"]
    if "front" in masks:
        return weights
    weights = weights * front_weights(topology)
    for name in ("lips", "brow", "hair", "nostril"):
        weights = weights * (1 - masks.get(name, np.float32(0)))
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=8)
def front_topology(topology: FaceTopology) -> MeshTopology:
    """The triangles whose three corners are in the photometric region, over all vertices."""
    inside = front_weights(topology) > 0.5
    mesh = topology.mesh
    return MeshTopology(mesh.triangles[inside[mesh.triangles].all(axis=1)], mesh.num_vertices)
