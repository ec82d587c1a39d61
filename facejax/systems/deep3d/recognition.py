"""The frozen recognition network of the perceptual loss and of the graph network's input."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from facejax.data.face_crops import face_crop
from facejax.nn.identity import IdentityNet, init_identity

KINDS = ("idnet", "none")


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """A network from photos to identity features; its weights are an argument.

    Attributes:
      net: the module, called on crops in [-1, 1]: (features, pooled features).
      crop: side of its crops.
      num_pooled: length of the pooled features.
    """

    net: Any
    crop: int
    num_pooled: int

    def __call__(
        self, variables: dict, image: jax.Array, landmarks: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Features [B, E] (any length) and pooled features [B, num_pooled].

        Args:
          variables: the network's collections; no gradient flows into them.
          image: [B, S, S, 3] in [0, 1].
          landmarks: [B, 68, 2] pixels, y up, which align the crop; no gradient flows into them.
        """
        crops = 2.0 * face_crop(image, landmarks, self.crop) - 1.0
        return self.net.apply(jax.lax.stop_gradient(variables), crops)


def make_recognizer(config, seed: int) -> tuple[Recognizer, dict] | None:
    """The recogniser of `config.recognition` with its weights; None for 'none'.

    Args:
      config: with `recognition`: kind; weights, the folder of an idnet run, or '' for a network
        that nobody trained; size, width, features and depth of that one.
      seed: of untrained weights.

    Raises:
      ValueError: an unknown kind, or no such run.
    """
    c = config.recognition
    if c.kind not in KINDS:
        raise ValueError(f"recognition.kind is {c.kind!r}, wanted one of {KINDS}")
    if c.kind == "none":
        return None
    if c.weights:
        net, variables = _trained(c.weights)
    else:
        net = IdentityNet(c.size, c.width, c.features, c.depth)
        variables = init_identity(net, seed)
    return Recognizer(net, net.size, 8 * net.width), variables


def _trained(folder: str | pathlib.Path) -> tuple[IdentityNet, dict]:
    from facejax.io.checkpoints import Checkpoints
    from facejax.train.run_folder import read_system_config

    config = read_system_config(folder, "idnet")
    found = Checkpoints(pathlib.Path(folder) / "checkpoints").restore_latest(only=("params", "aux"))
    if found is None:
        raise ValueError(f"{folder}: no checkpoint yet; train it first (configs/idnet.py)")
    tree, _ = found
    variables = {
        "params": tree["params"]["idnet"]["net"],
        "batch_stats": tree["aux"]["idnet_stats"],
    }
    return IdentityNet(**config.model), jax.tree.map(jnp.asarray, variables)
