import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.morphable.procedural import EXPRESSION_NAMES
from facejax.systems.manifold import data, losses
from facejax.train.config import load_config
from tests.oracles.mat_files import write_bfm


def test_corruption_is_sparse_with_the_stated_power():
    n, sigma, count = 20, 2.5, 4000
    keys = jax.random.split(jax.random.key(0), count)
    noise = np.asarray(jax.vmap(lambda k: losses.corrupt(k, jnp.zeros(n), sigma))(keys))
    changed = (noise != 0).sum(axis=1)
    assert set(changed) == set(range(1, n + 1))
    np.testing.assert_allclose(np.bincount(changed)[1:] / count, 1 / n, atol=0.015)
    np.testing.assert_allclose((noise != 0).mean(axis=0), (n + 1) / (2 * n), atol=0.04)
    np.testing.assert_allclose((noise**2).mean(), losses.noise_power(n, sigma), rtol=0.04)


def test_expressions_are_sparse_weights_with_even_sides():
    rows = data.draw_expressions(EXPRESSION_NAMES, 300, np.random.default_rng(0))
    assert rows.dtype == np.float32 and rows.min() == 0 and rows.max() <= 1
    left, right = (EXPRESSION_NAMES.index(f"mouthSmile_{s}") for s in "LR")
    assert np.corrcoef(rows[:, left], rows[:, right])[0, 1] > 0.9
    assert not np.array_equal(rows[:, left], rows[:, right])
    assert set(np.concatenate([list(p) for p in data.PROTOTYPES])) <= {
        n.removesuffix("_L").removesuffix("_R") for n in EXPRESSION_NAMES
    }


def test_split_holds_out_whole_rows():
    rows = np.arange(20.0)[:, None]
    train, test = data.split_rows(rows, 5, seed=3)
    assert len(test) == 5 and set(train[:, 0]) | set(test[:, 0]) == set(range(20))
    assert not set(train[:, 0]) & set(test[:, 0])
    with pytest.raises(ValueError, match="num_test"):
        data.split_rows(rows, 20, seed=3)


def _config(**values):
    config = load_config("manifold:smoke")
    config.data.update(values)
    return config


def test_scales_and_sigmas():
    rows = np.random.default_rng(0).standard_normal((500, 2)) * [2.0, 300.0]
    config = _config()
    for spread in (
        "std",
        "ev",
    ):  # the rows' own: the procedural head has unit-variance coefficients
        found = data.per_component(spread, config, "shape", rows)
        np.testing.assert_allclose(found, rows.std(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(data.per_component("1e4", config, "shape", rows), [1e4, 1e4])
    for bad in ("ew", "-1", "0"):
        with pytest.raises(ValueError, match="positive number"):
            data.per_component(bad, config, "shape", rows)


def test_eigenvalues_of_a_face_model(tmp_path, rng):
    fields = write_bfm(tmp_path / "BFM.mat", rng, n_shape=6, n_exp=4)
    config = _config(source="arrays", model_path=str(tmp_path / "BFM.mat"))
    rows = rng.standard_normal((50, 6))
    for target, key in (("shape", "shapeEV"), ("expression", "expEV")):
        ev, part = fields[key][:, 0], rows[:, : len(fields[key])]
        np.testing.assert_allclose(data.per_component("ev", config, target, part), ev, rtol=1e-6)
        mean, std = data.prior(config, target, part)
        assert not mean.any()
        np.testing.assert_allclose(std, ev if target == "shape" else ev / ev.max(), rtol=1e-6)
    # by component, not by the position in the list of chosen ones
    sigma = data.per_component("ev", config, "shape", rows)
    keys = jax.random.split(jax.random.key(0), 4000)
    noise = np.asarray(jax.vmap(lambda k: losses.corrupt(k, jnp.zeros(6), sigma))(keys))
    np.testing.assert_allclose(
        (noise**2).mean(axis=0) / losses.noise_power(6, sigma), 1.0, atol=0.15
    )
    with pytest.raises(ValueError, match="6 shape components, the data 5"):
        data.per_component("ev", config, "shape", rows[:, :5])
    assert data.prior(_config(), "shape", rows) is None


def test_source_pairs_targets_and_stored_noise():
    a = data.Rows(np.arange(6.0)[:, None], np.zeros((1, 1)), noisy=np.arange(6.0)[:, None] + 0.5)
    b = data.Rows(np.arange(4.0)[:, None], np.zeros((1, 1)))
    source = data.CoefficientSource({"shape": a, "expression": b}, stored_noise=False)
    batch = source.batch(np.array([5, 1]))
    assert len(source) == 6 and list(batch["example"]) == [5, 1]
    assert batch["shape"].ravel().tolist() == [5, 1]
    assert batch["expression"].ravel().tolist() == [1, 1]
    with_noise = data.CoefficientSource({"shape": a}, stored_noise=True)
    assert with_noise.batch(np.array([2]))["shape_noisy"].item() == 2.5
    with pytest.raises(ValueError, match="stored noise"):
        data.CoefficientSource({"expression": b}, stored_noise=True)


def test_bad_arrays_are_named(tmp_path, rng):
    for part in ("train/labels", "train/noisy", "test/labels"):
        path = tmp_path / "dataset_shape" / f"{part}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.standard_normal((6, 3)))
    config = _config(source="arrays", path=str(tmp_path))
    assert data.load_rows(config, "shape").train.shape == (6, 3)
    path = tmp_path / "dataset_shape" / "train" / "noisy.npy"
    good = path.read_bytes()
    for content, words in ((b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
                           (good[:-8], "cut or damaged"), (b"", "empty")):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"noisy.npy: .*{words}"):
            data.load_rows(config, "shape")
    for array, words in ((np.full((6, 3), np.inf), "infinity"), (np.zeros(6), "faces, n"),
                         (np.array([["a"]]), "faces, n")):  # fmt: skip
        np.save(path, array)
        with pytest.raises(ValueError, match=f"noisy.npy: .*{words}"):
            data.load_rows(config, "shape")
