"""Structure of Inception-v3 against known counts, names and a plain numpy forward of its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from facejax.metrics.inception import (
    InceptionFeatures,
    InceptionV3,
    _average,
    _Conv,
    abstract_params,
    params_from_state_dict,
)

TO_TORCH = {
    "kernel": "conv.weight", "scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean",
    "var": "bn.running_var",
}  # fmt: skip


def random_state(num_classes, rng):
    """A state dict with the names and layouts of torchvision's."""
    state = {}

    def walk(tree, prefix):
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
                continue
            shape = value.shape
            entry = {"kernel": "weight"}.get(key, key) if prefix == "fc." else TO_TORCH[key]
            if key == "kernel":
                shape = shape[::-1] if prefix == "fc." else (shape[3], shape[2], *shape[:2])
            low, high = (0.5, 1.5) if key in ("scale", "var") else (-0.05, 0.05)
            state[prefix + entry] = rng.uniform(low, high, shape).astype(np.float32)

    walk(abstract_params(num_classes), "")
    return state


def test_parameters_are_those_of_the_published_network():
    leaves = jax.tree_util.tree_flatten_with_path(abstract_params(1000))[0]
    names = {jax.tree_util.keystr(k, simple=True, separator="."): v.shape for k, v in leaves}
    trained = sum(
        np.prod(shape)
        for name, shape in names.items()
        if name.split(".")[-1] not in ("mean", "var")
    )
    assert trained == 27_161_264 - 3_326_696  # torchvision's, less the auxiliary head
    assert sum(name.endswith("kernel") for name in names) == 95
    assert names["Mixed_6c.branch7x7dbl_3.kernel"] == (1, 7, 160, 160)
    assert names["Mixed_7c.branch3x3dbl_3b.kernel"] == (3, 1, 384, 384)
    assert names["Mixed_7b.branch_pool.kernel"] == (1, 1, 1280, 192)
    assert names["Mixed_5c.branch5x5_2.kernel"] == (5, 5, 48, 64)


def test_layer_against_scipy(rng):
    x = rng.normal(size=(1, 9, 9, 2)).astype(np.float32)
    for same, stride in ((True, 1), (False, 2)):
        layer = _Conv(1, (3, 3), stride, same)
        params = layer.init(jax.random.key(0), x)["params"]
        params |= {"scale": jnp.full(1, 2.0), "bias": jnp.full(1, 0.1)}
        params |= {"mean": jnp.full(1, 0.3), "var": jnp.full(1, 4.0)}
        kernel = np.asarray(params["kernel"])[..., 0]
        y = sum(
            correlate(x[0, ..., c], kernel[..., c], "same" if same else "valid") for c in range(2)
        )
        expected = np.maximum((y[::stride, ::stride] - 0.3) / np.sqrt(4.001) * 2 + 0.1, 0)
        found = layer.apply({"params": params}, x)[0, ..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(_average(np.ones((1, 4, 4, 1))), 1)  # padding does not count


def test_state_dict_goes_in_and_errors_name_the_entry(rng, tmp_path):
    state = random_state(1008, rng)
    state["AuxLogits.fc.weight"] = np.zeros((2, 2), np.float32)
    state["Conv2d_1a_3x3.bn.num_batches_tracked"] = np.zeros(1)
    params = params_from_state_dict(state)
    kernel = state["Mixed_6b.branch7x7_2.conv.weight"]
    np.testing.assert_array_equal(
        params["Mixed_6b"]["branch7x7_2"]["kernel"][0, 5, 3, 7], kernel[7, 3, 0, 5]
    )
    images = rng.uniform(-1, 1, (1, 75, 75, 3)).astype(np.float32)
    features, logits = jax.jit(InceptionV3().apply)({"params": params}, images)
    assert features.shape == (1, 2048) and logits.shape == (1, 1008)
    expected = np.asarray(features) @ state["fc.weight"].T + state["fc.bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    np.savez(tmp_path / "w.npz", **state)
    extractor = InceptionFeatures(tmp_path / "w.npz")
    assert extractor.name.startswith("inception-v3-") and extractor.dim == 2048
    missing = {k: v for k, v in state.items() if k != "Mixed_7a.branch3x3_2.bn.bias"}
    with pytest.raises(ValueError, match="Mixed_7a/branch3x3_2/bias None wanted"):
        params_from_state_dict(missing)
    with pytest.raises(ValueError, match="unknown entry 'layer.odd'"):
        params_from_state_dict(state | {"layer.odd": np.zeros(1)})
    with pytest.raises(ValueError, match="fc.weight"):
        params_from_state_dict({"a": np.zeros(1)})
    with pytest.raises(ValueError, match="no such file"):
        InceptionFeatures(tmp_path / "absent.npz")
