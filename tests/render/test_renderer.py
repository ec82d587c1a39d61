import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera, project, to_clip
from facejax.geometry.mesh import Mesh, MeshTopology, vertex_normals
from facejax.image.color import srgb_to_linear
from facejax.render import (
    AmbientLight,
    DirectionalLight,
    PointLight,
    bake,
    interpolate,
    rasterize,
    render,
    uv_atlas,
)
from tests.oracles import meshes
from tests.oracles.lowering import accelerator_programs

SIZE = (24, 32)
PLAIN = AmbientLight()


def ball(rng, **layout):
    vertices, topology = meshes.sphere(9, 16, **layout)
    colors = rng.uniform(0.2, 0.8, vertices.shape).astype(np.float32)
    return Mesh(jnp.asarray(80 * vertices), topology, vertex_colors=jnp.asarray(colors))


def test_raw_unlit_render_is_rasterise_and_interpolate(rng):
    mesh, camera = ball(rng), Camera.look_at(yaw_rad=0.3, pitch_rad=0.2)
    out = render(mesh, camera, PLAIN, SIZE, color_space="raw", background=(0.1, 0.2, 0.3))
    fragments = rasterize(to_clip(camera, mesh.vertices, SIZE), mesh.topology, SIZE)
    hit = np.asarray(fragments.triangle_id) >= 0
    color = np.asarray(interpolate(mesh.vertex_colors, mesh.topology, fragments))
    want = np.where(hit[..., None], color, np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(out.image, want, atol=2e-3)
    np.testing.assert_array_equal(out.triangle_id, fragments.triangle_id)
    np.testing.assert_array_equal(out.mask, hit)
    np.testing.assert_allclose(np.linalg.norm(out.normal, axis=-1), hit, atol=1e-5)
    assert (np.abs(np.asarray(out.depth)[hit] - 900) <= 80).all()
    assert np.allclose(np.asarray(out.depth)[~hit], 1350, rtol=1e-4)
    assert out.uv.shape == (*SIZE, 2)


def test_up_is_up_and_the_subjects_left_is_image_right():
    xyz = np.array([[10, 10, 0], [60, 10, 0], [60, 60, 0]], np.float32)
    mesh = Mesh(jnp.asarray(xyz), MeshTopology([[0, 1, 2]], 3))
    camera = Camera.look_at()
    rows, columns = np.nonzero(np.asarray(render(mesh, camera, PLAIN, (32, 32)).mask))
    assert rows.max() < 16 and columns.min() >= 16
    x, y = np.asarray(project(camera, jnp.asarray(xyz), (32, 32))).T
    assert x.min() - 1 < columns.min() and columns.max() < x.max() + 1
    assert y.min() - 1 < rows.min() and rows.max() < y.max() + 1


def test_texture_and_vertex_colours_agree_where_both_are_linear(rng):
    mesh, camera = ball(rng), Camera.look_at()
    smooth = 0.5 + 0.4 * mesh.vertices / 80
    atlas = uv_atlas(mesh.topology, 128)
    textured = mesh.replace(vertex_colors=None, texture=atlas.dilate(bake(atlas, smooth), 3))
    a = render(mesh.replace(vertex_colors=smooth), camera, PLAIN, SIZE, color_space="raw")
    b = render(textured, camera, PLAIN, SIZE, color_space="raw")
    assert np.abs(np.asarray(a.image) - np.asarray(b.image)).max() < 0.02


def test_textures_continue_across_the_u_seam(rng):
    mesh = ball(rng, wraps_u=True)
    height, width = 16, 64
    u = (np.arange(width) + 0.5) / width
    row = np.stack(
        [0.5 + 0.4 * np.cos(2 * np.pi * u), 0.5 + 0.4 * np.sin(2 * np.pi * u), 0 * u], -1
    )
    tex = jnp.asarray(np.broadcast_to(row, (height, width, 3)), jnp.float32)
    behind = Camera.look_at(yaw_rad=np.pi)
    out = render(
        mesh.replace(texture=tex), behind, PLAIN, SIZE, color_space="raw", background=(1.0,) * 3
    )
    hit = np.asarray(out.mask) > 0
    radius = np.linalg.norm(np.asarray(out.image)[..., :2] - 0.5, axis=-1)[hit]
    assert (np.abs(radius - 0.4) < 0.06).all()  # interpolating across the map would pass through 0


@pytest.mark.parametrize("space", ["object", "tangent"])
def test_normal_maps_replace_the_geometry_normals(rng, space):
    mesh, camera = ball(rng), Camera.look_at(pitch_rad=0.1)
    normals = vertex_normals(mesh.vertices, mesh.topology)
    if space == "object":
        atlas = uv_atlas(mesh.topology, 128)
        normal_map = atlas.dilate(bake(atlas, normals), 3)
    else:
        normal_map = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (8, 8, 3))
    want = render(mesh, camera, None, SIZE)
    got = render(mesh.replace(normal_map=normal_map), camera, None, SIZE, normal_map_space=space)
    np.testing.assert_allclose(got.normal, want.normal, atol=0.03)
    flipped = render(
        mesh.replace(normal_map=-normal_map), camera, None, SIZE, normal_map_space=space
    )
    assert np.abs(np.asarray(flipped.image) - np.asarray(want.image)).max() > 0.1


def test_light_frames(rng):
    mesh = ball(rng).replace(vertex_colors=None)
    turned = Camera.look_at(yaw_rad=np.pi / 2)
    side = jnp.array([1.0, 0.0, 0.0])

    def balance(light, camera):
        image = np.asarray(render(mesh, camera, light, SIZE, background=(0.0,) * 3).image)
        return image[:, 16:].sum() - image[:, :16].sum()

    assert balance(DirectionalLight(direction=side), turned) > 10
    tied = DirectionalLight(direction=side, frame="object")  # object +x is now away from the viewer
    assert abs(balance(tied, turned)) < 5
    assert balance(tied, Camera.look_at()) > 10
    near = PointLight(position=jnp.array([200.0, 0.0, 100.0]), frame="object")
    assert balance(near, Camera.look_at()) > 10


def test_supersampling_is_the_average_of_a_larger_linear_image(rng):
    supersample = 2
    mesh, camera = ball(rng), Camera.look_at()
    big = (SIZE[0] * supersample, SIZE[1] * supersample)
    large = render(mesh, camera, None, big)
    small = render(mesh, camera, None, SIZE, supersample=supersample)
    linear = np.asarray(srgb_to_linear(large.image)).reshape(
        SIZE[0], supersample, SIZE[1], supersample, 3
    )
    np.testing.assert_allclose(srgb_to_linear(small.image), linear.mean(axis=(1, 3)), atol=1e-4)
    assert set(np.unique(small.mask)) - {0.0, 1.0}


@pytest.mark.parametrize(
    "silhouette", ["boundary", pytest.param("antialias", marks=pytest.mark.slow)]
)
def test_bands_change_neither_image_nor_gradient(rng, silhouette):
    mesh, camera = ball(rng), Camera.look_at()
    photo = jnp.asarray(rng.uniform(size=(*SIZE, 3)), jnp.float32)
    options = dict(background=photo, silhouette=silhouette)

    def loss(mesh, band_pixels):
        out = render(mesh, camera, None, SIZE, band_pixels=band_pixels, **options)
        return jnp.sum(out.image**2) + jnp.sum(out.mask), out

    def run(band_pixels):
        return jax.grad(loss, has_aux=True)(mesh, band_pixels)

    (whole_grad, whole), (band_grad, band) = run(None), run(5 * SIZE[1])  # 5 bands, one incomplete
    np.testing.assert_allclose(band.image, whole.image, atol=2e-4)
    np.testing.assert_allclose(band.depth, whole.depth, rtol=1e-4)
    scale = np.abs(np.asarray(whole_grad.vertices)).max()
    np.testing.assert_allclose(band_grad.vertices, whole_grad.vertices, atol=2e-3 * scale)
    np.testing.assert_allclose(band_grad.vertex_colors, whole_grad.vertex_colors, atol=1e-2)


def test_batch_dims_of_mesh_camera_and_light_broadcast(rng):
    mesh = ball(rng)
    yaw = jnp.array([0.0, 0.7])
    meshes_ = mesh.replace(vertices=jnp.stack([mesh.vertices, mesh.vertices * 0.8])[:, None])
    lights = DirectionalLight(ambient=jnp.array([[0.1] * 3, [0.6] * 3]))
    out = render(meshes_, Camera.look_at(yaw_rad=yaw), lights, SIZE)
    assert out.image.shape == (2, 2, *SIZE, 3) and out.uv.shape == (2, 2, *SIZE, 2)
    one = render(
        mesh.replace(vertices=mesh.vertices * 0.8),
        Camera.look_at(yaw_rad=0.7),
        DirectionalLight(ambient=jnp.array([0.6] * 3)),
        SIZE,
    )
    np.testing.assert_allclose(out.image[1, 1], one.image, atol=1e-5)


@pytest.mark.parametrize("silhouette", ["boundary", "antialias"])
def test_gradients_reach_everything_and_are_finite(rng, silhouette):
    mesh = ball(rng)
    mesh = mesh.replace(vertices=mesh.vertices.at[3].set(jnp.array([0.0, 0.0, 2000.0])))

    def loss(mesh, camera, light):
        out = render(mesh, camera, light, SIZE, silhouette=silhouette)
        return jnp.sum(out.image[:, :16]) + jnp.sum(out.mask[:, 16:])

    light = DirectionalLight(specular=jnp.float32(0.2))
    grads = jax.grad(loss, argnums=(0, 1, 2))(mesh, Camera.look_at(), light)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert np.abs(grads[0].vertices).max() > 0 and np.abs(grads[0].vertex_colors).max() > 0
    assert np.abs(grads[1].translation).max() > 0 and np.abs(grads[2].direction).max() > 0


def test_background_images_show_through(rng):
    photo = rng.uniform(size=(*SIZE, 3)).astype(np.float32)
    out = render(ball(rng), Camera.look_at(), None, SIZE, background=photo)
    clear = np.asarray(out.mask) == 0
    np.testing.assert_allclose(np.asarray(out.image)[clear], photo[clear], atol=1e-5)


def test_lowers_for_accelerators_without_a_device(rng):
    mesh = ball(rng)
    cameras = Camera.look_at(yaw_rad=jnp.array([0.0, 0.5]))

    def loss(vertices):
        return jnp.sum(render(mesh.replace(vertices=vertices), cameras, None, SIZE).image)

    programs = accelerator_programs(jax.value_and_grad(loss), mesh.vertices)
    assert all("scatter" in text for text in programs)


def test_errors_name_the_choices(rng):
    mesh = ball(rng)
    with pytest.raises(ValueError, match="antialias"):
        render(mesh, Camera.look_at(), silhouette="soft")
    bare = Mesh(mesh.vertices, MeshTopology(mesh.topology.triangles, mesh.topology.num_vertices))
    with pytest.raises(ValueError, match="no UV layout"):
        render(bare.replace(texture=jnp.zeros((4, 4, 3))), Camera.look_at())


def test_a_background_at_the_end_of_the_range_keeps_its_silhouette_gradient(rng):
    mesh, camera = ball(rng), Camera.look_at()
    weight = rng.uniform(size=(*SIZE, 3)).astype(np.float32)

    @jax.jit
    @jax.grad
    def slope(shift, white):
        moved = mesh.replace(vertices=mesh.vertices + shift * jnp.array([[1.0, 0.0, 0.0]]))
        out = render(moved, camera, PLAIN, SIZE, color_space="raw", background=white * jnp.ones(3))
        return jnp.sum(out.image * weight)

    below, exact = (float(slope(jnp.float32(0), jnp.float32(w))) for w in (0.9999, 1.0))
    assert abs(below) > 0.01
    np.testing.assert_allclose(exact, below, rtol=5e-3)


@pytest.mark.slow
def test_a_megapixel_gradient_needs_less_than_64_mb_of_temporaries(rng):
    mesh, camera = ball(rng), Camera.look_at()
    mesh = mesh.replace(topology=MeshTopology(mesh.topology.triangles, mesh.topology.num_vertices))

    def loss(vertices, colors):
        moved = mesh.replace(vertices=vertices, vertex_colors=colors)
        out = render(moved, camera, None, (1024, 1024))
        return jnp.mean(out.image**2) + jnp.mean(out.mask)

    program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    memory = program.lower(mesh.vertices, mesh.vertex_colors).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 64 * 2**20
