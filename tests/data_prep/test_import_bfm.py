import numpy as np

from data_prep import import_bfm
from facejax.morphable import load_morphable
from tests.oracles.mat_files import write_bfm09_folder


def test_folder_to_npz_and_to_the_original_file(tmp_path, capsys):
    write_bfm09_folder(tmp_path / "bfm", np.random.default_rng(1))
    (tmp_path / "bfm" / "notes.txt").write_text("my notes")
    out, mat = tmp_path / "sub" / "bfm09.npz", tmp_path / "front.mat"
    assert import_bfm.main([str(tmp_path / "bfm"), f"--out={out}", f"--mat={mat}"]) == 0
    said = capsys.readouterr().out
    for words in ("01_MorphableModel.mat: 01_MorphableModel.mat", "notes.txt: not used",
                  "12 identity, 7 expression"):  # fmt: skip
        assert words in said
    model = load_morphable(out)
    # as in the originals' own folder: the finished model lies beside its sources
    (tmp_path / "bfm" / "BFM_model_front.mat").write_bytes(mat.read_bytes())
    (tmp_path / "bfm" / "photo.txt").write_text("1 2\n3 4\n5 6\n7 8\n9 10\n")  # landmarks
    assert import_bfm.main([str(tmp_path / "bfm"), f"--out={out}"]) == 0
    assert "BFM_model_front.mat: not used" in capsys.readouterr().out
    (tmp_path / "bfm" / "Exp_Pca.bin").unlink()  # then the finished one is taken
    assert import_bfm.main([str(tmp_path / "bfm"), f"--out={out}"]) == 0
    np.testing.assert_allclose(load_morphable(out).id_basis, model.id_basis, atol=1e-5)
    again = tmp_path / "again.npz"
    assert import_bfm.main([str(mat), f"--out={again}", "--num_exp=3"]) == 0
    np.testing.assert_allclose(load_morphable(again).mean_shape, model.mean_shape, atol=1e-5)
    assert load_morphable(again).num_exp == 3


def test_wrong_input_ends_with_one_line(tmp_path, capsys):
    assert import_bfm.main([str(tmp_path), "--out=x.npz"]) == 2
    assert "Exp_Pca.bin" in capsys.readouterr().err
    (tmp_path / "x.mat").write_text("nothing of the kind, though it has a name")
    assert import_bfm.main([str(tmp_path / "x.mat"), "--out=x.npz"]) == 2
    capsys.readouterr()
    write_bfm09_folder(tmp_path / "bfm", np.random.default_rng(1))
    for name in ("Exp_Pca.bin", "std_exp.txt", "01_MorphableModel.mat"):
        assert import_bfm.main([str(tmp_path / "bfm" / name), "--out=x.npz"]) == 2
        assert f"found {name}, wanted" in capsys.readouterr().err
    assert import_bfm.main([str(tmp_path / "bfm"), "--out=x.npz", "--num_id=0"]) == 2
    assert "at least 1" in capsys.readouterr().err
    assert import_bfm.main([str(tmp_path), "--out=x.mat"]) == 2
    assert ".npz" in capsys.readouterr().err
