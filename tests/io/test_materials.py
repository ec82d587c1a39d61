import logging

import numpy as np
import pytest

from facejax.io.images import write_image
from facejax.io.materials import find_file, find_material, read_mtl
from facejax.io.meshes import load_mesh

QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "f 1/1 2/2 3/3 4/4\n"
RED, GREEN = np.float32([1, 0, 0]), np.float32([0, 1, 0])


@pytest.fixture
def folder(tmp_path):
    """A square, its material, and two pictures."""
    write_image(tmp_path / "sub" / "t.png", np.broadcast_to(RED, (4, 4, 3)))
    write_image(tmp_path / "my skin.png", np.broadcast_to(GREEN, (4, 4, 3)))
    (tmp_path / "a.mtl").write_text("newmtl skin\nmap_Kd sub/t.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + QUAD + "usemtl skin\n" + FACE)
    return tmp_path


def texture_of(folder, caplog):
    """(first texel or None, what the log says)."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mesh = load_mesh(folder / "a.obj")
    texel = None if mesh.texture is None else mesh.texture[0, 0].tolist()
    return texel, caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "map_Kd sub/t.png", r"map_Kd sub\t.png", 'map_Kd "sub/t.png"', "map_Kd 'sub\\t.png'",
        "map_Kd ./sub/t.png", "map_Kd SUB/T.PNG", "MAP_KD sub/t.png", "map_kd\tsub/t.png  ",
        r"map_Kd C:\work\faces\sub\t.png", "map_Kd /home/somebody/sub/t.png",
        "map_Kd -clamp on sub/t.png", "map_Kd -bm 1 -blendu off -cc on sub/t.png",
        "map_Kd -s 1 1 1 -o 0 0 0 sub/t.png", "map_Kd -mm 0 1 -texres 512 sub/t.png",
        "map_Kd -o 0 -s 1 1 -t 0 0 0 -imfchan l sub/t.png", "map_Ka sub/t.png",
        "map_Kd -colorspace sRGB sub/t.png", "map_Kd -CLAMP ON sub/t.png",
    ],
)  # fmt: skip
def test_names_of_pictures_as_people_write_them(folder, caplog, line):
    if "work" in line or "somebody" in line:  # only the last part is here
        (folder / "sub" / "t.png").rename(folder / "t.png")
    (folder / "a.mtl").write_text(f"newmtl skin\nKd 1 1 1\n{line}\n")
    assert texture_of(folder, caplog) == (RED.tolist(), "")


@pytest.mark.parametrize(
    "line",
    ["map_Kd my skin.png", 'map_Kd "my skin.png"', "map_Kd -clamp on my skin.png",
     "map_Kd -bm 1.0 MY SKIN.png"],
)  # fmt: skip
def test_names_with_blanks(folder, caplog, line):
    (folder / "a.mtl").write_text(f"newmtl skin\n{line}\n")
    assert texture_of(folder, caplog) == (GREEN.tolist(), "")


@pytest.mark.parametrize(
    "line", ["mtllib a.mtl", "mtllib A.MTL", 'mtllib "a.mtl"', r"mtllib .\a.mtl",
             "mtllib other.mtl a.mtl", "mtllib other.mtl\nmtllib a.mtl", "mtllib ./a.mtl # x",
             "mtllib C:\\x\\a.mtl", "MTLLIB a.mtl"],
)  # fmt: skip
def test_names_of_libraries_as_people_write_them(folder, caplog, line):
    (folder / "other.mtl").write_text("newmtl hair\nKd 0 0 0\n")
    (folder / "a.obj").write_text(f"{line}\n{QUAD}usemtl skin\n{FACE}")
    texel, said = texture_of(folder, caplog)
    assert texel == RED.tolist() and ("#" in line or said == "")


def test_a_library_with_blanks_and_one_of_another_name(folder, caplog):
    (folder / "a.mtl").rename(folder / "my face.mtl")
    (folder / "a.obj").write_text(f"mtllib my face.mtl\n{QUAD}usemtl SKIN\n{FACE}")
    assert texture_of(folder, caplog) == (RED.tolist(), "")
    (folder / "my face.mtl").rename(folder / "a.mtl")
    texel, said = texture_of(folder, caplog)
    assert texel == RED.tolist() and "'my face.mtl'; taking a.mtl" in said


def test_what_is_missing_is_said(folder, caplog):
    (folder / "a.mtl").write_text("newmtl skin\nmap_Kd gone.png\nmap_Bump bump.png\n")
    texel, said = texture_of(folder, caplog)
    assert texel is None and "a.mtl, line 2: map_kd gone.png: no such picture" in said
    assert "line 3: map_bump bump.png is not read" in said
    (folder / "a.mtl").write_text("newmtl hair\nmap_Kd sub/t.png\n")
    texel, said = texture_of(folder, caplog)
    assert texel == RED.tolist() and "'skin' is in none of its .mtl files" in said
    (folder / "a.mtl").unlink()
    texel, said = texture_of(folder, caplog)
    assert texel is None and "no material file 'a.mtl'" in said
    (folder / "a.mtl").write_text("newmtl skin\nmap_Kd sub/t.png\n")
    (folder / "a.obj").write_text(f"mtllib a.mtl\n{QUAD}usemtl skin\nf 1 2 3 4\n")
    texel, said = texture_of(folder, caplog)
    assert texel is None and "no texture coordinates for the texture t.png" in said
    (folder / "a.obj").write_text(f"mtllib a.mtl\n{QUAD}usemtl skin\n{FACE}f 1 2 3\n")
    texel, said = texture_of(folder, caplog)
    assert texel == RED.tolist() and "1 of 3 triangles have no texture coordinates" in said
    (folder / "sub" / "t.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="t.png"):
        load_mesh(folder / "a.obj")


def test_without_usemtl_the_one_with_a_picture_is_taken(folder, caplog):
    (folder / "a.mtl").write_text("newmtl plain\nKd 1 1 1\nnewmtl skin\nmap_Kd sub/t.png\n")
    (folder / "a.obj").write_text(f"mtllib a.mtl\n{QUAD}{FACE}")
    texel, said = texture_of(folder, caplog)
    assert texel == RED.tolist() and "no face says which material it has; taking 'skin'" in said
    (folder / "a.mtl").write_text("newmtl skin\nmap_Kd sub/t.png\n")
    assert texture_of(folder, caplog) == (RED.tolist(), "")


def test_of_several_textures_the_one_of_most_faces_is_taken(folder, caplog):
    (folder / "a.mtl").write_text(
        "newmtl eyes\nmap_Kd my skin.png\nnewmtl skin\nmap_Kd sub/t.png\nnewmtl teeth\nKd 1 1 1\n"
    )
    (folder / "a.obj").write_text(
        f"mtllib a.mtl\n{QUAD}usemtl eyes\n{FACE}usemtl skin\n{FACE}{FACE}usemtl teeth\n{FACE * 3}"
    )
    texel, said = texture_of(folder, caplog)
    assert texel == RED.tolist() and "taking t.png, leaving out my skin.png" in said


def test_scale_and_offset_move_the_layout(folder):
    (folder / "a.mtl").write_text("newmtl skin\nmap_Kd -s 0.5 0.25 -o 0.25 sub/t.png\n")
    (material,) = read_mtl(folder / "a.mtl")
    assert material.scale == (0.5, 0.25) and material.offset == (0.25, 0.0)
    uv = load_mesh(folder / "a.obj").topology.uv
    np.testing.assert_allclose(uv[[0, 2]], [[0.25, 1.0], [0.75, 0.75]])


def test_no_library_no_material(folder):
    assert find_material(folder / "a.obj", (), ("skin",)) is None


def test_find_file_stays_with_what_is_there(folder):
    assert find_file(folder, "sub/t.png") == folder / "sub/t.png"
    assert find_file(folder / "sub", r"..\MY SKIN.PNG").samefile(folder / "my skin.png")
    for name in ("", '""', "sub", "gone/t.jpg", "\0", "x" * 5000, "..", "/"):
        assert find_file(folder, name) is None
