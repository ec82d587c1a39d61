"""Whole sets through functions that are compiled for one batch size."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


def padded_batches(arrays: Any, size: int) -> Iterator[tuple[Any, int]]:
    """Cuts a set into batches of one size; the last one is filled up with its last example.

    Args:
      arrays: pytree of arrays [N, ...].
      size: of a batch.

    Yields:
      A pytree of arrays [size, ...], and how many of its examples are of the set.
    """
    num = len(jax.tree.leaves(arrays)[0])
    for start in range(0, num, size):
        count = min(size, num - start)
        index = np.minimum(np.arange(start, start + size), num - 1)
        yield jax.tree.map(lambda a: a[index], arrays), count  # noqa: B023 - used before it changes


def in_batches(function: Callable[[Any], Any], arrays: Any, size: int) -> Any:
    """What a function makes of a set, batch by batch.

    Args:
      function: pytree of arrays [size, ...] to a pytree of arrays [size, ...], every example by
        itself; it only ever sees this size, so it is compiled once.
      arrays: pytree of arrays [N, ...].
      size: of a batch.

    Returns:
      Pytree of numpy arrays [N, ...].

    Raises:
      ValueError: the set is empty.
    """
    parts = [
        jax.tree.map(lambda a: np.asarray(a)[:count], function(batch))  # noqa: B023
        for batch, count in padded_batches(arrays, size)
    ]
    if not parts:
        raise ValueError("found a set of no examples, wanted at least one")
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
