from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.render import platform


@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize("batches", [((), ()), ((3,), ()), ((2, 1), (3,)), ((1,), (1,))])
def test_map_images_broadcasts_like_numpy(rng, cpu, batches):
    a = rng.normal(size=(*batches[0], 4)).astype(np.float32)
    b = {"m": rng.normal(size=(*batches[1], 4, 2)).astype(np.float32), "s": np.float32(2)}
    ranks = (1, {"m": 2, "s": 0})
    got = platform.map_images(lambda a, b: {"y": b["s"] * (a @ b["m"])}, (a, b), ranks, cpu)
    want = 2 * np.einsum("...i,...ij->...j", a, b["m"])
    assert got["y"].shape == want.shape
    np.testing.assert_allclose(got["y"], want, atol=1e-5)


def test_pin_changes_nothing_and_survives_vmap_and_grad(rng):
    x = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)

    def pinned(x):
        flag = platform.live(x, cpu=True)
        return jnp.sum(platform.pin(flag, lambda: jnp.sin(x)) ** 2)

    np.testing.assert_allclose(jax.vmap(pinned)(x), jnp.sum(jnp.sin(x) ** 2, axis=-1), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(pinned)(x[0]), jnp.sin(2 * x[0]), atol=1e-6)
    text = jax.jit(jax.vmap(pinned)).lower(x).as_text()
    assert "stablehlo.case" in text  # a batched predicate would have become a select


def test_planes_and_scatter_rows(rng):
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(np.stack(platform.planes(x), axis=-1), x)
    assert platform.planes(x[..., :0]) == []
    spare = platform.spare_row(3, 2)
    assert (spare >= 3).all()
    corners = jnp.array([[2, 0, 2], [1, 1, 1]])
    index = jnp.where(jnp.array([True, False])[:, None], corners, spare[:, None])
    rows = jnp.array([[1.0, 8, 2, 16, 4, 32], [64.0] * 6])  # three corners of two columns each
    got = platform.scatter_rows(platform.empty_rows(3, 2), index, rows)
    np.testing.assert_array_equal(got[:3], [[2, 16], [0, 0], [5, 40]])


@pytest.mark.parametrize("total", [20001, 500])  # several bands, the first one short; one band
def test_bands_give_planes_and_sums_of_the_whole(rng, total):
    x = jnp.asarray(rng.normal(size=total).astype(np.float32))

    def fn(pixel, fresh, x, sums):
        return [x * 2 + pixel], sums + jnp.sum(jnp.where(fresh, x, 0.0))

    (plane,), whole = platform.sum_over_bands(fn, x, jnp.zeros(()), total, True)
    np.testing.assert_array_equal(plane, x * 2 + jnp.arange(total))
    np.testing.assert_allclose(whole, np.asarray(x, np.float64).sum(), atol=0.02)


def test_running_sum_and_maximum(rng):
    x = rng.integers(0, 9, 1000).astype(np.int32)
    np.testing.assert_array_equal(platform.running(jax.lax.add, jnp.asarray(x), 1000), x.cumsum())
    marks = np.zeros(100, np.int32)
    marks[::4] = np.arange(1, 26)
    filled = platform.running(jax.lax.max, jnp.asarray(marks), jnp.int32(4))
    np.testing.assert_array_equal(filled, np.repeat(np.arange(1, 26), 4))


def test_lower_for_chooses_the_branch_of_this_thread_and_of_every_trace():
    @jax.jit
    def branch():
        return jnp.int32(platform.on_cpu())

    assert platform.on_cpu() and branch() == 1
    with platform.lower_for("tpu"):
        assert not platform.on_cpu()
        assert branch() == 0  # not the trace made above
        with platform.lower_for("cpu"):
            assert platform.on_cpu() and branch() == 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(platform.on_cpu).result()  # other threads are not told
        assert not platform.on_cpu()
    assert platform.on_cpu() and branch() == 1
    with pytest.raises(ValueError, match="cuda"), platform.lower_for("h100"):
        pass
