"""The painted head: `load_morphable('makehuman')` with a texture."""

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.morphable import decode_albedo, decode_texture, load_morphable
from facejax.morphable.makehuman import painted

OPTIONS = dict(on_host=True, subdivide=0, num_id=2, num_exp=1, texture_size=32, num_alb=3)


@pytest.fixture(scope="module")
def model():
    return load_morphable("makehuman", **OPTIONS)


def test_faces_have_skin_in_its_colours(model):
    assert model.mean_texture.shape == (32, 32, 3) and model.tex_basis.shape == (3, 32, 32, 3)
    for coeffs in (np.zeros(3), 2 * np.ones(3), -2 * np.ones(3)):
        coeffs = jnp.asarray(coeffs, jnp.float32)
        for colors in (decode_texture(model, coeffs), decode_albedo(model, coeffs)):
            assert -0.1 < colors.min() and colors.max() < 1.1
    tone = model.mean_albedo[model.topology.masks["face"] > 0.9].mean(axis=0)
    assert 0.75 > tone[0] > tone[1] > tone[2] > 0.2  # skin is redder than grey


def test_colours_of_vertices_are_those_of_the_texture(model):
    uv, vertex = model.topology.mesh.uv, model.topology.mesh.uv_vertex
    x, y = np.clip((uv * 32).astype(int), 0, 31).T
    near = np.abs(model.mean_texture[y, x] - model.mean_albedo[vertex]).mean()
    assert near < 0.06


def test_it_is_painted_once_and_of_the_same_identity_everywhere(model, monkeypatch):
    monkeypatch.setattr(painted, "linear_albedo", lambda *a, **k: pytest.fail("painted again"))
    again = load_morphable("makehuman", **OPTIONS)
    assert again.topology.digest == model.topology.digest
    np.testing.assert_array_equal(again.tex_basis, model.tex_basis)
    more = load_morphable("makehuman", **OPTIONS | {"num_id": 3})  # paint knows no identity
    np.testing.assert_array_equal(more.tex_basis, model.tex_basis)
    assert more.topology.digest != model.topology.digest


@pytest.mark.parametrize("option", [dict(texture_size=4), dict(texture_size=5000), dict(num_alb=0)])
def test_sizes_that_cannot_be_are_named(option):
    with pytest.raises(ValueError, match="wanted 0 or 8..4096 texels, and 1..95 components"):
        load_morphable("makehuman", **option)
