import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.render import Lamps, Material, SphericalHarmonics, render, shade
from facejax.render.materials import SCATTER_WRAP, _lamp
from facejax.render.platform import planes


def material(num=1, **values):
    defaults = dict(roughness=0.5, specular=0.0, scatter=0.0, openness=1.0, lit=1.0)
    return Material(**{k: jnp.full(num, v, jnp.float32) for k, v in (defaults | values).items()})


def lamps(direction=(0.0, 0.0, 1.0), color=(1.0, 1.0, 1.0), sky=0.0):
    sky = jnp.full((9, 3), 0.0).at[0].set(sky / 0.2820948)
    return Lamps(sky, jnp.array([direction], jnp.float32), jnp.array([color], jnp.float32))


def reflected(light, normals, material, albedo=1.0, view=(0.0, 0.0, 1.0)):
    normals = jnp.asarray(normals, jnp.float32)
    one = jnp.ones(len(normals))
    view = [one * v for v in view]
    out = light.reflect([one * albedo] * 3, planes(normals), [0 * one] * 3, view, material)
    return np.stack(out, axis=-1)


def fan(num=181):
    """Unit normals from -90 to 90 degrees about y."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, num)
    return np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1), angle


def test_dull_surfaces_are_lambert_under_a_sky_of_harmonics(rng):
    normals, angle = fan()
    dull = reflected(lamps(), normals, material(), albedo=0.4)
    np.testing.assert_allclose(dull, 0.4 * np.cos(angle)[:, None] * np.ones(3), atol=1e-6)
    sky = rng.normal(size=(9, 3)).astype(np.float32)
    light = lamps(color=(0.0, 0.0, 0.0)).replace(sky=jnp.asarray(sky))
    got = reflected(light, normals, material(roughness=1.0), albedo=0.4)
    want = shade(SphericalHarmonics(sky), np.full((len(normals), 3), 0.4), normals)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_scattering_lets_red_pass_the_terminator_and_adds_no_light():
    normals, angle = fan(2001)
    side = lamps(direction=(1.0, 0.0, 0.0))
    soft = reflected(side, normals, material(scatter=1.0))
    back = soft[angle < -0.02]
    assert (back[..., 0] >= back[..., 2]).all() and back[..., 0].max() > 0.1
    assert not reflected(side, normals, material())[angle < 0].any()
    # over the whole sphere a wrapped lobe reflects as much as Lambert's: 1/4 of a full one
    cosine = np.linspace(-1, 1, 20001)
    for width in SCATTER_WRAP:
        lobe = np.maximum(cosine + width, 0) / (1 + width) ** 2
        np.testing.assert_allclose(lobe.mean(), 0.25, atol=1e-3)


def test_highlights_lie_at_the_mirror_and_grow_with_roughness():
    normals, angle = fan(1801)
    light = lamps(direction=(np.sin(0.6), 0.0, np.cos(0.6)))
    shine = {
        r: reflected(light, normals, material(roughness=r, specular=0.04), albedo=0.0)[:, 0]
        for r in (0.15, 0.5)
    }
    for values in shine.values():
        assert values.min() >= 0 and abs(angle[values.argmax()] - 0.3) < 0.1
    assert shine[0.15].max() > 5 * shine[0.5].max()
    width = {r: (v > v.max() / 2).mean() for r, v in shine.items()}
    assert width[0.5] > 3 * width[0.15]


def test_shine_gives_back_no_more_than_comes(rng):
    """The furnace test: over all lamps, a surface that reflects everything gives at most 1."""
    k = np.arange(4000) + 0.5
    z, a = k / 4000, k * np.pi * (3 - np.sqrt(5))
    toward = np.stack([np.sqrt(1 - z * z) * np.cos(a), np.sqrt(1 - z * z) * np.sin(a), z], -1)
    toward = planes(jnp.asarray(toward, jnp.float32))
    one = jnp.ones(4000)
    for tilt in (0.0, 0.9):
        view = [one * np.sin(tilt), 0 * one, one * np.cos(tilt)]
        for rough in (0.3, 0.7, 1.0):
            surface = material(4000, roughness=rough, specular=1.0)
            out = _lamp([0 * one] * 3, [0 * one, 0 * one, one], view, view[2], toward, surface)
            # colours are those of white Lambert surfaces, whose mean over the hemisphere is 1/2
            total = 2 * float(out[0].mean())
            assert 0.3 < total < 1.08, (tilt, rough, total)


@pytest.fixture(scope="module")
def square():
    corners = np.array([[-50, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]], np.float32)
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    topology = MeshTopology([[0, 1, 2], [0, 2, 3]], 4, uv)
    return Mesh(jnp.asarray(corners), topology, jnp.full((4, 3), 0.2), jnp.full((2, 2, 3), 0.6))


def test_render_uses_the_material_of_each_vertex(square):
    camera = Camera.orthographic(100.0)
    weights = jnp.array([[0.0], [1.0], [1.0], [0.0]])
    look = material(4, lit=0.5).replace(openness=jnp.array([0.2, 1.0, 1.0, 0.2]))
    out = render(
        square, camera, lamps(sky=0.25), (20, 20), material=look, attributes=weights,
        color_space="raw", silhouette="none",
    )  # fmt: skip
    across = (np.arange(20) + 0.5) / 20
    np.testing.assert_allclose(out.attributes[10, :, 0], across, atol=1e-5)
    # half of a lamp in front, and a sky that is mostly hidden on the left
    want = 0.6 * (0.25 * (0.2 + 0.8 * across) + 0.5)
    np.testing.assert_allclose(out.image[10, :, 0], want, atol=1e-4)
    gradient = jax.grad(
        lambda m: render(square, camera, lamps(), (8, 8), material=m, color_space="raw").image.sum()
    )(look)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    with pytest.raises(ValueError, match="give material"):
        render(square, camera, lamps(), (8, 8))
