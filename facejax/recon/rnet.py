"""R-Net, from a photo to the coefficients of a face model (Deng et al. 2019, arXiv 1903.08527)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.morphable.model import MorphableModel
from facejax.nn.blocks import initial_batch_stats
from facejax.nn.compact import CompactEncoder, compact_rule
from facejax.nn.init import init_params
from facejax.nn.resnet import ResNet, num_features, resnet_rule
from facejax.recon.decoder import coefficient_sizes


def head_sizes(model: MorphableModel | Sequence[int]) -> tuple[tuple[str, int], ...]:
    """(name, numbers) of all heads, in the order of the coefficient vector.

    Heads have the names of the published programs, which checkpoints and weight files hold: 'tex'
    for the albedo, and a head each for the translation in the image and in depth.

    Args:
      model: a face model, or its (D_id, D_exp, D_alb).
    """
    sizes = coefficient_sizes(model)
    heads = {"alb": {"tex": sizes["alb"]}, "trans": {"trans_xy": sizes["trans"] - 1, "trans_z": 1}}
    return tuple(x for name, count in sizes.items() for x in heads.get(name, {name: count}).items())


SIZES = head_sizes((80, 64, 80))  # for the Basel model of 2009


class RNet(nn.Module):
    """Image to coefficients: an encoder with one linear head per group of coefficients.

    All heads start at zero: training has to begin with the mean face, frontal and centred, or the
    photometric and landmark losses pull it apart. Images are not normalised by a mean and a
    standard deviation; the published networks take RGB in [0, 1] ('torch') and BGR in [0, 255]
    ('slim'), and who imports such weights feeds them so.

    Attributes:
      sizes: (name, numbers) per head in the order of the vector, or a dict of them.
      depth: 18 or 50.
      width: of the encoder's first stage; 64 as published.
      variant: 'torch' or 'slim', see `facejax.nn.resnet`; or 'compact', see `facejax.nn.compact`,
        which has one depth: 0.
      use_last_fc: one head for the whole vector.
      pose_scale: factor on angles and translation, 1 as published. They have to be more precise
        than the other coefficients, yet Adam steps alike in all weights.
    """

    sizes: tuple[tuple[str, int], ...] = SIZES
    depth: int = 50
    width: int = 64
    variant: str = "torch"
    use_last_fc: bool = False
    pose_scale: float = 1.0

    @property
    def num_features(self) -> int:
        """Length of the pooled features."""
        if self.variant == "compact":
            return CompactEncoder(self.width).num_features
        return num_features(self.depth, self.width)

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Coefficients and features.

        Args:
          image: [..., H, W, 3].
          train: normalise by the batch and update 'batch_stats', which must then be mutable.

        Returns:
          Coefficients [..., n], float32, and pooled features [..., C], float32.
        """
        batch = image.shape[:-3]
        x = image.reshape(-1, *image.shape[-3:])
        if self.variant == "compact":
            if self.depth:
                raise ValueError(
                    f"found the depth {self.depth} of an R-Net of variant 'compact', wanted 0"
                )
            x = CompactEncoder(self.width, name="backbone")(x)
        else:
            x = ResNet(self.depth, self.width, self.variant, name="backbone")(x, train)
        features = x.astype(jnp.float32)
        sizes = dict(self.sizes)
        if self.use_last_fc:
            vector = _head(sum(sizes.values()), "head")(features)
        else:
            heads = [_head(count, f"head_{name}")(features) for name, count in sizes.items()]
            vector = jnp.concatenate(heads, axis=-1)
        if self.pose_scale != 1.0:
            pose = [name in ("angles", "trans_xy", "trans_z") for name in sizes]
            scale = np.repeat(np.where(pose, self.pose_scale, 1.0), list(sizes.values()))
            vector = vector * scale.astype(np.float32)[None]
        return vector.reshape(*batch, -1), features.reshape(*batch, features.shape[-1])


def _head(features: int, name: str) -> nn.Module:
    return nn.Dense(features, kernel_init=nn.initializers.zeros, name=name)


def rnet_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Initial values for `init_params`: zero heads on a fresh ResNet."""
    return np.zeros(shape) if name.startswith("head") else resnet_rule(name, shape, rng)


def _compact_rnet_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.zeros(shape) if name.startswith("head") else compact_rule(name, shape, rng)


def init_rnet(net: RNet, seed: int, size: int = 32) -> dict:
    """Untrained {'params', 'batch_stats'} of an R-Net, as numpy arrays.

    Args:
      net: the module.
      seed: any integer.
      size: side of the images; only of the variant 'compact' do shapes depend on it.
    """
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    rule = _compact_rnet_rule if net.variant == "compact" else rnet_rule
    return {
        "params": init_params(net.init, seed, rule, image),
        "batch_stats": initial_batch_stats(net.init, image),
    }
