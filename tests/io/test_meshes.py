import io
import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.io import meshes
from facejax.io.tangents import tangent_to_object
from tests.io.shapes import cylinder, with_maps


@pytest.fixture
def mesh(rng):
    return with_maps(cylinder(), rng)


def _read_glb(path):
    """The JSON of a GLB and a reader of its accessors, from the bytes alone."""
    data = path.read_bytes()
    magic, version, length, json_length, json_type = struct.unpack_from("<5I", data)
    assert (magic, version, length, json_type) == (0x46546C67, 2, len(data), 0x4E4F534A)
    tree = json.loads(data[20 : 20 + json_length])
    binary = data[28 + json_length :]

    def view(index):
        item = tree["bufferViews"][index]
        start = item.get("byteOffset", 0)
        return binary[start : start + item["byteLength"]]

    def accessor(index):
        item = tree["accessors"][index]
        dtype = {5126: np.float32, 5125: np.uint32}[item["componentType"]]
        shape = {"SCALAR": (-1,), "VEC2": (-1, 2), "VEC3": (-1, 3), "VEC4": (-1, 4)}[item["type"]]
        values = np.frombuffer(view(item["bufferView"]), dtype).reshape(shape)
        assert len(values) == item["count"]
        return values

    def image(texture):
        source = tree["images"][tree["textures"][texture["index"]]["source"]]
        assert source["mimeType"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(view(source["bufferView"]))))

    return tree, accessor, image


def test_glb_bytes_follow_the_gltf_standard(mesh, tmp_path):
    path = meshes.save_mesh(tmp_path / "made" / "face.glb", mesh)
    tree, accessor, image = _read_glb(path)
    primitive = tree["meshes"][0]["primitives"][0]
    names = {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}
    assert set(primitive["attributes"]) == names  # and no colours, which viewers would multiply
    data = {name: accessor(index) for name, index in primitive["attributes"].items()}
    split = mesh.topology.uv_vertex
    np.testing.assert_allclose(data["POSITION"], mesh.vertices[split] / 1000, atol=1e-6)
    np.testing.assert_allclose(data["TEXCOORD_0"], mesh.topology.uv, atol=1e-7)  # v down
    normals = np.asarray(vertex_normals(mesh.vertices, mesh.topology))[split]
    np.testing.assert_allclose(data["NORMAL"], normals, atol=1e-6)
    np.testing.assert_array_equal(
        accessor(primitive["indices"]).reshape(-1, 3), mesh.topology.uv_triangles
    )
    material = tree["materials"][primitive["material"]]
    pbr = material["pbrMetallicRoughness"]
    assert pbr["metallicFactor"] == 0.0 and pbr["roughnessFactor"] == 0.6
    assert material["doubleSided"] is False and len(tree["images"]) == 2
    np.testing.assert_array_equal(image(pbr["baseColorTexture"]), np.rint(mesh.texture * 255))
    wrap = tree["samplers"][tree["textures"][0]["sampler"]]
    assert (wrap["wrapS"], wrap["wrapT"]) == (10497, 33071)


def test_a_viewer_reconstructs_the_object_normals(mesh, tmp_path):
    """Decodes the written map as glTF prescribes, at the vertices, from the file's bytes alone."""
    normals = np.asarray(vertex_normals(mesh.vertices, mesh.topology))
    size = 128
    tilt = np.float32([0.1, 0.5, 0.0])  # one direction in object space, the same for every texel
    smooth = tangent_to_object(mesh, np.broadcast_to(np.float32([0, 0, 1]), (size, size, 3)))
    painted = np.where(smooth.any(-1, keepdims=True), smooth + tilt, 0)
    painted /= np.maximum(np.linalg.norm(painted, axis=-1, keepdims=True), 1e-6)
    path = meshes.save_mesh(tmp_path / "face.glb", mesh.replace(normal_map=painted))
    tree, accessor, image = _read_glb(path)
    primitive = tree["meshes"][0]["primitives"][0]
    data = {name: accessor(index) for name, index in primitive["attributes"].items()}
    texels = image(tree["materials"][0]["normalTexture"]).astype(np.float32) * 2 / 255 - 1
    uv = data["TEXCOORD_0"]
    index = np.clip((uv * size).astype(int), 0, size - 1)
    x, y, z = texels[index[:, 1], index[:, 0]].T[..., None]
    tangent, w = data["TANGENT"][:, :3], data["TANGENT"][:, 3:]
    assert set(np.unique(w)) <= {-1.0, 1.0}
    bitangent = w * np.cross(data["NORMAL"], tangent)
    got = x * tangent + y * bitangent + z * data["NORMAL"]
    got /= np.linalg.norm(got, axis=-1, keepdims=True)
    want = normals[mesh.topology.uv_vertex] + tilt
    want /= np.linalg.norm(want, axis=-1, keepdims=True)
    angle = np.rad2deg(np.arccos(np.clip((got * want).sum(-1), -1, 1)))
    assert angle.max() < 1.5  # eight bits, and half a texel


def test_trimesh_reads_the_glb(mesh, tmp_path):
    path = meshes.save_mesh(tmp_path / "face.glb", mesh)
    (surface,) = trimesh.load_scene(path, process=False).dump()
    split = mesh.topology.uv_vertex
    np.testing.assert_allclose(surface.vertices * 1000, mesh.vertices[split], atol=1e-3)
    np.testing.assert_allclose(surface.visual.uv[:, 1], 1 - mesh.topology.uv[:, 1], atol=1e-6)
    pixels = np.asarray(surface.visual.material.baseColorTexture)
    np.testing.assert_array_equal(pixels, np.rint(mesh.texture * 255))
    centroid = surface.vertices.mean(axis=0)
    outwards = ((surface.triangles_center - centroid) * surface.face_normals)[:, [0, 2]].sum(-1)
    assert (outwards > 0).all()  # counter-clockwise from outside


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_round_trip_keeps_everything(mesh, tmp_path, suffix):
    path = meshes.save_mesh(tmp_path / f"my face{suffix}", mesh)
    got = meshes.load_mesh(path)
    assert got.topology.num_vertices == mesh.topology.num_vertices  # seams are joined again
    for name in ("triangles", "uv_triangles"):
        if suffix == ".glb":  # an .obj reader may number corners anew
            np.testing.assert_array_equal(getattr(got.topology, name), getattr(mesh.topology, name))
    np.testing.assert_allclose(
        got.vertices[got.topology.triangles], mesh.vertices[mesh.topology.triangles], atol=1e-4
    )
    np.testing.assert_allclose(
        got.topology.uv[got.topology.uv_triangles],
        mesh.topology.uv[mesh.topology.uv_triangles],
        atol=1e-6,
    )
    np.testing.assert_array_equal(got.texture, mesh.texture)
    covered = np.linalg.norm(got.normal_map, axis=-1) > 0.5
    cosine = (got.normal_map * mesh.normal_map).sum(-1)[covered]
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 1.0  # eight bits


def test_obj_text_and_its_companions(mesh, tmp_path):
    path = meshes.save_mesh(tmp_path / "my face.obj", mesh)
    assert {p.name for p in tmp_path.iterdir()} == {
        "my face.obj",
        "my_face.mtl",
        "my_face.png",
        "my_face_normal.png",
    }
    rows = [line.split() for line in path.read_text().splitlines()]
    count = {key: sum(row[0] == key for row in rows) for key in ("v", "vt", "vn", "f")}
    topology = mesh.topology
    vertices, faces = topology.num_vertices, len(topology.triangles)
    assert count == {"v": vertices, "vt": len(topology.uv), "vn": vertices, "f": faces}
    assert ["mtllib", "my_face.mtl"] in rows and ["usemtl", "face"] in rows
    material = (tmp_path / "my_face.mtl").read_text()
    assert "map_Kd my_face.png\n" in material and "norm my_face_normal.png\n" in material
    vt = np.array([row[1:] for row in rows if row[0] == "vt"], float)
    np.testing.assert_allclose(vt[:, 1], 1 - topology.uv[:, 1], atol=1e-7)
    first = [row for row in rows if row[0] == "f"][0]
    corners = np.array([c.split("/") for c in first[1:]], int) - 1
    np.testing.assert_array_equal(corners[:, 0], topology.triangles[0])
    np.testing.assert_array_equal(corners[:, 1], topology.uv_triangles[0])


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_vertex_colours_without_a_layout(rng, tmp_path, suffix):
    mesh = with_maps(cylinder(), rng).replace(texture=None, normal_map=None)
    bare = MeshTopology(mesh.topology.triangles, mesh.topology.num_vertices)
    got = meshes.load_mesh(meshes.save_mesh(tmp_path / f"a{suffix}", mesh.replace(topology=bare)))
    assert got.topology.uv is None and got.texture is None
    np.testing.assert_array_equal(got.topology.triangles, bare.triangles)
    np.testing.assert_allclose(got.vertices, mesh.vertices, atol=1e-4)
    np.testing.assert_allclose(got.vertex_colors, mesh.vertex_colors, atol=0.5 / 255)


def test_vertex_colours_beside_a_layout(rng, tmp_path):
    mesh = with_maps(cylinder(), rng).replace(texture=None, normal_map=None)
    got = meshes.load_mesh(meshes.save_mesh(tmp_path / "a.glb", mesh))
    assert got.texture is None and got.topology.uv is not None
    np.testing.assert_allclose(
        got.vertex_colors[got.topology.triangles],
        mesh.vertex_colors[mesh.topology.triangles],
        atol=0.5 / 255,
    )


def test_glb_colours_are_linear_light_as_gltf_wants(rng, tmp_path):
    mesh = with_maps(cylinder(), rng).replace(texture=None, normal_map=None)
    grey = mesh.replace(vertex_colors=np.full_like(mesh.vertices, 0.5))
    tree, accessor, _ = _read_glb(meshes.save_mesh(tmp_path / "a.glb", grey))
    colors = accessor(tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])
    np.testing.assert_allclose(colors, 0.2140411, rtol=1e-5)


def test_ply_takes_colours_from_the_texture(mesh, tmp_path):
    half = np.zeros_like(mesh.texture)
    half[: half.shape[0] // 2] = (1.0, 0.5, 0.0)
    painted = mesh.replace(texture=half, vertex_colors=None)
    got = meshes.load_mesh(meshes.save_mesh(tmp_path / "face.ply", painted))
    upper = mesh.vertices[:, 1] > 0
    np.testing.assert_allclose(got.vertex_colors[upper], [[1, 0.5, 0]] * upper.sum(), atol=0.01)
    assert not got.vertex_colors[~upper].any()


def test_a_shape_alone_can_be_saved(tmp_path):
    mesh = cylinder()
    for suffix in (".glb", ".obj", ".ply"):
        got = meshes.load_mesh(meshes.save_mesh(tmp_path / f"a{suffix}", mesh))
        assert got.vertex_colors is None and got.texture is None
        np.testing.assert_allclose(got.vertices, mesh.vertices, atol=1e-4)


def test_bad_meshes_are_one_clear_error_and_no_file(mesh, tmp_path):
    bare = MeshTopology(mesh.topology.triangles, mesh.topology.num_vertices)
    cases = {
        "unknown mesh suffix '.stl'": ("a.stl", mesh),
        "texture has shape": ("a.glb", mesh.replace(texture=mesh.texture[..., 0])),
        "one mesh of a batch": ("a.obj", mesh.replace(vertices=mesh.vertices[None])),
        "not finite": ("a.ply", mesh.replace(vertices=mesh.vertices * np.nan)),
        "no UV layout": ("a.glb", mesh.replace(topology=bare)),
        "no triangles": ("a.ply", cylinder().replace(topology=MeshTopology(np.zeros((0, 3)), 32))),
    }
    for message, (name, bad) in cases.items():
        with pytest.raises(ValueError, match=message):
            meshes.save_mesh(tmp_path / name, bad)
    assert not list(tmp_path.iterdir())


def test_a_write_error_leaves_no_half_set_of_files(mesh, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    for suffix, name in ((".obj", "_obj_text"), (".obj", "write_image"), (".glb", "_finish_gltf")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(meshes, name, fail)
            meshes.save_mesh(tmp_path / f"a{suffix}", mesh)
    assert not list(tmp_path.iterdir())


def test_bad_files_are_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        meshes.load_mesh(tmp_path / "absent.glb")
    with pytest.raises(ValueError, match="unknown mesh suffix '.fbx'"):
        meshes.load_mesh(tmp_path / "a.fbx")
    for suffix in (".glb", ".ply"):
        (tmp_path / f"bad{suffix}").write_bytes(b"not a mesh at all")
        with pytest.raises(ValueError, match="not a readable"):
            meshes.load_mesh(tmp_path / f"bad{suffix}")
    (tmp_path / "empty.obj").write_text("# nothing\n")
    with pytest.raises(ValueError, match="empty.obj"):
        meshes.load_mesh(tmp_path / "empty.obj")


def write_split(path, kind):
    """A square of two triangles, seams or normals written in one of several ways."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    corners = [0, 1, 2, 0, 2, 3]
    if kind == "flat normals":
        lines = [f"v {x} {y} {z}" for x, y, z in points] + ["vn 0 0 1", "vn 0 0.1 1"]
        lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
        lines += ["f 1/1/1 2/2/1 3/3/1", "f 1/1/2 3/3/2 4/4/2"]
    elif kind == "own vertices":  # each triangle has three, as a .glb would
        lines = [f"v {x} {y} {z}" for x, y, z in points[corners]]
        lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 0", "vt 1 1", "vt 0 1"]
        lines += ["f 1/1 2/2 3/3", "f 4/4 5/5 6/6"]
    else:  # a seam: one vertex, two texture coordinates; vertex 3 is used by nobody
        lines = [f"v {x} {y} {z}" for x, y, z in points] + ["v 9 9 9"]
        lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0.5 0", "vt 0.5 1", "vt 0 1"]
        lines += ["f 1/1 2/2 3/3", "f 1/4 3/5 4/6"]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("kind", "vertices"), [("flat normals", 4), ("own vertices", 4), ("seam", 5)]
)
def test_an_obj_keeps_its_vertices_however_it_splits_them(tmp_path, kind, vertices):
    mesh = meshes.load_mesh(write_split(tmp_path / "a.obj", kind))
    np.testing.assert_array_equal(mesh.vertices[:4], [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    assert len(mesh.vertices) == mesh.topology.num_vertices == vertices
    np.testing.assert_array_equal(mesh.topology.triangles, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(
        mesh.topology.uv_vertex[mesh.topology.uv_triangles], mesh.topology.triangles
    )


def test_our_own_obj_comes_back_in_the_same_order(mesh, tmp_path):
    got = meshes.load_mesh(meshes.save_mesh(tmp_path / "a.obj", mesh))
    for name in ("triangles", "uv_triangles", "uv_vertex"):
        np.testing.assert_array_equal(getattr(got.topology, name), getattr(mesh.topology, name))
    np.testing.assert_allclose(got.vertices, mesh.vertices, rtol=1e-6)


def test_layouts_on_other_tiles(tmp_path, caplog):
    path = write_split(tmp_path / "a.obj", "flat normals")
    text = path.read_text()
    wanted = meshes.load_mesh(path).topology.uv
    path.write_text(text.replace("vt 0 ", "vt 3 ").replace("vt 1 ", "vt 4 "))
    np.testing.assert_allclose(meshes.load_mesh(path).topology.uv, wanted, atol=1e-6)
    assert not caplog.text
    path.write_text(text.replace("vt 1 1", "vt 2.5 1"))
    meshes.load_mesh(path)
    assert "over several tiles" in caplog.text
    path.write_text(text.replace("vt 1 1", "vt nan 1"))
    with pytest.raises(ValueError, match="a.obj: texture coordinates that are not finite"):
        meshes.load_mesh(path)


def test_vertex_colours_of_other_ranges(tmp_path, caplog):
    lines = "v 0 0 0 {0} 0 0\nv 1 0 0 0 {0} 0\nv 1 1 0 0 0 {0}\nf 1 2 3\n"
    for value in ("1", "255", "1.02"):
        (tmp_path / "a.obj").write_text(lines.format(value))
        colors = meshes.load_mesh(tmp_path / "a.obj").vertex_colors
        np.testing.assert_array_equal(colors, np.eye(3))
    for value in ("nan", "-4", "70000"):
        (tmp_path / "a.obj").write_text(lines.format(value))
        assert meshes.load_mesh(tmp_path / "a.obj").vertex_colors is None
        assert "colours are damaged" in caplog.text
        caplog.clear()
