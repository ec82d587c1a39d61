import errno
import os

import pytest

from facejax.host.files import (
    atomic_path,
    describe_content,
    files_by_stem,
    list_files,
    name_key,
    read_json,
    read_json_lines,
    read_list,
    read_text,
    reading,
    some_names,
)


def test_replaces_the_file_when_all_went_well(tmp_path):
    target = tmp_path / "new" / "file.txt"
    for text in ("one", "two"):
        with atomic_path(target) as path:
            assert path.suffix == ".txt" and path.parent == target.parent
            path.write_text(text)
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as path:
        path.write_text("half")
        raise RuntimeError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_are_not_taken_literally(tmp_path):
    for name in ("b.PNG", "a.png", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "c.txt",
                 "sub/d.Png", "__MACOSX/a.png", ".git/e.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert [p.name for p in list_files(tmp_path, (".png",))] == ["a.png", "b.PNG"]
    every = list_files(tmp_path, (".png",), recursive=True)
    assert [p.name for p in every] == ["a.png", "b.PNG", "d.Png"]
    assert len(list_files(tmp_path)) == 3 and list_files(tmp_path / "absent") == []


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path, monkeypatch):
    import os

    def refuse(_path):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        list_files(tmp_path)


def test_files_are_found_by_stem_whatever_their_case_and_normal_form(tmp_path):
    for name in ("x.TXT", "x.npy", "Zoe\u0308.txt", "._x.txt"):
        (tmp_path / name).write_bytes(b"")
    found = files_by_stem(tmp_path, (".npy", ".txt"))
    assert [p.name for p in found["x"]] == ["x.npy", "x.TXT"]
    assert name_key("Zoe\u0308") == "Zo\u00eb" and "Zo\u00eb" in found
    assert files_by_stem(tmp_path / "absent", (".txt",)) == {}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_texts_of_any_unicode(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("a \u00fc\r\nb\rc".encode(encoding))
    assert read_text(path) == "a \u00fc\nb\nc"
    path.write_bytes('{"a": ["\u00fc", 1]}'.encode(encoding))
    assert read_json(path) == {"a": ["\u00fc", 1]}
    path.write_bytes('# made on Windows\r\n\r\n "a b.png" \r\nc\\d.png\r\n'.encode(encoding))
    assert read_list(path) == ["a b.png", "c\\d.png"]


@pytest.mark.parametrize(
    "content,words",
    [(b"one\ntwo \xfc\n", "line 2: is not UTF-8 text"), (bytes(20), "zeros"),
     (b"text\0binary\0", "is not"), (b"version https://git-lfs.github.com\xff", "git lfs pull")],
)  # fmt: skip
def test_what_is_no_text_is_named(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    for read in (read_text, read_json):
        with pytest.raises(ValueError, match=f"a.json.*{words}"):
            read(tmp_path / "a.json")


def test_damaged_json_names_its_line(tmp_path):
    for text, words in (('{"a": 1,\n"b": }', "line 2: damaged JSON"), ("[" * 100_000, "deeply"),
                        ("<html>", "line 1: .*web page"), ("", "empty")):  # fmt: skip
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=f"a.json.*{words}"):
            read_json(tmp_path / "a.json")


def test_what_is_remarkable_about_a_file(tmp_path):
    path = tmp_path / "a"
    for content, words in (
        (b"", "empty"),
        (b"\xef\xbb\xbf<HTML>", "web page"),
        (b"\0" * 9, "zeros"),
        (b"# Created by Octave", "save -v7"),
        (b"PK", ""),
        (b"text", ""),
    ):
        path.write_bytes(content)
        assert words in describe_content(path) and bool(words) == bool(describe_content(path))
    assert describe_content(tmp_path / "absent") == ""


def test_decoders_errors_name_the_file_and_the_disks_pass(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    for error, words in (
        (KeyError("x"), "KeyError"), (ValueError("odd"), "a.bin: not a thing: odd"),
        (OSError("cannot decode"), "a.bin: not a thing: cannot decode"),
        (MemoryError(), "more memory than there is"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words), reading(path, "a thing"):
            raise error
    with pytest.raises(PermissionError), reading(path, "a thing"):
        raise PermissionError(13, "Permission denied", str(path))
    with pytest.raises(ValueError, match="^" + str(path) + ", line 3$"), reading(path, "a thing"):
        raise ValueError(f"{path}, line 3")
    assert some_names(range(7)) == "0, 1, 2, 3, 4 and 2 more" and some_names([1]) == "1"


def test_lines_of_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2}\n{"step": 3, "lo')
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}]  # its writer was stopped
    for content, words in (("{}\n{'a'}\n", "line 2: damaged"), ("[1]\n", "line 1: no JSON object"),
                           ("\0\0\n", "is not UTF-8 text")):  # fmt: skip
        path.write_text(content)
        with pytest.raises(ValueError, match=f"metrics.jsonl.*({words})"):
            read_json_lines(path)


def test_trouble_of_the_disk_gets_the_name_of_the_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"content")
    with (
        pytest.raises(OSError, match="Input/output error.*a.bin"),
        reading(tmp_path / "a.bin", "x"),
    ):
        raise OSError(errno.EIO, "Input/output error")
    with (
        pytest.raises(ValueError, match="a.bin: not x: .*Invalid"),
        reading(tmp_path / "a.bin", "x"),
    ):
        raise OSError(errno.EINVAL, "Invalid argument")  # a decoder that seeks before the start


def test_text_whose_comments_are_of_another_encoding(tmp_path):
    (tmp_path / "a.obj").write_bytes("# Größe\nv 1 2 3\n".encode("latin-1"))
    with pytest.raises(ValueError, match="a.obj, line 1: is not UTF-8"):
        read_text(tmp_path / "a.obj")
    text = read_text(tmp_path / "a.obj", "surrogateescape")
    assert text.endswith("v 1 2 3\n") and os.fsencode(text.split("\n")[0]) == "# Größe".encode(
        "latin-1"
    )
