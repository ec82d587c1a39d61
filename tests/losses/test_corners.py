"""The promises of the losses: means over the batch, finite gradients, what does not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.losses import adversarial, classification, identity, mesh, reconstruction
from facejax.morphable import Coefficients


def finite_gradients(loss, *args):
    """The value, after a check that it is one finite number with finite gradients."""
    numbers = tuple(range(len(args)))
    value, grads = jax.jit(jax.value_and_grad(loss, argnums=numbers))(*args)
    assert value.shape == () and np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    return float(value)


def mean_over_batch(loss, *args):
    """Checks that the loss of a batch is the mean of its examples' losses."""
    each = jax.jit(jax.vmap(lambda *one: loss(*(a[None] for a in one))))(*args)
    np.testing.assert_allclose(jax.jit(loss)(*args), np.mean(each), rtol=1e-5)


@pytest.mark.parametrize("form", reconstruction.FORMS)
def test_photometric(rng, form):
    a, b = rng.uniform(size=(2, 2, 4, 5, 3)).astype(np.float32)
    mask = np.ones((2, 4, 5), np.float32)

    def loss(a, b, mask=mask):
        return reconstruction.photometric(a, b, mask, form)

    mean_over_batch(lambda a, b: loss(a, b, np.ones(a.shape[:-1], np.float32)), a, b)
    finite_gradients(loss, a, a)
    assert finite_gradients(lambda a, b: loss(a, b, 0 * mask), a, b) == 0
    mask[:, :2] = 0
    holes = a.copy()
    holes[:, :2] = np.nan
    assert finite_gradients(loss, holes, b) == pytest.approx(float(loss(a, b)), rel=1e-6)
    with pytest.raises(ValueError, match="loss form"):
        reconstruction.photometric(a, b, mask, "caffe")
    with pytest.raises(ValueError, match="loss form"):
        reconstruction.perceptual(a, b, "caffe")


def test_the_other_losses_of_reconstruction(rng):
    points = rng.normal(size=(2, 3, 68, 2)).astype(np.float32)
    mean_over_batch(reconstruction.landmark, *points)
    assert finite_gradients(reconstruction.landmark, points[0], points[0]) == 0
    weights = np.r_[np.zeros(17), np.ones(51)].astype(np.float32)
    hidden = points[0].copy()
    hidden[:, :17] = np.nan
    known = reconstruction.landmark(*points, weights)
    found = finite_gradients(lambda p, t: reconstruction.landmark(p, t, weights), hidden, points[1])
    assert found == pytest.approx(float(known), rel=1e-6)
    features = rng.normal(size=(2, 3, 8)).astype(np.float32)
    for form in reconstruction.FORMS:

        def perceptual(a, b, form=form):
            return reconstruction.perceptual(a, b, form)

        mean_over_batch(perceptual, *features)
        assert finite_gradients(perceptual, features[0], 7 * features[0]) == pytest.approx(
            0, abs=1e-6
        )
        assert finite_gradients(perceptual, 0 * features[0], features[1]) == 1
    parts = {k: jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for k in ("id", "exp", "alb")}
    finite_gradients(lambda i: reconstruction.coefficient_prior(Coefficients(i, i, i)), parts["id"])
    mean_over_batch(reconstruction.gamma_prior, rng.normal(size=(3, 27)).astype(np.float32))
    assert finite_gradients(reconstruction.gamma_prior, np.zeros((2, 27), np.float32)) == 0
    albedo = rng.uniform(size=(3, 6, 3)).astype(np.float32)
    skin = np.float32([1, 1, 0.5, 1, 0, 0])
    mean_over_batch(lambda a: reconstruction.reflectance(a, skin), albedo)
    wanted = float(reconstruction.reflectance(albedo, skin))
    albedo[:, 4:] = np.nan
    found = finite_gradients(lambda a: reconstruction.reflectance(a, skin), albedo)
    assert found == pytest.approx(wanted, rel=1e-6)
    assert finite_gradients(lambda a: reconstruction.reflectance(a, 0 * skin), albedo) == 0


def test_losses_of_meshes(rng):
    topology = MeshTopology([[0, 1, 2], [0, 2, 3]], 6)  # two vertices without a triangle
    shapes = rng.normal(size=(2, 3, 6, 3)).astype(np.float32)
    mean_over_batch(mesh.gcn_shape, *shapes)
    mean_over_batch(mesh.gcn_normal, *shapes)
    mean_over_batch(lambda v: mesh.laplacian_smoothness(v, topology), shapes[0])
    flat = np.zeros((2, 6, 3), np.float32)
    assert finite_gradients(lambda v: mesh.laplacian_smoothness(v, topology), flat) == 0
    empty = MeshTopology(np.zeros((0, 3)), 6)
    assert finite_gradients(lambda v: mesh.laplacian_smoothness(v, empty), shapes[0]) == 0


@pytest.mark.parametrize("kind", ["logistic", "wgan", "least_squares", "hinge"])
def test_adversarial_losses_of_extreme_scores(kind):
    scores = np.float32([[-1e4, -1.0, 0.0], [1.0, 1e4, -0.0]])
    finite_gradients(getattr(adversarial, f"{kind}_generator"), scores)
    finite_gradients(getattr(adversarial, f"{kind}_discriminator"), scores, -scores)


def test_penalties_of_a_flat_critic_are_finite():
    examples = jnp.ones((2, 3))

    def penalty(slope):
        return adversarial.gradient_penalty(
            lambda x: slope * jnp.sum(x, axis=-1), examples, -examples, jnp.float32([0.0, 1.0])
        )[0]

    assert finite_gradients(penalty, np.float32(0.0)) == 1
    score = finite_gradients(
        lambda s: adversarial.r1_penalty(lambda x: s * jnp.sum(x, axis=-1), examples), np.float32(0)
    )
    assert score == 0


def test_classifiers_at_the_edge():
    logits = np.float32([[0.0, -np.inf, 3.0], [1e4, -1e4, 0.0]])
    wanted = np.float32([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    value, grad = jax.value_and_grad(classification.soft_cross_entropy, argnums=1)(wanted, logits)
    assert np.isfinite(value) and np.isfinite(grad).all()
    cosine = np.float32([[1.0, -1.0], [-1.0, 1.0], [0.3, 0.2]])
    labels = np.int32([0, 0, 1])
    for kind in identity.MARGINS:
        finite_gradients(lambda c, k=kind: identity.margin_logits(c, labels, 0.5, k).sum(), cosine)
    with pytest.raises(ValueError, match="wanted one of"):
        identity.margin_logits(cosine, labels, 0.5, "sphereface")
