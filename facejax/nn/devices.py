"""Statistics of a batch that is spread over devices.

Under jit an array is the whole batch, wherever its parts lie. Under pmap a function sees the part
of one device: what is not a mean over examples (batch normalisation, quotients of sums) has to be
averaged over the mapped axis, or the result depends on the number of devices.
"""

import jax

AXIS = "data"


def mean_over_devices(x: jax.Array) -> jax.Array:
    """The mean over the devices of a pmapped step; `x` itself where nothing is mapped.

    Args:
      x: any shape; differentiable.
    """
    return jax.lax.pmean(x, AXIS) if num_mapped_devices() > 1 else x


def num_mapped_devices() -> int:
    """How many devices run the function that is being traced, each on its part of the batch."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # no such axis: jit, or no compilation at all
        return 1
