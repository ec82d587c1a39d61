"""In which floating-point type networks compute; parameters, statistics and losses are float32."""

from typing import Any

import jax
import jax.numpy as jnp

DTYPES = ("float32", "bfloat16")


def check_dtype(name: str) -> str:
    """The name of a type to compute in.

    Raises:
      ValueError: another one.
    """
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}, wanted one of {DTYPES}")
    return name


def cast(tree: Any, dtype: str) -> Any:
    """Float32 arrays of a tree in another type; integers and other types stay.

    Networks compute in the type of their inputs and parameters: cast both, and the results back.

    Args:
      tree: pytree of arrays.
      dtype: one of DTYPES.
    """

    def one(x):
        return x.astype(dtype) if x.dtype == jnp.float32 else x

    return tree if dtype == "float32" else jax.tree.map(one, tree)


def uncast(tree: Any) -> Any:
    """Floating-point arrays of a tree in float32: what leaves a network."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )
