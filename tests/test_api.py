"""The public verbs, used as the documentation uses them."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import facejax as fj
from facejax import api

SMALL = dict(rows=48, cols=48, n_id=8, n_alb=4, draws=16, texture_size=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield fj.load_morphable("procedural", **SMALL)


def test_the_documented_lines(model, tmp_path, monkeypatch):
    lines = inspect.getdoc(api).split("\n\n")[1:3]
    code = "\n".join(line.strip() for line in "\n".join(lines).splitlines())
    small = ", ".join(f"{k}={v}" for k, v in SMALL.items())
    code = code.replace('"procedural"', f'"procedural", {small}')
    assert len(re.findall(r"\bfj\.", code)) == 5
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    image = np.asarray(names["image"])
    assert image.shape == (256, 256, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    background = image[:8, :8].mean((0, 1))
    np.testing.assert_allclose(image[:8, -8:].mean((0, 1)), background, atol=1e-3)
    skin = image[118:138, 118:138].mean((0, 1))
    assert skin[0] > skin[2] + 0.05 and np.abs(skin - background).max() > 0.1

    import trimesh

    surface = trimesh.load(tmp_path / "face.glb", force="mesh")
    height_m = np.ptp(surface.vertices[:, 1])
    assert 0.2 < height_m < 0.5
    assert surface.visual.material.baseColorTexture.size == (64, 64)


def test_a_seed_is_a_person(model):
    neutral = fj.sample_face(model, seed=3, expression="neutral")
    happy = fj.sample_face(model, seed=3, expression="happy")
    other = fj.sample_face(model, seed=4, expression="neutral")
    assert np.array_equal(neutral.texture, happy.texture)
    from facejax.morphable import expression_presets

    names, weights = expression_presets(model)
    moved = np.einsum("k,kvc->vc", weights[names.index("happy")], np.asarray(model.exp_basis))
    np.testing.assert_allclose(happy.vertices - neutral.vertices, moved, atol=1e-3)
    assert np.abs(moved).max() > 3.0
    assert np.abs(other.vertices - neutral.vertices).max() > 1.0
    assert np.array_equal(fj.sample_face(model, 5).vertices, fj.sample_face(model, 5).vertices)
    mean = fj.sample_face(model, 3, "neutral", id_scale=0.0, alb_scale=0.0)
    np.testing.assert_allclose(mean.vertices, model.mean_shape, atol=1e-4)
    np.testing.assert_allclose(mean.texture, np.clip(model.mean_texture, 0, 1), atol=1e-6)


def test_expressions_by_blendshape(model):
    index = model.topology.exp_index["jawOpen"]
    neutral = fj.sample_face(model, expression="neutral").vertices
    by_name = fj.sample_face(model, expression={"jawOpen": 0.5}).vertices
    np.testing.assert_allclose(by_name - neutral, 0.5 * model.exp_basis[index], atol=1e-3)
    weights = np.zeros(model.num_exp)
    weights[index] = 0.5
    np.testing.assert_array_equal(fj.sample_face(model, expression=weights).vertices, by_name)
    with pytest.raises(ValueError, match="'hapy'.*did you mean 'happy'"):
        fj.sample_face(model, expression="hapy")
    with pytest.raises(ValueError, match="did you mean 'jawOpen'"):
        fj.sample_face(model, expression={"jawOpn": 0.5})
    with pytest.raises(ValueError, match=rf"shape \(3,\), wanted \({model.num_exp},\)"):
        fj.sample_face(model, expression=[0.0, 1.0, 0.0])


@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_decode_face(model, rng, batch):
    from facejax.morphable import join_coefficients

    dims = (model.num_id, model.num_exp, model.num_alb)
    parts = fj.Coefficients(*(rng.standard_normal((*batch, d)).astype(np.float32) for d in dims))
    face = fj.decode_face(model, parts)
    assert face.vertices.shape == (*batch, model.num_vertices, 3)
    assert face.texture.shape == (*batch, 64, 64, 3) and face.vertex_colors is None
    assert float(face.texture.min()) >= 0 and float(face.texture.max()) <= 1
    by_vector = fj.decode_face(model, join_coefficients(parts))
    np.testing.assert_array_equal(by_vector.vertices, face.vertices)
    plain = model.replace(mean_texture=None, tex_basis=None)
    colored = fj.decode_face(plain, parts)
    assert colored.texture is None
    assert colored.vertex_colors.shape == (*batch, model.num_vertices, 3)
    assert float(colored.vertex_colors.min()) >= 0 and float(colored.vertex_colors.max()) <= 1
    with pytest.raises(ValueError, match=f"length 5, wanted {sum(dims)}"):
        fj.decode_face(model, np.zeros(5))


def test_render_image_is_the_picture_and_differentiable(model):
    from facejax.render import render

    face = fj.sample_face(model, 1, "neutral")
    camera = fj.Camera.look_at(yaw_rad=0.3)
    image = fj.render_image(face, camera, size=(24, 32), supersample=1, background=(0, 0, 1))
    np.testing.assert_array_equal(
        image, render(face, camera, size=(24, 32), background=(0, 0, 1)).image
    )
    np.testing.assert_allclose(image[0, 0], [0, 0, 1], atol=1e-5)

    @jax.grad
    def gradient(coefficients):
        decoded = fj.decode_face(model, coefficients)
        picture = fj.render_image(decoded, camera, size=(24, 32), supersample=1)
        return jnp.sum(picture**2)

    grad = gradient(jnp.zeros(model.num_id + model.num_exp + model.num_alb))
    assert np.isfinite(grad).all()
    assert (np.abs(grad[: model.num_id]) > 1e-4).all() and (
        np.abs(grad[-model.num_alb :]) > 0
    ).all()
    with pytest.raises(ValueError, match="wanted \\(height, width\\)"):
        fj.render_image(face, size=256)
    with pytest.raises(ValueError, match="silhouette"):
        fj.render_image(face, size=(8, 8), silhouette="sharp")


def test_saving(model, tmp_path):
    from facejax.io.images import read_image

    image = np.linspace(0, 1, 4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)
    path = fj.save_image(tmp_path / "new" / "face.png", image)
    np.testing.assert_allclose(read_image(path), image, atol=0.5 / 255 + 1e-6)
    batch = fj.decode_face(model, np.zeros((2, model.num_id + model.num_exp + model.num_alb)))
    with pytest.raises(ValueError, match="one mesh of a batch at a time"):
        fj.save_asset(tmp_path / "faces.glb", batch)
    with pytest.raises(ValueError, match="unknown mesh suffix '.stl'"):
        fj.save_asset(tmp_path / "face.stl", fj.sample_face(model))
    assert not list(tmp_path.glob("face*"))


def test_public_names():
    assert set(fj.__all__) == {"__version__", *api.__all__}
    assert all(getattr(fj, name) is getattr(api, name) for name in api.__all__)
    assert set(fj.__all__) <= set(dir(fj))
    with pytest.raises(AttributeError, match="'rendr_image'.*render_image"):
        _ = fj.rendr_image
    from facejax.render import rasterize  # the verb leaves the package's name alone

    assert fj.render.rasterize is rasterize
