"""What losses read and nobody trains: its arrays, its record in checkpoints, and whether it is
still the same."""

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from facejax.train.system import Frozen, System


def frozen_of(system: System) -> dict[str, Frozen]:
    """{name: Frozen} of a system, {} where it has none."""
    return system.frozen() if hasattr(system, "frozen") else {}


def frozen_trees(system: System) -> dict[str, Any]:
    """{name: tree} of arrays on the host."""
    return {name: item.tree for name, item in frozen_of(system).items()}


def tree_digest(tree: Any) -> str:
    """Hex digest of all arrays of a tree, with their places in it."""
    digest = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def describe_frozen(system: System) -> dict[str, dict[str, str]]:
    """{name: {'origin', 'digest'}}: what a checkpoint keeps."""
    return {
        name: {"origin": item.origin, "digest": tree_digest(item.tree)}
        for name, item in frozen_of(system).items()
    }


def check_frozen(
    kept: dict[str, dict[str, str]], found: dict[str, dict[str, str]], folder: pathlib.Path
) -> None:
    """Compares what a checkpoint was trained with and what there is now.

    Args:
      kept: of the checkpoint; {} of a run older than this record.
      found: of `describe_frozen`.
      folder: of the run, for the message.

    Raises:
      ValueError: one has changed.
    """
    for name, record in kept.items():
        now = found.get(name)
        if now is not None and now["digest"] == record["digest"]:
            continue
        other = f"{now['origin']} with digest {now['digest'][:12]}" if now else "nothing"
        raise ValueError(
            f"{folder}: this run was trained with the frozen {name!r} of {record['origin']} "
            f"(digest {record['digest'][:12]}), found {other}. Put the former file or run back, or "
            "start a new run in another folder"
        )
