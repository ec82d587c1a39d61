import functools

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data import augment

random_affine = jax.jit(augment.random_affine, static_argnames=("batch", "size", "flip"))


def test_mirroring_is_its_own_inverse_and_keeps_what_points_mean():
    np.testing.assert_array_equal(augment.MIRROR_68[augment.MIRROR_68], np.arange(68))
    pairs = {0: 16, 8: 8, 17: 26, 27: 27, 31: 35, 36: 45, 39: 42, 40: 47, 48: 54, 59: 55, 60: 64}
    pairs |= {67: 65, 66: 66, 57: 57, 33: 33}
    for a, b in pairs.items():
        assert augment.MIRROR_68[a] == b and augment.MIRROR_68[b] == a
    matrix = augment.affine_matrix(np.zeros(2), 1.0, 0.0, True)
    points = np.random.default_rng(0).uniform(0, 224, (68, 2))
    once = augment.transform_landmarks(points, matrix, True)
    np.testing.assert_allclose(once[16], [224 - points[0, 0], points[0, 1]])
    np.testing.assert_allclose(augment.transform_landmarks(once, matrix, True), points)


def test_pixels_and_landmarks_move_together():
    size, dots = 56, np.random.default_rng(1).uniform(14, 42, (68, 2))  # y up
    matrix, flip = random_affine(jax.random.key(3), (6,), size)
    assert np.asarray(flip).any() and not np.asarray(flip).all()
    row, column = np.mgrid[:size, :size]

    def picture(point):  # a blob around a landmark; the landmark's y counts from the bottom row
        square = (column - point[0]) ** 2 + (size - 1 - row - point[1]) ** 2
        return np.exp(-square / 8.0)

    images = np.broadcast_to(picture(dots[5])[..., None], (6, size, size, 1))
    warped = np.asarray(jax.jit(augment.warp)(images, matrix))[..., 0]
    batch = jnp.broadcast_to(jnp.asarray(dots, jnp.float32), (6, 68, 2))
    move = jax.jit(functools.partial(augment.transform_landmarks, size=size))
    moved = np.asarray(move(batch, matrix, flip))
    for k in range(6):
        place = augment.MIRROR_68[5] if flip[k] else 5
        x = (warped[k] * column).sum() / warped[k].sum()
        y = (warped[k] * (size - 1 - row)).sum() / warped[k].sum()
        # pictures turn about pixel corners and landmarks about pixel centres, as in the original
        np.testing.assert_allclose([x, y], moved[k, place], atol=1.1)


def test_ranges_of_random_maps():
    matrix, flip = random_affine(jax.random.key(0), (500,))
    matrix = np.asarray(matrix)
    scale = np.hypot(matrix[:, 0, 0], matrix[:, 1, 0])
    assert 0.9 - 1e-4 < scale.min() < 0.92 and 1.08 < scale.max() < 1.1 + 1e-4
    sign = np.where(flip, -1, 1)
    angle = np.degrees(np.arctan2(matrix[:, 1, 0] * sign, matrix[:, 0, 0] * sign))
    assert -10.01 < angle.min() < -9 and 9 < angle.max() < 10.01
    assert 0.4 < np.mean(flip) < 0.6
    no_flip = random_affine(jax.random.key(0), (500,), flip=False)[1]
    assert not np.asarray(no_flip).any()
