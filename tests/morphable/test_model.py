import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.morphable import (
    Coefficients,
    decode_albedo,
    decode_shape,
    decode_texture,
    join_coefficients,
    landmarks,
    split_coefficients,
)

BATCHES = [(), (2, 3)]


def _linear_oracle(mean, *terms):
    """mean + sum_k c_k std_k basis_k, one coefficient at a time in float64."""
    batch = terms[0][0].shape[:-1]
    out = np.broadcast_to(np.asarray(mean, np.float64), (*batch, *mean.shape)).copy()
    for coeffs, std, basis in terms:
        for where in np.ndindex(batch):
            for k in range(len(std)):
                scale = float(coeffs[(*where, k)]) * float(std[k])
                out[where] += scale * np.asarray(basis[k], np.float64)
    return out


def _random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("batch", BATCHES)
def test_decode_shape_matches_oracle(small_model, rng, batch):
    m = small_model
    id_coeffs, exp_coeffs = _random(rng, *batch, m.num_id), _random(rng, *batch, m.num_exp)
    got = decode_shape(m, id_coeffs, exp_coeffs)
    want = _linear_oracle(
        m.mean_shape, (id_coeffs, m.id_std, m.id_basis), (exp_coeffs, m.exp_std, m.exp_basis)
    )
    assert got.shape == (*batch, m.num_vertices, 3) and got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, atol=1e-3)  # mm


@pytest.mark.parametrize("batch", BATCHES)
def test_decode_albedo_and_texture_match_oracle(small_model, rng, batch):
    m = small_model
    coeffs = _random(rng, *batch, m.num_alb)
    albedo, tex = decode_albedo(m, coeffs), decode_texture(m, coeffs)
    np.testing.assert_allclose(
        albedo, _linear_oracle(m.mean_albedo, (coeffs, m.alb_std, m.alb_basis)), atol=1e-5
    )
    np.testing.assert_allclose(
        tex, _linear_oracle(m.mean_texture, (coeffs, m.alb_std, m.tex_basis)), atol=1e-5
    )


def test_identity_and_expression_batches_broadcast(small_model, rng):
    m = small_model
    id_coeffs, exp_coeffs = _random(rng, 2, 1, m.num_id), _random(rng, 3, m.num_exp)
    got = decode_shape(m, id_coeffs, exp_coeffs)
    assert got.shape == (2, 3, m.num_vertices, 3)
    one = decode_shape(m, id_coeffs[1, 0], exp_coeffs[2])
    np.testing.assert_allclose(got[1, 2], one, atol=1e-3)


def test_gradient_of_decoding_is_the_basis(small_model, rng):
    m = small_model
    weights = _random(rng, m.num_vertices, 3)

    def total(id_coeffs, exp_coeffs, alb_coeffs):
        shape, albedo = decode_shape(m, id_coeffs, exp_coeffs), decode_albedo(m, alb_coeffs)
        return jnp.sum(weights * (shape + albedo))

    point = (_random(rng, m.num_id), _random(rng, m.num_exp), _random(rng, m.num_alb))
    got = jax.grad(total, argnums=(0, 1, 2))(*point)
    bases = ((m.id_std, m.id_basis), (m.exp_std, m.exp_basis), (m.alb_std, m.alb_basis))
    for grad, (std, basis) in zip(got, bases, strict=True):
        want = np.asarray(std) * np.einsum("vc,kvc->k", weights, np.asarray(basis))
        np.testing.assert_allclose(grad, want, rtol=1e-3, atol=1e-2)


def test_texture_and_vertex_albedo_agree(small_model, rng):
    m, mesh = small_model, small_model.topology.mesh
    coeffs = _random(rng, m.num_alb)
    tex, albedo = np.asarray(decode_texture(m, coeffs)), np.asarray(decode_albedo(m, coeffs))
    size = tex.shape[0]
    column, row = np.clip((mesh.uv * size).astype(int), 0, size - 1).T
    difference = np.abs(tex[row, column] - albedo[mesh.uv_vertex]).mean(axis=-1)
    assert np.median(difference) < 0.02  # edges of eyes and lips differ: another resolution


def test_wrong_number_of_coefficients_is_explained(small_model):
    with pytest.raises(ValueError, match=r"wanted \[\.\.\., 16\]"):
        decode_shape(small_model, jnp.zeros(15), jnp.zeros(small_model.num_exp))
    with pytest.raises(ValueError, match="identity"):
        split_coefficients(small_model, jnp.zeros(3))


def test_model_without_textures_says_so(small_model):
    bare = small_model.replace(mean_texture=None, tex_basis=None)
    with pytest.raises(ValueError, match="decode_albedo"):
        decode_texture(bare, jnp.zeros(bare.num_alb))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", [68, 5])
def test_landmarks_pick_vertices(small_model, rng, batch, kind):
    m = small_model
    vertices = _random(rng, *batch, m.num_vertices, 3)
    ids = m.topology.landmarks68 if kind == 68 else m.topology.landmarks5
    np.testing.assert_array_equal(landmarks(m, vertices, kind), vertices[..., ids, :])


def test_landmarks_of_another_kind_are_refused(small_model):
    with pytest.raises(ValueError, match="68 or 5"):
        landmarks(small_model, small_model.mean_shape, 51)


@pytest.mark.parametrize("batch", BATCHES)
def test_split_inverts_join(small_model, rng, batch):
    m = small_model
    parts = Coefficients(*(_random(rng, *batch, n) for n in (m.num_id, m.num_exp, m.num_alb)))
    joined = join_coefficients(parts)
    assert joined.shape == (*batch, m.num_id + m.num_exp + m.num_alb)
    again = split_coefficients(m, joined)
    chex.assert_trees_all_equal(again, parts)
    assert again.angles is None and again.gamma is None and again.trans is None
    turned = parts.replace(angles=np.ones(3, np.float32))
    np.testing.assert_array_equal(join_coefficients(turned)[..., -3:], np.ones((*batch, 3)))


def test_model_is_a_pytree_with_static_topology(small_model):
    traces = []

    @jax.jit
    def middle(model, id_coeffs):
        traces.append(1)
        return decode_shape(model, id_coeffs, jnp.zeros(model.num_exp)).mean(axis=-2)

    first = middle(small_model, jnp.zeros(small_model.num_id))
    again = middle(small_model.replace(mean_shape=small_model.mean_shape + 1), jnp.zeros(16))
    np.testing.assert_allclose(again, first + 1, atol=1e-3)
    assert len(traces) == 1
