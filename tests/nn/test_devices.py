import jax
import jax.numpy as jnp
import numpy as np

from facejax.nn.devices import AXIS, mean_over_devices, num_mapped_devices


def test_a_quotient_of_sums_and_its_gradient_do_not_depend_on_the_devices():
    def loss(w, x):
        return jnp.mean(w * x) / mean_over_devices(jnp.mean(w * x + 1))

    x = jnp.arange(4.0)
    wanted = jax.value_and_grad(loss)(2.0, x)
    parts = jax.pmap(jax.value_and_grad(loss), axis_name=AXIS, in_axes=(None, 0))(
        2.0, x.reshape(2, 2)
    )
    np.testing.assert_allclose([p.mean() for p in parts], wanted, rtol=1e-6)


def test_without_a_mapped_axis_nothing_happens():
    assert num_mapped_devices() == 1
    np.testing.assert_array_equal(jax.jit(mean_over_devices)(jnp.ones(3)), np.ones(3))
