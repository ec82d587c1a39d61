import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.hierarchy import MeshHierarchy, laplacian_rows
from facejax.nn.chebyshev import ChebConv, Rows, chebyshev, plain_rows
from tests.geometry.test_hierarchy import bumpy_grid, dense


@pytest.fixture(scope="module")
def graph():
    _, triangles = bumpy_grid(4)
    rows = laplacian_rows(triangles, 17)  # the last vertex is alone
    return rows, dense(*rows, 17)


@pytest.mark.parametrize(("width", "out"), [(2, 3), (3, 2)])  # either order of evaluation
def test_value_and_gradients_against_dense_polynomials(graph, rng, width, out):
    rows, matrix = graph
    x = rng.normal(size=(2, 17, width)).astype(np.float32)
    kernel = rng.normal(size=(4, width, out)).astype(np.float32)
    eye = np.eye(17)
    cube = 4 * matrix @ matrix @ matrix - 3 * matrix
    polynomials = np.stack([eye, matrix, 2 * matrix @ matrix - eye, cube])

    @jax.jit
    def run(x, kernel):
        def loss(x, kernel):
            y = chebyshev(x, plain_rows(*rows), kernel)
            return jnp.sum(y * y) / 2, y

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, kernel)

    (_, y), (grad_x, grad_kernel) = run(x, kernel)
    want = np.einsum("kuv,bvf,kfg->bug", polynomials, x, kernel)
    np.testing.assert_allclose(y, want, atol=1e-4)
    want_x = np.einsum("kuv,bug,kfg->bvf", polynomials, want, kernel)
    np.testing.assert_allclose(grad_x, want_x, atol=1e-3)
    want_kernel = np.einsum("kuv,bvf,bug->kfg", polynomials, x, want)
    np.testing.assert_allclose(grad_kernel, want_kernel, atol=1e-3)


def test_order_one_leaves_neighbours_out_and_bias_is_added(graph, rng):
    rows, _ = graph
    conv = ChebConv(3, order=1, use_bias=True)
    params = {
        "kernel": rng.normal(size=(1, 2, 3)).astype(np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
    }
    x = rng.normal(size=(17, 2)).astype(np.float32)  # no batch axis
    got = conv.apply({"params": params}, x, plain_rows(*rows))
    want = x @ params["kernel"][0] + np.broadcast_to(params["bias"], (17, 3))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_vertex_with_many_neighbours(rng):
    around = np.arange(1, 101)
    fan = np.stack([np.zeros(100, int), around, np.roll(around, -1)], axis=1)
    rows = laplacian_rows(fan, 101)
    assert rows[0].shape == (101, 100)
    x = rng.normal(size=(2, 101, 3)).astype(np.float32)
    want = np.einsum("uv,bvf->buf", dense(*rows, 101), x)
    kernel = np.stack([np.zeros((3, 3)), np.eye(3)]).astype(np.float32)  # T_1 alone
    levels = MeshHierarchy((rows[0],), (rows[1],), (), (), ()).split()
    assert levels.common[0].shape == (3,) and levels.busy[0].tolist() == [0]
    split = Rows(*rows, levels.common[0], levels.busy[0])
    for matrix in (plain_rows(*rows), split):
        found = jax.jit(lambda x, matrix: chebyshev(x, matrix, kernel))(x, matrix)
        np.testing.assert_allclose(found, want, atol=1e-5)
