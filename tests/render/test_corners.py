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
    boundary_grad,
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
        smooth = antialias(boundary_grad(image, clip, topology, f), clip, topology, f)
        seen = image + smooth + f.barycentric + f.depth[..., None]
        return jnp.sum(weight * seen), (f, image, smooth)

    run = jax.value_and_grad(shown, has_aux=True)
    with lower_for(kind):
        (_, (wanted, *others)), _ = run(jnp.asarray(whole), rest)
        assert set(np.unique(np.asarray(wanted.triangle_id) >= 0)) == {False, True}
        for value in (np.nan, np.inf, -np.inf):
            for component in (0, 2, 3):
                clip = whole.copy()
                clip[vertex, component] = value
                (_, (found, *pictures)), grad = run(jnp.asarray(clip), topology)
                for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
                    np.testing.assert_allclose(got, want, atol=1e-6)
                np.testing.assert_allclose(pictures[0], others[0], atol=1e-6)
                assert np.isfinite(pictures[1]).all()
                assert np.isfinite(grad).all() and (np.asarray(grad)[vertex] == 0).all()


@pytest.mark.parametrize("size", [1e12, 1e25, 3e38])
def test_huge_vertices_are_finite_too(size):
    clip = np.array(
        [[0, 0, 0, 1], [0.5, 0, 0, 1], [0, 0.5, 0, 1], [size, 0, 0, 1], [0, size, 0, size],
         [-size, size, 0, -1]], np.float32,
    )  # fmt: skip
    topology = MeshTopology([[3, 4, 5], [0, 1, 3], [0, 4, 1], [0, 1, 2], [1, 2, 5]], len(clip))

    def total(clip):
        f = rasterize(clip, topology, (8, 8))
        return jnp.sum(f.barycentric**2) + jnp.sum(f.depth), f

    grad, found = jax.grad(total, has_aux=True)(jnp.asarray(clip))
    assert np.isfinite(found.barycentric).all() and np.isfinite(found.depth).all()
    assert np.isfinite(grad[:3]).all()
    assert (np.asarray(found.triangle_id) >= 0).any()


@pytest.mark.parametrize("silhouette", ["boundary", "antialias"])
def test_pictures_and_gradients_of_a_mesh_with_a_broken_vertex(rng, silhouette):
    vertices, topology, rest, vertex = broken_ball()
    vertices = np.concatenate([vertices, vertices[:1]])  # the last one belongs to no triangle
    vertices[[vertex, -1]] = np.nan
    picture = rng.uniform(size=(8, 8, 3)).astype(np.float32)
    picture[0] = np.nan  # beside the layout, where background has its coordinates
    weight = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    params = (vertices, CAMERA.translation, DirectionalLight().color, picture)

    def loss(params, topology):
        vertices, translation, color, picture = params
        mesh = Mesh(vertices, topology, texture=picture)
        camera, light = CAMERA.replace(translation=translation), DirectionalLight(color=color)
        out = render(mesh, camera, light, SIZE, silhouette=silhouette)
        return jnp.sum(out.image * weight) + jnp.sum(out.mask * weight[..., 0]), out

    def result(topology):
        uv = 0.3 + 0.6 * topology.uv
        layout = MeshTopology(topology.triangles, len(vertices), uv, topology.uv_triangles)
        return jax.grad(loss, has_aux=True)(params, layout)

    grads, found = result(topology)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((grads, found)))
    if silhouette == "boundary":  # blending also looks across the edges that are gone
        wanted_grads, wanted = result(rest)
        for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)
        for got, want in zip(grads, wanted_grads, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def test_one_pixel_no_triangles_and_no_images():
    vertices, topology = meshes.sphere(9, 16)
    mesh = Mesh(80 * vertices, topology)
    for size, silhouette in (((1, 1), "boundary"), ((1, 9), "antialias")):
        out = render(mesh, CAMERA, size=size, silhouette=silhouette)
        assert out.image.shape == (*size, 3) and np.isfinite(out.image).all()
        assert np.asarray(out.triangle_id)[0, size[1] // 2] >= 0
    none = render(mesh.replace(vertices=mesh.vertices[None][:0]), CAMERA, size=(1, 1))
    assert none.image.shape == (0, 1, 1, 3)
    nothing = MeshTopology(np.zeros((0, 3)), 4, uv=np.zeros((4, 2)))
    out = render(Mesh(np.zeros((4, 3), np.float32), nothing), CAMERA, size=(4, 4))
    assert (np.asarray(out.triangle_id) == -1).all() and np.isfinite(out.image).all()
    atlas = uv_atlas(nothing, 4)
    assert not atlas.mask.any() and (np.asarray(bake(atlas, np.full((4, 1), np.nan))) == 0).all()
    assert (np.asarray(unbake(atlas, np.full((4, 4, 1), np.nan, np.float32))) == 0).all()
    for size in ((0, 4), (4, 40000)):
        with pytest.raises(ValueError, match="1 to 32767 pixels"):
            rasterize(np.zeros((4, 4), np.float32), nothing, size)


def test_maps_ignore_what_is_beside_the_layout(rng):
    vertices, topology = meshes.sphere(7, 10)
    broken = vertices.copy()
    broken[topology.triangles[0]] = np.nan
    for supersample in (1, 2):
        atlas = uv_atlas(topology, (24, 32), supersample=supersample)
        baked, wanted = np.asarray(bake(atlas, broken)), np.asarray(bake(atlas, vertices))
        assert (baked[~atlas.mask] == 0).all()
        far = np.ones(atlas.size, bool)
        near = (topology.triangles == topology.triangles[0][:, None, None]).any(axis=(0, 2))
        for ids in atlas.sample_vertex:  # texels with a sample in a triangle of a broken vertex
            far &= ~np.isin(ids, topology.triangles[0]).any(axis=0).reshape(atlas.size)
        assert near.any() and far[atlas.mask].any()
        np.testing.assert_allclose(baked[far], wanted[far], atol=1e-6)
        holes = np.where(atlas.mask[..., None], wanted, np.nan)
        read, grad = jax.value_and_grad(lambda m, a=atlas: jnp.sum(unbake(a, m) ** 2))(holes)
        assert np.isfinite(read) and np.isfinite(grad).all()
        np.testing.assert_allclose(unbake(atlas, holes), unbake(atlas, wanted), atol=1e-6)
        grown = np.asarray(atlas.dilate(holes, 2))
        assert np.isfinite(grown).all()


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
