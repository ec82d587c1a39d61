import itertools
import json
import logging

import numpy as np
import pytest

from facejax.metrics import plausibility as p
from facejax.metrics import reconstruction, uvmaps
from facejax.metrics.distribution import distribution_figures
from facejax.metrics.verification import verification


def face68(rng, num=3):
    """[num, 68, 2]: eyes above the mouth, y down."""
    points = rng.uniform(20, 80, (num, 68, 2))
    points[:, 36:48, 1] = rng.uniform(30, 40, (num, 12))
    points[:, 48:, 1] = rng.uniform(65, 75, (num, 20))
    return points


def test_every_wrong_order_of_seven_points_is_refused(rng):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    own = 0.01 * (p.SEVEN_POINTS_MM + rng.normal(0, 2.0, (7, 3))) @ turn.T + 5
    p.check_seven_points(own, "own")  # in any frame and unit
    orders = list(itertools.permutations(range(7)))[1:]
    for k in rng.choice(len(orders), 25, replace=False):
        with pytest.raises(ValueError, match=r"file\.txt: .*(order|swapped)"):
            p.check_seven_points(own[list(orders[k])], "file.txt")
    with pytest.raises(ValueError, match="left-handed"):
        p.check_seven_points(own * [1, 1, -1], "file.txt")
    with pytest.raises(ValueError, match="fit no face"):
        p.check_seven_points(rng.normal(size=(7, 3)) * [1, 1, 4], "file.txt")
    with pytest.raises(ValueError, match="number 3"):
        p.check_seven_points(np.where(np.arange(7)[:, None] == 3, np.inf, own), "file.txt")


@pytest.mark.parametrize("unit", ["cm", "dm", "m"])
def test_sizes_name_the_unit_that_fits(unit):
    seven = p.SEVEN_POINTS_MM / p.MM_PER_UNIT[unit]
    p.check_eyes(p.SEVEN_POINTS_MM, "marks", "--unit")
    with pytest.raises(ValueError, match=f"--unit={unit}"):
        p.check_eyes(seven, "marks", "--unit")
    with pytest.raises(ValueError, match=f"--face_unit={unit}"):
        p.check_extent(2 * seven, "mesh", "--face_unit")
    with pytest.raises(ValueError, match="--unit=mm"):  # said to be in a unit that it is not in
        p.check_eyes(p.SEVEN_POINTS_MM * p.MM_PER_UNIT[unit], "marks", "--unit", unit)
    with pytest.raises(ValueError, match="metres"):
        p.check_eyes(seven, "face.glb", "")
    with pytest.raises(ValueError, match="wanted that of a face"):
        p.check_extent(np.zeros((0, 3)), "mesh", "--unit")


def test_landmark_errors_that_mean_nothing_are_refused(rng):
    truth = face68(rng)
    assert reconstruction.nme(truth + 1.0, truth).shape == (3,)
    broken = truth.copy()
    broken[1, 5] = np.nan
    for a, b, words in (
        (broken, truth, "predicted landmarks of faces: number 1"),
        (truth, broken, "true landmarks of faces: number 1"),
        (truth, np.where(np.arange(3)[:, None, None] == 2, truth[:, :1], truth), "face 2"),
        (truth * [1, -1], truth, "upside down"),
    ):
        for normalizer in ("box", "eyes"):
            with pytest.raises(ValueError, match=words):
                reconstruction.nme(a, b, normalizer)
    p.check_in_picture(truth[0], (90, 90), "a.jpg")
    with pytest.raises(ValueError, match="a.jpg: .* not shares of its size"):
        p.check_in_picture(truth[0] / 90, (90, 90), "a.jpg")
    with pytest.raises(ValueError, match=r"a.jpg: 0 of 68 .* 10x10"):
        p.check_in_picture(truth[0], (10, 10), "a.jpg")
    with pytest.raises(ValueError, match="degrees"):
        reconstruction.nme_by_yaw(np.ones(2), np.array([3.0, 45.0]))
    with pytest.raises(ValueError, match="number 1"):
        reconstruction.nme_by_yaw(np.array([1.0, np.nan]), np.zeros(2))
    with pytest.raises(ValueError, match="degrees"):
        reconstruction.pose_error_deg(np.zeros(3), np.array([10.0, 20.0, 0.0]))


def test_points_of_weight_zero_may_be_anything_and_others_not(rng):
    a, weight = rng.normal(size=(9, 3)), np.r_[np.ones(7), 0, 0]
    b = 1.5 * a
    wanted = reconstruction.vertex_error(b, a, weight)
    b[7:], a[8] = np.nan, np.inf
    assert reconstruction.vertex_error(b, a, weight) == pytest.approx(wanted)
    for points, weights, words in (
        (b, None, "not finite"),
        (a[:7], np.zeros(7), "all 0"),
        (a[:0], None, "N > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            reconstruction.align(points, points, weights)


def test_surfaces_without_an_area_measure_nothing(rng):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.0]])
    point = np.array([[0.2, 0.2, 0.7]])
    flat = [[0, 0, 0], [1, 2, 3]]  # on the same spot and in a line
    found = reconstruction.point_to_plane(point, vertices, [[0, 1, 2], *flat])
    np.testing.assert_allclose(found, 0.7)
    with pytest.raises(ValueError, match="none with an area"):
        reconstruction.point_to_plane(point, vertices, flat)
    with pytest.raises(ValueError, match="no points"):
        reconstruction.icp(point[:0], vertices, [[0, 1, 2]])


def test_one_kind_of_pair_has_no_curve(rng):
    scores = rng.normal(size=40)
    for same in (np.ones(40, bool), np.zeros(40, bool), np.arange(40) < 1):
        with pytest.raises(ValueError, match="wanted some of both"):
            verification(scores, same)
    with pytest.raises(ValueError, match="scores of pairs: number 3"):
        verification(np.where(np.arange(40) == 3, np.nan, scores), np.arange(40) % 3 == 0)


def test_pictures_of_another_range_and_few_or_equal_ones(rng, caplog):
    import jax

    class Mean:
        name = "mean"

        def __call__(self, images):
            return images.mean((1, 2))

    pictures = rng.uniform(size=(9, 32, 32, 3)).astype(np.float32)
    key = jax.random.key(0)
    for fake, words in (
        (255 * pictures[:3], "0 .. 255"),
        (2 * pictures[:3] - 1, "-1 .. 1"),
        (np.where(np.arange(3)[:, None, None, None] == 2, np.nan, pictures[:3]), "number 2"),
        (pictures[:1], "twice as many"),
    ):
        with pytest.raises(ValueError, match=words):
            distribution_figures(fake, pictures[3:], key, Mean())
    with caplog.at_level(logging.WARNING):
        distribution_figures(pictures[[0, 0, 1]], pictures[3:], key, Mean())
    assert "3 samples in 3 dimensions" in caplog.text
    assert "1 of the 3 generated samples are copies" in caplog.text
    assert p.sample_remarks({"real": pictures}, 8) == []


def test_nothing_measured_is_not_zero():
    flat = np.zeros((4, 4, 3), np.float32)
    up = flat + np.float32([0, 0, 1])
    assert np.isnan(uvmaps.normal_angle_deg(up, flat))
    half = np.where(np.arange(4)[:, None, None] < 2, up, flat)
    assert uvmaps.normal_angle_deg(up, half[..., ::-1]) == pytest.approx(90)
    assert np.isnan(uvmaps.normal_angle_deg(up, up, np.zeros((4, 4), bool)))
    assert np.isnan(uvmaps.energy_outside(up, np.ones((4, 4), bool)))
    with pytest.raises(ValueError, match="coefficients: number 1"):
        uvmaps.nearest_label(np.array([[0.0], [np.nan]]), np.eye(1))
    with pytest.raises(ValueError, match="label -1"):
        uvmaps.diversity_within_labels(np.zeros((2, 4, 4, 1)), np.array([0, -1]))


def test_figures_without_numbers_are_named():
    figures = {"a": {"b": float("nan"), "c": 1.0}, "d": np.float32(np.inf), "e": [1.0, np.nan]}
    found = p.reported(figures)
    assert found.lost == ("a/b", "d", "e/1")
    assert json.loads(json.dumps(found.figures, allow_nan=False)) == {
        "a": {"b": None, "c": 1.0}, "d": None, "e": [1.0, None]
    }  # fmt: skip
