"""VGG19 (Simonyan and Zisserman 2015) as feature network of perceptual losses."""

import jax
from flax import linen as nn

from facejax.nn.blocks import Conv

# Convolutions by their place in torchvision's `features`, with their width in units of the first;
# None halves the picture. Up to relu5_1.
LAYERS = (
    (0, 1), (2, 1), None, (5, 2), (7, 2), None, (10, 4), (12, 4), (14, 4), (16, 4), None,
    (19, 8), (21, 8), (23, 8), (25, 8), None, (28, 8),
)  # fmt: skip
TAPS = (0, 5, 10, 19, 28)  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1


class VGG19(nn.Module):
    """Images to the rectified features of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    Attributes:
      width: channels of the first stage; 64 as published.
      levels: how many of the five feature maps; what lies behind the last one is left out.
    """

    width: int = 64
    levels: int = 5

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """`levels` feature maps [B, H / 2^k, W / 2^k, C_k].

        Args:
          x: [B, H, W, 3], less ImageNet's mean colour and divided by its deviation for published
            weights; H and W at least 2^(levels - 1).
        """
        found = []
        for layer in LAYERS:
            if layer is None:
                x = max_pool2(x)
                continue
            place, factor = layer
            x = Conv(factor * self.width, padding=1, use_bias=True, name=f"conv{place}")(x)
            x = nn.relu(x)
            if place in TAPS:
                found.append(x)
                if len(found) == self.levels:
                    break
        return tuple(found)


def max_pool2(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 blocks, [B, H, W, C] -> [B, H // 2, W // 2, C]; an odd border is dropped."""
    return nn.max_pool(x, (2, 2), (2, 2))
