"""Which examples make a batch: a pure function of the number of examples drawn so far."""

import functools

import numpy as np


@functools.lru_cache(maxsize=4)
def _permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(num_examples).astype(np.int64)
    order.setflags(write=False)  # shared by every caller through the cache
    return order


class IndexSampler:
    """An endless stream of per-epoch permutations, addressed by position.

    There is no hidden state: a run that resumes at position p draws what an unbroken run draws.

    Attributes:
      num_examples: the length of one epoch.
      seed: chooses the permutations, together with the number of the epoch.
    """

    def __init__(self, num_examples: int, seed: int = 0):
        if num_examples < 1:
            raise ValueError(f"a sampler needs at least one example, found {num_examples}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, found {seed}")
        self.num_examples = int(num_examples)
        self.seed = int(seed)

    def indices(self, position: int, count: int) -> np.ndarray:
        """The examples numbered position .. position + count - 1 of the stream, [count] int64.

        Args:
          position: how many examples were drawn before, >= 0.
          count: how many to draw, >= 0; may span several epochs.
        """
        if position < 0 or count < 0:
            raise ValueError(
                f"position and count must not be negative, found {position} and {count}"
            )
        out = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            epoch, offset = divmod(position + filled, self.num_examples)
            part = _permutation(self.num_examples, self.seed, epoch)[offset:][: count - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
        return out


def process_slice(batch_size: int, process_index: int, process_count: int) -> slice:
    """The rows of the global batch that one process loads: [i B / N, (i + 1) B / N).

    Args:
      batch_size: B, the global batch; a multiple of `process_count`.
      process_index: i, in 0 .. process_count - 1.
      process_count: N.
    """
    if batch_size % process_count:
        raise ValueError(
            f"a global batch of {batch_size} cannot be split evenly over {process_count} "
            "processes: choose a multiple"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} is outside 0 .. {process_count - 1}")
    rows = batch_size // process_count
    return slice(process_index * rows, (process_index + 1) * rows)
