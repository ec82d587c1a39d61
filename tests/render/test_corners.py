"""What the docstrings promise where input is broken, empty or of size one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera, to_clip
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.render import (
    DirectionalLight,
    antialias,
    bake,
    interpolate,
    rasterize,
    render,
    texture,
    unbake,
    uv_atlas,
)
from facejax.render.platform import lower_for
from tests.oracles import meshes

SIZE = (16, 20)
CAMERA = Camera.look_at(yaw_rad=0.3, pitch_rad=0.2)


@functools.cache
def broken_ball():
    """A ball, one of its vertices, and the same without the triangles of that vertex.

    They are collapsed, not dropped: the numbers of the others stay, and so do compiled programs.
    """
    vertices, topology = meshes.sphere(9, 16)
    vertex = topology.triangles[0, 0]
    lost = (topology.triangles == vertex).any(axis=1)[:, None]
    rest = MeshTopology(
        np.where(lost, topology.triangles[:, :1], topology.triangles), len(vertices),
        topology.uv, np.where(lost, topology.uv_triangles[:, :1], topology.uv_triangles),
    )  # fmt: skip
    return 80 * vertices, topology, rest, vertex


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_broken_vertex_takes_only_its_triangles_away(rng, kind):
    vertices, topology, rest, vertex = broken_ball()
    colors = rng.uniform(size=vertices.shape).astype(np.float32)
    colors[vertex] = np.nan
    weight = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    whole = np.array(to_clip(CAMERA, jnp.asarray(vertices), SIZE))

    def shown(clip, topology):
        f = rasterize(clip, topology, SIZE)
        image = interpolate(jnp.asarray(colors), topology, f)
        if kind == "gpu":  # the same code from here on
            return jnp.float32(0), (f, image, image)
        smooth = antialias(image, clip, topology, f)
        seen = image + smooth + f.barycentric + f.depth[..., None]
        return jnp.sum(weight * seen), (f, image, smooth)

    def run(clip, topology):
        if kind == "gpu":
            return shown(clip, topology)[1], jnp.zeros_like(clip)
        (_, seen), grad = jax.value_and_grad(shown, has_aux=True)(clip, topology)
        return seen, grad

    with lower_for(kind):
        (wanted, image, _), _ = run(jnp.asarray(whole), rest)
        assert set(np.unique(np.asarray(wanted.triangle_id) >= 0)) == {False, True}
        for value in (np.nan, np.inf, -np.inf, 1e12, 1e25, -3e38):
            for component in (0, 2, 3):
                clip = whole.copy()
                clip[vertex, component] = value
                (found, seen, smooth), grad = run(jnp.asarray(clip), topology)
                assert np.isfinite(found.barycentric).all() and np.isfinite(found.depth).all()
                if np.isfinite(value):  # it may be drawn, with a gradient of its own
                    continue
                for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
                    np.testing.assert_allclose(got, want, atol=1e-6)
                np.testing.assert_allclose(seen, image, atol=1e-6)
                assert np.isfinite(smooth).all()
                assert np.isfinite(grad).all() and (np.asarray(grad)[vertex] == 0).all()


@pytest.mark.slow
def test_pictures_and_gradients_of_a_mesh_with_a_broken_vertex(rng):
    vertices, topology, _, vertex = broken_ball()
    vertices = np.concatenate([vertices, vertices[:1]])  # the last one belongs to no triangle
    vertices[[vertex, -1]] = np.nan
    picture = rng.uniform(size=(8, 8, 3)).astype(np.float32)
    picture[0] = np.nan  # beside the layout, where background has its coordinates
    weight = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    params = (vertices, CAMERA.translation, DirectionalLight().color, picture)

    def loss(params):
        vertices, translation, color, picture = params
        uv = 0.3 + 0.6 * topology.uv
        layout = MeshTopology(topology.triangles, len(vertices), uv, topology.uv_triangles)
        mesh = Mesh(vertices, layout, texture=picture)
        camera, light = CAMERA.replace(translation=translation), DirectionalLight(color=color)
        out = render(mesh, camera, light, SIZE)
        return jnp.sum(out.image * weight) + jnp.sum(out.mask * weight[..., 0]), out

    grads, found = jax.grad(loss, has_aux=True)(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((grads, found)))
    assert all((np.asarray(g) != 0).any() for g in grads)
    drawn = topology.triangles[np.unique(found.triangle_id)[1:]]
    assert (np.asarray(found.mask) == 0).any() and len(drawn) > 20 and (drawn != vertex).all()


def test_one_pixel_no_triangles_and_no_images():
    vertices, topology = meshes.sphere(9, 16)
    clip = to_clip(CAMERA, jnp.asarray(80 * vertices), (1, 1))
    one = rasterize(clip, topology, (1, 1))
    assert np.asarray(one.triangle_id)[0, 0] >= 0 and np.isclose(one.barycentric.sum(), 1)
    assert antialias(one.barycentric, clip, topology, one).shape == (1, 1, 3)
    none = rasterize(np.zeros((0, len(vertices), 4), np.float32), topology, (2, 3))
    assert none.barycentric.shape == (0, 2, 3, 3)
    nothing = MeshTopology(np.zeros((0, 3)), 4, uv=np.zeros((4, 2)))
    clip, image = jnp.ones((4, 4)), jnp.ones((2, 3, 1))
    fragments = rasterize(clip, nothing, (2, 3))
    assert (np.asarray(fragments.triangle_id) == -1).all()
    assert (np.asarray(interpolate(clip, nothing, fragments)) == 0).all()
    np.testing.assert_array_equal(antialias(image, clip, nothing, fragments), image)
    atlas = uv_atlas(nothing, 4)
    assert not atlas.mask.any() and (np.asarray(bake(atlas, np.full((4, 1), np.nan))) == 0).all()
    assert (np.asarray(unbake(atlas, np.full((4, 4, 1), np.nan, np.float32))) == 0).all()
    for size in ((0, 4), (4, 40000)):
        with pytest.raises(ValueError, match="1 to 32767 pixels"):
            rasterize(clip, nothing, size)


def test_maps_ignore_what_is_beside_the_layout(rng):
    vertices, topology = meshes.sphere(7, 10)
    broken = vertices.copy()
    broken[topology.triangles[0]] = np.nan
    atlas = uv_atlas(topology, (24, 32), supersample=2)
    baked, wanted = np.asarray(bake(atlas, broken)), np.asarray(bake(atlas, vertices))
    assert (baked[~atlas.mask] == 0).all()
    far = np.ones(atlas.size, bool)
    for ids in atlas.sample_vertex:  # texels without a sample in a triangle of a broken vertex
        far &= ~np.isin(ids, topology.triangles[0]).any(axis=0).reshape(atlas.size)
    assert far[atlas.mask].any() and not far[atlas.mask].all()
    np.testing.assert_allclose(baked[far], wanted[far], atol=1e-6)
    holes = np.where(atlas.mask[..., None], wanted, np.nan)

    @jax.jit
    def read(uv_map):
        values = unbake(atlas, uv_map)
        return jnp.sum(values**2), values

    (_, found), grad = jax.value_and_grad(read, has_aux=True)(holes)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(found, unbake(atlas, wanted), atol=1e-6)
    assert np.isfinite(atlas.dilate(holes, 2)).all()


@pytest.mark.parametrize("wrap", ["clamp", "repeat", "repeat_u"])
def test_texture_at_the_borders(rng, wrap):
    tex = rng.uniform(size=(4, 5, 2)).astype(np.float32)
    u, v = np.meshgrid(np.linspace(-1.3, 2.3, 25), np.linspace(-1.3, 2.3, 23))
    uv = np.stack([u, v], axis=-1).astype(np.float32)
    got = np.asarray(texture(tex, uv, wrap=wrap))
    x, y = u * 5 - 0.5, v * 4 - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fold = {
        "clamp": (lambda i, n: np.clip(i, 0, n - 1),) * 2,
        "repeat": (np.mod,) * 2,
        "repeat_u": (np.mod, lambda i, n: np.clip(i, 0, n - 1)),
    }[wrap]
    want = 0.0
    for j, wy in ((0, 1 - (y - y0)), (1, y - y0)):
        for i, wx in ((0, 1 - (x - x0)), (1, x - x0)):
            texel = tex[fold[1](y0 + j, 4), fold[0](x0 + i, 5)]
            want = want + (wx * wy)[..., None] * texel
    np.testing.assert_allclose(got, want, atol=1e-5)
    one = np.asarray(texture(tex[:1, :1], uv, wrap=wrap))
    np.testing.assert_allclose(one, np.broadcast_to(tex[:1, :1], one.shape), atol=1e-6)
