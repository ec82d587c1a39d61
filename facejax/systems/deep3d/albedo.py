"""Training of the graph network on albedo, and of the critic that judges it.

Both losses are what a `facejax.train.system.Phase` wants, for a given `Deep3DSystem`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from facejax import losses as face_losses
from facejax.nn.keys import example_keys
from facejax.recon.decoder import render_face
from facejax.systems.deep3d import critic, texture


def albedo_loss(system, adversarial: float, params, inputs):
    """The loss of the graph network.

    Args:
      system: a `Deep3DSystem` whose graph network predicts albedo.
      adversarial: weight of minus the critic's score; 0 needs no critic.
      params, inputs: see `Phase`; the scalars have 'rendered'.
    """
    batch, trees = system.augmented(inputs.batch, inputs.rng), inputs.trees(params)
    face, linear, _ = system.refined(trees, batch)
    image, landmarks = batch["image"], batch["landmarks"]
    seen = texture.visible_colors(image, linear, system.camera.size, batch["mask"])
    terms = texture.texture_terms(face, linear, seen, system.mirror, trees["face_model"])
    picture = painted(system, trees, face, batch) if system.recognizer or adversarial else None
    if system.recognizer:
        got, wanted = (system.recognize(trees, x, landmarks)[0] for x in (picture, image))
        terms["perceptual"] = face_losses.perceptual(
            got, lax.stop_gradient(wanted), system.loss.form
        )
    loss = texture.texture_loss(
        terms,
        params["graph"],
        inputs.scalars["rendered"],
        texture.TextureWeights(**system.config.texture),
    )
    if adversarial:
        score = system.critic_net.score(params["critic"], 2.0 * picture - 1.0)
        terms["score"] = jnp.mean(score)
        loss = loss - adversarial * terms["score"]
    return loss, (terms, {})


def critic_loss(system, params, inputs):
    """The loss of the critic.

    Args:
      system: a `Deep3DSystem` with a critic.
      params, inputs: see `Phase`.
    """
    batch, trees = system.augmented(inputs.batch, inputs.rng), inputs.trees(params)
    face, _, _ = system.refined(trees, batch)
    fake = lax.stop_gradient(painted(system, trees, face, batch))
    rng = jax.random.fold_in(inputs.rng, 1)  # other draws than those of the augmentation
    mix = jax.vmap(jax.random.uniform)(example_keys(rng, batch["index"]))
    real, fake = 2.0 * batch["image"] - 1.0, 2.0 * fake - 1.0
    loss, terms = critic.critic_loss(
        system.critic_net, params["critic"], real, fake, mix, system.adversarial.penalty
    )
    return loss, (terms, {})


def painted(system, trees, face, batch) -> jax.Array:
    """The photos of a batch with the face drawn over their skin, [B, S, S, 3]."""
    picture, mask = render_face(trees["face_model"], face, system.camera)
    return texture.painted(batch["image"], picture, mask * batch["mask"])
