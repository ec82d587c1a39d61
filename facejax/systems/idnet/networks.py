"""The embedding network of an idnet run, its initial values, and embeddings as they are used."""

from typing import Any, NamedTuple

import jax
import numpy as np

from facejax.data.face_crops import face_crop
from facejax.geometry.math import safe_normalize
from facejax.nn.identity import IdentityNet, init_identity

_CLASS_LENGTH = 0.1  # per number of a class centre: short ones turn fast


def make_net(config) -> IdentityNet:
    """The network of `config.model`."""
    return IdentityNet(**config.model)


def initial_trees(
    net: IdentityNet, seed: int, num_identities: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and aux at the start of training, as numpy arrays.

    Args:
      net: the network.
      seed: any integer.
      num_identities: N people of the training set, each with a class centre.

    Returns:
      {'idnet': {'net', 'classes' [features, N]}} and {'idnet_stats': running statistics}.
    """
    trees = init_identity(net, seed)
    rng = np.random.default_rng([seed, 1])
    shape = (net.features, num_identities)
    classes = _CLASS_LENGTH * rng.standard_normal(shape).astype(np.float32)
    params = {"net": trees["params"], "classes": classes}
    return {"idnet": params}, {"idnet_stats": trees["batch_stats"]}


def network_crops(net: IdentityNet, image: jax.Array, landmarks: jax.Array) -> jax.Array:
    """The network's input, [B, size, size, 3] in [-1, 1].

    Args:
      net: the network.
      image: [B, S, S, 3] photos in [0, 1].
      landmarks: [B, 68, 2] pixels of the photos, y UP.
    """
    return 2.0 * face_crop(image, landmarks, net.size) - 1.0


class Embedded(NamedTuple):
    """Photos as the network sees them.

    Attributes:
      embedding: [B, features] of length one.
      crops: [B, size, size, 3] in [-1, 1].
    """

    embedding: jax.Array
    crops: jax.Array


def embed(
    net: IdentityNet, trees: dict[str, Any], image: jax.Array, landmarks: jax.Array
) -> Embedded:
    """Embeddings of photos.

    Args:
      net: the network.
      trees: {'idnet', 'idnet_stats'} as `initial_trees` and checkpoints have them.
      image: [B, S, S, 3] in [0, 1].
      landmarks: [B, 68, 2] pixels of the photos, y UP.
    """
    variables = {"params": trees["idnet"]["net"], "batch_stats": trees["idnet_stats"]}
    crops = network_crops(net, image, landmarks)
    return Embedded(safe_normalize(net.apply(variables, crops)[0]), crops)
