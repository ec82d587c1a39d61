"""glTF written here byte by byte, in the ways that other programs write it."""

import base64
import json
import logging
import struct

import numpy as np
import pytest

from facejax.io.gltf import read_gltf
from facejax.io.images import write_image
from facejax.io.meshes import load_mesh
from facejax.io.surfaces import read_surface

POINTS = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
UV = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
TRIANGLES = [[0, 1, 2], [0, 2, 3]]
KINDS = {"f4": 5126, "u4": 5125, "u2": 5123, "u1": 5121, "i2": 5122, "i1": 5120}


class Writer:
    """A tree and its one buffer."""

    def __init__(self):
        self.data = b""
        self.tree = {
            "asset": {"version": "2.0"}, "bufferViews": [], "accessors": [], "meshes": [],
            "nodes": [], "scenes": [{"nodes": [0]}], "scene": 0,
        }  # fmt: skip

    def view(self, content):
        self.data += bytes(-len(self.data) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.tree["bufferViews"].append(entry)
        self.data += content
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, values, **more):
        values = np.asarray(values)
        values = values[:, None] if values.ndim == 1 else values
        entry = {
            "bufferView": self.view(values.tobytes()), "count": len(values),
            "componentType": KINDS[values.dtype.str[1:]],
            "type": {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[values.shape[1]],
        }  # fmt: skip
        self.tree["accessors"].append(entry | more)
        return len(self.tree["accessors"]) - 1

    def mesh(self, primitive, **node):
        self.tree["meshes"].append({"name": "face", "primitives": [primitive]})
        self.tree["nodes"].append({"mesh": len(self.tree["meshes"]) - 1} | node)

    def write(self, path, uri=None):
        buffer = {"byteLength": len(self.data)}
        self.tree["buffers"] = [buffer]
        if path.suffix == ".gltf":
            buffer["uri"] = (
                uri
                or "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
            )
            path.write_text(json.dumps(self.tree))
            return path
        text = json.dumps(self.tree).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + bytes(-len(self.data) % 4)
        size = 28 + len(text) + len(data)
        head = struct.pack("<5I", 0x46546C67, 2, size, len(text), 0x4E4F534A) + text
        path.write_bytes(head + struct.pack("<2I", len(data), 0x004E4942) + data)
        return path


def square(writer, index_type="<u2", **more):
    return {
        "attributes": {"POSITION": writer.accessor(POINTS)},
        "indices": writer.accessor(np.array(TRIANGLES, index_type).reshape(-1)),
    } | more


def only(path):
    (part,) = read_gltf(path)
    return part


@pytest.mark.parametrize("index_type", ["u1", "<u2", "<u4"])
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_embedded_data(tmp_path, suffix, index_type):
    writer = Writer()
    writer.mesh(square(writer, index_type))
    part = only(writer.write(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(part.vertices, POINTS)
    np.testing.assert_array_equal(part.triangles, TRIANGLES)
    mesh = load_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(mesh.vertices, 1000 * POINTS)


def test_files_beside_it_and_missing_ones(tmp_path, caplog):
    writer = Writer()
    primitive = square(writer, material=0)
    primitive["attributes"]["TEXCOORD_0"] = writer.accessor(UV)
    writer.mesh(primitive)
    texture = {"baseColorTexture": {"index": 0}}
    writer.tree |= {
        "materials": [{"pbrMetallicRoughness": texture}], "textures": [{"source": 0}],
        "images": [{"uri": "my%20skin.png"}],
    }  # fmt: skip
    path = writer.write(tmp_path / "a.gltf", "face%20data.bin")
    with pytest.raises(ValueError, match="a.gltf: .*face%20data.bin.*missing"):
        load_mesh(path)
    (tmp_path / "face data.bin").write_bytes(writer.data)
    with caplog.at_level(logging.WARNING):
        mesh = load_mesh(path)
    assert mesh.texture is None and "my%20skin.png of the mesh 'face' is not there" in caplog.text
    np.testing.assert_array_equal(mesh.topology.uv, UV)
    write_image(tmp_path / "my skin.png", np.ones((2, 2, 3)))
    assert load_mesh(path).texture.shape == (2, 2, 3)
    (tmp_path / "face data.bin").write_bytes(writer.data[:-8])
    with pytest.raises(ValueError, match="a.gltf: .*cut"):
        load_mesh(path)


def test_nodes_move_and_mirror(tmp_path):
    writer = Writer()
    writer.mesh(square(writer), rotation=[0, 0, 0.5**0.5, 0.5**0.5], translation=[5, 0, 0])
    writer.tree["nodes"].append({"children": [0], "scale": [2, 2, 2]})
    writer.tree["scenes"] = [{"nodes": [1]}]
    part = only(writer.write(tmp_path / "a.glb"))
    np.testing.assert_allclose(part.vertices[1], [10, 2, 0], atol=1e-9)  # x becomes y, + 5, twice
    writer.tree["nodes"][0] = {
        "mesh": 0,
        "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
    }
    part = only(writer.write(tmp_path / "a.glb"))
    np.testing.assert_array_equal(part.vertices[1], [-2, 0, 0])
    a, b, c = part.vertices[part.triangles[0]]
    assert np.cross(b - a, c - a)[2] > 0  # still seen from the same side


def test_strips_fans_and_lists_without_indices(tmp_path):
    wanted = {
        4: [[0, 1, 2]], 5: [[0, 1, 3], [3, 1, 2]], 6: [[1, 2, 0], [2, 3, 0]],
    }  # fmt: skip
    orders = {4: [0, 1, 2], 5: [0, 1, 3, 2], 6: [0, 1, 2, 3]}
    for mode, order in orders.items():
        writer = Writer()
        writer.mesh({"attributes": {"POSITION": writer.accessor(POINTS[order])}, "mode": mode})
        part = only(writer.write(tmp_path / "a.glb"))
        found = np.array(order)[part.triangles]
        assert {tuple(np.roll(t, -list(t).index(min(t)))) for t in found} == {
            tuple(np.roll(t, -t.index(min(t)))) for t in wanted[mode]
        }


def test_sparse_quantised_and_interleaved_accessors(tmp_path):
    writer = Writer()
    primitive = square(writer)
    moved = writer.tree["accessors"][primitive["attributes"]["POSITION"]]
    moved["sparse"] = {
        "count": 1, "indices": {"bufferView": writer.view(b"\2\0"), "componentType": 5123},
        "values": {"bufferView": writer.view(np.float32([9, 9, 9]).tobytes())},
    }  # fmt: skip
    writer.mesh(primitive)
    part = only(writer.write(tmp_path / "a.glb"))
    np.testing.assert_array_equal(part.vertices[2], [9, 9, 9])

    writer = Writer()
    quantised = np.zeros((4, 4), "<i2")
    quantised[:, :3] = np.rint(POINTS * 32767)
    view = writer.view(quantised.tobytes())
    writer.tree["bufferViews"][view]["byteStride"] = 8
    writer.tree["accessors"].append(
        {"bufferView": view, "count": 4, "componentType": 5122, "type": "VEC3", "normalized": True}
    )
    writer.mesh({"attributes": {"POSITION": 0}})
    writer.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    part = only(writer.write(tmp_path / "a.glb"))
    np.testing.assert_allclose(part.vertices, POINTS, atol=1e-4)


def test_morph_weights_and_texture_transform(tmp_path):
    writer = Writer()
    primitive = square(writer, targets=[{"POSITION": writer.accessor(np.float32([[0, 0, 2]] * 4))}])
    primitive |= {"material": 0}
    primitive["attributes"]["TEXCOORD_1"] = writer.accessor(UV)
    moved = {"offset": [0.5, 0.0], "scale": [0.5, 1.0], "texCoord": 1}
    info = {"index": 0, "extensions": {"KHR_texture_transform": moved}}
    unread = {"extensions": {"KHR_texture_basisu": {"source": 0}}}
    writer.tree |= {"materials": [{"normalTexture": info}], "textures": [unread]}
    writer.mesh(primitive, weights=[0.5])
    part = only(writer.write(tmp_path / "a.glb"))
    np.testing.assert_array_equal(part.vertices[:, 2], 1.0)
    np.testing.assert_allclose(part.uv[1], [1.0, 0.0])
    assert part.normal_map is None


@pytest.mark.parametrize(
    ("extension", "name"),
    [("KHR_draco_mesh_compression", "Draco"), ("EXT_meshopt_compression", "meshopt")],
)
def test_compressed_geometry_is_refused_by_name(tmp_path, extension, name):
    writer = Writer()
    primitive = square(writer)
    if name == "Draco":
        del writer.tree["accessors"][0]["bufferView"]
        primitive["extensions"] = {extension: {"bufferView": 0, "attributes": {"POSITION": 0}}}
    else:
        writer.tree["bufferViews"][0]["extensions"] = {extension: {"buffer": 0}}
    writer.mesh(primitive)
    writer.tree["extensionsRequired"] = [extension]
    with pytest.raises(ValueError, match=f"a.glb: .*compressed by {name}.*without compression"):
        load_mesh(writer.write(tmp_path / "a.glb"))


def test_several_meshes_are_named(tmp_path):
    writer = Writer()
    writer.mesh(square(writer))
    writer.mesh(square(writer))
    writer.tree["meshes"][1]["name"] = "eyes"
    writer.tree["scenes"] = []
    path = writer.write(tmp_path / "a.glb")
    assert [p.name for p in read_gltf(path)] == ["face", "eyes"]
    with pytest.raises(ValueError, match=r"found 2 meshes of triangles \(face, eyes\)"):
        load_mesh(path)
    surface = read_surface(path)  # what is measured may have several parts
    assert surface.vertices.shape == (8, 3) and surface.triangles.max() == 7


def test_damage_is_said(tmp_path):
    def broken(change, words):
        writer = Writer()
        writer.mesh(square(writer))
        change(writer)
        with pytest.raises(ValueError, match=f"a.glb: .*{words}"):
            read_gltf(writer.write(tmp_path / "a.glb"))

    accessors = lambda w: w.tree["accessors"]  # noqa: E731
    broken(lambda w: accessors(w)[0].update(count=1 << 60), "cut")
    broken(lambda w: accessors(w)[1].update(componentType=5124), "type 5124")
    broken(lambda w: accessors(w)[1].pop("bufferView"), "compressed or incomplete")
    broken(lambda w: accessors(w)[0].update(byteOffset=-4), "byteOffset is -4")
    broken(lambda w: w.tree["bufferViews"][0].update(byteLength=1 << 40), "cut")
    broken(lambda w: w.tree["nodes"][0].update(children=[0]), "two parents")
    broken(lambda w: w.tree["nodes"][0].update(mesh=7), "number 7 of meshes")
    broken(lambda w: w.tree["asset"].update(version="1.0"), "version 1.0")
    broken(lambda w: w.tree.update(extensionsRequired=["X_new"]), "extension X_new")
    broken(lambda w: w.tree["nodes"][0].update(rotation=[0, 0, 0, 0]), "rotation")
    indices = np.uint16([0, 1, 4])
    broken(lambda w: w.tree["meshes"][0]["primitives"][0].update(indices=w.accessor(indices)),
           "vertex 4 of 4")  # fmt: skip
    nan = np.float32([[np.nan] * 3] * 4)
    broken(lambda w: w.tree["meshes"][0]["primitives"][0]["attributes"].update(
        POSITION=w.accessor(nan)), "not finite")  # fmt: skip
