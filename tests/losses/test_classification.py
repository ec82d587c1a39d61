import jax
import numpy as np

from facejax.losses.classification import soft_cross_entropy


def test_soft_cross_entropy_is_least_for_its_own_distribution(rng):
    p = np.asarray(jax.nn.softmax(rng.standard_normal((4, 7))), np.float32)
    own = soft_cross_entropy(p, np.log(p))
    np.testing.assert_allclose(own, -(p * np.log(p)).sum(-1).mean(), rtol=1e-5)
    for k in range(4):
        other = soft_cross_entropy(p[k], np.log(p[k]) + 0.3 * rng.standard_normal(7))
        assert other > soft_cross_entropy(p[k], np.log(p[k]))
