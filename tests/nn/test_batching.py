import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.nn.batching import in_batches, padded_batches


@pytest.mark.parametrize("num", [1, 4, 7, 8])
def test_a_set_goes_through_one_compiled_size(rng, num):
    traced = []

    @jax.jit
    def function(arrays):
        traced.append(arrays["a"].shape)
        return {"sum": arrays["a"] + arrays["b"][:, 0], "b": arrays["b"]}

    arrays = {"a": rng.normal(size=num).astype(np.float32), "b": np.ones((num, 2), np.float32)}
    found = in_batches(function, arrays, 4)
    np.testing.assert_array_equal(found["sum"], arrays["a"] + 1)
    assert found["b"].shape == (num, 2) and isinstance(found["b"], np.ndarray)
    assert traced == [(4,)]


def test_the_last_example_fills_the_last_batch():
    (first, all_of_it), (second, count) = padded_batches(np.arange(5), 3)
    np.testing.assert_array_equal(first, [0, 1, 2])
    np.testing.assert_array_equal(second, [3, 4, 4])
    assert (all_of_it, count) == (3, 2)
    np.testing.assert_array_equal(in_batches(lambda x: x * 2, jnp.arange(5), 3), 2 * np.arange(5))


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="no examples"):
        in_batches(lambda x: x, np.zeros((0, 3)), 4)
