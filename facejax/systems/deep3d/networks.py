"""R-Net: one photo to the coefficients of a face model (Deng et al. 2019, arXiv 1903.08527)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.nn.blocks import initial_batch_stats
from facejax.nn.init import init_params
from facejax.nn.resnet import ResNet, resnet_rule

# (name, numbers) in the order of the vector, for the Basel model of 2009
SIZES = (
    ("id", 80), ("exp", 64), ("tex", 80), ("angles", 3), ("gamma", 27), ("trans_xy", 2),
    ("trans_z", 1),
)  # fmt: skip


def coefficient_sizes(num_id: int, num_exp: int, num_albedo: int) -> tuple[tuple[str, int], ...]:
    """(name, numbers) of all heads for a face model with these numbers of coefficients."""
    own = {"id": num_id, "exp": num_exp, "tex": num_albedo}
    return tuple((name, own.get(name, count)) for name, count in SIZES)


class RNet(nn.Module):
    """Image to coefficients: a ResNet with one linear head per group of coefficients.

    All heads start at zero: training has to begin with the mean face, frontal and centred, or the
    photometric and landmark losses pull it apart. Images are not normalised by a mean and a
    standard deviation; the published networks take RGB in [0, 1] ('torch') and BGR in [0, 255]
    ('slim'), and who imports such weights feeds them so.

    Attributes:
      sizes: (name, numbers) per head in the order of the vector, or a dict of them.
      depth: 18 or 50.
      width: of the ResNet's first stage; 64 as published.
      variant: 'torch' or 'slim', see `facejax.nn.resnet`.
      use_last_fc: one head for the whole vector.
    """

    sizes: tuple[tuple[str, int], ...] = SIZES
    depth: int = 50
    width: int = 64
    variant: str = "torch"
    use_last_fc: bool = False

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
        x = ResNet(self.depth, self.width, self.variant, name="backbone")(x, train)
        features = x.astype(jnp.float32)
        sizes = dict(self.sizes)
        if self.use_last_fc:
            vector = _head(sum(sizes.values()), "head")(features)
        else:
            heads = [_head(count, f"head_{name}")(features) for name, count in sizes.items()]
            vector = jnp.concatenate(heads, axis=-1)
        return vector.reshape(*batch, -1), features.reshape(*batch, features.shape[-1])


def _head(features: int, name: str) -> nn.Module:
    return nn.Dense(features, kernel_init=nn.initializers.zeros, name=name)


def rnet_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Initial values for `init_params`: zero heads on a fresh ResNet."""
    return np.zeros(shape) if name.startswith("head") else resnet_rule(name, shape, rng)


def init_rnet(net: RNet, seed: int) -> dict:
    """Untrained {'params', 'batch_stats'} of an R-Net, as numpy arrays."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return {
        "params": init_params(net.init, seed, rnet_rule, image),
        "batch_stats": initial_batch_stats(net.init, image),
    }
