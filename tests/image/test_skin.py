import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.image.skin import skin_mask

COLORS = np.array(
    [[[224, 172, 140], [198, 134, 105], [120, 78, 60]], [[30, 120, 220], [40, 160, 40], [0, 0, 0]]],
    np.uint8,
)


def test_skin_is_skin():
    mask = skin_mask(COLORS)
    assert mask.dtype == np.uint8 and mask.shape == (2, 3)
    assert mask[0].min() > 200 and mask[1].max() < 30
    sharp = skin_mask(COLORS, threshold=0.5)
    assert (sharp[0] == 255).all() and (sharp[1] == mask[1]).all()


def test_device_and_host_agree_and_gradients_are_finite(rng):
    image = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    floats = jnp.asarray(image, jnp.float32) / 255

    @jax.jit
    @jax.grad
    def gradient(x):
        return skin_mask(x).sum()

    assert np.isfinite(gradient(floats)).all()
    mask = jax.jit(skin_mask)(floats)
    np.testing.assert_allclose(mask, skin_mask(image) / 255.0, atol=0.004)
    with pytest.raises(ValueError, match="RGB"):
        skin_mask(image[..., :1])
