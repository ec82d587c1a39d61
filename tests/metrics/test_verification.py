import numpy as np

from facejax.metrics.verification import verification


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
