import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from facejax.render import texture


def slow_bilinear(tex, u, v, repeat_u, repeat_v):
    height, width, _ = tex.shape
    x, y = u * width - 0.5, v * height - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    out = 0.0
    for r, wr in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for c, wc in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            r_ = r % height if repeat_v else min(max(r, 0), height - 1)
            c_ = c % width if repeat_u else min(max(c, 0), width - 1)
            out = out + wr * wc * tex[r_, c_]
    return out


@pytest.mark.parametrize("wrap", ["clamp", "repeat", "repeat_u"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_matches_the_definition(rng, wrap, batch):
    tex = rng.normal(size=(5, 7, 3)).astype(np.float32)
    uv = rng.uniform(-0.7, 1.7, (*batch, 4, 3, 2)).astype(np.float32)
    got = np.asarray(texture(tex, uv, wrap=wrap)).reshape(-1, 3)
    repeat = {"clamp": (0, 0), "repeat": (1, 1), "repeat_u": (1, 0)}[wrap]
    want = [slow_bilinear(tex, u, v, *repeat) for u, v in uv.reshape(-1, 2).astype(np.float64)]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_row_zero_is_v_zero_and_centres_are_exact(rng):
    tex = rng.normal(size=(4, 6, 2)).astype(np.float32)
    v, u = (np.mgrid[0:4, 0:6] + 0.5) / np.array([4, 6]).reshape(2, 1, 1)
    got = texture(tex, np.stack([u, v], axis=-1))
    np.testing.assert_allclose(got, tex, atol=1e-5)


def test_gradients_agree_with_differences(rng):
    tex = rng.normal(size=(5, 7, 2)).astype(np.float32)
    inside = rng.integers(1, 4, (2, 2, 2)) + rng.uniform(0.2, 0.8, (2, 2, 2))  # off the kinks
    uv = ((inside + 0.5) / np.array([7, 5])).astype(np.float32)
    check_grads(texture, (jnp.asarray(tex), jnp.asarray(uv)), 1, ["rev"], 1e-2, 1e-2, 1e-3)


def test_unknown_wrap_raises():
    with pytest.raises(ValueError, match="repeat_u"):
        texture(np.zeros((2, 2, 1)), np.zeros((1, 1, 2)), wrap="mirror")
