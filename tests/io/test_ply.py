import logging
import struct

import numpy as np
import pytest

from facejax.io.images import write_image
from facejax.io.meshes import load_mesh
from facejax.io.ply import read_ply

POINTS = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 2, 2]])
FACES = [[0, 1, 2, 3], [0, 1, 4]]


def write(path, order, *, name="vertex_indices", faces_first=False, line_end="\n", count=5):
    """Five points, a square and a triangle, in any of the formats."""
    kind = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    vertex = [f"element vertex {count}", "property float x", "property float y",
              "property float z", "property uchar quality"]  # fmt: skip
    face = ["element face 2", f"property list uchar int {name}", "property short tag"]
    blocks = [face, vertex] if faces_first else [vertex, face]
    head = ["ply", f"format {kind} 1.0", "comment made by a test", *sum(blocks, []), "end_header"]
    if order:
        rows = b"".join(struct.pack(f"{order}3fB", *p, 7) for p in POINTS)
        faces = b"".join(struct.pack(f"{order}B{len(f)}ih", len(f), *f, -3) for f in FACES)
    else:
        rows = "".join(f"{x} {y} {z} 7{line_end}" for x, y, z in POINTS).encode()
        faces = "".join(f"{len(f)} {' '.join(map(str, f))} -3{line_end}" for f in FACES).encode()
    body = faces + rows if faces_first else rows + faces
    path.write_bytes((line_end.join(head) + line_end).encode() + body)
    return path


@pytest.mark.parametrize("order", ["", "<", ">"])
@pytest.mark.parametrize("more", [{}, {"faces_first": True}, {"name": "vertex_index"},
                                  {"line_end": "\r\n"}])  # fmt: skip
def test_formats_and_orders(tmp_path, order, more):
    found = read_ply(write(tmp_path / "a.ply", order, **more))
    np.testing.assert_array_equal(found.vertices, POINTS)
    np.testing.assert_array_equal(found.triangles, [[0, 1, 2], [0, 2, 3], [0, 1, 4]])
    assert found.normals is None and found.colors is None and found.uv is None


def test_colours_are_scaled_by_their_type(tmp_path):
    for kind, values in (("uchar", (255, 0, 1)), ("float", (1.0, 0.0, 1 / 255)),
                         ("ushort", (65535, 0, 257))):  # fmt: skip
        names = "".join(f"property {kind} {c}\n" for c in ("red", "green", "blue"))
        rows = "".join(f"{x} {y} {z} {' '.join(map(str, values))}\n" for x, y, z in POINTS)
        (tmp_path / "a.ply").write_text(
            "ply\nformat ascii 1.0\nelement vertex 5\nproperty double x\nproperty double y\n"
            f"property double z\n{names}element face 1\nproperty list uint8 uint32 vertex_index\n"
            f"end_header\n{rows}3 0 1 2\n"
        )
        colors = load_mesh(tmp_path / "a.ply").vertex_colors
        np.testing.assert_allclose(colors, [[1, 0, 1 / 255]] * 5, atol=1e-6)


def test_texture_coordinates_of_vertices_and_of_corners(tmp_path, caplog):
    head = "ply\nformat ascii 1.0\ncomment TextureFile {}\nelement vertex 3\nproperty float x\n"
    head += "property float y\nproperty float z\n"
    tail = "element face 1\nproperty list uchar int vertex_indices\n"
    (tmp_path / "a.ply").write_text(
        f"{head.format('My Skin.png')}property float s\nproperty float t\n{tail}end_header\n"
        "0 0 0 0 0\n1 0 0 1 0\n1 1 0 1 1\n3 0 1 2\n"
    )
    (tmp_path / "b.ply").write_text(
        f"{head.format('gone.png')}{tail}property list uchar float texcoord\nend_header\n"
        "0 0 0\n1 0 0\n1 1 0\n3 0 1 2 6 0 0 1 0 1 1\n"
    )
    write_image(tmp_path / "my skin.png", np.ones((2, 2, 3)))
    for name in "ab":
        with caplog.at_level(logging.WARNING):
            mesh = load_mesh(tmp_path / f"{name}.ply")
        corners = mesh.topology.uv[mesh.topology.uv_triangles[0]]
        np.testing.assert_allclose(corners, [[0, 1], [1, 1], [1, 0]])
        assert (mesh.texture is None) == (name == "b")
    assert "'gone.png' is not there" in caplog.text


def test_strips(tmp_path):
    head = "ply\nformat binary_big_endian 1.0\nelement vertex 5\nproperty float x\n"
    head += "property float y\nproperty float z\nelement tristrips 1\n"
    head += "property list int int vertex_indices\nend_header\n"
    strip = [0, 1, 3, 2, -1, 0, 1, 4]
    body = POINTS.astype(">f4").tobytes() + struct.pack(f">i{len(strip)}i", len(strip), *strip)
    (tmp_path / "a.ply").write_bytes(head.encode() + body)
    found = read_ply(tmp_path / "a.ply").triangles
    np.testing.assert_array_equal(found, [[0, 1, 3], [2, 3, 1], [0, 1, 4]])


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_what_is_damaged_is_said(tmp_path, order):
    path = write(tmp_path / "a.ply", order)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 9])
    with pytest.raises(ValueError, match="a.ply: .*cut"):
        read_ply(path)
    write(path, order, count=10**15)
    with pytest.raises(ValueError, match="a.ply: .*10+ x vertex are announced"):
        read_ply(path)
    write(path, order, name="something")
    with pytest.raises(ValueError, match="a.ply: .*no triangles"):
        read_ply(path)
    for line, words in (
        (b"format ascii 2.0 x", "format ascii 2.0 x"), (b"element vertex -4", "element vertex -4"),
        (b"property list float int x", "fractional"), (b"property quad x", "property quad"),
    ):  # fmt: skip
        path.write_bytes(whole.replace(b"property uchar quality", line))
        with pytest.raises(ValueError, match=f"a.ply: .*{words}"):
            read_ply(path)


def test_corners_that_do_not_exist_or_are_not_finite(tmp_path):
    path = write(tmp_path / "a.ply", "")
    text = path.read_text()
    path.write_text(text.replace("3 0 1 4 -3", "3 0 1 5 -3"))
    with pytest.raises(ValueError, match=r"a.ply: .*vertices 0 \.\. 5 of 5"):
        read_ply(path)
    path.write_text(text.replace("2.0 2.0 2.0", "nan 2 2"))
    with pytest.raises(ValueError, match="a.ply: .*vertex 4 .*are not finite"):
        read_ply(path)
