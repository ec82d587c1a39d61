import jax
import jax.numpy as jnp
import numpy as np

from facejax.systems.idnet.metrics import verification
from facejax.systems.idnet.system import margin_logits


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


def test_verification_of_known_scores(rng):
    same = rng.permutation(2000) % 2 == 0
    perfect = verification(np.where(same, 1.0, 0.0), same)
    assert perfect == {"accuracy": 1.0, "auc": 1.0, "tpr_at_fpr_1_percent": 1.0}
    blind = verification(np.zeros(2000), same)
    assert blind["auc"] == 0.5 and abs(blind["accuracy"] - 0.5) < 0.06
    # two normal distributions d apart: accuracy Phi(d / 2), area Phi(d / sqrt 2)
    scores = rng.standard_normal(2000) + 2.0 * same
    found = verification(scores, same)
    np.testing.assert_allclose(found["accuracy"], 0.841, atol=0.03)
    np.testing.assert_allclose(found["auc"], 0.921, atol=0.03)
