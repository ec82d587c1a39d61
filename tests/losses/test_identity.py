import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.losses.identity import margin_logits


def test_margins_move_the_own_class_only():
    angle = np.array([[0.3, 1.2], [2.9, 0.5]], np.float32)
    labels = jnp.array([0, 0])
    cosface = margin_logits(jnp.cos(angle), labels, 0.2, "cosface")
    np.testing.assert_allclose(cosface, np.cos(angle) - [[0.2, 0], [0.2, 0]], atol=1e-6)
    arcface = margin_logits(jnp.cos(angle), labels, 0.5, "arcface")
    np.testing.assert_allclose(arcface, np.cos([[0.8, 1.2], [np.pi, 0.5]]), atol=1e-3)
    # an exact hit has no finite slope of the angle
    grad = jax.grad(lambda c: margin_logits(c, labels, 0.5, "arcface").sum())(jnp.ones((2, 2)))
    assert np.isfinite(grad).all()
    with pytest.raises(ValueError, match="found the margin 'sphereface'"):
        margin_logits(jnp.ones((2, 2)), labels, 0.5, "sphereface")
