import numpy as np
import pytest

from facejax.morphable import load_morphable, save_npz


@pytest.mark.parametrize("name", ["procedual", "Procedural", "proceduralhead"])
def test_unknown_name_suggests_the_nearest(name):
    with pytest.raises(ValueError, match="did you mean 'procedural'"):
        load_morphable(name)


def test_unknown_option_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'texture_size'"):
        load_morphable("procedural", texture_sise=128)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(rows=8), "32 x 32"),
        (dict(n_id=300), "raise draws"),
        (dict(texture_size=1), "texels"),
    ],
)
def test_impossible_sizes_are_explained(options, words, monkeypatch, tmp_path):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=words):
        load_morphable("procedural", **options)


def test_saved_model_is_recognised(small_model, tmp_path):
    save_npz(tmp_path / "anything.bin", small_model)
    again = load_morphable(tmp_path / "anything.bin")
    np.testing.assert_array_equal(again.mean_shape, small_model.mean_shape)
    with pytest.raises(ValueError, match="wanted none"):
        load_morphable(tmp_path / "anything.bin", n_id=3)


def test_foreign_files_are_explained(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="no readable .npz"):
        load_morphable(tmp_path / "notes.txt")
    np.savez(tmp_path / "other.npz", apples=np.zeros(3))
    with pytest.raises(ValueError, match="apples.*ICT-FaceKit"):
        load_morphable(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="no checkout of ICT-FaceKit"):
        load_morphable(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        load_morphable(tmp_path / "missing.npz")


def test_ict_needs_a_path(small_model, tmp_path):
    with pytest.raises(ValueError, match="path=.*procedural"):
        load_morphable("ict")
    save_npz(tmp_path / "mine.npz", small_model)
    with pytest.raises(ValueError, match="wanted ICT-FaceKit"):
        load_morphable("ict", path=tmp_path / "mine.npz")
