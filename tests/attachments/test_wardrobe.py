"""Attachments follow the head, stay out of it, and one program makes every mixture of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.attachments import (
    GLASSES_NAMES,
    HAIR_NAMES,
    MATERIALS,
    attach,
    make_worn,
    material_ids,
)
from facejax.attachments import wardrobe as module
from facejax.attachments.head import HeadSurface
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.geometry.rotations import euler_to_matrix
from facejax.morphable import decode_shape
from facejax.render import concatenate_meshes

BATCH = len(HAIR_NAMES)  # of every call: one program
BLOCK = {name: k for k, name in enumerate(module.BLOCKS)}


@pytest.fixture(scope="module")
def head(model):
    return HeadSurface(model)


@pytest.fixture(scope="module")
def faces(model):
    """[BATCH, V, 3] random identities."""
    coeffs = np.random.default_rng(2).normal(size=(BATCH, model.num_id)).astype(np.float32)
    return decode_shape(model, coeffs, np.zeros((BATCH, model.num_exp), np.float32))


def styles(**values):
    return make_worn((BATCH,), **({"hair": np.arange(BATCH)} | values))


def block(name):
    return module.topology()[2] == BLOCK[name]


def areas(mesh):
    """[B, F] mm^2."""
    a, b, c = (np.asarray(mesh.vertices)[:, module.topology()[0].triangles[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2


def seen(mesh):
    """[B, N] bool: vertices of a triangle with an area."""
    out = np.zeros(mesh.vertices.shape[:2], bool)
    shown = areas(mesh) > 1e-2
    for k in range(3):
        np.maximum.at(out, (slice(None), module.topology()[0].triangles[:, k]), shown)
    return out


def heights(model, faces, mesh):
    """[B, N] mm over the tangent plane of the nearest vertex of each head's own surface."""
    outer = np.flatnonzero(HeadSurface(model).outer)
    from scipy.spatial import cKDTree

    from facejax.attachments.head import vertex_normals

    out = []
    for face, points in zip(np.asarray(faces, float), np.asarray(mesh.vertices), strict=True):
        normals = vertex_normals(face, model.topology.mesh.triangles)[outer]
        near = cKDTree(face[outer]).query(points)[1]
        out.append(((points - face[outer][near]) * normals[near]).sum(-1))
    return np.stack(out)


def test_every_mixture_is_finite_and_one_program_makes_it(wardrobe, faces):
    module._attach.clear_cache()
    rng = np.random.default_rng(0)
    for _ in range(2):
        pick = {
            name: rng.integers(0, 4, BATCH)
            for name in ("beard", "glasses", "hat", "earrings", "clothes")
        }
        worn = styles(
            parting=rng.uniform(-1, 1, BATCH), fringe=rng.random(BATCH), curl=rng.random(BATCH),
            volume=rng.uniform(-1, 1, BATCH), length=rng.uniform(0.1, 1, BATCH),
            receding=rng.random(BATCH), tint=rng.random(BATCH), **pick,
        )  # fmt: skip
        mesh = attach(wardrobe, faces, worn)
        assert mesh.vertices.shape == (BATCH, mesh.topology.num_vertices, 3)
        assert np.isfinite(mesh.vertices).all()
        assert np.isfinite(mesh.texture).all()
        assert 0 <= mesh.texture.min() and mesh.texture.max() <= 1
    assert module._attach._cache_size() == 1


def test_batch_dims_broadcast(wardrobe, faces):
    mesh = attach(wardrobe, faces, styles())
    one = attach(wardrobe, faces[3], styles())
    assert one.vertices.shape == mesh.vertices.shape
    np.testing.assert_allclose(one.vertices[3], mesh.vertices[3], atol=1e-3)


def test_nothing_worn_has_no_area(wardrobe, faces):
    mesh = attach(wardrobe, faces, styles(hair=0))
    assert areas(mesh).max() < 1e-3


def _triangle_block():
    topology, _, blocks = module.topology()
    return blocks[topology.triangles[:, 0]]


def test_triangles_are_few_and_have_materials():
    count = np.bincount(_triangle_block(), minlength=len(BLOCK))
    assert count[BLOCK["hair"]] + count[BLOCK["cap"]] <= 6000
    assert count[BLOCK["glasses"]] <= 1500
    of = {m: set(_triangle_block()[material_ids() == k]) for k, m in enumerate(MATERIALS)}
    assert of["hair"] == {BLOCK["hair"], BLOCK["cap"]}
    assert of["lens"] == of["frame"] == {BLOCK["glasses"]}
    assert of["cloth"] == {BLOCK["clothes"]}


def test_a_rigid_motion_of_the_head_moves_everything_with_it(wardrobe, faces):
    worn = styles(beard=3, glasses=2, hat=1, earrings=2, clothes=4, tint=1.0, parting=0.3)
    turn = np.asarray(euler_to_matrix(jnp.array([0.3, -0.5, 0.2]), "xyz"))
    shift = np.array([30.0, -12.0, 8.0], np.float32)
    still = np.asarray(attach(wardrobe, faces, worn).vertices)
    moved = attach(wardrobe, np.asarray(faces) @ turn.T + shift, worn).vertices
    np.testing.assert_allclose(moved, still @ turn.T + shift, atol=0.05)


def test_the_jaw_moves_beards_but_neither_hair_nor_hats(model, wardrobe, faces):
    exp = np.zeros((BATCH, model.num_exp), np.float32)
    exp[:, model.topology.exp_index["jawOpen"]] = 1
    opened = decode_shape(model, np.zeros((BATCH, model.num_id), np.float32), exp)
    closed = decode_shape(model, np.zeros((BATCH, model.num_id), np.float32), 0 * exp)
    worn = styles(beard=5, glasses=1, hat=2)
    move = attach(wardrobe, opened, worn).vertices - attach(wardrobe, closed, worn).vertices
    move = np.linalg.norm(np.asarray(move), axis=-1)
    assert move[:, block("beard")].max() > 10
    assert np.median(move[:, block("beard")]) > 2
    for name in ("hat", "cap", "glasses"):
        assert move[:, block(name)].max() < 3.0
    assert np.quantile(move[:, block("hair")], 0.99) < 4.0


def test_roots_stay_on_the_skin_of_every_identity(model, wardrobe, faces):
    mesh = attach(wardrobe, faces, styles())
    height = heights(model, faces, mesh)
    shell = height[1:, block("cap")]
    assert shell.min() > -6.0 and np.median(shell) < 8.0


def test_nothing_cuts_into_the_head(model, wardrobe, faces):
    worn = styles(beard=1 + np.arange(BATCH) % 5, glasses=1 + np.arange(BATCH) % 6)
    mesh = attach(wardrobe, faces, worn)
    height = np.where(seen(mesh), heights(model, faces, mesh), np.inf)
    for name, share in (("hair", 0.01), ("beard", 0.02), ("glasses", 0.06)):
        inside = height[:, block(name)] < -1.5
        assert inside.mean() < share, name


def test_hair_leaves_the_eyes_free_without_a_fringe(model, wardrobe, head):
    mean = np.broadcast_to(np.asarray(model.mean_shape), (BATCH, model.num_vertices, 3))
    mesh = attach(wardrobe, mean, styles(parting=np.linspace(-1, 1, BATCH)))
    p = np.asarray(mesh.vertices)[:, block("hair")]
    eyes = head.landmarks[36:48]
    low, high = eyes.min(0) - [0, 4, 12], eyes.max(0) + [0, 4, 60]
    covered = ((p > low) & (p < high)).all(-1) & seen(mesh)[:, block("hair")]
    assert covered.mean(axis=1).max() < 0.01


def test_coefficients_do_what_their_names_say(model, wardrobe, head):
    mean = np.broadcast_to(np.asarray(model.mean_shape), (BATCH, model.num_vertices, 3))
    bob = HAIR_NAMES.index("bob")

    def hair(**values):
        mesh = attach(wardrobe, mean, styles(**({"hair": bob} | values)))
        return np.asarray(mesh.vertices)[0, block("hair")], areas(mesh)[0], mesh

    plain, area, _ = hair()
    assert hair(length=0.6)[0][:, 1].min() > plain[:, 1].min() + 20
    front = (plain[:, 2] > head.center[2] + 40) & (np.abs(plain[:, 0]) < 40)
    forehead = lambda p: ((np.abs(p[:, 0]) < 30) & (p[:, 2] > 60)  # noqa: E731
                          & (p[:, 1] < head.brow_y + 25)).sum()  # fmt: skip
    assert forehead(hair(fringe=1.0)[0]) > forehead(plain) + 15 and front.any()
    left, right = hair(parting=1.0)[0], hair(parting=-1.0)[0]
    assert np.abs(left - right).max() > 30
    gone = hair(receding=0.5)[1][: module.ROWS * 30].sum()
    assert gone < 0.9 * area[: module.ROWS * 30].sum()
    wide = hair(volume=1.0)[0]
    assert np.linalg.norm(wide - plain, axis=1).mean() > 2
    assert np.linalg.norm(hair(curl=1.0)[0] - plain, axis=1).mean() > 1.5
    under = hair(hat=3)[0][:, 1].max()
    assert under < plain[:, 1].max()


def test_sunglasses_have_lenses_and_clear_glasses_have_none(wardrobe, faces):
    lens = material_ids() == MATERIALS.index("lens")
    worn = styles(glasses=np.arange(BATCH) % len(GLASSES_NAMES))
    none = np.arange(BATCH) % len(GLASSES_NAMES) == 0
    clear = areas(attach(wardrobe, faces, worn.replace(tint=np.full(BATCH, 0.2, np.float32))))
    dark = areas(attach(wardrobe, faces, worn.replace(tint=np.full(BATCH, 0.8, np.float32))))
    assert clear[:, lens].max() < 1e-3
    assert dark[none][:, lens].max() < 1e-3 and dark[~none][:, lens].sum(1).min() > 800


def test_glasses_rest_on_nose_and_ears(model, wardrobe, faces, head):
    worn = styles(glasses=1 + np.arange(BATCH) % (len(GLASSES_NAMES) - 1))
    p = np.asarray(attach(wardrobe, faces, worn).vertices)[:, block("glasses")]
    for side in (0, 1):
        ear = np.asarray(faces)[:, head.ears[side].top]
        assert np.linalg.norm(p - ear[:, None], axis=-1).min(1).max() < 9.0
    bridge = p[:, -45:]
    nose = np.asarray(faces)[:, model.topology.landmarks68[27:29]].mean(1)
    assert np.linalg.norm(bridge - nose[:, None], axis=-1).min(1).max() < 16.0


def test_ribbons_face_outward(wardrobe, model):
    mean = np.broadcast_to(np.asarray(model.mean_shape), (BATCH, model.num_vertices, 3))
    mesh = attach(wardrobe, mean, styles(beard=4, clothes=1, hat=2, earrings=2, glasses=2))
    p = np.asarray(mesh.vertices)
    a, b, c = (p[:, module.topology()[0].triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    blocks = _triangle_block()
    for name, center in (
        ("hair", (0, 40, -10)), ("cap", (0, 30, -10)), ("hat", (0, 60, 0)), ("beard", (0, -20, 30)),
        ("clothes", (0, -250, 0)),
    ):  # fmt: skip
        of = blocks == BLOCK[name]
        outward = (normal[:, of] * (a[:, of] - np.array(center))).sum(-1)
        flux = outward[outward > 0].sum() / np.abs(outward).sum()
        assert flux > 0.7, name


@pytest.mark.slow
def test_gradients_reach_the_head_and_the_coefficients(wardrobe, model):
    mean = jnp.asarray(model.mean_shape)[None]
    worn = jax.tree.map(lambda a: jnp.asarray(a)[None], make_worn((), hair=11, glasses=1))

    def loss(vertices, length):
        mesh = attach(wardrobe, vertices, worn.replace(length=length))
        return jnp.sum(mesh.vertices[..., 1]) / 1e4

    by_vertex, by_length = jax.grad(loss, argnums=(0, 1))(mean, jnp.array([0.8]))
    assert np.isfinite(by_vertex).all() and np.abs(by_vertex).sum() > 0
    assert np.isfinite(by_length).all() and by_length[0] < 0


def test_the_mesh_joins_a_head_in_one_scene(wardrobe, model, faces):
    mesh = model.topology.mesh
    head = Mesh(faces, MeshTopology(mesh.triangles, mesh.num_vertices))
    added = attach(wardrobe, faces, styles())
    scene, part = concatenate_meshes([head, added])
    assert scene.vertices.shape[-2] == mesh.num_vertices + added.topology.num_vertices
    assert (part == 1).sum() == len(material_ids())
