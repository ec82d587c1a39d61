import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import antialias, boundary_grad, interpolate, platform, rasterize
from tests.oracles import meshes

SIZE = (96, 96)
STEPS = np.linspace(-1.0, 1.0, 9)  # pixels: wide, because the forward image moves in steps


def square(turn_rad):
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    xy = 0.6 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ np.array([[c, s], [-s, c]])
    clip = np.concatenate([xy, np.zeros((4, 1)), np.ones((4, 1))], axis=1).astype(np.float32)
    return clip, MeshTopology([[0, 1, 2], [0, 2, 3]], 4)


def ball():
    vertices, topology = meshes.sphere(48, 96)  # about a pixel per triangle
    clip = np.concatenate([0.6 * vertices, np.ones((len(vertices), 1))], axis=1)
    clip[:, 2] *= -1  # toward the viewer is nearer
    return (clip * np.array([2.0, 2.0, 2.0, 2.0])).astype(np.float32), topology


def weights():
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    return jnp.asarray(np.sin(2 * x + 0.5) + 0.7 * np.cos(3 * y) + 0.4 * x * y, jnp.float32)


def moved(clip, parameters):
    """Shift by pixels in x and y (down), scaling by pixels at the border."""
    dx, dy, grow = parameters
    w = clip[:, 3]
    scale = 1 + grow * 2 / SIZE[1]
    x = clip[:, 0] * scale + dx * 2 / SIZE[1] * w
    y = clip[:, 1] * scale - dy * 2 / SIZE[0] * w
    return jnp.stack([x, y, clip[:, 2], w], axis=-1)


def gradient_and_difference(clip, topology, operator):
    def loss(parameters):
        position = moved(jnp.asarray(clip), parameters)
        fragments = rasterize(position, topology, SIZE)
        mask = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
        return jnp.sum(operator(mask, position, topology, fragments)[..., 0] * weights())

    loss = jax.jit(jax.value_and_grad(loss))
    grad = np.asarray(loss(jnp.zeros(3))[1])
    slopes = []
    for i in range(3):
        values = [float(loss(jnp.zeros(3).at[i].set(t))[0]) for t in 2 * STEPS]
        slopes.append(np.polyfit(2 * STEPS, values, 1)[0])
    return grad, np.array(slopes)


def test_boundary_gradient_of_a_dense_sphere_matches_wide_differences():
    grad, slope = gradient_and_difference(*ball(), boundary_grad)
    np.testing.assert_allclose(grad, slope, atol=0.05 * np.abs(slope).max())


def test_antialias_gradient_of_a_square_matches_wide_differences():
    grad, slope = gradient_and_difference(*square(0.35), antialias)
    np.testing.assert_allclose(grad, slope, atol=0.05 * np.abs(slope).max())


def test_antialias_follows_the_covered_area():
    def coverage(dx):
        clip, topology = square(0.0)
        clip = moved(jnp.asarray(clip), (dx, 0.0, 0.0))
        fragments = rasterize(clip, topology, SIZE)
        mask = (fragments.triangle_id >= 0).astype(jnp.float32)[..., None]
        return antialias(mask, clip, topology, fragments)[48, :, 0].sum()

    coverage = jax.jit(coverage)
    got = [float(coverage(dx)) for dx in np.linspace(0, 1, 5)]
    np.testing.assert_allclose(got, 0.6 * SIZE[1], atol=0.02)


@pytest.mark.parametrize("operator", [boundary_grad, antialias])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_flat_images_have_no_gradient_and_stay_the_same(operator, batch):
    clip, topology = square(0.3)
    clip = jnp.broadcast_to(clip, (*batch, *clip.shape))
    fragments = rasterize(clip, topology, (16, 16))
    image = jnp.full((*batch, 16, 16, 2), 0.5)
    out, pullback = jax.vjp(lambda i, c: operator(i, c, topology, fragments), image, clip)
    np.testing.assert_array_equal(out, image)
    grad_image, grad_clip = pullback(jnp.ones_like(image))
    assert float(jnp.sum(grad_image)) == pytest.approx(image.size, rel=1e-5)
    assert (np.asarray(grad_clip) == 0).all()


@pytest.mark.parametrize("operator", [boundary_grad, antialias])
def test_degenerate_input_has_finite_gradients(rng, operator):
    clip, topology = meshes.soup(rng, 30, 0.6, w_range=(-0.7, 2.0))
    clip[0:3] = clip[0]
    clip[5] = 0.0
    clip[8] = np.nan

    def loss(clip):
        f = rasterize(clip, topology, (16, 16))
        image = jnp.concatenate([f.barycentric, f.depth[..., None]], axis=-1)
        return jnp.sum(operator(image, clip, topology, f) ** 2)

    assert np.isfinite(jax.grad(loss)(jnp.asarray(clip))).all()


def test_growing_the_mask_pulls_the_right_edge_to_the_right():
    clip, topology = square(0.0)

    def loss(clip):
        f = rasterize(clip, topology, (32, 32))
        mask = (f.triangle_id >= 0).astype(jnp.float32)[..., None]
        return jnp.sum(boundary_grad(mask, clip, topology, f)[:, 16:])

    grad = np.asarray(jax.grad(loss)(jnp.asarray(clip)))
    assert grad[1, 0] > 0 and grad[2, 0] > 0 and abs(grad[0, 0]) < 0.05 * grad[1, 0]


def test_gradients_in_bands_agree_with_the_accelerator_path(rng):
    clip, topology = meshes.soup(rng, 40, 0.4)
    size = (192, 256)  # several bands of rows, several lists of boundary pixels
    columns = jnp.asarray(rng.normal(size=(len(clip), 2)).astype(np.float32))
    weight = jnp.asarray(rng.normal(size=(*size, 3)).astype(np.float32))

    def loss(clip, columns):
        f = rasterize(clip, topology, size)
        image = jnp.concatenate([interpolate(columns, topology, f), f.depth[..., None]], axis=-1)
        return jnp.sum(boundary_grad(image, clip, topology, f) * weight)

    banded = jax.grad(loss, argnums=(0, 1))(jnp.asarray(clip), columns)
    with platform.lower_for("gpu"):
        whole = jax.grad(loss, argnums=(0, 1))(jnp.asarray(clip), columns)
    for a, b in zip(banded, whole, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(np.asarray(b)).max())
