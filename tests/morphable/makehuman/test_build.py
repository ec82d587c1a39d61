import time

import jax
import numpy as np
import pytest

from facejax.geometry.intersections import crossing_triangles
from facejax.geometry.mesh import vertex_normals
from facejax.morphable import decode_shape, load_morphable, load_npz, save_npz
from facejax.morphable.makehuman.file import read_head
from facejax.morphable.storage import content_digest

DIGEST = "fba70d7ba26ed591eeede4d34d520a86"


PLAIN = dict(on_host=True, texture_size=0)


@pytest.fixture(scope="module")
def head():
    return load_morphable("makehuman", **PLAIN)


@pytest.fixture(scope="module")
def cage():
    return load_morphable("makehuman", **PLAIN, subdivide=0)


def _face(model, **weights):
    """The mean head with expressions, by ARKit names, [V, 3] mm."""
    out = model.mean_shape.copy()
    for name, weight in weights.items():
        out += weight * model.exp_basis[model.topology.exp_index[name]]
    return out


def test_the_file_is_the_one_that_was_built():
    arrays = read_head()
    assert content_digest(arrays) == DIGEST
    assert arrays["identity"].shape[0] >= 70 and len(arrays["exp_names"]) == 52


def test_it_loads_fast():
    start = time.perf_counter()
    load_morphable("makehuman", **PLAIN)
    assert time.perf_counter() - start < 5  # a loose bound: it takes half a second


def test_sizes_are_options(cage):
    assert cage.mean_shape.shape == (4826, 3)
    small = load_morphable(
        "makehuman", texture_size=0, on_host=True, subdivide=0, num_id=7, num_exp=3
    )
    assert small.num_id == 7 and small.num_exp == 3 and len(small.topology.exp_names) == 3
    np.testing.assert_array_equal(small.id_basis, cage.id_basis[:7])
    for option in (dict(subdivide=2), dict(num_id=0), dict(num_id=1000), dict(num_exp=53)):
        with pytest.raises(ValueError, match=f"{next(iter(option))}.*'makehuman', wanted"):
            load_morphable("makehuman", **option)
    with pytest.raises(ValueError, match="did you mean 'num_id'"):
        load_morphable("makehuman", num_ids=3)


def test_components_are_orthogonal_and_fall_in_size(head):
    flat = head.id_basis.reshape(head.num_id, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(head.num_id), atol=2e-3)
    assert (np.diff(head.id_std) <= 1e-3 * head.id_std[:-1]).all()


def test_refinement_keeps_the_shape(head, cage):
    near = np.linalg.norm(head.mean_shape[: len(cage.mean_shape)] - cage.mean_shape, axis=1)
    assert near.max() < 6 and np.median(near) < 0.5  # mm
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5)).astype(np.float32)
    e = np.zeros(52, np.float32)

    def faces(model):
        coeffs = np.zeros(model.num_id, np.float32)
        coeffs[:5] = a + b
        return np.asarray(decode_shape(model, coeffs, e))

    moved = (faces(head) - head.mean_shape)[: len(cage.mean_shape)] - (
        faces(cage) - cage.mean_shape
    )
    assert np.abs(moved).mean() < 0.3


def test_parts_partition_the_triangles_and_survive_a_file(head, tmp_path):
    parts = head.topology.parts
    names = ["skin", "mouth", "lid", "eye", "upper_teeth", "lower_teeth", "tongue", "lash"]
    assert list(parts) == names and all(len(ids) for ids in parts.values())
    every = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(every), np.arange(len(head.topology.mesh.triangles)))
    small = load_morphable(
        "makehuman", texture_size=0, on_host=True, subdivide=0, num_id=2, num_exp=2
    )
    save_npz(tmp_path / "head.npz", small)
    again = load_npz(tmp_path / "head.npz").topology
    assert list(again.parts) == names and again.digest == small.topology.digest
    for name in names:
        np.testing.assert_array_equal(again.parts[name], small.topology.parts[name])


def test_normals_look_outward(head):
    mesh = head.topology.mesh
    normals = np.asarray(vertex_normals(head.mean_shape, mesh))
    skin = head.topology.masks["skin"] > 0.5
    away = head.mean_shape - head.mean_shape[skin].mean(axis=0)
    assert ((normals * away).sum(axis=1)[skin] > 0).mean() > 0.9
    eye = np.unique(mesh.triangles[head.topology.parts["eye"]])
    assert (normals[eye, 2] > -0.3).all()  # a cap that looks forward


def test_the_layout_does_not_overlap(cage):
    mesh = cage.topology.mesh
    corners = mesh.uv[mesh.uv_triangles]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]  # v down: negative is counter-clockwise
    assert (area < 0).mean() > 0.998 and 0.5 * np.abs(area).sum() > 0.8
    texel = np.floor(corners.mean(axis=1) * 512).astype(int)
    eyes = texel[cage.topology.parts["eye"]]
    assert (np.ptp(eyes[eyes[:, 0] > 75], axis=0) > 60).all()  # texels of one eye at 512
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1


@pytest.mark.parametrize("subdivide", [0, 1])
def test_landmarks_lie_where_they_are_called(subdivide):
    model = load_morphable("makehuman", **PLAIN, subdivide=subdivide, num_id=1)
    p, t = model.mean_shape, model.topology
    q = p[t.landmarks68]
    mirrored = q[[*range(16, -1, -1), *range(26, 16, -1)]] * [-1, 1, 1]
    np.testing.assert_allclose(q[:27], mirrored, atol=4.0)
    assert (np.diff(q[:17, 0]) > -4).all() and q[8, 1] == q[:17, 1].min()
    assert (np.diff(q[27:31, 1]) < 0).all() and q[30, 2] == q[27:36, 2].max()
    assert (q[17:27, 1] > q[36:48, 1].max()).all()
    width = q[54, 0] - q[48, 0]
    assert 0.03 * width < q[60, 0] - q[48, 0] < 0.15 * width  # inside the corner
    ears = t.masks["ears"] > 0.5
    ear_front = p[ears & (p[:, 0] < 0) & (np.abs(p[:, 1] - q[0, 1]) < 8), 2].max()
    assert -8 < q[0, 2] - ear_front < 10 and len(set(t.landmarks68)) >= 66
    five = p[t.landmarks5]
    assert five[0, 0] < 0 < five[1, 0] and np.abs(five[:2, 1] - q[36:48, 1].mean()).max() < 4


def test_masks_are_shares_of_the_right_places(head):
    masks, p = head.topology.masks, head.mean_shape
    for name in (
        "skin", "face", "eye", "lips", "brow", "hair", "mouth_inside", "nostril", "ears",
        "interior", "scalp", "neck", "eyelids",
    ):  # fmt: skip
        assert masks[name].shape == (len(p),) and masks[name].min() >= 0
        assert masks[name].max() <= 1 and (masks[name].any() or name == "hair")
    q = p[head.topology.landmarks68]
    lips = np.average(p, axis=0, weights=masks["lips"])
    assert np.linalg.norm(lips - q[48:68].mean(axis=0)) < 12
    assert not (masks["skin"] * masks["eye"]).any()
    assert p[masks["scalp"] > 0.9, 1].mean() > q[17:27, 1].max()


def test_gaze_turns_the_eyeballs_without_changing_them(head):
    part = head.topology.parts["eye"]
    ids = np.unique(head.topology.mesh.triangles[part])
    left = ids[head.mean_shape[ids, 0] > 0]
    pole = head.topology.landmarks5[1]
    rest, turned = head.mean_shape, _face(head, eyeLookOutLeft=1)
    assert turned[pole, 0] - rest[pole, 0] > 5  # to the subject's left
    up = _face(head, eyeLookUpLeft=1)
    assert up[pole, 1] - rest[pole, 1] > 3
    distances = [
        np.linalg.norm(p[left][:, None] - p[left][None, :20], axis=2) for p in (rest, turned)
    ]
    np.testing.assert_allclose(*distances, atol=0.02)


def test_lips_and_lids_stay_whole(head):
    """No teeth through the lips and no eyeball through the lids, at rest and in expressions."""
    triangles, parts = head.topology.mesh.triangles, head.topology.parts
    points = head.mean_shape[head.topology.landmarks68]
    skin = triangles[parts["skin"]]
    center = head.mean_shape[skin].mean(axis=1)
    near = {}
    for name, middle, reach in (
        ("mouth", points[48:68].mean(axis=0), 60), ("eye", points[42:48].mean(axis=0), 25)
    ):  # fmt: skip
        near[name] = skin[np.linalg.norm(center - middle, axis=1) < reach]
    teeth = triangles[np.concatenate([parts["upper_teeth"], parts["lower_teeth"]])]
    eye = triangles[parts["eye"]]
    eye = eye[head.mean_shape[eye[:, 0], 0] > 0]
    rng = np.random.default_rng(2)
    identities = np.zeros((4, head.num_id), np.float32)
    identities[1:] = rng.standard_normal((3, head.num_id))
    offsets = np.tensordot(identities * head.id_std, head.id_basis, 1)
    smile = dict(mouthSmileLeft=1, mouthSmileRight=1, jawOpen=0.3)
    for offset, weights in zip(
        offsets, ({}, smile, dict(eyeBlinkLeft=0.5), dict(eyeBlinkLeft=1)), strict=True
    ):
        face = _face(head, **weights) + offset
        assert not len(crossing_triangles(face, near["mouth"], teeth)), weights
        assert len(crossing_triangles(face, near["eye"], eye)) <= 4, weights
    forward = head.mean_shape.copy()
    forward[np.unique(eye), 2] += 2  # mm: then they must cross
    assert len(crossing_triangles(forward, near["eye"], eye)) > 20


def test_a_blink_closes_the_eye(head):
    points = _face(head, eyeBlinkLeft=1)[head.topology.landmarks68]
    opening = points[[43, 44], 1] - points[[47, 46], 1]
    rest = head.mean_shape[head.topology.landmarks68]
    assert (rest[[43, 44], 1] - rest[[47, 46], 1] > 5).all() and (np.abs(opening) < 1.0).all()


def test_albedo_is_a_colour(head):
    coeffs = np.random.default_rng(0).standard_normal((8, head.num_alb)).astype(np.float32)
    colors = head.mean_albedo + np.tensordot(coeffs * head.alb_std, head.alb_basis, 1)
    assert colors.min() > -0.5 and colors.max() < 1.5
    tree = jax.tree.leaves(head)
    assert all(leaf.dtype == np.float32 for leaf in tree)
