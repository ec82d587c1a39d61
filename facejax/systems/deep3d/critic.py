"""A critic that tells the painted face from the photo: the adversarial variant of the albedo.

Lin et al. 2020 (3D-Face-GCNs, --gan): a Wasserstein GAN with gradient penalty (Gulrajani et al.
2017, arXiv 1704.00028), whose fakes are photos with the face drawn over their skin.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.losses.adversarial import gradient_penalty, wgan_discriminator
from facejax.nn.blocks import BatchNorm, Conv
from facejax.nn.init import init_params

NORMS = ("layer", "batch")
_POOLS = 5  # halvings before the last layer
_SLOPE = 0.2  # of the leaky ReLU


@dataclasses.dataclass(frozen=True)
class AdversarialConfig:
    """Settings of the adversarial variant.

    Attributes:
      weight: of minus the critic's score in the graph network's loss; 0 trains no critic.
      steps: critic steps per step of the graph network, each on photos of its own.
      penalty: weight of the gradient penalty.
      norm: see `ImageCritic`.
      width: see `ImageCritic`.
    """

    weight: float = 0.0
    steps: int = 5
    penalty: float = 10.0
    norm: str = "layer"
    width: int = 16

    def __post_init__(self):
        if self.norm not in NORMS:
            raise ValueError(f"adversarial.norm is {self.norm!r}, wanted one of {NORMS}")


class ImageCritic(nn.Module):
    """Images to scores: high for photos.

    Six convolutions (the first 1x1, the others 3x3 followed by a maximum over 2x2) whose channels
    double, each normalised and rectified; then one over all that is left, 7x7 for images of 224.

    Attributes:
      width: channels of the first convolution; 16 as published, up to 512.
      norm: 'layer' normalises every image by itself, as the authors of the gradient penalty advise:
        the gradient of a sum of scores then is every image's own. 'batch' normalises by the batch
        at hand, as published: images of a batch share a score's gradient, so the penalty bounds no
        single image's slope.
    """

    width: int = 16
    norm: str = "layer"

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Scores [B] of images [B, S, S, 3] in [-1, 1], S a multiple of 32."""
        if image.shape[-3] % 2**_POOLS or image.shape[-2] % 2**_POOLS:
            raise ValueError(
                f"the critic found images of {image.shape[-2]}x{image.shape[-3]} pixels, wanted "
                f"multiples of {2**_POOLS}; set data.image_size"
            )
        x = image
        for k in range(_POOLS + 1):
            size = 3 if k else 1
            x = Conv(self.width * 2**k, (size, size), padding=size // 2, name=f"conv{k}")(x)
            if self.norm == "batch":
                x = BatchNorm(name=f"norm{k}")(x, True)
            else:
                x = nn.LayerNorm(
                    reduction_axes=(1, 2, 3), feature_axes=-1, use_fast_variance=False,
                    name=f"norm{k}",
                )(x)  # fmt: skip
            x = nn.leaky_relu(x, _SLOPE)
            if k:  # not a windowed maximum: its second derivative is slow
                x = jnp.maximum(x[:, ::2], x[:, 1::2])
                x = jnp.maximum(x[:, :, ::2], x[:, :, 1::2])
        return nn.Dense(1, name="score")(x.reshape(len(x), -1))[:, 0]

    def score(self, params, image: jax.Array) -> jax.Array:
        """Scores [B]; see `__call__`."""
        # running statistics are for networks in use; a critic is only ever trained
        return self.apply({"params": params}, image, mutable=["batch_stats"])[0]


def init_critic(net: ImageCritic, seed: int, size: int) -> dict:
    """Untrained parameters as numpy arrays: He-normal weights, gains 1, biases 0.

    Args:
      net: the module.
      seed: any integer.
      size: side of the images.
    """

    def rule(name, shape, rng):
        if name.endswith("kernel"):
            return rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))
        return np.ones(shape) if name.endswith("scale") else np.zeros(shape)

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return init_params(net.init, seed, rule, image)


def critic_loss(
    net: ImageCritic, params, real: jax.Array, fake: jax.Array, mix: jax.Array, penalty: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean score of fakes less that of photos, plus the gradient penalty.

    Args:
      net: the module.
      params: its parameters.
      real, fake: [B, S, S, 3] in [-1, 1].
      mix: [B] in [0, 1].
      penalty: weight.

    Returns:
      The loss, and 'wasserstein', 'gradient_penalty', 'slope'.
    """
    score = functools.partial(net.score, params)
    distance = -wgan_discriminator(score(real), score(fake))
    bound, slope = gradient_penalty(score, real, fake, mix)
    terms = {"wasserstein": distance, "gradient_penalty": bound, "slope": slope}
    return penalty * bound - distance, terms
