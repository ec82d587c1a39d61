"""Several meshes in one scene, and labels of what each pixel shows."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from facejax.geometry.mesh import Mesh, MeshTopology

PLAIN_ALBEDO = 0.72  # of meshes without colours


def concatenate_meshes(meshes: Sequence[Mesh]) -> tuple[Mesh, np.ndarray]:
    """One mesh of several (a head, glasses, a wall), and the material id of each triangle.

    Hand the ids to `render(..., labels=material)` to get the material of every pixel. Meshes
    without colours are plain grey, as when rendered alone. Textures are put side by side into one
    image, with a repeated texel around each and UV coordinates to match. The topology is new:
    concatenate once and use `Mesh.replace` for new vertices, since renders are compiled per
    topology.

    Args:
      meshes: one or more; batch dims broadcast. Either all carry a texture or no colours, or none
        carries a texture. Normal maps cannot be combined.

    Returns:
      (mesh, material): the mesh, vertices and triangles one after another, and [F] int32, the
      position in `meshes` of the mesh that each triangle comes from. The mesh keeps UV coordinates
      only where textures need them.

    Raises:
      ValueError: for no meshes, or appearances that one mesh cannot hold.
    """
    meshes = list(meshes)
    textured = _check(meshes)
    starts = np.cumsum([0] + [m.topology.num_vertices for m in meshes])
    triangles = [m.topology.triangles + s for m, s in zip(meshes, starts, strict=False)]
    material = np.repeat(np.arange(len(meshes)), [len(t) for t in triangles]).astype(np.int32)
    triangles, num_vertices = np.concatenate(triangles), int(starts[-1])
    vertices = _joined([m.vertices for m in meshes])
    if textured:
        texture, uv, uv_triangles = _side_by_side(meshes)
        topology = MeshTopology(triangles, num_vertices, uv, uv_triangles)
        return Mesh(vertices, topology, texture=texture), material
    topology = MeshTopology(triangles, num_vertices)
    if all(m.vertex_colors is None for m in meshes):
        return Mesh(vertices, topology), material
    colors = [_plain_or(m.vertex_colors, m.topology.num_vertices) for m in meshes]
    return Mesh(vertices, topology, vertex_colors=_joined(colors)), material


def region_labels(
    masks: Mapping[str, np.ndarray], topology: MeshTopology, threshold: float = 0.5
) -> np.ndarray:
    """A region id per triangle from soft vertex masks, for `render(..., labels=...)`.

    Args:
      masks: name -> [V] in [0, 1], such as `FaceTopology.masks`; ids follow their order.
      topology: the mesh's topology.
      threshold: a triangle whose strongest mask, averaged over its corners, is below this belongs
        to no region.

    Returns:
      [F] int32, the position in `masks` of the strongest one, -1 for none.

    Raises:
      ValueError: if a mask does not have one value per vertex.
    """
    for name, mask in masks.items():
        if np.shape(mask) != (topology.num_vertices,):
            raise ValueError(
                f"the mask {name!r} has shape {np.shape(mask)}; wanted ({topology.num_vertices},), "
                "one value per vertex of this mesh."
            )
    if not masks:
        return np.full(len(topology.triangles), -1, np.int32)
    weight = np.stack([np.asarray(m)[topology.triangles].mean(axis=1) for m in masks.values()])
    return np.where(weight.max(axis=0) >= threshold, weight.argmax(axis=0), -1).astype(np.int32)


def _check(meshes):
    """Whether the scene is textured; an error where one mesh cannot hold it."""
    if not meshes:
        raise ValueError("concatenate_meshes got no meshes; give at least one.")
    textured = any(m.texture is not None for m in meshes)
    for i, m in enumerate(meshes):
        if m.normal_map is not None:
            raise ValueError(
                f"mesh {i} has a normal map, which cannot be combined; drop it with "
                "mesh.replace(normal_map=None)."
            )
        if textured and m.texture is None and m.vertex_colors is not None:
            raise ValueError(
                f"mesh {i} has vertex colours while another has a texture; bake the colours with "
                "uv_atlas and bake, or give all of them vertex colours."
            )
        if m.texture is not None and (m.topology.uv is None or m.topology.uv_wraps_u):
            raise ValueError(
                f"mesh {i} has a texture but no UV layout, or one that wraps around u = 1; wanted "
                "a layout inside the unit square (cut the seam with uv_triangles)."
            )
    return textured


def _plain_or(colors, num):
    return jnp.full((num, 3), PLAIN_ALBEDO, jnp.float32) if colors is None else colors


def _joined(arrays):
    """[..., N_i, C] one after another along the rows, batch dims broadcast."""
    arrays = [jnp.asarray(a, jnp.float32) for a in arrays]
    batch = jnp.broadcast_shapes(*(a.shape[:-2] for a in arrays))
    return jnp.concatenate([jnp.broadcast_to(a, (*batch, *a.shape[-2:])) for a in arrays], axis=-2)


def _side_by_side(meshes):
    """Textures in one image from left to right: (texture, uv, uv_triangles)."""
    plain = jnp.full((1, 1, 3), PLAIN_ALBEDO, jnp.float32)
    textures = [jnp.asarray(plain if m.texture is None else m.texture, jnp.float32) for m in meshes]
    height = 2 + max(t.shape[-3] for t in textures)
    width = sum(t.shape[-2] + 2 for t in textures)
    columns, uvs, triangles = [], [], []
    left = first = 0
    for mesh, t in zip(meshes, textures, strict=True):
        rows, cols = t.shape[-3:-1]
        if mesh.texture is None:
            uv, tri = np.full((1, 2), 0.5, np.float32), np.zeros_like(mesh.topology.triangles)
        else:
            uv, tri = mesh.topology.uv, mesh.topology.uv_triangles
        pad = [(0, 0)] * (t.ndim - 3) + [(1, height - rows - 1), (1, 1), (0, 0)]
        columns.append(jnp.swapaxes(jnp.pad(t, pad, mode="edge"), -3, -2))
        uv = np.clip(uv, 0.0, 1.0)
        uvs.append((uv * [cols, rows] + [left + 1, 1]) / [width, height])
        triangles.append(tri + first)
        left, first = left + cols + 2, first + len(uv)
    batch = jnp.broadcast_shapes(*(c.shape[:-3] for c in columns))
    wide = jnp.concatenate([jnp.broadcast_to(c, (*batch, *c.shape[-3:])) for c in columns], axis=-3)
    return (
        jnp.swapaxes(wide, -3, -2),
        np.concatenate(uvs).astype(np.float32),
        np.concatenate(triangles),
    )
