import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render.interpolate import interpolate
from facejax.render.rasterize import rasterize
from tests.oracles import meshes

SIZE = (12, 16)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_matches_the_definition_and_its_gradient(rng, batch):
    clip, topology = meshes.soup(rng, 12, 0.6)
    fragments = rasterize(clip, topology, SIZE)
    ids = np.asarray(fragments.triangle_id)
    bary = np.asarray(fragments.barycentric, np.float64)
    values = rng.normal(size=(*batch, len(clip), 2)).astype(np.float32)
    weight = rng.normal(size=(*batch, *SIZE, 2)).astype(np.float32)
    corners = values[..., topology.triangles[np.maximum(ids, 0)], :]
    want = np.einsum("hwk,...hwkc->...hwc", bary, corners)
    got, pullback = jax.vjp(
        lambda v, b: interpolate(v, topology, fragments.replace(barycentric=b)),
        jnp.asarray(values),
        fragments.barycentric,
    )
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert (np.asarray(got)[..., ids < 0, :] == 0).all()
    grad_values, grad_bary = pullback(jnp.asarray(weight))
    want_values = np.zeros(values.shape)
    for r, c in zip(*np.nonzero(ids >= 0), strict=True):
        for k in range(3):
            v = topology.triangles[ids[r, c], k]
            want_values[..., v, :] += bary[r, c, k] * weight[..., r, c, :]
    np.testing.assert_allclose(grad_values, want_values, atol=1e-4)
    per_image = np.einsum("...hwkc,...hwc->...hwk", corners, weight)
    want_bary = per_image.sum(axis=tuple(range(len(batch)))) * (ids >= 0)[..., None]
    np.testing.assert_allclose(np.asarray(grad_bary)[ids >= 0], want_bary[ids >= 0], atol=1e-4)


def test_uv_domain_uses_the_seam_split_vertices():
    triangles = [[0, 1, 2]]
    uv = np.array([[0, 0], [1, 0], [1, 1], [0.5, 0.5]], np.float32)
    topology = MeshTopology(triangles, 3, uv, [[3, 1, 2]])
    clip = np.array([[-1, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]], np.float32)
    fragments = rasterize(clip, topology, (2, 2))
    got = interpolate(uv, topology, fragments, domain="uv")
    want = np.asarray(fragments.barycentric) @ uv[[3, 1, 2]]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_errors_name_the_wanted_shape(rng):
    clip, topology = meshes.soup(rng, 2, 0.5)
    fragments = rasterize(clip, topology, (4, 4))
    with pytest.raises(ValueError, match=r"\[\.\.\., 6, C\]"):
        interpolate(np.zeros((5, 3), np.float32), topology, fragments)
    with pytest.raises(ValueError, match="no UV layout"):
        interpolate(np.zeros((6, 2), np.float32), topology, fragments, domain="uv")
    with pytest.raises(ValueError, match="domain"):
        interpolate(np.zeros((6, 2), np.float32), topology, fragments, domain="edge")
