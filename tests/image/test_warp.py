import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.image.warp import affine_warp


def oracle(image, matrix, size):
    """Four taps per pixel, those outside count as zero."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    out = np.zeros((*size, image.shape[-1]))
    for v in range(size[0]):
        for u in range(size[1]):
            x, y = (inverse @ [u, v, 1])[:2]
            for j in (int(np.floor(y)), int(np.floor(y)) + 1):
                for i in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= i < image.shape[1] and 0 <= j < image.shape[0]:
                        out[v, u] += (1 - abs(x - i)) * (1 - abs(y - j)) * image[j, i]
    return out


@pytest.mark.parametrize("batch", [(), (2,)])
def test_against_the_definition(rng, batch):
    image = rng.uniform(size=(*batch, 7, 9, 2)).astype(np.float32)
    matrix = np.array([[0.8, -0.3, 1.0], [0.4, 1.2, -2.0]]) + 0.1 * rng.normal(size=(*batch, 2, 3))
    got = affine_warp(image, matrix, (8, 6))
    pairs = zip(image.reshape(-1, 7, 9, 2), matrix.reshape(-1, 2, 3), strict=True)
    want = np.stack([oracle(i, m, (8, 6)) for i, m in pairs]).reshape(*batch, 8, 6, 2)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_identity_keeps_and_far_shift_empties(rng):
    image = jnp.asarray(rng.uniform(size=(1, 5, 5, 3)), jnp.float32)
    eye = jnp.eye(2, 3)
    np.testing.assert_allclose(affine_warp(image, eye, (5, 5)), image, atol=1e-5)
    far = eye.at[:, 2].set(jnp.array([20.0, 0.0]))
    np.testing.assert_array_equal(affine_warp(image, far, (5, 5)), 0)


def test_gradients_are_finite_and_reach_the_image(rng):
    image = jnp.asarray(rng.uniform(size=(5, 5, 1)), jnp.float32)
    matrix = jnp.array([[1.1, 0.2, 0.3], [-0.2, 0.9, 0.4]])
    grad = jax.jit(jax.grad(lambda i, m: affine_warp(i, m, (5, 5)).sum(), argnums=(0, 1)))
    grads = grad(image, matrix)
    assert all(bool(jnp.isfinite(g).all()) and float(jnp.abs(g).max()) > 0 for g in grads)
