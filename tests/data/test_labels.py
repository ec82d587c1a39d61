import numpy as np
import pytest

from facejax.data.labels import read_label_rows, read_labels

TABLE = "id,happy,sad\nb,0,1\na,0.25,0.75\nunused,1,0\n"
WANTED = np.float32([[0.25, 0.75], [0, 1]])


def test_labels_of_three_formats(tmp_path):
    (tmp_path / "l.csv").write_text(TABLE)
    np.savez(tmp_path / "l.npz", ids=["b", "a"], labels=[[0, 1], [0.25, 0.75]])
    np.savez(tmp_path / "bytes.npz", ids=np.array([b"b", b"a"]), labels=[[0, 1], [0.25, 0.75]])
    np.save(tmp_path / "l.npy", [[0.25, 0.75], [0, 1]])
    for name in ("l.csv", "l.npz", "bytes.npz", "l.npy"):
        labels, found = read_labels(tmp_path / name, ["a", "b"])
        np.testing.assert_array_equal(labels, WANTED)
        assert found == (("happy", "sad") if name == "l.csv" else ("label0", "label1"))
    np.save(tmp_path / "column.npy", [3, 4])
    assert read_labels(tmp_path / "column.npy", ["a", "b"])[0].tolist() == [[3], [4]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE.replace(",", ";"),
        TABLE.replace(",", ";").replace(".", ","),  # of a spreadsheet with decimal commas
        "sep=;\n" + TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace("id,", "ID, ").replace("a,", '"a.png" ,'),
        TABLE.replace("id,", "filename,").replace("\na,", "\n\na.JPG,"),
        TABLE.replace("id,", ","),  # of pandas
    ],
)
def test_tables_of_other_programs(tmp_path, text, encoding):
    (tmp_path / "L.CSV").write_bytes(text.encode(encoding))
    labels, names = read_labels(tmp_path / "L.CSV", ["a", "b"])
    np.testing.assert_array_equal(labels, WANTED)
    assert names == ("happy", "sad")


def test_ids_of_sub_folders_and_of_other_systems(tmp_path):
    (tmp_path / "l.csv").write_text("id,x\nhappy\\a.png,1\nb,2\nZo\u00eb,3\n", encoding="utf-8")
    labels, _ = read_labels(tmp_path / "l.csv", ["happy/a", "sad/b", "Zoe\u0308"])
    assert labels[:, 0].tolist() == [1, 2, 3]
    (tmp_path / "n.csv").write_text("id,x\n0,1\n12,2\n")  # as a spreadsheet saves it
    labels, _ = read_labels(tmp_path / "n.csv", ["00000000", "00000012"])
    assert labels[:, 0].tolist() == [1, 2]
    with pytest.raises(ValueError, match="no label for sad/a"):  # which a is unclear
        (tmp_path / "l.csv").write_text("id,x\na,1\nhappy/a,2\n")
        read_labels(tmp_path / "l.csv", ["happy/a", "sad/a"])


def test_an_id_twice(tmp_path):
    for row, same in (("a,1,0", False), ("a,0.25,0.75", True), ("a.png,1,0", False)):
        (tmp_path / "l.csv").write_text(f"{TABLE}{row}\n")
        if same:
            np.testing.assert_array_equal(read_labels(tmp_path / "l.csv", ["a", "b"])[0], WANTED)
        else:
            with pytest.raises(ValueError, match="'a' has two labels, 0.25 0.75 .line 3. and 1 0 "
                                                 ".line 5."):  # fmt: skip
                read_labels(tmp_path / "l.csv", ["a", "b"])
    np.savez(tmp_path / "l.npz", ids=["a", "a"], labels=[[1], [2]])
    with pytest.raises(ValueError, match="l.npz: 'a' has two labels, 1 .row 0. and 2 .row 1."):
        read_labels(tmp_path / "l.npz", ["a"])


@pytest.mark.parametrize(
    "text,message",
    [
        ("happy,sad\n1,0\n", "header"),
        ("a,1\nb,2\n", "header"),
        ("", "header"),
        ("id,x,x\na,1,2\n", "one name"),
        ("id,happy\na,one\n", "line 2: 'one' is no number"),
        ("id,happy\n\na,\n", "line 3: '' is no number"),
        ("id,happy\na,nan\n", "line 2: 'nan' is not finite"),
        ("id,happy\na,1,2\n", "line 2: 3 cells"),
        ("id,happy\nb,1\n", "no label for a; its ids are b"),
        ("<!DOCTYPE html>", "header"),
    ],
)
def test_bad_label_tables(tmp_path, text, message):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ValueError, match=f"l.csv.*{message}"):
        read_labels(tmp_path / "l.csv", ["a"])


def test_other_bad_labels(tmp_path):
    np.save(tmp_path / "l.npy", np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"l.npy: .*\[3, 2\], wanted numbers \[1, L\]"):
        read_labels(tmp_path / "l.npy", ["a"])
    np.save(tmp_path / "n.npy", [[np.nan]])
    with pytest.raises(ValueError, match="n.npy: row 0 .* NaN"):
        read_label_rows(tmp_path / "n.npy", 1)
    np.savez(tmp_path / "l.npz", names=["a"])
    with pytest.raises(ValueError, match="ids"):
        read_labels(tmp_path / "l.npz", ["a"])
    objects = np.array([{}], object)
    np.savez(tmp_path / "o.npz", ids=["a"], labels=objects)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    for name in ("o.npz", "o.npy"):
        with pytest.raises(ValueError, match=f"{name}: .*Python objects"):
            read_labels(tmp_path / name, ["a"])
    (tmp_path / "p.npz").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="p.npz: .*git lfs pull"):
        read_labels(tmp_path / "p.npz", ["a"])
    with pytest.raises(ValueError, match="no such file"):
        read_labels(tmp_path / "absent.csv", ["a"])
    (tmp_path / "l.txt").write_text("a 1")
    with pytest.raises(ValueError, match=".csv, .npz or .npy"):
        read_labels(tmp_path / "l.txt", ["a"])
