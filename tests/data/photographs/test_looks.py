import jax.numpy as jnp
import numpy as np
import pytest

from facejax.data.photographs import HeadLook
from facejax.data.photographs.looks import PARTS, mean_openness, part_materials
from facejax.host import machine
from facejax.morphable import load_morphable


@pytest.fixture(scope="module")
def model():
    return load_morphable("procedural", rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)


def test_materials_follow_the_masks(model):
    roughness, specular, scatter = part_materials(model.topology)
    eye = model.topology.masks["eye"] == 1
    assert eye.any()
    for values, wanted in zip((roughness, specular, scatter), PARTS["eye"], strict=True):
        np.testing.assert_allclose(values[eye], wanted, rtol=1e-6)
    assert roughness[eye].max() < roughness[model.topology.masks["hair"] == 1].min()


def test_openness_is_cached_and_a_damaged_file_made_again(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    first = mean_openness(model)
    inside = model.topology.masks["mouth_inside"] == 1
    assert first.min() >= 0 and first.max() <= 1
    assert first[inside].mean() < 0.6 * first[model.topology.masks["face"] == 1].mean()
    (path,) = machine.cache_folder().glob("openness-*.npy")
    np.testing.assert_array_equal(mean_openness(model), first)
    path.write_bytes(b"no numbers")
    np.testing.assert_array_equal(mean_openness(model), first)
    assert "made again" in caplog.text


def test_a_head_is_its_model(model):
    look = HeadLook(model, id_scale=0.0, exp_scale=0.0, textured=False)
    person = look.person(np.random.default_rng(0))
    drawn = person | look.photo(np.random.default_rng(1), person)
    assert not drawn["id"].any() and not drawn["exp"].any() and drawn["alb"].any()
    vertices = jnp.stack([model.mean_shape] * 2)
    both = {k: jnp.stack([v, v]) for k, v in drawn.items()}
    surface = look.surface(look.tables(), both, vertices)
    assert surface.mesh.vertex_colors.shape == (2, model.num_vertices, 3)
    front, above = jnp.array([[0.0, 0, 1], [0, 1, 0.2]])
    lit = np.asarray(surface.material(jnp.stack([front, above]), jnp.full(2, 3.0), 32).lit)
    assert lit.shape == (2, model.num_vertices) and 0 <= lit.min() and lit.max() <= 1
    eye = model.topology.masks["eye"] == 1  # under the brows
    assert lit[1, eye].mean() < lit[0, eye].mean() - 0.1
