"""A small network from face crops to identity embeddings, trainable in minutes on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.nn.blocks import BatchNorm, initial_batch_stats
from facejax.nn.init import init_params
from facejax.nn.resnet import ResNet, resnet_rule


class IdentityNet(nn.Module):
    """A narrow ResNet, one linear layer and batch normalisation without a gain.

    Attributes:
      size: side of the crops that it is made for.
      width: channels of the first stage.
      features: length of the embedding.
      depth: of the ResNet, 10 or 18.
    """

    size: int = 48
    width: int = 16
    features: int = 64
    depth: int = 18

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Embeddings and pooled features.

        Args:
          image: [B, size, size, 3] in [-1, 1], aligned by `facejax.data.face_crops`.
          train: normalise by the batch and update 'batch_stats', which must then be mutable.

        Returns:
          [B, features], not normalised, and [B, 8 width].
        """
        pooled = ResNet(self.depth, self.width, name="backbone")(image, train)
        # pooled features are positive and much alike: embeddings have to be centred to part
        x = nn.Dense(self.features, use_bias=False, name="embedding")(pooled)
        return BatchNorm(use_scale=False, name="norm")(x, train), pooled


def _rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name == "embedding/kernel":
        return rng.standard_normal(shape) / np.sqrt(shape[0])
    return resnet_rule(name, shape, rng)


def init_identity(net: IdentityNet, seed: int) -> dict:
    """Untrained {'params', 'batch_stats'}, as numpy arrays."""
    image = jax.ShapeDtypeStruct((1, net.size, net.size, 3), jnp.float32)
    return {
        "params": init_params(net.init, seed, _rule, image),
        "batch_stats": initial_batch_stats(net.init, image),
    }
