"""Are two photos of the same person? Measured on synthetic people that training never saw."""

from typing import Any

import jax
import numpy as np

from facejax.nn.batching import in_batches
from facejax.systems.idnet.system import HELD_OUT

_BATCH = 64
_FOLDS = 10


def verification(scores: np.ndarray, same: np.ndarray, folds: int = _FOLDS) -> dict[str, float]:
    """Accuracy at thresholds chosen on other pairs (the protocol of LFW), and the ROC curve's area.

    Args:
      scores: [P], larger for pairs that look alike.
      same: [P] bool.
      folds: a pair belongs to fold (its number modulo folds).

    Returns:
      'accuracy', 'auc', and 'tpr_at_fpr_1_percent', shares.
    """
    fold = np.arange(len(scores)) % folds
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


def embeddings(system, trees, source) -> np.ndarray:
    """[N, features] unit embeddings of all photos of a source.

    Args:
      system: the IdentitySystem.
      trees: {'idnet', 'idnet_stats'}.
      source: a `SyntheticPhotoSource`.
    """
    variables = {"params": trees["idnet"]["net"], "batch_stats": trees["idnet_stats"]}

    @jax.jit
    def embed(variables, image, landmarks):
        return system.net.apply(variables, system.crops(image, landmarks))[0]

    def some(index):
        batch = source.batch(index)
        return embed(variables, batch["image"], batch["landmarks"])

    rows = in_batches(some, np.arange(len(source)), _BATCH)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def evaluate(system, trees) -> dict[str, Any]:
    """Verification of the trained network, beside an untrained one; JSON-able.

    Args:
      system: the IdentitySystem.
      trees: {'idnet', 'idnet_stats'} of a checkpoint.
    """
    c, seed = system.config.evaluate, system.config.seed + HELD_OUT
    people, each = c.num_identities, c.photos_each
    source = system.photos(people * each, people, seed)
    who = source.identities(np.arange(len(source)))
    first, second = np.triu_indices(len(source), k=1)
    same = who[first] == who[second]
    # as many pairs of different people as of one person
    rng = np.random.default_rng(c.seed)
    apart = rng.permutation(np.flatnonzero(~same))[: same.sum()]
    pick = rng.permutation(np.concatenate([np.flatnonzero(same), apart]))
    first, second, same = first[pick], second[pick], same[pick]
    params, aux = system.init(system.config.seed)
    out: dict[str, Any] = {"people": people, "photos": len(source), "pairs": len(pick)}
    for name, tree in (("untrained", {**params, **aux}), ("trained", trees)):
        rows = embeddings(system, tree, source)
        out[name] = verification(np.sum(rows[first] * rows[second], axis=1), same)
    return out
