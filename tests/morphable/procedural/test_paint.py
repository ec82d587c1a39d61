import numpy as np
import pytest

from facejax.morphable.procedural import PAINT_NAMES, CanonicalLayout, Painter, draw_paint
from facejax.morphable.procedural.build import HeadGrid, texel_layout
from facejax.morphable.procedural.regions import MASK_NAMES


@pytest.fixture(scope="module")
def layout():
    grid = HeadGrid(96, 96)
    return CanonicalLayout(grid.u, grid.v)


@pytest.fixture(scope="module")
def painter(layout):
    return Painter(layout)


def test_albedo_stays_in_range_and_is_reproducible(painter, rng):
    for _ in range(5):
        paint = draw_paint(rng)
        albedo = painter(paint)
        assert albedo.dtype == np.float32
        assert 0 <= albedo.min() and albedo.max() <= 1
        np.testing.assert_array_equal(albedo, painter(paint))


def test_skin_is_warm_at_every_complexion(painter):
    cheek = painter.masks["skin"] * painter.masks["face"] * (1 - painter.masks["lips"]) > 0.99
    previous = 2.0
    for melanin in (-2.0, 0.0, 2.0):
        r, g, b = painter(dict(melanin=melanin))[cheek].mean(axis=0)
        assert r > g > b  # natural skin, light or dark
        assert r < previous
        previous = r


def test_regions_have_the_colours_of_a_face(painter):
    albedo, masks = painter({}), painter.masks
    color = {
        name: albedo[masks[name] > 0.9].mean(axis=0) for name in MASK_NAMES if name != "nostril"
    }
    light = {name: c.mean() for name, c in color.items()}
    assert light["hair"] < light["brow"] < light["skin"]
    assert light["mouth_inside"] < light["lips"]
    redness = {name: c[0] / c[1] for name, c in color.items()}
    assert redness["lips"] > redness["skin"]


@pytest.mark.parametrize("name", PAINT_NAMES)
def test_every_parameter_changes_something(painter, name):
    assert np.abs(painter({name: 2.0}) - painter({name: -2.0})).max() > 0.01


def test_masks_are_weights(painter):
    for name in MASK_NAMES:
        mask = painter.masks[name]
        assert 0 <= mask.min() and mask.max() <= 1 and mask.max() > 0.5, name


def test_texture_meets_at_the_seam():
    size = 64
    texture = Painter(texel_layout(size))({}).reshape(size, size, 3)
    across = np.abs(texture[:, 0] - texture[:, -1]).mean()
    beside = np.abs(texture[:, 0] - texture[:, 1]).mean()
    assert across < 2.5 * beside + 0.01
