import numpy as np
import pytest

from facejax.morphable.procedural import (
    EXPRESSION_NAMES,
    CanonicalLayout,
    draw_identity,
    head_points,
)
from facejax.morphable.procedural.build import HeadGrid
from facejax.morphable.procedural.landmarks import landmark_samples


@pytest.fixture(scope="module")
def grid():
    return HeadGrid(64, 64)


@pytest.fixture(scope="module")
def layout(grid):
    return CanonicalLayout(grid.u, grid.v)


@pytest.fixture(scope="module")
def landmark_layout(grid, layout):
    samples, _ = landmark_samples(layout)
    return CanonicalLayout(grid.u[samples], grid.v[samples])


def test_inner_lips_never_cross(landmark_layout, rng):
    gaps = []
    for _ in range(200):
        anatomy, warp = draw_identity(rng)
        y = head_points(landmark_layout, anatomy, warp=warp)[:, 1]
        gaps.append(y[[61, 62, 63]] - y[[67, 66, 65]])
    gaps = np.array(gaps)
    assert gaps.min() > 0
    assert gaps.max() < 0.3  # cm: closed at rest


def test_random_heads_are_finite_and_differ(layout, rng):
    draws = [draw_identity(rng) for _ in range(2)]
    heads = [head_points(layout, anatomy, warp=warp) for anatomy, warp in draws]
    assert np.isfinite(heads).all()
    assert 0.05 < np.abs(heads[0] - heads[1]).mean() < 2  # cm


@pytest.mark.parametrize("name", EXPRESSION_NAMES)
def test_expression_moves_its_side_of_the_face_only(layout, name):
    neutral, moved = head_points(layout), head_points(layout, expression={name: 1.0})
    size = np.linalg.norm(moved - neutral, axis=-1)
    assert np.isfinite(size).all()
    assert 0.1 < size.max() < 6  # cm
    assert size[layout.front < 0.01].max() < 0.01  # nothing moves behind the ears
    if name.endswith("_L"):
        assert size[layout.x < -1].max() < 1e-9
    if name.endswith("_R"):
        assert size[layout.x > 1].max() < 1e-9


def test_blink_closes_the_eye(landmark_layout):
    def opening(**expression):
        y = head_points(landmark_layout, expression=expression)[:, 1]
        return (y[[43, 44]] - y[[47, 46]]).mean()

    assert opening() > 0.6
    assert opening(eyeBlink_L=1.0) < 0.25 * opening()
    assert opening(eyeWide_L=1.0) > 1.05 * opening()


def test_ears_stand_off_the_head(layout):
    points = head_points(layout)
    ear = (layout.y > -0.5) & (layout.y < 3.5) & (np.abs(np.rad2deg(layout.phi) - 92) < 12)
    cheek = (layout.y > -0.5) & (layout.y < 3.5) & (np.abs(np.rad2deg(layout.phi) - 66) < 5)
    assert points[ear, 0].max() > points[cheek, 0].max() + 1.0
