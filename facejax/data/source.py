"""What the trainer asks of a data set."""

from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Source(Protocol):
    """A finite, indexable set of examples.

    Example i is the same on every call, for every number of devices and in every process: which
    examples make a batch is the business of `IndexSampler`, not of the source.

    Attributes:
      meta: JSON-able description: channels, encoding, scales, model id, ...
    """

    meta: dict[str, Any]

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def batch(self, indices: np.ndarray, **stage: Any) -> dict[str, Any]:
        """Examples by number.

        Args:
          indices: [B] int64 in 0 .. len(self) - 1; repeats are allowed.
          **stage: what is static in the compiled step, e.g. `resolution=32`.

        Returns:
          Arrays with leading axis B.
        """
        ...


def check_indices(indices: np.ndarray, num_examples: int) -> np.ndarray:
    """`indices` as [B] int64, or a ValueError that names the first one outside the set.

    Args:
      indices: [B] integers.
      num_examples: the length of the set.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or not (indices.size == 0 or np.issubdtype(indices.dtype, np.integer)):
        raise ValueError(
            f"indices must be a vector of integers, found shape {indices.shape} of {indices.dtype}"
        )
    outside = (indices < 0) | (indices >= num_examples)
    if outside.any():
        raise ValueError(
            f"index {indices[outside][0]} is outside a set of {num_examples} examples: "
            f"wanted 0 .. {num_examples - 1}"
        )
    return indices.astype(np.int64)
