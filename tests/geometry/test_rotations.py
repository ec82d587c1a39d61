import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation

from facejax.geometry import rotations

BATCHES = [(), (2, 3)]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("order", ["xyz", "zyx", "YXZ", "zxy"])
def test_euler_matches_scipy_and_inverts(rng, batch, order):
    angles = rng.uniform(-1.4, 1.4, (*batch, 3)).astype(np.float32)
    got = rotations.euler_to_matrix(angles, order)
    want = Rotation.from_euler(order, angles.reshape(-1, 3)).as_matrix().reshape(*batch, 3, 3)
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(rotations.matrix_to_euler(got, order), angles, atol=1e-4)


@pytest.mark.parametrize("batch", BATCHES)
def test_axis_angle_matches_scipy_also_near_zero(rng, batch):
    for scale in (2.0, 1e-2, 1e-4, 0.0):
        v = (rng.normal(size=(*batch, 3)) * scale).astype(np.float32)
        want = Rotation.from_rotvec(v.reshape(-1, 3)).as_matrix().reshape(*batch, 3, 3)
        np.testing.assert_allclose(rotations.axis_angle_to_matrix(v), want, atol=1e-5)
    grad = jax.jacobian(rotations.axis_angle_to_matrix)(jnp.zeros(3))
    assert grad[2, 1, 0] == 1 and grad[0, 2, 1] == 1 and grad[1, 0, 2] == 1


@pytest.mark.parametrize("batch", BATCHES)
def test_quaternions_match_scipy_and_invert(rng, batch):
    q = rng.normal(size=(*batch, 4)).astype(np.float32)
    xyzw = np.roll(q.reshape(-1, 4), -1, axis=-1)
    want = Rotation.from_quat(xyzw).as_matrix().reshape(*batch, 3, 3)
    got = rotations.quaternion_to_matrix(q)
    np.testing.assert_allclose(got, want, atol=1e-5)
    unit = q / np.linalg.norm(q, axis=-1, keepdims=True)
    unit = np.where(unit[..., :1] < 0, -unit, unit)
    np.testing.assert_allclose(rotations.matrix_to_quaternion(got), unit, atol=1e-5)
    half_turns = np.stack([np.diag(d) for d in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1])])
    got = np.abs(rotations.matrix_to_quaternion(half_turns.astype(np.float32)))
    np.testing.assert_allclose(got, np.eye(4)[1:], atol=1e-6)


def test_sixd_is_the_identity_on_rotations_and_orthonormal_otherwise(rng):
    r = Rotation.random(4, random_state=1).as_matrix().astype(np.float32)
    columns = np.concatenate([r[..., 0], r[..., 1]], axis=-1)
    np.testing.assert_allclose(rotations.sixd_to_matrix(columns), r, atol=1e-5)
    got = np.asarray(rotations.sixd_to_matrix(rng.normal(size=(5, 6)).astype(np.float32)))
    np.testing.assert_allclose(
        got @ np.swapaxes(got, -1, -2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(got), 1, atol=1e-5)


def test_rotation_angle_is_exact_for_small_and_large_angles():
    eye = jnp.eye(3)
    for angle in (0.0, 1e-4, 1.0, 3.1):
        got = rotations.rotation_angle(eye, rotations.axis_rotation(angle, "y"))
        assert float(got) == pytest.approx(angle, rel=1e-3, abs=1e-7)
    assert np.isfinite(jax.grad(lambda b: rotations.rotation_angle(eye, b))(eye)).all()


def test_gradients_agree_with_differences(rng):
    angles = jnp.asarray(rng.uniform(-1, 1, 3), jnp.float32)
    check_grads(rotations.euler_to_matrix, (angles,), 1, ["rev"], 1e-2, 1e-2, 1e-2)
    check_grads(rotations.axis_angle_to_matrix, (angles,), 1, ["rev"], 1e-2, 1e-2, 1e-2)


def test_bad_orders_raise():
    with pytest.raises(ValueError, match="xYz"):
        rotations.euler_to_matrix(np.zeros(3), "xYz")
    with pytest.raises(ValueError, match="three different"):
        rotations.matrix_to_euler(np.eye(3), "xyx")
