"""Colours of hair, and the tiles of the texture."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.attachments import colors, make_worn
from facejax.image.color import linear_to_srgb
from facejax.morphable.skin.colors import hair_tone

_paint = jax.jit(colors.paint)


def tile(name, image):
    first, width = colors.TILES[name]
    return np.asarray(image)[:, first : first + width]


def painted(nodes=16, **values):
    worn = make_worn((), **values)
    return _paint(worn, jnp.float32(nodes), jnp.float32(0.0))


def test_hair_has_the_tones_of_painted_brows():
    for melanin in (0.1, 0.6, 0.9):
        hair = tile("hair", painted(melanin=melanin))[40:]
        tone = linear_to_srgb(hair_tone(jnp.float32(melanin), jnp.float32(0), jnp.float32(0)))
        np.testing.assert_allclose(np.median(hair, axis=(0, 1)), tone, atol=0.06)


def test_tiles_fill_the_texture_and_keep_to_themselves():
    image = painted(hat_color=(1, 0, 0), frame_color=(0, 1, 0), clothes_color=(0, 0, 1))
    assert image.shape == (colors.ROWS, colors.COLUMNS, 3)
    assert tile("hat", image)[..., 0].min() > 0.7 and tile("hat", image)[..., 1].max() == 0
    assert (tile("frame", image) == [0, 1, 0]).all()
    assert tile("clothes", image)[-1, :, 2].min() > 0.7
    for name, (first, width) in colors.TILES.items():
        uv = colors.tile_uv(name, np.array([[0.0, 0.0], [1.0, 1.0]]))
        assert first < uv[0, 0] * colors.COLUMNS < uv[1, 0] * colors.COLUMNS < first + width


def test_grey_whitens_strand_by_strand():
    dark = tile("hair", painted(melanin=0.9))
    half = tile("hair", painted(melanin=0.9, grey=0.5)).mean(-1)
    white = tile("hair", painted(melanin=0.9, grey=1.0))
    assert dark.max() < 0.3 and np.median(white[20:]) > 0.5
    assert 0.15 < (half[32] > 0.4).mean() < 0.85


def test_roots_are_darker_whatever_the_number_of_nodes():
    for nodes in (4, 8, 16):
        hair = tile("hair", painted(nodes, melanin=0.4)).mean((1, 2))
        rows = np.linspace(0, 15, colors.ROWS)
        t = (rows % nodes) / (nodes - 1)
        assert hair[t < 0.1].mean() < 0.8 * hair[(t > 0.6) & (t <= 1)].mean()


def test_dye_replaces_the_pigment():
    hair = tile("hair", painted(melanin=0.9, dye=(0.1, 0.2, 0.8), dyed=1.0)).mean((0, 1))
    assert hair[2] > 2 * hair[0]
