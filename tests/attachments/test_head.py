"""What is found of a head without vertex numbers: its surface, ears, hairline."""

import numpy as np
import pytest

from facejax.attachments.binding import make_frames
from facejax.attachments.head import HeadSurface, farthest_points
from facejax.morphable import load_morphable


@pytest.fixture(scope="module", params=["makehuman", "procedural"])
def head(request, model):
    if request.param == "procedural":
        return HeadSurface(model)
    return HeadSurface(load_morphable("makehuman", texture_size=0, on_host=True, subdivide=0))


def test_ears_lie_at_the_sides_between_brows_and_mouth(head):
    for side, ear in zip((-1, 1), head.ears, strict=True):
        top, lobe, tip = head.points[[ear.top, ear.lobe, ear.tip]]
        for p in (top, lobe, tip):
            assert 55 < side * p[0] < 105
        assert lobe[1] < tip[1] < top[1] + 12 and top[1] - lobe[1] > 18
        assert head.landmarks[48, 1] < lobe[1] and top[1] < head.brow_y + 12
    right, left = (head.points[e.tip] for e in head.ears)
    np.testing.assert_allclose(right * [-1, 1, 1], left, atol=8)


def test_the_hairline_runs_over_the_forehead_and_around_the_ears(head):
    up = np.array([[0.0, head.top_y, head.center[2]]])
    assert head.above_hairline(up) > 20
    assert (head.above_hairline(head.landmarks[17:27]) < -15).all()
    assert (head.above_hairline(head.landmarks[:17]) < 0).all()
    back = head.center + [0, -20, -90]
    assert head.above_hairline(back) > 10


def test_temples_go_first_and_sides_never(head):
    def lost(*direction):
        ray = np.array([direction], float)
        return head.recession(head.rays(ray / np.linalg.norm(ray)))[0]

    temple, front, crown = lost(0.5, 0.75, 0.8), lost(0, 0.75, 0.8), lost(0, 1, -0.6)
    assert temple < front < crown < 1.01
    assert lost(1, 0.1, -0.1) > 0.99 and lost(0, -0.1, -1) > 0.99


def test_heights_are_positive_outside_and_points_are_pushed_out(head):
    p = head.points[head.outer & ~head.is_ear][::7]
    n = head.normals[head.outer & ~head.is_ear][::7]
    above, _ = head.cloud.height(p + 10 * n)
    below, _ = head.cloud.height(p - 6 * n)
    assert np.median(above) > 7 and np.mean(above > 0) > 0.9
    assert np.median(below) < -4
    moved = head.cloud.push_out(p - 6 * n, 2.0)
    assert np.mean(head.cloud.height(moved)[0] > 1.0) > 0.9


def test_frames_find_an_affine_map_again(head):
    frames = make_frames(head)
    matrix = np.array([[1.1, 0.1, 0.0], [-0.05, 0.9, 0.1], [0.0, 0.2, 1.2]])
    found = frames((head.points @ matrix.T + [5, -3, 2]).astype(np.float32))
    np.testing.assert_allclose(found, np.broadcast_to(matrix, (2, 3, 3)), atol=1e-3)


def test_farthest_points_spread():
    line = np.stack([np.arange(101.0), np.zeros(101), np.zeros(101)], axis=1)
    np.testing.assert_array_equal(np.sort(farthest_points(line, 5)), [0, 25, 50, 75, 100])
