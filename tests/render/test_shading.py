import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology, vertex_normals
from facejax.render import shading
from facejax.render.shading import (
    AmbientLight,
    DirectionalLight,
    PointLight,
    SphericalHarmonics,
    sh_basis,
    shade,
)
from tests.oracles import meshes


def directions(rng, *shape):
    n = rng.normal(size=(*shape, 3))
    return (n / np.linalg.norm(n, axis=-1, keepdims=True)).astype(np.float32)


def test_real_basis_is_orthonormal_and_matches_scipy():
    from scipy.special import sph_harm_y

    nodes, weights = np.polynomial.legendre.leggauss(8)
    phi = np.arange(16) / 16 * 2 * np.pi
    z, az = (g.reshape(-1) for g in np.meshgrid(nodes, phi, indexing="ij"))
    area = np.repeat(weights, 16) * 2 * np.pi / 16
    s = np.sqrt(1 - z**2)
    n = np.stack([s * np.cos(az), s * np.sin(az), z], axis=-1).astype(np.float32)
    got = np.asarray(sh_basis(n, "real"), np.float64)
    np.testing.assert_allclose(got.T @ (got * area[:, None]), np.eye(9), atol=1e-5)
    want = []
    for l, m in [(0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]:
        y = sph_harm_y(l, abs(m), np.arccos(z), az) * (-1) ** abs(m)
        want.append(y.real if m == 0 else np.sqrt(2) * (y.real if m > 0 else y.imag))
    np.testing.assert_allclose(got, np.stack(want, axis=-1), atol=1e-5)


def test_lambert_basis_turns_radiance_into_irradiance(rng):
    """Light L(d) = max(d . l, 0)-like band-limited lamp: integrate it against the cosine lobe."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    phi = np.arange(128) / 128 * 2 * np.pi
    z, az = (g.reshape(-1) for g in np.meshgrid(nodes, phi, indexing="ij"))
    area = np.repeat(weights, 128) * 2 * np.pi / 128
    s = np.sqrt(1 - z**2)
    d = np.stack([s * np.cos(az), s * np.sin(az), z], axis=-1)
    coeffs = rng.normal(size=9)
    radiance = np.asarray(sh_basis(d.astype(np.float32), "real"), np.float64) @ coeffs
    normal = directions(rng, 4)
    irradiance = (np.maximum(normal @ d.T, 0) * radiance * area).sum(axis=1)
    got = np.asarray(sh_basis(normal, "lambert")) @ coeffs
    np.testing.assert_allclose(got, irradiance, atol=5e-3)


def test_deep3d_basis_has_the_published_constants_and_signs(rng):
    """Deng et al. 2019, code: a = (pi, 2 pi/sqrt 3, 2 pi/sqrt 8), c likewise, term by term."""
    n = directions(rng, 5)
    x, y, z = n.T
    a0, a1, a2 = np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)
    c0, c1 = 1 / np.sqrt(4 * np.pi), np.sqrt(3) / np.sqrt(4 * np.pi)
    c2 = 3 * np.sqrt(5) / np.sqrt(12 * np.pi)
    want = [
        a0 * c0 + 0 * x, -a1 * c1 * y, a1 * c1 * z, -a1 * c1 * x, a2 * c2 * x * y,
        -a2 * c2 * y * z, a2 * c2 * 0.5 / np.sqrt(3) * (3 * z**2 - 1), -a2 * c2 * x * z,
        a2 * c2 * 0.5 * (x**2 - y**2),
    ]  # fmt: skip
    np.testing.assert_allclose(sh_basis(n, "deep3d"), np.stack(want, axis=-1), atol=1e-5)


def test_deep3d_light_without_coefficients_is_the_published_ambient():
    light = SphericalHarmonics.deep3d(np.zeros(27, np.float32))
    got = shade(light, np.ones((1, 3), np.float32), np.array([[0.6, 0.0, 0.8]], np.float32))
    np.testing.assert_allclose(got, 0.70898, atol=1e-5)


def test_deep3d_coefficients_are_channel_major(rng):
    gamma = rng.normal(size=(2, 27)).astype(np.float32)
    n, albedo = directions(rng, 2, 4), rng.uniform(size=(2, 4, 3)).astype(np.float32)
    got = shade(SphericalHarmonics.deep3d(gamma), albedo, n)
    basis = np.asarray(sh_basis(n, "deep3d"))
    full = gamma.reshape(2, 3, 9) + np.array([0.8] + [0] * 8)
    np.testing.assert_allclose(got, albedo * np.einsum("bvk,bck->bvc", basis, full), atol=1e-5)


def test_lamps_follow_lambert_blinn_phong_and_the_inverse_square(rng):
    n = directions(rng, 6)
    albedo = rng.uniform(size=(6, 3)).astype(np.float32)
    to = np.array([1.0, 2.0, 2.0]) / 3
    color, ambient = np.array([1.0, 0.5, 0.2]), np.array([0.1, 0.2, 0.3])
    light = DirectionalLight(
        direction=jnp.array([1.0, 2.0, 2.0]), color=jnp.array(color), ambient=jnp.array(ambient),
        specular=jnp.float32(0.4), shininess=jnp.float32(8),
    )  # fmt: skip
    facing = n @ to
    half = (to + [0, 0, 1]) / np.linalg.norm(to + [0, 0, 1])
    highlight = np.where(facing > 0, 0.4 * np.maximum(n @ half, 0) ** 8, 0.0)[:, None]
    want = albedo * (ambient + np.maximum(facing, 0)[:, None] * color) + highlight * color
    np.testing.assert_allclose(shade(light, albedo, n), want, atol=1e-5)

    point = PointLight(position=jnp.array([0.0, 0.0, 50.0]), reference_mm=jnp.float32(100))
    p = np.zeros((6, 3), np.float32)
    want = albedo * np.maximum(n[:, 2:], 0) * 4.0
    np.testing.assert_allclose(shade(point, albedo, n, p), want, atol=1e-5)
    with pytest.raises(ValueError, match="positions"):
        shade(point, albedo, n)


def test_lights_add_up_and_batches_broadcast(rng):
    n, albedo = directions(rng, 2, 5), rng.uniform(size=(2, 5, 3)).astype(np.float32)
    one = AmbientLight(color=jnp.array([[0.2, 0.3, 0.4], [0.5, 0.6, 0.7]]))
    two = DirectionalLight()
    got = shade((one, two), albedo, n)
    want = albedo * (np.asarray(one.color)[:, None] + np.maximum(n[..., 2:], 0))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_all_lights_have_finite_gradients_for_zero_normals():
    n, albedo, p = (jnp.zeros((2, 3)), jnp.ones((2, 3)), jnp.zeros((2, 3)))
    lights = (
        SphericalHarmonics(jnp.ones((9, 3))),
        shading.default_light(),
        PointLight(specular=jnp.float32(0.3), reference_mm=jnp.float32(5)),
    )
    grads = jax.grad(lambda *a: jnp.sum(shade(*a)), argnums=(0, 1, 2, 3))(lights, albedo, n, p)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_unknown_convention_raises():
    with pytest.raises(ValueError, match="deep3d"):
        sh_basis(np.zeros((1, 3), np.float32), "bfm")


def test_tangents_run_along_u_and_flat_tangent_maps_change_nothing():
    vertices, topology = meshes.sphere(9, 16)
    tangents = np.asarray(shading.vertex_tangents(jnp.asarray(vertices), topology))
    at = np.asarray(vertices)[topology.uv_vertex]
    lon = np.arctan2(at[:, 0], at[:, 2])
    east = np.stack([np.cos(lon), 0 * lon, -np.sin(lon)], axis=-1)
    assert ((tangents * east).sum(-1) > 0.97).all()
    normal = list(np.asarray(vertex_normals(jnp.asarray(vertices), topology))[topology.uv_vertex].T)
    flat = [np.zeros(len(at)), np.zeros(len(at)), np.ones(len(at))]
    got = shading.tangent_to_object(flat, normal, list(tangents.T), np.ones(len(at)))
    np.testing.assert_allclose(np.stack(got), np.stack(normal), atol=1e-5)
    up = shading.tangent_to_object(flat[:1] + flat[2:] + flat[:1], normal, list(tangents.T), 1.0)
    assert (up[1][np.abs(at[:, 1]) < 0.5] > 0.8).all()  # y of the map points against v, upward


def test_mirrored_layouts_keep_the_tangent_along_u():
    v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    for uv in ([[0, 1], [1, 1], [0, 0]], [[1, 1], [0, 1], [1, 0]]):
        topology = MeshTopology([[0, 1, 2]], 3, np.array(uv, np.float32))
        tangent = np.asarray(shading.vertex_tangents(jnp.asarray(v), topology))
        sign = 1 if uv[1][0] else -1
        np.testing.assert_allclose(tangent, np.tile([[sign, 0, 0]], (3, 1)), atol=1e-6)
