import numpy as np
import pytest

from facejax.metrics import uvmaps


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_angle_of_known_rotations(rng, batch):
    normals = rng.normal(size=(*batch, 4, 5, 3))
    normals[..., 2] = 0.0
    turned = np.stack([-normals[..., 1], normals[..., 0], normals[..., 2]], axis=-1)
    got = uvmaps.normal_angle_deg(normals.astype(np.float32), 3 * turned.astype(np.float32))
    assert got.shape == batch
    np.testing.assert_allclose(got, 90.0, atol=1e-3)
    np.testing.assert_allclose(uvmaps.normal_angle_deg(normals, normals), 0.0, atol=1e-3)


def test_angle_and_energy_look_only_where_they_should(rng):
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    up = np.broadcast_to(np.float32([0, 0, 1]), (4, 4, 3))
    tilted = np.where(mask[..., None], np.float32([1, 0, 1]), np.float32([0, 0, -1]))
    np.testing.assert_allclose(uvmaps.normal_angle_deg(up, tilted, mask), 45.0, atol=1e-3)
    holes = np.where(mask[..., None], up, np.nan)
    np.testing.assert_allclose(uvmaps.normal_angle_deg(holes, up, mask), 0.0, atol=1e-3)
    assert np.isnan(uvmaps.normal_angle_deg(holes, up))
    inside = np.where(mask[..., None], np.float32([9, 9]), 0.5)
    np.testing.assert_allclose(uvmaps.energy_outside(inside, mask), 0.25, rtol=1e-6)
    np.testing.assert_allclose(uvmaps.energy_outside(inside, mask, background=0.5), 0.0)


def test_diversity_is_that_inside_one_label(rng):
    labels = np.array([0, 0, 0, 2, 2, 1])
    level = np.float32([10, 20, 30])[labels]  # differences between labels must not count
    maps = level[:, None, None, None] + np.zeros((6, 4, 4, 2), np.float32)
    maps[3] += 1.0
    got = uvmaps.diversity_within_labels(maps, labels)
    np.testing.assert_allclose(got[[0, 2]], [0.0, 0.5], atol=1e-6)
    assert np.isnan(got[1])
    with pytest.raises(ValueError, match="one integer per map"):
        uvmaps.diversity_within_labels(maps, labels.astype(float))


def test_projection_recovers_coefficients_and_the_rest(rng):
    basis = rng.normal(size=(4, 10, 3))
    coefficients = rng.normal(size=(6, 4))
    offsets = np.einsum("nk,kvc->nvc", coefficients, basis)
    np.testing.assert_allclose(uvmaps.project_coefficients(offsets, basis), coefficients, atol=1e-9)
    np.testing.assert_allclose(uvmaps.span_distance(offsets, basis), 0.0, atol=1e-9)
    normal = np.linalg.qr(basis.reshape(4, -1).T, mode="complete")[0][:, -1].reshape(10, 3)
    got = uvmaps.span_distance(offsets + 2.0 * normal, basis)
    np.testing.assert_allclose(got, 2.0 / np.sqrt(30), rtol=1e-9)
    twice = np.concatenate([basis, basis])  # not of full rank
    np.testing.assert_allclose(uvmaps.span_distance(offsets, twice), 0.0, atol=1e-9)


def test_ridge_equals_the_normal_equations(rng):
    basis, offsets = rng.normal(size=(4, 12)), rng.normal(size=(3, 12))
    want = np.linalg.solve(basis @ basis.T + 0.7 * np.eye(4), basis @ offsets.T).T
    np.testing.assert_allclose(uvmaps.project_coefficients(offsets, basis, 0.7), want, atol=1e-10)


def test_recovered_labels_ignore_identity(rng):
    id_basis, exp_basis = rng.normal(size=(5, 20, 3)), rng.normal(size=(4, 20, 3))
    prototypes = np.eye(4)[:3]
    labels = np.array([0, 1, 2, 0, 1])
    offsets = np.einsum("nk,kvc->nvc", 10 * rng.normal(size=(5, 5)), id_basis)
    offsets += np.einsum("nk,kvc->nvc", prototypes[labels], exp_basis)
    basis = np.concatenate([id_basis, exp_basis])
    found = uvmaps.project_coefficients(offsets, basis)[:, 5:]
    np.testing.assert_array_equal(uvmaps.nearest_label(found, prototypes), labels)


def test_mismatched_bases_are_named():
    with pytest.raises(ValueError, match=r"offsets \(2, 5, 3\) and basis \(4, 6, 3\)"):
        uvmaps.span_distance(np.zeros((2, 5, 3)), np.zeros((4, 6, 3)))
