"""What the trainer asks of a data set."""

from typing import Any

import numpy as np


class Source:
    """A finite, indexable set of examples, made in two halves.

    `draw` is the host's: numpy, from a disk or from random numbers. `make` is the devices': pure
    and traced, so that every device makes the examples of its own rows. A source that only reads
    needs `draw` alone. Example i is the same on every call, for every number of devices and in
    every process: which examples make a batch is the business of `IndexSampler`.

    Attributes:
      meta: JSON-able description: channels, encoding, scales, model id, ...
      in_threads: whether `draw` gains from threads, each with a share of the indices: it reads and
        decodes files.
    """

    meta: dict[str, Any]
    in_threads = False

    def __len__(self) -> int:
        """The number of examples."""
        raise NotImplementedError

    def draw(self, indices: np.ndarray, **stage: Any) -> dict[str, Any]:
        """What is drawn or read on the host.

        Args:
          indices: [B] int64 in 0 .. len(self) - 1; repeats are allowed.
          **stage: what is static in the compiled step, e.g. `resolution=32`.

        Returns:
          {name: numpy array (or tree of them) with leading axis B}; a pure function of the
          arguments.
        """
        raise NotImplementedError

    def tables(self, **stage: Any) -> Any:
        """Arrays that `make` reads, the same for all examples: placed once per stage."""
        del stage
        return {}

    def make(self, tables: Any, drawn: dict[str, Any], **stage: Any) -> dict[str, Any]:
        """The examples of what was drawn; pure, traced, knows nothing of devices.

        Args:
          tables: as `tables` returns them.
          drawn: as `draw` returns it, of any number of examples.
          **stage: as for `draw`.

        Returns:
          {name: array with leading axis B}.
        """
        del tables, stage
        return drawn

    @property
    def has_make(self) -> bool:
        """Whether there is a second half; else what is drawn are the examples."""
        return type(self).make is not Source.make

    def batch(self, indices: np.ndarray, **stage: Any) -> dict[str, Any]:
        """Examples by number, on the default device; see `draw` for the arguments."""
        return self.make(self.tables(**stage), self.draw(indices, **stage), **stage)


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
