"""Random numbers of single examples: they do not depend on how a batch is spread or cut."""

import jax


def example_keys(rng: jax.Array, index: jax.Array) -> jax.Array:
    """A key per example, [B].

    Args:
      rng: one key.
      index: [B] integers: the place in the global batch for draws that are new in every step, the
        number of the example for draws that are always the same.
    """
    return jax.vmap(lambda i: jax.random.fold_in(rng, i))(index)


def example_normals(rng: jax.Array, index: jax.Array, size: int) -> jax.Array:
    """Standard normal numbers [B, size]; arguments as in `example_keys`."""
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(example_keys(rng, index))
