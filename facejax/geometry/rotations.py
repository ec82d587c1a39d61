"""Rotations between Euler angles, axis-angle vectors, quaternions, 6D vectors and matrices.

Matrices act on column vectors, `y = R @ x`. Angles are radians. The Euler naming is scipy's:
lower-case orders ('xyz') turn about the fixed axes one after another, so 'xyz' is Rz @ Ry @ Rx;
upper-case orders ('XYZ') turn about the axes that move along, so 'XYZ' is Rx @ Ry @ Rz.
"""

import jax
import jax.numpy as jnp

from facejax.geometry.math import safe_norm, safe_normalize

_AXES = {"x": 0, "y": 1, "z": 2}


def axis_rotation(angle_rad: jax.Array, axis: str) -> jax.Array:
    """Rotation about one coordinate axis, counter-clockwise when the axis points at the viewer.

    Args:
      angle_rad: [...] radians.
      axis: 'x', 'y' or 'z'.

    Returns:
      [..., 3, 3] float32.
    """
    angle = jnp.asarray(angle_rad, jnp.float32)
    c, s = jnp.cos(angle), jnp.sin(angle)
    one, zero = jnp.ones_like(c), jnp.zeros_like(c)
    rows = {
        "x": ((one, zero, zero), (zero, c, -s), (zero, s, c)),
        "y": ((c, zero, s), (zero, one, zero), (-s, zero, c)),
        "z": ((c, -s, zero), (s, c, zero), (zero, zero, one)),
    }[axis]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _check_order(order: str) -> str:
    if (
        len(order) != 3
        or order not in (order.lower(), order.upper())
        or set(order.lower()) - {*"xyz"}
    ):
        raise ValueError(
            f"Euler order {order!r} is not three letters of x, y, z in one case; use for example "
            "'xyz' (fixed axes) or 'XYZ' (moving axes)."
        )
    return order.lower() if order.islower() else order.lower()[::-1]


def euler_to_matrix(angles_rad: jax.Array, order: str = "xyz") -> jax.Array:
    """Rotation matrix of three Euler angles.

    Args:
      angles_rad: [..., 3] radians, in the sequence of the letters of `order`.
      order: three letters; 'xyz' = Rz @ Ry @ Rx (fixed axes), 'XYZ' = Rx @ Ry @ Rz (moving axes).

    Returns:
      [..., 3, 3] float32.

    Raises:
      ValueError: if `order` is not three letters of x, y, z in one case.
    """
    fixed = _check_order(order)
    angles = jnp.asarray(angles_rad, jnp.float32)
    if order.isupper():
        angles = angles[..., ::-1]
    first, second, third = (axis_rotation(angles[..., i], fixed[i]) for i in range(3))
    with jax.default_matmul_precision("highest"):  # TF32 would be off by a tenth of a pixel
        return third @ second @ first


def matrix_to_euler(matrix: jax.Array, order: str = "xyz") -> jax.Array:
    """Euler angles of a rotation matrix, the inverse of `euler_to_matrix`.

    The middle angle lies in [-pi/2, pi/2]; near its ends only a combination of the other two is
    determined (gimbal lock).

    Args:
      matrix: [..., 3, 3] rotation.
      order: three different letters, as in `euler_to_matrix`.

    Returns:
      [..., 3] radians, in the sequence of the letters of `order`.

    Raises:
      ValueError: if `order` is malformed or repeats an axis.
    """
    fixed = _check_order(order)
    i, j, k = (_AXES[a] for a in fixed)
    if len({i, j, k}) < 3:
        raise ValueError(f"matrix_to_euler supports three different axes, found {order!r}.")
    sign = 1.0 if (j - i) % 3 == 1 else -1.0  # cyclic orders or their mirror images
    middle = jnp.arcsin(jnp.clip(-sign * matrix[..., k, i], -1.0, 1.0))
    first = jnp.arctan2(sign * matrix[..., k, j], matrix[..., k, k])
    third = jnp.arctan2(sign * matrix[..., j, i], matrix[..., i, i])
    angles = (first, middle, third) if order.islower() else (third, middle, first)
    return jnp.stack(angles, axis=-1)


def axis_angle_to_matrix(vector_rad: jax.Array) -> jax.Array:
    """Rotation by |vector| radians about the vector (Rodrigues); smooth at zero.

    Args:
      vector_rad: [..., 3] axis times angle.

    Returns:
      [..., 3, 3] float32.
    """
    v = jnp.asarray(vector_rad, jnp.float32)
    sq = jnp.sum(v * v, axis=-1)
    tiny = sq < 1e-6  # series where sin(a)/a loses its gradient
    angle = jnp.sqrt(jnp.where(tiny, 1.0, sq))
    a = jnp.where(tiny, 1.0 - sq / 6.0, jnp.sin(angle) / angle)[..., None, None]
    b = jnp.where(tiny, 0.5 - sq / 24.0, (1.0 - jnp.cos(angle)) / angle**2)[..., None, None]
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    zero = jnp.zeros_like(x)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*v.shape, 3)
    eye = jnp.broadcast_to(jnp.eye(3, dtype=v.dtype), cross.shape)
    return eye + a * cross + b * (cross @ cross)


def quaternion_to_matrix(quaternion: jax.Array) -> jax.Array:
    """Rotation of a quaternion (w, x, y, z), normalised first.

    Args:
      quaternion: [..., 4], any length from 1e-15 on; shorter ones turn nothing.

    Returns:
      [..., 3, 3] float32.
    """
    q = safe_normalize(jnp.asarray(quaternion, jnp.float32), eps=1e-30)
    w, x, y, z = (q[..., i] for i in range(4))
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return jnp.stack(rows, axis=-1).reshape(*q.shape[:-1], 3, 3)


def matrix_to_quaternion(matrix: jax.Array) -> jax.Array:
    """Unit quaternion (w, x, y, z) of a rotation, w >= 0.

    Args:
      matrix: [..., 3, 3] rotation.

    Returns:
      [..., 4] float32.
    """
    m = jnp.asarray(matrix, jnp.float32)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    dx, dy, dz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    sxy, sxz, syz = (
        m[..., 0, 1] + m[..., 1, 0],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 2] + m[..., 2, 1],
    )
    # Rows of 4 q q^T: the longest row is the best conditioned multiple of q.
    rows = jnp.stack(
        [
            jnp.stack([1 + xx + yy + zz, dx, dy, dz], axis=-1),
            jnp.stack([dx, 1 + xx - yy - zz, sxy, sxz], axis=-1),
            jnp.stack([dy, sxy, 1 - xx + yy - zz, syz], axis=-1),
            jnp.stack([dz, sxz, syz, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    diagonal = jnp.diagonal(rows, axis1=-2, axis2=-1)
    best = jnp.argmax(diagonal, axis=-1)[..., None, None]
    q = safe_normalize(jnp.take_along_axis(rows, best, axis=-2)[..., 0, :])
    return jnp.where(q[..., :1] < 0, -q, q)


def sixd_to_matrix(vectors: jax.Array) -> jax.Array:
    """Rotation whose first two COLUMNS come from Gram-Schmidt on two vectors.

    The continuous representation of Zhou et al. 2019 (arXiv 1812.07035, eq. 15): fit for
    regression.

    Args:
      vectors: [..., 6], the first and the second column one after another; no rotation where one is
        shorter than 1e-6 or both are parallel.

    Returns:
      [..., 3, 3] float32.
    """
    v = jnp.asarray(vectors, jnp.float32)
    first = safe_normalize(v[..., :3])
    second = v[..., 3:] - first * jnp.sum(first * v[..., 3:], axis=-1, keepdims=True)
    second = safe_normalize(second)
    return jnp.stack([first, second, jnp.cross(first, second)], axis=-1)


def rotation_angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """Angle in [0, pi] radians between two rotations.

    Computed from the sine and the cosine, so that small angles keep their precision.

    Args:
      a: [..., 3, 3] rotation.
      b: [..., 3, 3] rotation, batch dims as `a`.

    Returns:
      [...] radians.
    """
    r = jnp.swapaxes(a, -1, -2) @ b
    axis = jnp.stack(
        [r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]],
        axis=-1,
    )
    return jnp.arctan2(safe_norm(axis), jnp.trace(r, axis1=-2, axis2=-1) - 1.0)
