import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from tests.oracles.hlo import count_operations, largest_constant, reduced_bytes


def test_constants():
    big = np.arange(1000, dtype=np.float32)
    text = jax.jit(lambda x: x + big + jnp.zeros(5000)[:1000]).lower(big).as_text()
    assert largest_constant(text) == 4000
    assert largest_constant(jax.jit(lambda x, y: x + y).lower(big, big).as_text()) == 0
    few = np.array([1, 0, 1], bool)
    assert largest_constant(jax.jit(lambda x: x & few).lower(few).as_text()) == 3


def test_collectives_and_what_they_add_up():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def wrapped(function):
        spread = jax.shard_map(function, mesh=mesh, in_specs=P("data"), out_specs=P())
        return jax.jit(spread).lower(jnp.zeros((8, 3))).compile().as_text()

    text = wrapped(lambda x: jax.lax.psum(x, "data"))
    assert reduced_bytes(text) == 2 * 3 * 4
    assert count_operations(text)["all-reduces in loops"] == 0

    def looped(x):
        return jax.lax.fori_loop(0, 5, lambda i, y: jax.lax.psum(jnp.sin(y) * x, "data"), x[:2] * 0)

    spread = jax.shard_map(looped, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False)
    found = count_operations(jax.jit(spread).lower(jnp.zeros((8, 3))).compile().as_text())
    assert found["all-reduces in loops"] == 1
