"""A small segmentation network: background, skin, hair. It keeps hair still when the light changes.

It takes the place of the published parser where there are no weights of that, and is trained on
rendered photographs, whose regions are known, in a stage of the run before the generator.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.image.resample import upsample2
from facejax.nn.blocks import Conv
from facejax.nn.init import init_params

CLASSES = ("background", "skin", "hair")
HAIR = CLASSES.index("hair")
_LEVELS = 2  # halvings


@dataclasses.dataclass(frozen=True)
class ParserConfig:
    """Sizes of the network.

    Attributes:
      width: channels of the first convolution; each halving doubles them.
    """

    width: int = 12


class Parser(nn.Module):
    """Convolutions down to a quarter of the side and up again, with skips (a small U-Net).

    Attributes:
      cfg: sizes.
    """

    cfg: ParserConfig

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Logits [B, H, W, 3] of pictures [B, H, W, 3] in [0, 1]; H and W are divisible by 4."""
        x, width, skips = image - 0.5, self.cfg.width, []
        x = nn.relu(Conv(width, padding=1, use_bias=True, name="conv0")(x))
        for level in range(1, _LEVELS + 1):
            skips.append(x)
            layer = Conv(width * 2**level, stride=2, padding=1, use_bias=True, name=f"down{level}")
            x = nn.relu(layer(x))
            layer = Conv(width * 2**level, padding=1, use_bias=True, name=f"conv{level}")
            x = nn.relu(layer(x))
        for level in range(_LEVELS, 0, -1):
            x = jnp.concatenate([upsample2(x), skips.pop()], axis=-1)
            layer = Conv(
                width * 2 ** (level - 1), padding=1, use_bias=True, name=f"up{level}"
            )  # fmt: skip
            x = nn.relu(layer(x))
        return Conv(len(CLASSES), (1, 1), use_bias=True, name="classes")(x)


def init_parser(cfg: ParserConfig, seed: int) -> dict:
    """Untrained parameters, numpy arrays."""
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    return init_params(Parser(cfg).init, seed, _rule, image)


def _rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """He-normal weights, biases 0."""
    if not name.endswith("kernel"):
        return np.zeros(shape)
    return rng.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[:-1]))


def parser_loss(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross entropy over all pixels, and the share of pixels that are right.

    Args:
      logits: [B, H, W, 3].
      labels: [B, H, W] int32.
    """
    log = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log, labels[..., None], axis=-1)
    right = jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
    return -jnp.mean(picked), {"accuracy": right}


def hair_probability(logits: jax.Array) -> jax.Array:
    """[B, H, W] of logits [B, H, W, 3]."""
    return jax.nn.softmax(logits)[..., HAIR]
