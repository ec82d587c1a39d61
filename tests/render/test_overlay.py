import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import draw_points, draw_wireframe, rasterize

RED = (1.0, 0.0, 0.0)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_points_are_dots_at_their_pixels(batch):
    points = jnp.broadcast_to(jnp.array([[4.5, 2.5], [jnp.nan, 1.0], [99.0, 1.0]]), (*batch, 3, 2))
    out = np.asarray(draw_points(np.zeros((8, 10, 3)), points, color=RED, radius_px=0.5))
    assert out.shape == (*batch, 8, 10, 3) and out[..., 1:].max() == 0
    red = out[..., 0].reshape(-1, 8, 10)[-1]
    assert red[2, 4] == 1 and red.sum() == 1


@pytest.mark.parametrize("batch", [(), (2,)])
def test_wireframe_marks_edges_of_what_is_visible(batch):
    clip = np.array(
        [[-0.75, -0.5, 0, 1], [0.75, -0.5, 0, 1], [0.75, 0.5, 0, 1], [-0.75, 0.5, 0, 1],
         [-0.2, -0.2, 0.5, 1], [0.2, -0.2, 0.5, 1], [0.0, 0.2, 0.5, 1]], np.float32,
    )  # fmt: skip
    clip = jnp.broadcast_to(clip, (*batch, *clip.shape))
    topology = MeshTopology([[0, 1, 2], [0, 2, 3], [4, 5, 6]], 7)  # the last one is hidden
    size = (32, 64)
    fragments = rasterize(clip, topology, size)
    out = draw_wireframe(jnp.zeros((*batch, *size, 3)), clip, topology, fragments, color=RED)
    red = np.asarray(out)[..., 0].reshape(-1, *size)[-1]
    assert (red[np.asarray(fragments.triangle_id).reshape(-1, *size)[-1] < 0] == 0).all()
    rows, columns = np.nonzero(red > 0.4)
    x, y = columns + 0.5, rows + 0.5
    edge = np.minimum(np.minimum(x - 8, 56 - x), np.minimum(y - 8, 24 - y))
    diagonal = np.abs((x - 8) * 16 - (24 - y) * 48) / np.hypot(48, 16)
    assert (np.minimum(edge, diagonal) < 1).all() and (diagonal < 0.5).any() and (edge < 1).any()
    assert red[16, 20] == 0  # between the lines
