"""Mesh files: GLB and PLY by trimesh, OBJ written here (v/vt/vn with seams), all read by trimesh.

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
import pathlib
import re

import numpy as np

from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.host.files import atomic_path
from facejax.image.color import linear_to_srgb, srgb_to_linear
from facejax.image.sample import sample_bilinear
from facejax.io.images import read_image, to_uint8, write_image
from facejax.io.tangents import (
    object_to_tangent,
    tangent_frames,
    tangent_to_object,
    unit_vertex_normals,
)

MM_PER_M = 1000.0
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

    Vertices that seams have split (equal position and normal) are joined again, in order of first
    appearance. A tangent-space normal map becomes one in object space. Vertex colours of an .obj
    that also has a UV layout are not read (trimesh drops them).

    Args:
      path: the file; see the module's table for the units it is taken to be in.

    Returns:
      Mesh in millimetres, numpy arrays.

    Raises:
      ValueError: no such file, or not exactly one mesh of triangles.
    """
    import trimesh

    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".glb", ".gltf", ".obj", ".ply"):
        raise ValueError(f"{path}: unknown mesh suffix {path.suffix!r}; use .glb, .obj or .ply")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a mesh")
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise ValueError(f"{path}: not a readable {suffix} file ({error})") from error
    nodes = [scene.graph[name] for name in scene.graph.nodes_geometry]  # (transform, geometry name)
    parts = [(transform, scene.geometry[name]) for transform, name in nodes]
    parts = [p for p in parts if isinstance(p[1], trimesh.Trimesh) and len(p[1].faces)]
    if len(parts) != 1:
        raise ValueError(f"{path}: found {len(parts)} meshes of triangles; wanted exactly one")
    transform, surface = parts[0]
    is_gltf = suffix in (".glb", ".gltf")
    transform = transform * np.array([[MM_PER_M if is_gltf else 1.0]] * 3 + [[1.0]])
    vertices = trimesh.transform_points(surface.vertices, transform).astype(np.float32)
    return _from_trimesh(surface, vertices, path, linear_colors=is_gltf)


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


def _from_trimesh(surface, vertices: np.ndarray, path: pathlib.Path, linear_colors: bool) -> Mesh:
    """The Mesh of a trimesh surface as it came from the file, and its vertices in millimetres."""
    faces = np.asarray(surface.faces, np.int32)
    visual = surface.visual
    uv = getattr(visual, "uv", None)
    colors = _read_colors(visual, len(vertices), linear_colors)
    if uv is None or len(uv) != len(vertices):
        return Mesh(vertices, MeshTopology(faces, len(vertices)), colors)
    first, joined = _join(surface)
    topology = MeshTopology(joined[faces], len(first), _flip_v(np.asarray(uv)), faces, joined)
    mesh = Mesh(
        vertices[first],
        topology,
        None if colors is None else colors[first],
        _rgb(_base_color_image(visual.material)),
    )
    tangent_map = _rgb(getattr(visual.material, "normalTexture", None))
    obj_name = (getattr(visual.material, "kwargs", None) or {}).get("norm")
    if obj_name:  # the words of the line `norm [options] name.png`
        tangent_map = read_image(path.with_name(obj_name[-1]), mode="RGB")
    if tangent_map is None:
        return mesh
    return mesh.replace(normal_map=tangent_to_object(mesh, 2.0 * tangent_map - 1.0))


def _join(surface) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the distinct vertices by order of appearance, [V], and of each one in them, [S].

    Copies at seams share position and normal. Normals keep apart what only touches, like closed
    lips; they count only if the file has some, as trimesh's own break at the seams.
    """
    import trimesh

    keys = np.asarray(surface.vertices)
    own = trimesh.Trimesh(surface.vertices, surface.faces, process=False).vertex_normals
    if not np.allclose(surface.vertex_normals, own, atol=1e-3):
        keys = np.concatenate([keys, surface.vertex_normals], axis=-1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)].astype(np.int32)


def _read_colors(visual, num_vertices: int, linear: bool) -> np.ndarray | None:
    """[V, 3] sRGB vertex colours of a file, or None."""
    colors = None
    if visual.kind == "vertex":
        colors = visual.vertex_colors
    elif "color" in getattr(visual, "vertex_attributes", {}):  # colours beside a material
        colors = visual.vertex_attributes["color"]
    if colors is None or len(colors) != num_vertices:
        return None
    colors = np.asarray(colors)[:, :3]
    if np.issubdtype(colors.dtype, np.integer):
        colors = colors / np.float32(np.iinfo(colors.dtype).max)
    colors = colors.astype(np.float32)
    return np.asarray(linear_to_srgb(colors)) if linear else colors


def _base_color_image(material):
    """The Pillow image of a material's colour, or None."""
    image = getattr(material, "baseColorTexture", None)  # glTF
    if image is None:
        image = getattr(material, "image", None)  # OBJ; trimesh makes up a grey one without a file
        image = image if image is not None and "file_path" in image.info else None
    return image


def _rgb(image) -> np.ndarray | None:
    """[H, W, 3] float32 in [0, 1] of a Pillow image."""
    if image is None:
        return None
    return np.asarray(image.convert("RGB"), np.float32) / np.float32(255.0)
