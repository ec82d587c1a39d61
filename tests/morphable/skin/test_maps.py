import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.morphable.skin import SkinPaint, canvas, fields, hair_color, paint, sample_skin
from tests.morphable.skin.conftest import SIZE

NAMES = tuple(SkinPaint.ranges())
# a person on whom everything shows
BASE = dict(melanin=0.25, hair_melanin=0.6, iris_melanin=0.1, scalp_hair=0.8, moles=0.0)
# what a coefficient needs of the others
NEEDS = dict(
    makeup_hue=dict(makeup=1.0), hair_red=dict(hair_melanin=0.5, scalp_hair=1.0),
    brow_density=dict(hair_melanin=1.0), brow_thickness=dict(hair_melanin=1.0),
    brow_arch=dict(hair_melanin=1.0), brow_height=dict(hair_melanin=1.0),
    brow_gap=dict(hair_melanin=1.0), stubble=dict(hair_melanin=1.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def people():
    """Each coefficient at its lowest and highest value, on one person: leaves [2, K]."""
    num = len(NAMES)
    values = {n: np.full((2, num), BASE.get(n, t)) for n, (_, _, t) in SkinPaint.ranges().items()}
    for k, name in enumerate(NAMES):
        for other, value in NEEDS.get(name, {}).items():
            values[other][:, k] = value
        values[name][:, k] = SkinPaint.ranges()[name][:2]
    return SkinPaint(**{n: v.astype(np.float32) for n, v in values.items()})


@pytest.fixture(scope="module")
def maps(board, people):
    return jax.tree.map(np.asarray, paint(board, people))


def light(albedo):
    return albedo.mean(axis=-1)


def red(albedo):
    return np.log(albedo[..., 0] / albedo[..., 1])


def blue(albedo):
    return np.log(albedo[..., 2] / albedo[..., 0])


def green(albedo):
    return np.log(albedo[..., 1] / albedo[..., 2])


def where(board, name):
    """[T, T] weights of the place where a coefficient must show."""
    if ":" in name:
        patch, field = name.split(":")
        part = board.patches[patch]
        values = np.asarray(PLACES[field](part) * part.cover)
        out = np.zeros(SIZE * SIZE)
        out[np.asarray(part.ids)] = values
        return out.reshape(SIZE, SIZE)
    if name == "everywhere":
        return np.ones((SIZE, SIZE))
    if name == "scalp":
        return np.asarray(board["hair_depth"]) > 16
    return np.asarray(board[name])


def ring(low, high):
    return lambda p: (p["radius"] > low) & (p["radius"] < high)


PLACES = dict(
    all=lambda p: jnp.ones_like(p.cover),
    iris=ring(0.55, 0.85),
    limbus=ring(0.85, 1.0),
    around=ring(0.4, 0.6),
    pupil=ring(0.0, 0.55),
    white=ring(1.3, 2.5),
    enamel=lambda p: p["enamel"],
    up=lambda p: (p["t"] > 2) * 1.0 * (jnp.abs(p["s"] - 0.5) < 0.4),
    inner=lambda p: (p["s"] < 0.06) * (p["s"] > -0.3) * (jnp.abs(p["t"]) < 3) * 1.0,
    middle=lambda p: (p["s"] > 0.45) * (p["s"] < 0.75) * (p["t"] > 2.2) * 1.0,
)
CASES = [
    ("melanin", "everywhere", light, -1), ("blood", "everywhere", red, 1),
    ("carotene", "everywhere", blue, -1), ("redness", "cheeks", red, 1),
    ("redness", "flushed", red, 1), ("under_eye", "under_eyes", light, -1),
    ("freckles", "freckles_2", light, -1), ("age_spots", "age_spots_2", light, -1),
    ("moles", "moles_3", light, -1), ("forehead_lines", "forehead_lines", light, -1),
    ("eye_lines", "eye_lines", light, -1), ("fold_lines", "fold_lines", light, -1),
    ("neck_lines", "neck_lines", light, -1), ("lip_blood", "lips", red, 1),
    ("lip_melanin", "lips", light, -1), ("hair_melanin", "scalp", light, -1),
    ("hair_red", "scalp", blue, -1), ("hair_grey", "scalp", light, 1),
    ("brow_density", "brow:all", light, -1), ("brow_thickness", "brow:all", light, -1),
    ("brow_height", "brow:up", light, -1), ("brow_gap", "brow:inner", light, 1),
    ("brow_arch", "brow:middle", light, -1), ("lashes", "lash", light, -1),
    ("stubble", "jaw_beard", light, -1), ("moustache", "moustache", light, -1),
    ("chin_beard", "chin_beard", light, -1), ("jaw_beard", "jaw_beard", light, -1),
    ("scalp_hair", "scalp", light, -1), ("hairline", "temples", light, 1),
    ("recession", "crown", light, 1), ("iris_melanin", "eye:iris", light, -1),
    ("iris_green", "eye:iris", green, 1), ("iris_ring", "eye:limbus", light, -1),
    ("collarette", "eye:around", blue, -1), ("pupil", "eye:pupil", light, -1),
    ("sclera_veins", "eye:white", red, 1), ("sclera_yellow", "eye:white", blue, -1),
    ("catchlight", "eye:pupil", light, 1), ("teeth_yellow", "inside:enamel", blue, -1),
    ("makeup", "rim", light, -1), ("makeup_hue", "lips", blue, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "place", "figure", "sign"), CASES)
def test_each_coefficient_does_what_its_name_says(board, maps, name, place, figure, sign):
    weight = where(board, place)
    assert weight.sum() > 0
    low, high = (figure(maps.albedo[i, NAMES.index(name)]) for i in (0, 1))
    change = float(((high - low) * weight).sum() / weight.sum())
    assert sign * change > 0.004, change


def test_every_coefficient_is_tested():
    on_the_surface = {"mottle", "pores", "oil"}
    assert {case[0] for case in CASES} | on_the_surface == set(NAMES)


def test_mottle_and_oil_change_the_surface(board, maps):
    k = NAMES.index("mottle")
    bare = np.asarray(board["cheeks"]) > 0.3
    spread = [red(maps.albedo[i, k])[bare].std() for i in (0, 1)]
    assert spread[1] > spread[0] + 0.003
    k, oily = NAMES.index("oil"), np.asarray(board["oily"]) > 0.5
    assert (maps.roughness[1, k] < maps.roughness[0, k] - 0.05)[oily].all()


def test_pores_roughen_the_skin_where_texels_are_fine_enough_to_show_them(board, people):
    fine = np.asarray(board.fields).copy()  # these texels are too coarse for pores
    noise = np.random.default_rng(0).integers(60, 196, (2, SIZE, SIZE), np.uint8)
    fine[board.names.index("pores")] = noise[0]
    fine[board.names.index("pores_x")] = noise[1]
    maps = paint(dataclasses.replace(board, fields=jnp.asarray(fine)), people)
    tilt = 1 - np.asarray(maps.normal)[:, NAMES.index("pores"), ..., 2]
    assert tilt[1].mean() > 1.5 * tilt[0].mean()
    rough = np.asarray(maps.roughness)[:, NAMES.index("pores")]
    assert rough[1].std() > rough[0].std()


def test_maps_lie_in_their_ranges(maps):
    for name in ("albedo", "roughness", "specular", "occlusion"):
        values = getattr(maps, name)
        assert np.isfinite(values).all() and 0 <= values.min() and values.max() <= 1, name
    np.testing.assert_allclose(np.linalg.norm(maps.normal, axis=-1), 1, atol=1e-5)
    assert maps.normal[..., 2].min() > 0
    assert maps.albedo.shape == (2, len(NAMES), SIZE, SIZE, 3)
    assert maps.roughness.shape == maps.specular.shape == (2, len(NAMES), SIZE, SIZE)
    assert maps.occlusion.shape == (SIZE, SIZE)


def test_eyes_and_teeth_are_wet_and_skin_is_not(board, maps):
    eye = np.asarray(board.patches["eye"].ids)[np.asarray(board.patches["eye"].cover) > 0.99]
    assert maps.roughness[0, 0].reshape(-1)[eye].max() < 0.1
    assert np.median(maps.roughness[0, 0]) > 0.35


def test_gradients_are_finite_and_reach_every_coefficient(board):
    typical = np.array([BASE.get(n, t) for n, (_, _, t) in SkinPaint.ranges().items()], "f4")
    # off the ends of ranges and off the knots of levels, where slopes are one-sided
    mild = typical * 0.9 + 0.07

    @jax.jit
    def slopes(values):
        def total(values):
            out = paint(board, SkinPaint(**dict(zip(NAMES, values, strict=True))))
            weight = jnp.asarray(np.random.default_rng(0).standard_normal(out.albedo.shape), "f4")
            surface = (out.normal[..., 0] + out.roughness + out.specular).mean()
            return (out.albedo * weight).sum() + surface

        return jax.jacfwd(total)(values)

    assert np.isfinite(slopes(typical)).all()
    found = np.asarray(slopes(mild))
    assert np.isfinite(found).all()
    assert [n for n, slope in zip(NAMES, found, strict=True) if slope == 0] == []


def test_values_beyond_the_ranges_are_clipped_and_shapes_broadcast(board):
    one = SkinPaint(**{n: np.full((2, len(NAMES)), 0.3, "f4") for n in NAMES})
    first = paint(board, dataclasses.replace(one, melanin=np.full((2, len(NAMES)), 7.0, "f4")))
    second = paint(board, dataclasses.replace(one, melanin=np.full((2, len(NAMES)), 1.0, "f4")))
    np.testing.assert_array_equal(first.albedo[0, 0], second.albedo[0, 0])


def test_one_face_of_a_batch_is_the_face_alone(board, maps, people):
    alone = paint(board, jax.tree.map(lambda x: x[1, 3], people))
    np.testing.assert_allclose(alone.albedo, maps.albedo[1, 3], atol=2e-5)
    np.testing.assert_allclose(alone.normal, maps.normal[1, 3], atol=2e-5)


def test_hair_color_is_that_of_the_scalp():
    color = np.asarray(hair_color(SkinPaint(hair_melanin=np.array([0.0, 1.0], "f4"))))
    assert color.shape == (2, 3) and color[0].mean() > 0.5 > 0.15 > color[1].mean()


def test_paint_at_twice_the_size_averages_to_the_paint(head, board, coarse):
    rng = np.random.default_rng(5)
    who = sample_skin(rng, np.array([55.0]), np.array([0.9]), np.array([[0.1, 0.2, 0.7]]))
    who = jax.tree.map(lambda x: x[0], who)
    small = np.asarray(paint(board, who).albedo)
    large = np.asarray(paint(canvas(head, 2 * SIZE), who).albedo)
    whole = large.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    error = np.abs(whole - small)
    assert error.mean() < 0.01 and np.quantile(error, 0.95) < 0.03


def test_a_model_without_parts_is_painted(small_model, coarse):
    maps = jax.eval_shape(paint, canvas(small_model, SIZE), SkinPaint())
    assert maps.albedo.shape == maps.normal.shape == (SIZE, SIZE, 3)
    assert fields.FINE == 256  # the coarse grid of these tests is in use
