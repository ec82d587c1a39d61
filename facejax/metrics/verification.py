"""Are two pictures of the same thing? Figures of scores whose answers are known."""

import numpy as np

from facejax.metrics.plausibility import check_finite

_FOLDS = 10


def verification(scores: np.ndarray, same: np.ndarray, folds: int = _FOLDS) -> dict[str, float]:
    """Accuracy at thresholds chosen on other pairs (the protocol of LFW), and the ROC curve's area.

    Args:
      scores: [P], larger for pairs that look alike.
      same: [P] bool.
      folds: a pair belongs to fold (its number modulo folds).

    Returns:
      'accuracy', 'auc', and 'tpr_at_fpr_1_percent', shares. Of fewer than 100 pairs of different
      things the last is the share above all of them.

    Raises:
      ValueError: scores that are not finite, pairs of one kind only, or so few that some fold would
        be judged without both.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    if scores.shape != same.shape or scores.ndim != 1:
        raise ValueError(f"found scores {scores.shape} and answers {same.shape}, wanted [P] twice")
    check_finite(scores, "scores of pairs")
    fold = np.arange(len(scores)) % folds
    others = [same[fold != k] for k in range(folds)]
    if not all(kind.any() and not kind.all() for kind in others):
        raise ValueError(
            f"found {same.sum()} pairs of the same and {(~same).sum()} of different things, wanted "
            f"some of both outside each of {folds} folds: one kind alone has no accuracy or curve"
        )
    correct = np.zeros(len(scores), bool)
    for k in range(folds):
        others, own = fold != k, fold == k
        order = np.sort(scores[others])
        cuts = np.concatenate([[-np.inf], (order[1:] + order[:-1]) / 2])
        # accuracy of 'same above the cut', for every cut at once
        positives = np.sort(scores[others & same])
        negatives = np.sort(scores[others & ~same])
        hits = len(positives) - np.searchsorted(positives, cuts, "right")
        hits = hits + np.searchsorted(negatives, cuts, "right")
        correct[own] = (scores[own] > cuts[hits.argmax()]) == same[own]
    positives, negatives = scores[same], np.sort(scores[~same])
    below = np.searchsorted(negatives, positives, "left")
    ties = np.searchsorted(negatives, positives, "right") - below
    cut = negatives[min(int(np.ceil(0.99 * len(negatives))), len(negatives) - 1)]
    return {
        "accuracy": float(correct.mean()),
        "auc": float((below + ties / 2).mean() / len(negatives)),
        "tpr_at_fpr_1_percent": float((positives > cut).mean()),
    }
