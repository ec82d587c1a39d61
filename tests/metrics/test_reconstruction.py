import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facejax.geometry.rotations import euler_to_matrix
from facejax.metrics import reconstruction as r


def head(n=24):
    """A lopsided bump with a nose: vertices [V, 3] mm and triangles [F, 3]."""
    x, y = np.meshgrid(np.linspace(-70, 70, n), np.linspace(-90, 90, n))
    z = 60 - x**2 / 110 - y**2 / 190 + 25 * np.exp(-((x - 3) ** 2 + (y + 12) ** 2) / 260)
    z += 6 * np.exp(-((x + 30) ** 2 + (y - 35) ** 2) / 300)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), faces


def on_surface(rng, vertices, faces, count):
    weight = rng.dirichlet(np.ones(3), count)
    return np.einsum("nk,nkc->nc", weight, vertices[faces[rng.integers(0, len(faces), count)]])


def motion(degrees, shift, scale=1.0):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return r.Alignment(np.array(scale), turn, np.array(shift, float))


def test_nme_of_the_truth_and_of_a_shift(rng):
    truth = rng.uniform(0, 200, (5, 68, 2))
    assert (r.nme(truth, truth) == 0).all()
    size = truth.max(axis=1) - truth.min(axis=1)
    shifted = truth + [3, -4]
    np.testing.assert_allclose(r.nme(shifted, truth), 5 / np.sqrt(size[:, 0] * size[:, 1]))
    eyes = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1)
    np.testing.assert_allclose(r.nme(shifted, truth, "eyes"), 5 / eyes)
    assert r.nme(shifted[0], truth[0]).shape == ()
    with pytest.raises(ValueError, match=r"\[\.\.\., 68, 2\]"):
        r.nme(truth[:, :5], truth[:, :5])
    with pytest.raises(ValueError, match="normalizer"):
        r.nme(truth, truth, "ears")


def test_bins_of_yaw():
    yaw = np.radians([0, -30, 30.001, -60, 61, -95])
    table = r.nme_by_yaw(np.array([1.0, 3, 4, 6, 10, 20]), yaw)
    assert [table[k] for k in ("0-30", "30-60", "60-90")] == [2, 5, 15]
    assert table["overall"] == pytest.approx(22 / 3) and table["mean"] == pytest.approx(44 / 6)
    assert table["count_60-90"] == 2
    # the published rows: overall is the mean of the bins' means
    for row in ((3.78, 4.54, 7.93, 5.42), (2.75, 3.51, 4.61, 3.62), (2.56, 3.11, 4.45, 3.37)):
        got = r.nme_by_yaw(np.array(row[:3]), np.radians([10, 40, 80]))["overall"]
        assert got == pytest.approx(row[3], abs=0.006)
    table = r.nme_by_yaw(np.array([1.0]), np.zeros(1))
    assert np.isnan(table["60-90"]) and table["overall"] == 1
    with pytest.raises(ValueError, match="N > 0"):
        r.nme_by_yaw(np.zeros(0), np.zeros(0))


def test_alignment_recovers_a_motion(rng):
    points = rng.standard_normal((2, 30, 3)) * [50, 70, 40]
    for scale in (1.0, 1.3):
        truth = motion([20, -140, 65], [5, 90, -33], scale)
        found = r.align(points, truth.apply(points), scale=scale != 1)
        np.testing.assert_allclose(found.rotation[1], truth.rotation, atol=1e-9)
        np.testing.assert_allclose(found.scale, scale)
        np.testing.assert_allclose(found.apply(points), truth.apply(points), atol=1e-8)
    mirrored = r.align(points[0], points[0] * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)
    both = truth.then(motion([0, 10, 0], [1, 2, 3], 0.5))
    want = motion([0, 10, 0], [1, 2, 3], 0.5).apply(truth.apply(points))
    np.testing.assert_allclose(both.apply(points), want, atol=1e-9)
    weights = np.r_[np.ones(10), np.zeros(20)]
    bent = truth.apply(points) + np.r_[np.zeros(10), np.full(20, 9.0)][:, None]
    np.testing.assert_allclose(
        r.align(points, bent, weights, scale=True).rotation[0], truth.rotation, atol=1e-9
    )


def test_vertex_error_in_closed_form(rng):
    vertices, _ = head()
    truth = motion([5, 9, -3], [10, 0, 4])
    moved = truth.apply(vertices)
    np.testing.assert_allclose(r.vertex_error(moved, vertices), 0, atol=1e-9)
    noise = rng.standard_normal(vertices.shape)
    got = r.vertex_error(truth.apply(vertices + noise), vertices)
    assert got == pytest.approx(np.linalg.norm(noise, axis=1).mean(), rel=0.01)
    bigger = r.vertex_error(np.stack([1.1 * vertices, vertices]), np.stack([vertices] * 2))
    centered = vertices - vertices.mean(axis=0)
    want = 0.1 * np.linalg.norm(centered, axis=1).mean()
    np.testing.assert_allclose(bigger, [want, 0], atol=1e-9)
    assert r.vertex_error(1.1 * vertices, vertices, scale=True) == pytest.approx(0, abs=1e-9)
    half = (vertices[:, 1] > 0).astype(float)
    broken = vertices + np.where(half[:, None] > 0, 0.0, 30.0)
    assert r.vertex_error(broken, vertices, half) == pytest.approx(0, abs=1e-9)


def test_distances_to_a_surface(rng):
    vertices, faces = head()
    flat = vertices * [1, 1, 0]
    points = np.c_[rng.uniform(-69, 69, (40, 2)), rng.uniform(-9, 9, 40)]
    np.testing.assert_allclose(r.scan_to_mesh(points, flat, faces), np.abs(points[:, 2]))
    beside = points + [300, 0, 0]
    assert (r.point_to_plane(beside, flat, faces) < 10).all()
    assert (r.scan_to_mesh(beside, flat, faces) > 150).all()


@pytest.mark.parametrize("scale", [1.0, 1.06])
def test_icp_recovers_a_known_motion(rng, scale):
    vertices, faces = head()
    scan = on_surface(rng, vertices, faces, 500)
    scan = scan[np.linalg.norm(scan - [3, -12, 80], axis=1) < 75]
    away = motion([4, -7, 5], [6, -4, 9], scale)
    found = r.icp(away.apply(scan), vertices, faces, scale=scale != 1)
    back = away.then(found)
    np.testing.assert_allclose(back.apply(scan), scan, atol=0.02)
    assert found.scale == pytest.approx(1 / scale, rel=1e-3)


def test_protocols_see_a_known_offset(rng):
    vertices, faces = head()
    landmarks = np.array(
        [[-45, 35], [-15, 35], [18, 35], [48, 35], [3, -25], [-22, -50], [28, -50.0]]
    )
    near = [np.argmin(np.linalg.norm(vertices[:, :2] - p, axis=1)) for p in landmarks]
    scan = on_surface(rng, vertices, faces, 700)
    away = motion([15, 160, -20], [300, -80, 50])
    unit = r.Alignment(np.array(0.01), np.eye(3), np.zeros(3))  # the scan in mm, the mesh in dm
    mesh = unit.apply(away.apply(vertices))
    perfect = r.now_distances(scan, vertices[near], mesh, faces, mesh[near])
    assert 200 < len(perfect) < 700 and perfect.max() < 0.02
    rough = scan + rng.normal(0, 1.0, scan.shape)
    noisy = r.now_distances(rough, vertices[near], mesh, faces, mesh[near])
    assert 0.6 < noisy.mean() < 0.9  # mean of |N(0, 1)| across the surface is 0.8
    nose = np.array([3.0, -12, 82])
    error = r.cropped_point_to_plane(rough + 2.0, nose + 2.0, vertices, faces, radius_mm=70)
    assert 0.6 < error < 0.9
    assert r.cropped_point_to_plane(scan + 2.0, nose + 2.0, vertices, faces, 70) < 0.02


def test_coefficients_and_pose(rng):
    target = rng.standard_normal((200, 4))
    predicted = target * [2, -1, 0, 1] + [5, 0, 0, 0]
    predicted[:, 3] = rng.standard_normal(200)
    got = r.coefficient_correlation(predicted, target)
    np.testing.assert_allclose(got[:2], [1, -1])
    assert np.isnan(got[2]) and abs(got[3]) < 0.3
    truth = np.radians([[10.0, -20, 30], [0, 0, 179]])
    other = truth + np.radians([[0, 5, 0], [0, 0, 2]])
    error = r.pose_error_deg(other, truth)
    np.testing.assert_allclose(error["yaw"], [5, 0], atol=1e-6)
    np.testing.assert_allclose(error["roll"], [0, 2], atol=1e-6)
    turn = [Rotation.from_matrix(np.asarray(euler_to_matrix(a, "xyz"))) for a in (truth, other)]
    want = np.degrees((turn[0].inv() * turn[1]).magnitude())
    np.testing.assert_allclose(error["rotation"], want, atol=1e-3)
    assert r.pose_error_deg([0, 0, np.pi], [0, 0, -np.pi])["roll"] == pytest.approx(0, abs=1e-6)
