"""Are two photos of the same person? Measured on synthetic people that training never saw."""

from typing import Any

import jax
import numpy as np

from facejax.metrics.verification import verification
from facejax.nn.batching import in_batches
from facejax.systems.idnet import data

_BATCH = 64


def embeddings(system, trees, source) -> np.ndarray:
    """[N, features] unit embeddings of all photos of a source.

    Args:
      system: the IdentitySystem.
      trees: {'idnet', 'idnet_stats'}.
      source: a `PhotoSource`.
    """
    embed = jax.jit(system.predict)

    def some(index):
        batch = source.batch(index)
        return embed(trees, batch["image"], batch["landmarks"]).embedding

    return in_batches(some, np.arange(len(source)), _BATCH)


def evaluate(system, trees) -> dict[str, Any]:
    """Verification of the trained network, beside an untrained one; JSON-able.

    Args:
      system: the IdentitySystem.
      trees: {'idnet', 'idnet_stats'} of a checkpoint.
    """
    c = system.config.evaluate
    source = data.held_out(system.config, system.model, c.num_identities, c.photos_each)
    who = source.identities(np.arange(len(source)))
    first, second = np.triu_indices(len(source), k=1)
    same = who[first] == who[second]
    # as many pairs of different people as of one person
    rng = np.random.default_rng(c.seed)
    apart = rng.permutation(np.flatnonzero(~same))[: same.sum()]
    pick = rng.permutation(np.concatenate([np.flatnonzero(same), apart]))
    first, second, same = first[pick], second[pick], same[pick]
    params, aux = system.init(system.config.seed)
    out: dict[str, Any] = {
        "people": c.num_identities, "photos": len(source), "pairs": len(pick)
    }  # fmt: skip
    for name, tree in (("untrained", {**params, **aux}), ("trained", trees)):
        rows = embeddings(system, tree, source)
        out[name] = verification(np.sum(rows[first] * rows[second], axis=1), same)
    return out
