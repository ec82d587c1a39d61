import dataclasses

import jax
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.morphable.skin import canvas, fields, strokes
from facejax.morphable.skin.anatomy import PARTS, Face, make_head
from facejax.morphable.skin.noise import noise, rank, scatter
from tests.morphable.skin.conftest import SIZE


@pytest.fixture(scope="module")
def anatomy(head):
    return make_head(head)


def test_parts_are_told_apart_by_masks_and_components(anatomy):
    counts = np.bincount(anatomy.part, minlength=len(PARTS))
    found = {name for name, count in zip(PARTS, counts, strict=True) if count}
    assert found == {"skin", "eye", "tongue", "upper_teeth", "lower_teeth"}
    for name, sign in (("upper_teeth", 1), ("lower_teeth", -1)):
        height = anatomy.vertices[anatomy.part == PARTS.index(name), 1].mean()
        assert sign * (height - anatomy.landmarks[[62, 66], 1].mean()) > 0


def test_a_topology_that_names_its_parts_is_believed(head, monkeypatch):
    last = np.flatnonzero(head.topology.mesh.triangles.min(axis=1) > head.num_vertices - 64)
    monkeypatch.setattr(head.topology, "parts", {"mouth": last})
    assert (make_head(head).part[-60:] == PARTS.index("mouth")).all()


def test_frame_is_canonical_whatever_the_units_of_the_model(head, anatomy):
    assert anatomy.eyeballs
    distance = np.linalg.norm((anatomy.eyes[0] - anatomy.eyes[1])[:2])
    assert distance == pytest.approx(63, abs=1e-6)
    larger = dataclasses.replace(head, mean_shape=np.asarray(head.mean_shape) * 10 + 7)
    other = make_head(larger)
    np.testing.assert_allclose(other.vertices, anatomy.vertices, atol=1e-3)
    mirrored = anatomy.landmarks[[36, 48, 17]] * [-1, 1, 1]
    np.testing.assert_allclose(anatomy.landmarks[[45, 54, 26]], mirrored, atol=1e-9)


def test_areas_lie_where_their_names_say(anatomy):
    face = Face(anatomy, anatomy.vertices, anatomy.normals, anatomy.mask("ears"))
    lm = anatomy.landmarks

    def middle(values):
        w = values * (anatomy.part == 0) * (anatomy.vertices[:, 0] > 0)
        return (w[:, None] * anatomy.vertices).sum(axis=0) / w.sum()

    assert lm[33, 1] - 10 < middle(face.cheeks())[1] < lm[45, 1]
    assert lm[54, 1] < middle(face.moustache())[1] < lm[33, 1]
    assert lm[8, 1] - 8 < middle(face.chin_beard())[1] < lm[57, 1]
    assert middle(face.jaw_beard())[0] > lm[54, 0]
    assert middle(face.under_eyes())[1] < lm[46, 1] < lm[44, 1] < middle(face.lids())[1]
    assert middle(face.oily())[1] > middle(face.freckled())[1]
    hair = face.hair_depth()
    assert hair[anatomy.vertices[:, 1].argmax()] > 10
    assert (hair[anatomy.part == 0][face.front[anatomy.part == 0] > 0.9].min()) < -30
    assert middle(face.temples())[1] > lm[24, 1]
    for name in ("cheeks", "flushed", "oily", "under_eyes", "lids", "freckled", "weathered",
                 "moustache", "chin_beard", "jaw_beard", "neck", "temples", "crown"):  # fmt: skip
        values = getattr(face, name)()
        assert values.min() >= 0 and values.max() <= 1 and values.max() > 0.1, name


def test_both_sides_of_a_face_are_painted_alike(anatomy):
    points = anatomy.vertices[anatomy.part == 0]
    normals = anatomy.normals[anatomy.part == 0]
    turned = Face(anatomy, points * [-1, 1, 1], normals * [-1, 1, 1], np.zeros(len(points)))
    face = Face(anatomy, points, normals, np.zeros(len(points)))
    for name in ("cheeks", "flushed", "under_eyes", "lids", "moustache", "jaw_beard", "hair_depth"):
        np.testing.assert_allclose(getattr(face, name)(), getattr(turned, name)(), atol=1e-6)


def test_brow_coordinates_follow_the_landmarks(anatomy):
    frame = strokes.BrowFrame(anatomy)
    s, t = frame.coordinates(anatomy.landmarks[22:27, :2])
    assert s[0] == pytest.approx(0, abs=0.02) and s[-1] == pytest.approx(1, abs=0.02)
    assert (np.diff(s) > 0.1).all() and np.abs(t).max() < 0.5


def test_hairs_have_roots_inside_the_frame_and_the_lashes_start_at_the_lids(anatomy):
    frame = strokes.BrowFrame(anatomy)
    hairs, roots = strokes.brow_hairs(frame, 3)
    assert np.abs(roots[:, 1]).max() <= strokes.BROW_T
    first = hairs.points[np.r_[True, np.diff(hairs.owner) > 0]]
    np.testing.assert_allclose(first, frame.plane(*roots.T), atol=0.5)
    lashes = strokes.lash_hairs(anatomy, 4)
    rims = strokes.lid_rims(anatomy)
    rim = np.concatenate([r.reshape(-1, 3)[:, :2] for r in rims.values()])
    start = lashes.points[np.r_[True, np.diff(lashes.owner) > 0]]
    distance = np.linalg.norm(start[:, None] - rim[None], axis=-1).min(axis=1)
    assert distance.max() < 1.0


def test_strokes_thinner_than_a_texel_get_fainter_not_wider():
    line = np.stack([np.linspace(-5, 5, 400), np.zeros(400)], axis=1)
    curve = strokes.Curves(line, np.full(400, 0.1), np.zeros(400, int))
    across = np.stack([np.zeros(2001), np.linspace(-4, 4, 2001)], axis=1)
    areas = [curve.nearest(across, 1, 6.0, blur)[0].sum() for blur in (0.01, 0.5, 1.0)]
    np.testing.assert_allclose(areas, areas[0], rtol=0.05)


def test_noise_is_deterministic_of_unit_variance_and_of_the_wavelength_asked(rng):
    points = rng.uniform(-50, 50, (20000, 3))
    values = noise(points, 1, 5.0)
    np.testing.assert_array_equal(values, noise(points, 1, 5.0))
    assert abs(values.mean()) < 0.1 and values.std() == pytest.approx(1, abs=0.15)
    step = np.array([0.2, 0, 0])
    fine, coarse = (
        np.abs(noise(points + step, 1, w) - noise(points, 1, w)).mean() for w in (2.0, 8.0)
    )
    assert fine > 3 * coarse
    assert abs(np.corrcoef(values, noise(points, 2, 5.0))[0, 1]) < 0.05
    np.testing.assert_allclose(rank(np.array([-9.0, 0.0, 9.0])), [0, 0.5, 1], atol=1e-6)


def test_points_are_scattered_by_area_and_weight():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 3, 0.0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    points = scatter(vertices, triangles, np.ones(6), 2000, 0)
    assert (points[:, 0] > 4).mean() == pytest.approx(0.9, abs=0.03)
    weighted = scatter(vertices, triangles, np.array([1, 1, 1, 0, 0, 0.0]), 50, 0)
    assert (weighted[:, 0] <= 1).all()
    assert len(scatter(vertices, triangles, np.zeros(6), 50, 0)) == 0


def test_canvas_holds_what_the_model_has(board):
    assert set(board.patches) == {"brow", "eye", "inside"}
    assert board.fields.shape == (len(board.names), SIZE, SIZE)
    assert board.fields.dtype == np.uint8
    for patch in board.patches.values():
        assert len(np.unique(patch.ids)) == len(patch.ids)
        assert patch.fields.shape == (len(patch.names), len(patch.ids))
        assert 0 <= patch.cover.min() and patch.cover.max() <= 1
    radius = np.asarray(board.patches["eye"]["radius"])
    assert radius.min() < 0.6 and radius.max() > 1.5


def test_levels_of_cover_contain_each_other(board):
    for name, count in (("freckles", 2), ("moles", 3), ("hair", 3), ("bristle", 3)):
        levels = [np.asarray(board[f"{name}_{k}"]) for k in range(1, count + 1)]
        for low, high in zip(levels[:-1], levels[1:], strict=True):
            assert (high - low).min() > -0.25 and high.sum() > 1.2 * low.sum(), name


def test_occlusion_is_open_on_the_forehead_and_closed_behind_the_lips(board, head, anatomy):
    from facejax.morphable.skin.occlusion import ambient_occlusion

    dense = scatter(anatomy.vertices, anatomy.triangles, np.ones(len(anatomy.part)), 200_000, 0)
    open_ = ambient_occlusion(anatomy, dense)
    assert 0 <= open_.min() and open_.max() <= 1
    forehead = np.linalg.norm(
        anatomy.vertices - anatomy.landmarks[27] - [0, 32, 4], axis=1
    ).argmin()
    tongue = open_[anatomy.part == PARTS.index("tongue")]
    assert open_[forehead] > 0.9 > 0.8 > tongue.mean()


def test_small_canvases_are_averages_of_large_ones(head, board, coarse):
    large = canvas(head, 2 * SIZE)
    for name, error in (("cheeks", 0.01), ("hair_2", 0.03), ("lips", 0.01), ("mottle", 0.08)):
        whole = np.asarray(large[name]).reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
        difference = np.abs(whole - np.asarray(board[name]))
        assert np.mean(difference) < error, name


def test_a_second_canvas_comes_from_the_cache(head, board, coarse, monkeypatch):
    monkeypatch.setattr(fields, "build_canvas", lambda *_: pytest.fail("built again"))
    again = canvas(head, SIZE)
    assert again.names == board.names and again.size == SIZE
    same = jax.tree.map(lambda a, b: bool((a == b).all()), again, board)
    assert all(jax.tree.leaves(same))


def test_models_without_eyeballs_teeth_and_ears_are_painted_too(small_model, coarse):
    plain = canvas(small_model, SIZE)
    assert "brow" in plain.patches and "eye" in plain.patches
    radius = np.asarray(plain.patches["eye"]["radius"])
    assert radius.max() < 4  # the eye is a patch of the face


def test_what_cannot_be_painted_is_refused(head):
    mesh = head.topology.mesh
    bare = MeshTopology(mesh.triangles, mesh.num_vertices)
    topology = type(head.topology)(
        bare, head.topology.landmarks68, head.topology.landmarks5, {}, (), "bare", "bare"
    )
    with pytest.raises(ValueError, match="no UV layout"):
        canvas(dataclasses.replace(head, topology=topology), SIZE)
    with pytest.raises(ValueError, match="wanted 32 .. 8192"):
        canvas(head, 8)
