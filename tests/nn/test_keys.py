import jax
import numpy as np

from facejax.nn.keys import example_keys, example_normals


def test_draws_belong_to_examples():
    rng, index = jax.random.key(3), np.array([4, 0, 9])
    found = example_normals(rng, index, 5)
    assert found.shape == (3, 5)
    for k, i in enumerate(index):
        wanted = jax.random.normal(jax.random.fold_in(rng, i), (5,))
        np.testing.assert_array_equal(found[k], wanted)
        assert example_keys(rng, index)[k] == jax.random.fold_in(rng, i)
    parts = [example_normals(rng, part, 5) for part in (index[:1], index[1:])]
    np.testing.assert_array_equal(np.concatenate(parts), found)
