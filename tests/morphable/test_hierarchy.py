import types

import jax
import numpy as np
import pytest
from scipy import sparse

from facejax.geometry.hierarchy import build_hierarchy
from facejax.morphable import hierarchy as stored
from tests.geometry.test_hierarchy import bumpy_grid, dense


@pytest.fixture
def model(monkeypatch, tmp_path):
    """Vertices and triangles of a face model, which are all that a hierarchy depends on."""
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    vertices, triangles = bumpy_grid(6)
    mesh = types.SimpleNamespace(triangles=triangles.astype(np.int32))
    topology = types.SimpleNamespace(mesh=mesh)
    return types.SimpleNamespace(mean_shape=vertices.astype(np.float32), topology=topology)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_cache_is_used_and_keyed_by_content(model, tmp_path, monkeypatch):
    first = stored.cached_hierarchy(model, factor=2, levels=2)
    (file,) = tmp_path.glob("hierarchy-*.npz")
    with monkeypatch.context() as m:
        m.setattr(stored, "build_hierarchy", None)  # would fail
        same(stored.cached_hierarchy(model, factor=2, levels=2), first)
    file.write_bytes(b"damaged")
    same(stored.cached_hierarchy(model, factor=2, levels=2), first)
    stored.cached_hierarchy(model, factor=2, levels=1)
    model.mean_shape = model.mean_shape * np.float32([1, 1, 2])
    stored.cached_hierarchy(model, factor=2, levels=1)
    assert len(list(tmp_path.glob("hierarchy-*.npz"))) == 3


def write_original(folder, hierarchy):
    sizes = hierarchy.sizes
    for k, size in enumerate(sizes):
        matrix = dense(hierarchy.neighbors[k], hierarchy.weights[k], size)
        laplacian = sparse.csr_matrix(matrix + np.eye(size))
        sparse.save_npz(folder / f"laplacians{k}.npz", laplacian)
    for k, kept in enumerate(hierarchy.keep):
        select = sparse.csc_matrix(np.eye(sizes[k], dtype=np.float32)[kept])
        sparse.save_npz(folder / f"downsamp_trans{k}.npz", select)
        up = dense(hierarchy.up_index[k], hierarchy.up_weight[k], sizes[k + 1])
        sparse.save_npz(folder / f"upsamp_trans{k}.npz", sparse.csc_matrix(up))


def test_matrices_of_the_originals(tmp_path):
    vertices, triangles = bumpy_grid(6)
    built = build_hierarchy(vertices[:-1], triangles, factor=2, levels=2, legacy=True)
    write_original(tmp_path, built)
    got = stored.read_original_hierarchy(tmp_path)
    assert got.sizes == built.sizes
    same(got.keep, built.keep)
    for k, size in enumerate(built.sizes):
        for a, b, columns in (
            ((got.neighbors, got.weights), (built.neighbors, built.weights), size),
            ((got.up_index, got.up_weight), (built.up_index, built.up_weight), None),
        ):
            if columns is None and k == 2:
                continue
            columns = columns or built.sizes[k + 1]
            np.testing.assert_allclose(
                dense(a[0][k], a[1][k], columns), dense(b[0][k], b[1][k], columns), atol=1e-6
            )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("downsamp_trans0.npz", sparse.eye(36, format="csc"), "single 1 per row"),
        ("upsamp_trans1.npz", sparse.eye(36, format="csc"), "upsamp_trans1"),
        ("laplacians1.npz", 2 * sparse.eye(18, format="csr"), "normalised"),
        ("laplacians0.npz", sparse.eye(36, format="coo"), "csr or csc"),
        ("laplacians2.npz", None, "laplacians2"),
    ],
)
def test_wrong_matrices_are_named(tmp_path, name, content, message):
    vertices, triangles = bumpy_grid(6)
    built = build_hierarchy(vertices[:-1], triangles, factor=2, levels=2)
    write_original(tmp_path, built)
    (tmp_path / name).unlink()
    if content is not None:
        sparse.save_npz(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        stored.read_original_hierarchy(tmp_path)


def test_a_folder_without_matrices_is_refused(tmp_path):
    with pytest.raises(ValueError, match="downsamp_trans0"):
        stored.read_original_hierarchy(tmp_path)
