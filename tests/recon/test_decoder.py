import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry import camera_frames
from facejax.geometry.camera import project as project_camera
from facejax.morphable import load_morphable
from facejax.morphable.bfm09 import model_from_front
from facejax.recon import decoder

ANCHORS = np.array(  # zero coefficients of the Basel front model, y up
    [[79.955, 141.871], [143.865, 141.799], [112.349, 107.039], [85.818, 72.407], [137.793, 72.42]]
)
SMALL = dict(rows=32, cols=32, n_id=6, n_alb=4, draws=16)


def toy(rng, side=9):
    """A domed square in decimetres with small random bases."""
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, side), np.linspace(-0.7, 0.7, side))
    points = np.stack([x, y, 0.4 - 0.5 * (x**2 + y**2)], axis=-1).reshape(-1, 3)
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    tri = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    num = len(points)
    return model_from_front(
        dict(
            meanshape=np.float32(points),
            meantex=np.float32(rng.uniform(60, 200, (num, 3))),
            idBase=np.float32(0.01 * rng.standard_normal((4, num, 3))),
            exBase=np.float32(0.01 * rng.standard_normal((3, num, 3))),
            texBase=np.float32(9 * rng.standard_normal((2, num, 3))),
            tri=np.int32(tri),
            keypoints=rng.permutation(num)[:68].astype(np.int32),
            skin=np.float32(points[:, 1] > 0),
            front=np.float32(np.abs(points[:, 0]) < 0.5),
        )
    )


@pytest.fixture(scope="module")
def model():
    return toy(np.random.default_rng(0))


def random_vector(rng, batch=()):
    vector = rng.standard_normal((*batch, decoder.num_coefficients((4, 3, 2)))).astype(np.float32)
    return jnp.asarray(vector * np.float32(0.2))


def test_split_and_join(model, rng):
    assert decoder.num_coefficients((80, 64, 80)) == 257
    assert decoder.coefficient_sizes(model) == dict(id=4, exp=3, alb=2, angles=3, gamma=27, trans=3)
    vector = random_vector(rng, (2, 3))
    coeffs = decoder.split(vector, model)
    assert coeffs.gamma.shape == (2, 3, 27)
    np.testing.assert_array_equal(decoder.join(coeffs), vector)
    one_light = coeffs.replace(gamma=jnp.zeros(27))
    assert decoder.join(one_light).shape == vector.shape
    assert list(decoder.parts_in_files(coeffs))[:3] == ["id", "exp", "tex"]
    with pytest.raises(ValueError, match="without angles, trans"):
        decoder.join(coeffs.replace(angles=None, trans=None))
    with pytest.raises(ValueError, match=r"wanted \[\.\.\., 42\] = 4 id \+ 3 exp"):
        decoder.split(vector[..., :-1], model)


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def program(vector, model, drawing):
    """A sum of all that is decoded, plus `drawing` times all that is drawn; compiled once."""
    face = decoder.decode(model, decoder.split(vector, model))
    camera = decoder.Deep3DCamera().resized(56)
    image, mask = decoder.render_face(model, face, camera)
    _, front = decoder.render_face(model, face, camera, front_only=True)
    decoded = sum((leaf**2).mean() for leaf in jax.tree.leaves(face))
    return decoded + drawing * image.sum(), (face, image, mask, front)


@pytest.fixture(scope="module")
def drawn(model):
    """Two faces with their pictures, and the mask of the front region."""
    vector = random_vector(np.random.default_rng(3), (2,))
    (_, pictures), _ = program(vector, model, 1.0)
    return vector, *pictures


def test_single_faces_have_no_batch_dims(model, drawn):
    _, *batch = drawn

    def run(vector):
        face = decoder.decode(model, decoder.split(vector, model))
        camera = decoder.Deep3DCamera().resized(56)
        return face, *decoder.render_face(model, face, camera)

    single = jax.eval_shape(run, jnp.zeros(decoder.num_coefficients(model)))
    for a, b in zip(jax.tree.leaves(batch[:3]), jax.tree.leaves(single), strict=True):
        assert a.shape == (2, *b.shape) and a.dtype == b.dtype == jnp.float32


def test_the_frame_is_that_of_the_camera_module(model, drawn):
    vector, face, *_ = drawn
    coeffs = decoder.split(vector, model)
    camera = camera_frames.from_deep3d(coeffs.angles, coeffs.trans)
    pixels = project_camera(camera, 100 * face.shape, (224, 224))
    np.testing.assert_allclose(face.pixels * np.float32([[[1, -1]]]) + np.float32([[[0, 224]]]),
                               pixels, atol=2e-3)  # fmt: skip
    landmarks = np.asarray(face.pixels)[:, model.topology.landmarks68]
    np.testing.assert_allclose(face.landmarks_px, landmarks, atol=1e-4)


def test_pictures_show_vertices_where_they_project(drawn):
    _, face, image, mask, _ = drawn
    camera = decoder.Deep3DCamera().resized(56)
    assert camera.focal == 1015 / 4 and camera.center == 28
    points = decoder.project(face.camera_vertices, camera)
    np.testing.assert_allclose(points, face.pixels / 4, atol=1e-3)
    height = np.asarray(mask) * np.arange(56)[::-1].reshape(1, -1, 1)  # rows counted from below
    top = height.max(axis=(1, 2)) + 1
    np.testing.assert_allclose(top, np.asarray(points[..., 1]).max(axis=1), atol=1.0)
    right = (np.asarray(mask) * np.arange(1, 57)).max(axis=(1, 2))
    np.testing.assert_allclose(right, np.asarray(points[..., 0]).max(axis=1), atol=1.0)
    assert set(np.unique(mask)) == {0.0, 1.0}
    inside = np.asarray(image)[np.asarray(mask) > 0]
    low, high = np.asarray(face.color).min(), np.asarray(face.color).max()
    assert low - 1e-4 <= inside.min() and inside.max() <= high + 1e-4
    assert np.abs(np.asarray(image)[np.asarray(mask) == 0]).max() == 0


def test_front_region_is_drawn_alone(model, drawn):
    *_, mask, front = drawn
    assert 0.3 * mask.sum() < front.sum() < 0.95 * mask.sum()
    triangles = decoder.front_topology(model.topology).triangles
    assert (model.topology.masks["front"][triangles] > 0.5).all()
    assert decoder.front_topology(model.topology) is decoder.front_topology(model.topology)


def test_clip_space_is_the_originals():
    camera = decoder.Deep3DCamera()
    point = jnp.array([[0.3, -0.2, 0.5]])
    depth = 9.5
    want = [0.3 * 9.0625, -0.2 * 9.0625, 2 * depth - 15, depth]
    np.testing.assert_allclose(decoder.clip(point, camera)[0], want, rtol=1e-6)
    moved = decoder.Deep3DCamera(center=100.0)
    x = decoder.clip(point, moved)[0]
    pixel = (x[:2] / x[3] + 1) * 112
    np.testing.assert_allclose(
        pixel, decoder.project(decoder.to_camera(point, moved), moved)[0], rtol=1e-5
    )


def test_gradients_agree_with_differences(model, rng):
    vector, direction = random_vector(rng, (2,)), random_vector(rng, (2,))
    _, gradient = program(vector, model, 0.0)
    step = 2e-3 * direction
    (high, _), _ = program(vector + step, model, 0.0)
    (low, _), _ = program(vector - step, model, 0.0)
    slope = (float(high) - float(low)) / 4e-3
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-2)


def test_degenerate_faces_have_finite_gradients(model):
    zero = jnp.zeros((2, decoder.num_coefficients(model)))
    collapsed = model.replace(  # every triangle is a point
        mean_shape=0 * model.mean_shape,
        id_basis=0 * model.id_basis,
        exp_basis=0 * model.exp_basis,
    )
    (value, _), gradient = program(zero, collapsed, 1.0)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_the_outline_has_a_gradient_when_asked(model, monkeypatch):
    calls = []
    monkeypatch.setattr(decoder, "boundary_grad", lambda *args: calls.append(args) or args[0])

    def run(boundary):
        face = decoder.decode(model, decoder.zero_coefficients(model, (2,)))
        return decoder.render_face(
            model, face, decoder.Deep3DCamera().resized(8), boundary=boundary
        )

    image, mask = jax.eval_shape(lambda: run(True))
    assert image.shape == (2, 8, 8, 3) and mask.shape == (2, 8, 8)
    (both, clip, mesh, _), *_ = calls
    assert both.shape == (2, 8, 8, 4) and clip.shape[-1] == 4 and mesh is model.topology.mesh
    jax.eval_shape(lambda: run(False))
    assert len(calls) == 1


def test_whole_heads_are_framed_like_deep3d_crops():
    model = load_morphable("procedural", **SMALL)

    @jax.jit
    def frame(model, center):
        face = decoder.decode(model, decoder.zero_coefficients(model), center_mm=center)
        return decoder.five_points(face.landmarks_px), face.shape.mean(axis=0)

    five, _ = frame(model, decoder.canonical_center(model))
    np.testing.assert_allclose(five, ANCHORS, atol=7.0)
    _, middle = frame(model, decoder.canonical_center(model, "vertices"))
    np.testing.assert_allclose(middle, 0, atol=1e-4)
    with pytest.raises(ValueError, match="centring rule"):
        decoder.canonical_center(model, "nose")
    front, skin = decoder.front_weights(model.topology), decoder.skin_weights(model.topology)
    assert 0.05 < front.mean() < 0.7 and 0 < skin.sum() < front.sum() and (skin <= front).all()


@pytest.mark.skipif(
    not os.environ.get("FACEJAX_BFM_FRONT"), reason="FACEJAX_BFM_FRONT names no BFM_model_front.mat"
)
def test_zero_coefficients_of_the_basel_model():
    model = load_morphable(os.environ["FACEJAX_BFM_FRONT"])
    face = decoder.decode(model, decoder.zero_coefficients(model))
    np.testing.assert_allclose(decoder.five_points(face.landmarks_px), ANCHORS, atol=1e-2)
