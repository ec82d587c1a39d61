import jax
import numpy as np
import pytest

from facejax.host import cache
from facejax.host.machine import cache_folder
from facejax.morphable import load_morphable, load_npz, save_npz
from facejax.morphable.storage import arrays_from_model
from tests.morphable.conftest import SMALL


def test_round_trip_is_exact(small_model, tmp_path):
    path = tmp_path / "model.npz"
    save_npz(path, small_model)
    again = load_npz(path)
    for a, b in zip(jax.tree.leaves(small_model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    want, got = arrays_from_model(small_model), arrays_from_model(again)
    assert want.keys() == got.keys()
    for key in want:
        np.testing.assert_array_equal(want[key], got[key], err_msg=key)
    assert again.topology.digest == small_model.topology.digest
    assert again.topology.uv_wraps_u
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]  # nothing temporary is left


def test_round_trip_without_textures_and_uv(small_model, tmp_path):
    bare = small_model.replace(mean_texture=None, tex_basis=None)
    save_npz(tmp_path / "bare.npz", bare)
    again = load_npz(tmp_path / "bare.npz")
    assert again.mean_texture is None and again.tex_basis is None


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, format=np.array("facejax-morphable-1"), meta=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        load_npz(path)


def test_file_with_missing_arrays_is_explained(tmp_path, small_model):
    arrays = arrays_from_model(small_model)
    del arrays["id_std"]
    np.savez(tmp_path / "cut.npz", **arrays)
    with pytest.raises(ValueError, match="lacks.*id_std"):
        load_npz(tmp_path / "cut.npz")


def test_file_with_foreign_shapes_is_explained(tmp_path, small_model):
    arrays = arrays_from_model(small_model)
    arrays["id_basis"] = arrays["id_basis"][:, :-1]
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match="id_basis has shape"):
        load_npz(tmp_path / "odd.npz")


def test_damaged_cache_is_rebuilt_with_a_warning(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    settings = SMALL | dict(draws=10, n_id=4, n_alb=4)
    model = load_morphable("procedural", **settings)
    (path,) = cache_folder().glob("procedural-*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    again = load_morphable("procedural", **settings)
    assert len(caplog.messages) == 1 and f"damaged: {path}" in caplog.text
    assert again.topology.digest == model.topology.digest  # deterministic, too
    np.testing.assert_array_equal(again.id_basis, model.id_basis)
    load_morphable("procedural", **settings)
    assert len(caplog.messages) == 1


def test_unwritable_cache_only_warns(monkeypatch, tmp_path, caplog):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(blocker / "below"))
    cache._say.cache_clear()
    model = load_morphable("procedural", **(SMALL | dict(draws=10, n_id=4, n_alb=4)))
    load_morphable("procedural", **(SMALL | dict(draws=10, n_id=5, n_alb=4)))
    assert model.num_id == 4 and len(caplog.messages) == 1  # once per process
    assert f"{blocker / 'below'}: cannot write there" in caplog.text


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("FACEJAX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "facejax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "facejax"


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("mean_shape", lambda a: np.where(a > 0, np.nan, a), "mean_shape holds other things"),
        ("landmarks68", lambda a: a[:5], r"landmarks68 has shape \(5,\)"),
        ("landmarks5", lambda a: a - 10**6, "landmarks5 names other things"),
        ("uv_triangles", lambda a: a + 10**6, "uv_triangles names other things"),
        ("uv_vertex", lambda a: a.astype(np.float32), "uv_vertex names other things"),
        ("masks", lambda a: a[:, :-1], "masks has shape"),
        ("meta", lambda a: np.array("[1]"), "face model"),
    ],
)
def test_what_no_writer_of_ours_makes_is_named(tmp_path, small_model, key, change, words):
    arrays = arrays_from_model(small_model)
    arrays[key] = change(arrays[key])
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=f"odd.npz: .*{words}"):
        load_npz(tmp_path / "odd.npz")


def test_parts_are_optional_and_checked(small_model, tmp_path):
    assert small_model.topology.parts == {}  # files without parts stay readable
    arrays = arrays_from_model(small_model)
    assert "triangle_part" not in arrays
    part = np.full(len(arrays["triangles"]), -1, np.int16)
    part[5:9], part[9:10] = 1, 0
    names = np.array(["eye", "skin"])
    np.savez(tmp_path / "parts.npz", **arrays, part_names=names, triangle_part=part)
    parts = load_npz(tmp_path / "parts.npz").topology.parts
    assert {k: v.tolist() for k, v in parts.items()} == {"eye": [9], "skin": [5, 6, 7, 8]}
    save_npz(tmp_path / "again.npz", load_npz(tmp_path / "parts.npz"))
    np.testing.assert_array_equal(np.load(tmp_path / "again.npz")["triangle_part"], part)
    for bad in (part[1:], part + 1, part - 1, part.astype(float)):
        np.savez(tmp_path / "bad.npz", **arrays, part_names=names, triangle_part=bad)
        with pytest.raises(ValueError, match="one of 2 part_names"):
            load_npz(tmp_path / "bad.npz")
