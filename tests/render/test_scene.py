import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.render import AmbientLight, concatenate_meshes, region_labels, render
from tests.oracles import meshes

SIZE = (24, 32)


def wall(z, texture=None, colors=None):
    xy, triangles = meshes.grid(2, 2)
    vertices = np.concatenate([80 * xy, np.full((4, 1), z)], axis=1).astype(np.float32)
    uv = None if texture is None else np.stack([(xy[:, 0] + 1) / 2, (1 - xy[:, 1]) / 2], axis=1)
    return Mesh(vertices, MeshTopology(triangles, 4, uv), vertex_colors=colors, texture=texture)


def picture(mesh, **options):
    return render(mesh, Camera.look_at(), AmbientLight(), SIZE, color_space="raw", **options)


def test_scene_shows_the_nearer_mesh_and_labels_it():
    vertices, topology = meshes.sphere()
    ball = Mesh(50 * vertices, topology, vertex_colors=np.abs(vertices))
    scene, material = concatenate_meshes([ball, wall(-100.0)])
    together = picture(scene, labels=material)
    alone, behind = picture(ball), picture(wall(-100.0))
    front = np.asarray(alone.mask) > 0
    np.testing.assert_array_equal(together.label == 0, front)
    np.testing.assert_array_equal(together.label == 1, (np.asarray(behind.mask) > 0) & ~front)
    assert (np.asarray(together.label)[np.asarray(together.mask) == 0] == -1).all()
    want = np.where(front[..., None], alone.image, behind.image)
    np.testing.assert_allclose(together.image, want, atol=1e-5)


def test_textures_of_different_sizes_keep_their_pixels(rng):
    a = wall(-50.0, rng.uniform(size=(6, 4, 3)).astype(np.float32))
    b = wall(50.0, rng.uniform(size=(3, 5, 3)).astype(np.float32))
    b = b.replace(vertices=b.vertices * np.float32([0.5, 0.5, 1.0]))
    scene, material = concatenate_meshes([a, b, wall(-100.0)])
    out = picture(scene, labels=material)
    for i, mesh in enumerate([a, b]):
        seen = np.asarray(out.label) == i
        assert seen.any()
        np.testing.assert_allclose(out.image[seen], picture(mesh).image[seen], atol=2e-3)


def test_batch_dims_broadcast():
    many = wall(0.0).replace(vertices=jnp.stack([wall(0.0).vertices, wall(9.0).vertices]))
    scene, _ = concatenate_meshes([many, wall(5.0, colors=jnp.ones((4, 3)))])
    assert scene.vertices.shape == (2, 8, 3) and scene.vertex_colors.shape == (8, 3)
    assert np.unique(np.asarray(scene.vertex_colors)).tolist() == [pytest.approx(0.72), 1.0]


def test_regions_come_from_the_strongest_mask():
    topology = wall(0.0).topology  # triangles 0 1 3 and 0 3 2
    masks = {"left": np.array([1.0, 0, 1, 1]), "right": np.array([0.4, 1, 0, 1])}
    assert region_labels(masks, topology).tolist() == [1, 0]
    assert region_labels(masks, topology, threshold=0.9).tolist() == [-1, 0]
    assert region_labels({}, topology).tolist() == [-1, -1]


def test_errors_say_what_to_do(rng):
    image = np.zeros((2, 2, 3), np.float32)
    with pytest.raises(ValueError, match="at least one"):
        concatenate_meshes([])
    with pytest.raises(ValueError, match="bake"):
        concatenate_meshes([wall(0.0, image), wall(1.0, colors=np.ones((4, 3)))])
    with pytest.raises(ValueError, match="normal map"):
        concatenate_meshes([wall(0.0, image).replace(normal_map=image)])
    with pytest.raises(ValueError, match="UV layout"):
        concatenate_meshes([wall(0.0).replace(texture=image)])
    with pytest.raises(ValueError, match="labels"):
        picture(wall(0.0), labels=np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="one value per vertex"):
        region_labels({"nose": np.zeros(3)}, wall(0.0).topology)
