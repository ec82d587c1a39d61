import numpy as np
import pytest

from facejax.geometry.obj import read_obj, read_vertices

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def write(tmp_path, content):
    path = tmp_path / "mesh.obj"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        SQUARE + "f 1 2 3 4\n",
        SQUARE + "f -4 -3 -2 -1",
        "\ufeff" + SQUARE.replace("\n", "\r\n") + "f 1 2 3 4\r\n",
        SQUARE.replace("\n", "\r") + "f 1 2 3 4",
        SQUARE + "f 1 2 \\\n3 4\n",
        "f 1 2 3 4\n" + SQUARE,  # names what comes later
        "# C:\\heads\\\n" + SQUARE + "# \\\nf 1 2 3 4 # all four\n",
        SQUARE.replace("v 1 1 0", "  v\t1  1 0 1.0") + "F 1 2 3 4\n",
        SQUARE + "s off\ng a\no b\nvp 0 0\nl 1 2\np 1\nusemtl\nf 1/ 2/ 3/ 4//\n",
    ],
)
def test_the_same_square(tmp_path, content):
    found = read_obj(write(tmp_path, content))
    np.testing.assert_array_equal(found.vertices, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(found.triangles, [[0, 1, 2], [0, 2, 3]])
    assert (found.uv_triangles == -1).all() and (found.normal_triangles == -1).all()
    assert found.colors is None
    np.testing.assert_array_equal(read_vertices(write(tmp_path, content)), found.vertices)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "cp1252"])
def test_comments_and_names_are_in_any_encoding(tmp_path, encoding):
    text = "# Größe\nmtllib Gesicht.mtl\n" + SQUARE + "usemtl Haut (hell)\nf 1 2 3 4\n"
    found = read_obj(write(tmp_path, text.encode(encoding)))
    assert found.libraries == ("Gesicht.mtl",) and found.materials == ("Haut (hell)",)
    assert len(found.triangles) == 2


def test_corners_of_all_kinds(tmp_path):
    text = SQUARE.replace("\n", " 0.5 0.25 1\n")
    text += "vt 0 0\nvt 1 0 9\nvt 0.5\nvn 0 0 1\nvn 0 1 0\n"
    text += "f 1/1/1 2/2/1 3/3/2\nusemtl a\nf 1//2 3//-1 4//1\nusemtl b\nf 1/1 2/-2 3/3\nusemtl a\n"
    text += "f 2 3 4\n"
    found = read_obj(write(tmp_path, text))
    np.testing.assert_array_equal(found.uv, [[0, 0], [1, 0], [0.5, 0]])
    np.testing.assert_array_equal(
        found.uv_triangles, [[0, 1, 2], [-1, -1, -1], [0, 1, 2], [-1, -1, -1]]
    )
    np.testing.assert_array_equal(found.normal_triangles[:2], [[0, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(found.colors, [[0.5, 0.25, 1]] * 4)
    assert found.materials == ("a", "b") and found.material.tolist() == [-1, 0, 1, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("f 1 2 5", "line 5: the face names vertex 5 of 4"),
        ("f 1 2 99999999999999999999", "line 5: .*too big"),
        ("f 0 1 2", "line 5: '0' names number 0"),
        ("f -5 1 2", "line 5: '-5' names number -5, and 4 are above"),
        ("f 1/1 2/1 3/1", "line 5: the face names vt 1 of 0"),
        ("f 1//3 2//3 3//3", "names vn 3 of 0"),
        ("f 1 2", "line 5: a face of 2 corners"),
        ("f 1 2 x", "line 5: .*'x'"),
        ("f 1/2/3/4 2 3", "line 5: '1/2/3/4' is no corner"),
        ("f /1 2 3", "line 5: '/1' is no corner"),
        ("v 1 2", "line 5: found 2 numbers"),
        ("v 1,5 2 3", "line 5: .*'1,5'"),
        ("v 1 2 3 4 5", "line 5: found 5 numbers"),
        ("vt", "line 5: found 0 numbers"),
        ("v nan 0 0\nf 1 2 5", r"vertex 4 \(counted from 0\) is \[nan.* 1 of 5 are not finite"),
        ("", "found 4 vertices and no triangles"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, line, words):
    with pytest.raises(ValueError, match=f"mesh.obj.*{words}"):
        read_obj(write(tmp_path, SQUARE + line + "\n"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"version https://git-lfs.github.com/spec/v1\n", "git lfs"),
     (b"<!DOCTYPE html>", "web page"), (bytes(99), "zeros"), (b"\x7fELF\0\1\2\3" * 9, "UTF-8")],
)  # fmt: skip
def test_other_content_is_said(tmp_path, content, words):
    with pytest.raises(ValueError, match=f"mesh.obj.*{words}"):
        read_obj(write(tmp_path, content))


def test_vertices_that_no_face_uses_stay_whatever_they_are(tmp_path):
    found = read_obj(write(tmp_path, "v nan 0 0\n" + SQUARE + "f 2 3 4\n"))
    assert len(found.vertices) == 5 and np.isnan(found.vertices[0, 0])
