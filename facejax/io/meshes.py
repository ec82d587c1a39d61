"""Mesh files: GLB and PLY written by trimesh, OBJ here (v/vt/vn with seams); all are read here.

| suffix | unit | carries |
|---|---|---|
| .glb | metres (glTF has no other) | UV, texture, normal map, tangents; else colours |
| .obj | millimetres | UV, normals, .mtl and .png beside it; else colours |
| .ply | millimetres | normals and vertex colours (read from the texture where there are none) |

A Mesh is in millimetres, x to the image's right, y up, z toward the viewer: glTF's axes (+z is the
front), so only the unit changes. UV has v down as in glTF; OBJ and trimesh have v up.
"""

import contextlib
import io
import logging
import pathlib
import re

import numpy as np

from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.host.files import atomic_path
from facejax.image.color import linear_to_srgb, srgb_to_linear
from facejax.image.sample import sample_bilinear
from facejax.io.images import read_texture, to_uint8, write_image
from facejax.io.tangents import (
    object_to_tangent,
    tangent_frames,
    tangent_to_object,
    unit_vertex_normals,
)

_log = logging.getLogger(__name__)
MM_PER_M = 1000.0
_MAX_TILES = 1000
_UV_SLACK = 1e-3  # by which a layout may leave the unit square
_ROUGHNESS = 0.6
_SAMPLER = {
    "magFilter": 9729,
    "minFilter": 9987,
    "wrapS": 10497,
    "wrapT": 33071,
}  # repeat u, clamp v


def save_mesh(path: str | pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Writes one mesh; the files are whole or absent. The suffix chooses the format (module table).

    Args:
      path: .glb, .obj or .ply; folders are made. An .obj brings `<name>.mtl`, `<name>.png` and,
        with a normal map, `<name>_normal.png` (blanks in these names become `_`).
      mesh: without batch dims. Texture, normal map and vertex colours are optional; where there is
        a texture, .glb and .obj leave out the vertex colours, which viewers would multiply by it.

    Returns:
      The path written.

    Raises:
      ValueError: an unknown suffix, or a mesh whose parts do not fit together.
    """
    path = pathlib.Path(path)
    writers = {".glb": _write_glb, ".obj": _write_obj, ".ply": _write_ply}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: unknown mesh suffix {path.suffix!r}; use {sorted(writers)}")
    writers[path.suffix.lower()](path, _checked(mesh, path))
    return path


def load_mesh(path: str | pathlib.Path) -> Mesh:
    """Reads a file with one mesh: any .glb, .gltf, .obj or .ply, not only ours.

    The order of the file is kept. Where it has copies of vertices at seams, as .glb must (equal
    position and normal), these are joined, in order of first appearance; an .obj that gives one
    vertex several texture coordinates needs and gets no joining. Groups, objects and materials of
    an .obj are one mesh. A tangent-space normal map becomes one in object space. What a file names
    and what is not there, or has no place in a Mesh, is said in the log.

    Args:
      path: the file; see the module's table for the units it is taken to be in.

    Returns:
      Mesh in millimetres, numpy arrays.

    Raises:
      ValueError: no such file, damaged, compressed, or not exactly one mesh of triangles.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    readers = {".glb": _load_gltf, ".gltf": _load_gltf, ".obj": _load_obj, ".ply": _load_ply}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{path}: unknown mesh suffix {path.suffix!r}; use .glb, .obj or .ply")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a mesh")
    return readers[suffix](path)


def _load_obj(path: pathlib.Path) -> Mesh:
    from facejax.geometry.obj import read_obj
    from facejax.io.materials import find_material

    file = read_obj(path)
    colors = _colors(path, file.colors)
    used = np.bincount(file.material[file.material >= 0], minlength=len(file.materials))
    names = [file.materials[k] for k in np.argsort(-used, kind="stable") if used[k]]
    material = find_material(path, file.libraries, names)
    without = (file.uv_triangles < 0).any(axis=1)
    if without.all():
        if material is not None and material.color is not None:
            _log.warning(
                "%s: no texture coordinates for the texture %s: the mesh comes without it",
                path, material.color.name,
            )  # fmt: skip
        topology = MeshTopology(file.triangles, len(file.vertices))
        return Mesh(file.vertices.astype(np.float32), topology, colors)
    uv, uv_triangles = file.uv, file.uv_triangles
    if material is not None:
        uv = uv * np.array(material.scale) + np.array(material.offset)
    if without.any():
        _log.warning(
            "%s: %d of %d triangles have no texture coordinates: they show a corner of the texture",
            path, without.sum(), len(without),
        )  # fmt: skip
        uv_triangles = np.where(uv_triangles < 0, len(uv), uv_triangles)
        uv = np.concatenate([uv, [[0.0, 1.0]]])
    # one UV vertex for each texture coordinate of a vertex, in the order of the `vt` lines
    pairs, corner = np.unique(
        np.stack([uv_triangles, file.triangles], axis=-1).reshape(-1, 2),
        axis=0, return_inverse=True,
    )  # fmt: skip
    uv_triangles, uv_vertex = corner.reshape(-1, 3), pairs[:, 1]
    vertices, triangles = file.vertices, file.triangles
    if len(np.unique(uv_vertex)) == len(uv_vertex):  # no seam is written as OBJ does
        normals = None
        if len(file.normals) and (file.normal_triangles >= 0).all():
            normals = np.zeros_like(vertices)
            normals[triangles] = file.normals[file.normal_triangles]
        first, joined = _join(vertices, normals)
        vertices, triangles, uv_vertex = vertices[first], joined[triangles], joined[uv_vertex]
        colors = None if colors is None else colors[first]
    topology = MeshTopology(
        triangles, len(vertices), _unit_square(path, _flip_v(uv[pairs[:, 0]])), uv_triangles,
        uv_vertex,
    )  # fmt: skip
    mesh = Mesh(vertices.astype(np.float32), topology, colors)
    if material is None:
        return mesh
    texture, normal_map = (
        None if file is None else read_texture(file) for file in (material.color, material.normal)
    )
    return _with_pictures(mesh, texture, normal_map)


def _load_ply(path: pathlib.Path) -> Mesh:
    from facejax.io.materials import find_file
    from facejax.io.ply import read_ply

    file = read_ply(path)
    texture = None
    if file.texture:
        picture = find_file(path.parent, file.texture)
        if picture is None or file.uv is None:
            _log.warning(
                "%s: the texture %r %s: the mesh comes without it", path, file.texture,
                "is not there" if picture is None else "has no texture coordinates",
            )  # fmt: skip
        else:
            texture = read_texture(picture)
    uv, uv_triangles = file.uv, file.triangles
    if uv is not None and uv.ndim == 3:  # one for each corner: equal ones of a vertex are joined
        rows = np.concatenate([file.triangles[..., None], uv], axis=-1).reshape(-1, 3)
        rows, corner = np.unique(rows, axis=0, return_inverse=True)
        uv, uv_triangles = rows[:, 1:], corner.reshape(-1, 3)
        topology = MeshTopology(
            file.triangles, len(file.vertices), _unit_square(path, _flip_v(uv)), uv_triangles,
            rows[:, 0].astype(np.int32),
        )  # fmt: skip
        mesh = Mesh(file.vertices.astype(np.float32), topology, _colors(path, file.colors))
        return _with_pictures(mesh, texture, None)
    uv = None if uv is None else _flip_v(uv)
    mesh = _flat(path, file.vertices, file.triangles, file.normals, uv, _colors(path, file.colors))
    return _with_pictures(mesh, texture, None)


def _load_gltf(path: pathlib.Path) -> Mesh:
    from facejax.io.gltf import read_gltf

    parts = read_gltf(path)
    if len(parts) != 1:
        names = f" ({', '.join(p.name for p in parts[:5])})" if parts else ""
        raise ValueError(
            f"{path}: found {len(parts)} meshes of triangles{names}; wanted exactly one: join them "
            "into one with one material"
        )
    (part,) = parts
    colors = None if part.colors is None else np.asarray(linear_to_srgb(np.float32(part.colors)))
    mesh = _flat(
        path, MM_PER_M * part.vertices, part.triangles, part.normals, part.uv,
        _colors(path, colors),
    )  # fmt: skip
    return _with_pictures(mesh, part.color_map, part.normal_map)


def _flat(path, vertices, triangles, normals, uv, colors) -> Mesh:
    """A mesh of a file that copies vertices at seams; uv has v down."""
    if uv is None:
        return Mesh(vertices.astype(np.float32), MeshTopology(triangles, len(vertices)), colors)
    first, joined = _join(vertices, normals)
    topology = MeshTopology(
        joined[triangles], len(first), _unit_square(path, uv), triangles, joined
    )
    colors = None if colors is None else colors[first]
    return Mesh(vertices[first].astype(np.float32), topology, colors)


def _with_pictures(mesh: Mesh, texture, normal_map) -> Mesh:
    mesh = mesh.replace(texture=texture)
    if normal_map is None:
        return mesh
    return mesh.replace(normal_map=tangent_to_object(mesh, 2.0 * normal_map - 1.0))


def _join(vertices: np.ndarray, normals: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the distinct vertices by order of appearance, [V], and of each one in them, [S].

    Copies at seams share position and normal. Normals keep apart what only touches, like closed
    lips.
    """
    keys = vertices if normals is None else np.concatenate([vertices, normals], axis=-1)
    _, first, inverse = np.unique(keys + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)].astype(np.int32)


def _colors(path: pathlib.Path, colors: np.ndarray | None) -> np.ndarray | None:
    """[V, 3] float32 colours in [0, 1], of a file that has them so or in 0 .. 255."""
    if colors is None:
        return None
    if not np.isfinite(colors).all() or colors.min(initial=0) < -1 or colors.max(initial=0) > 256:
        _log.warning("%s: its vertex colours are damaged: the mesh comes without them", path)
        return None
    if colors.max(initial=0) > 2:
        colors = colors / 255.0
    return np.clip(colors, 0.0, 1.0).astype(np.float32)


def _unit_square(path: pathlib.Path, uv: np.ndarray) -> np.ndarray:
    """UV in [0, 1]: moved there by whole tiles where all of it lies in one."""
    if not np.isfinite(uv).all():
        raise ValueError(f"{path}: texture coordinates that are not finite; mend the mesh first")
    low, high = uv.min(axis=0, initial=np.inf), uv.max(axis=0, initial=-np.inf)
    if np.abs(uv).max(initial=0) > _MAX_TILES:
        raise ValueError(
            f"{path}: texture coordinates up to {np.abs(uv).max():.4g}: the file is damaged; a "
            "texture runs from 0 to 1"
        )
    tile = np.floor(low + _UV_SLACK)
    if (high - tile <= 1.0 + _UV_SLACK).all():
        return uv - tile
    _log.warning(
        "%s: its texture coordinates run from %s to %s, over several tiles; a texture is read as "
        "one", path, np.round(low, 3).tolist(), np.round(high, 3).tolist(),
    )  # fmt: skip
    return uv


def _checked(mesh: Mesh, path: pathlib.Path) -> Mesh:
    """The mesh with numpy leaves, or one error that says which part does not fit."""
    topology = mesh.topology
    arrays = {
        name: None if value is None else np.asarray(value, np.float32)
        for name in ("vertices", "vertex_colors", "texture", "normal_map")
        for value in [getattr(mesh, name)]
    }
    vertex_shape = (topology.num_vertices, 3)
    for name, value in arrays.items():
        if value is None:
            continue
        is_image = name in ("texture", "normal_map")
        fits = value.ndim == 3 and value.shape[-1] == 3 if is_image else value.shape == vertex_shape
        if not fits:
            raise ValueError(
                f"{path}: {name} has shape {value.shape}; wanted "
                f"{'[H, W, 3]' if is_image else vertex_shape}. Save one mesh of a batch at a time"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"{path}: {name} has values that are not finite; nothing was written")
        if is_image and topology.uv is None:
            raise ValueError(f"{path}: the mesh has a {name} but its topology has no UV layout")
    if len(topology.triangles) == 0:
        raise ValueError(f"{path}: the mesh has no triangles")
    return Mesh(topology=topology, **arrays)


def _write_glb(path: pathlib.Path, mesh: Mesh) -> None:
    import trimesh
    from PIL import Image

    topology = mesh.topology
    has_uv = topology.uv is not None
    split = topology.uv_vertex if has_uv else np.arange(topology.num_vertices)
    attributes = {}
    if has_uv:
        attributes["TANGENT"] = tangent_frames(mesh).tangent
    if mesh.vertex_colors is not None and mesh.texture is None:
        attributes["COLOR_0"] = np.asarray(srgb_to_linear(mesh.vertex_colors))[split]
    material = trimesh.visual.material.PBRMaterial(
        name="face", metallicFactor=0.0, roughnessFactor=_ROUGHNESS, doubleSided=False
    )
    if mesh.texture is not None:
        material.baseColorTexture = Image.fromarray(to_uint8(mesh.texture))
    if mesh.normal_map is not None:
        tangent_map = to_uint8(object_to_tangent(mesh), (-1, 1))
        material.normalTexture = Image.fromarray(tangent_map)
    surface = trimesh.Trimesh(
        mesh.vertices[split] / MM_PER_M,
        topology.uv_triangles if has_uv else topology.triangles,
        vertex_normals=unit_vertex_normals(mesh)[split],
        vertex_attributes=attributes,
        visual=trimesh.visual.TextureVisuals(
            uv=_flip_v(topology.uv) if has_uv else None, material=material
        ),
        process=False,
    )
    glb = trimesh.exchange.gltf.export_glb(
        trimesh.Scene({"face": surface}), include_normals=True, tree_postprocessor=_finish_gltf
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(glb)


def _finish_gltf(tree: dict) -> None:
    """Gives our attributes their standard names (trimesh marks all as custom); sets a sampler."""
    for mesh in tree["meshes"]:
        attributes = mesh["primitives"][0]["attributes"]
        for name in ("TANGENT", "COLOR_0"):
            if f"_{name}" in attributes:
                attributes[name] = attributes.pop(f"_{name}")
    if tree.get("textures"):
        tree["samplers"] = [_SAMPLER]
        for texture in tree["textures"]:
            texture["sampler"] = 0


def _write_obj(path: pathlib.Path, mesh: Mesh) -> None:
    stem = re.sub(r"\s+", "_", path.stem)  # readers split lines at blanks
    images = {}
    if mesh.texture is not None:
        images[f"{stem}.png"] = mesh.texture
    if mesh.normal_map is not None:
        images[f"{stem}_normal.png"] = 0.5 + 0.5 * object_to_tangent(mesh)
    with (
        contextlib.ExitStack() as stack
    ):  # renamed in reverse: the .obj appears last, when all is there
        obj = stack.enter_context(atomic_path(path))
        material = None
        if images:
            material = stack.enter_context(atomic_path(path.with_name(f"{stem}.mtl")))
            material.write_text(_mtl_text(stem, mesh), encoding="utf-8")
        for name, image in images.items():
            write_image(stack.enter_context(atomic_path(path.with_name(name))), image)
        obj.write_text(_obj_text(stem, mesh, with_material=material is not None), encoding="utf-8")


def _mtl_text(stem: str, mesh: Mesh) -> str:
    lines = ["newmtl face", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1"]
    lines += ["Pm 0", f"Pr {_ROUGHNESS}"]
    if mesh.texture is not None:
        lines.append(f"map_Kd {stem}.png")
    if mesh.normal_map is not None:
        lines.append(f"norm {stem}_normal.png")
    return "\n".join(lines) + "\n"


def _obj_text(stem: str, mesh: Mesh, with_material: bool) -> str:
    topology, vertices = mesh.topology, mesh.vertices
    if mesh.vertex_colors is not None and mesh.texture is None:
        vertices = np.concatenate([vertices, mesh.vertex_colors], axis=-1)  # v x y z r g b
    lines = ["# facejax: millimetres, y up, z toward the viewer"]
    if with_material:
        lines.append(f"mtllib {stem}.mtl")
    lines += _rows("v", vertices)
    corner = topology.triangles + 1
    if topology.uv is None:
        corners = [corner, corner]
        separator = "//"
    else:
        lines += _rows("vt", _flip_v(topology.uv))
        corners = [corner, topology.uv_triangles + 1, corner]
        separator = "/"
    lines += _rows("vn", unit_vertex_normals(mesh))
    if with_material:
        lines.append("usemtl face")
    table = np.stack(corners, axis=-1).tolist()  # [F, 3, 2 or 3]
    lines += ["f " + " ".join(separator.join(map(str, c)) for c in face) for face in table]
    return "\n".join(lines) + "\n"


def _rows(keyword: str, values: np.ndarray) -> list[str]:
    text = io.StringIO()
    np.savetxt(text, values, fmt="%.9g")  # nine digits give every float32 back
    return [f"{keyword} {row}" for row in text.getvalue().splitlines()]


def _write_ply(path: pathlib.Path, mesh: Mesh) -> None:
    import trimesh

    colors = _vertex_colors(mesh)
    surface = trimesh.Trimesh(
        mesh.vertices,
        mesh.topology.triangles,
        vertex_normals=unit_vertex_normals(mesh),
        vertex_colors=None if colors is None else to_uint8(colors),
        process=False,
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(trimesh.exchange.ply.export_ply(surface, vertex_normal=True))


def _vertex_colors(mesh: Mesh) -> np.ndarray | None:
    """[V, 3] vertex colours, or the texture at the vertices (the mean over copies at seams)."""
    if mesh.vertex_colors is not None or mesh.texture is None:
        return mesh.vertex_colors
    topology = mesh.topology
    samples = np.asarray(sample_bilinear(mesh.texture, topology.uv))
    total = np.zeros((topology.num_vertices, 3), np.float32)
    np.add.at(total, topology.uv_vertex, samples)
    count = np.bincount(topology.uv_vertex, minlength=topology.num_vertices)
    return total / np.maximum(count, 1)[:, None]


def _flip_v(uv: np.ndarray) -> np.ndarray:
    """v down to v up, or back; in float64, so that twice is the identity."""
    return np.stack([uv[:, 0], 1.0 - uv[:, 1].astype(np.float64)], axis=-1)
