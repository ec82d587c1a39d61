import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import lit_share, openness

N = 21


@pytest.fixture(scope="module")
def stage():
    """A floor of 400 mm in the plane z = 0, and a square of 80 mm that floats 60 mm above it."""
    place = np.linspace(-200, 200, N)
    grid = np.stack([*np.meshgrid(place, place), np.zeros((N, N))], axis=-1).reshape(-1, 3)
    k = np.arange(N * N).reshape(N, N)
    a, b, c, d = (x.reshape(-1) for x in (k[:-1, :-1], k[:-1, 1:], k[1:, 1:], k[1:, :-1]))
    floor = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    lid = np.array([[-40, -40, 60], [40, -40, 60], [40, 40, 60], [-40, 40, 60]], float)
    more = np.array([[0, 1, 2], [0, 2, 3]]) + N * N
    vertices = np.concatenate([grid, lid]).astype(np.float32)
    return vertices, MeshTopology(np.concatenate([floor, more]), len(vertices))


def test_shadows_fall_away_from_the_lamp(stage):
    vertices, topology = stage
    lamps = jnp.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    lit = np.asarray(lit_share(vertices, topology, lamps, jnp.full(3, 5.0)))
    assert lit.shape == (3, len(vertices)) and lit.min() >= 0 and lit.max() <= 1
    for share, middle in ((lit[0], 0.0), (lit[1], -60.0)):
        x, y = vertices[: N * N, 0] - middle, vertices[: N * N, 1]
        inside = (np.abs(x) < 30) & (np.abs(y) < 30)
        outside = (np.abs(x) > 75) | (np.abs(y) > 75)
        assert share[: N * N][inside].max() < 0.2 and share[: N * N][outside].min() > 0.95
        assert share[N * N :].min() > 0.95  # the lid itself
    np.testing.assert_array_equal(lit[2], 1.0)  # seen from behind: their own shading is dark


def test_softer_lamps_blur_the_edge(stage):
    vertices, topology = stage
    up = jnp.array([0.0, 0.0, 1.0])
    hard, soft = (np.asarray(lit_share(vertices, topology, up, r))[: N * N] for r in (0.5, 40.0))
    between = [((x > 0.05) & (x < 0.95)).sum() for x in (hard, soft)]
    assert between[1] > 2 * between[0]


def test_openness_is_the_share_of_the_sky(stage):
    """Under the middle of a square lid: a form factor of geometry books."""
    vertices, topology = stage
    share = np.asarray(openness(vertices, topology, num=400))
    far = np.abs(vertices[: N * N, :2]).max(axis=1) > 180
    assert share[: N * N][far].min() > 0.9
    middle = N * N // 2
    half, height = 40.0, 60.0
    a = half / np.hypot(half, height)
    hidden = 4 / (2 * np.pi) * 2 * a * np.arctan(half / np.hypot(half, height))
    np.testing.assert_allclose(share[middle], 1 - hidden, atol=0.06)
