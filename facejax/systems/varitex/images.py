"""Network images to and from pictures, and the foreground over a colour."""

import jax
import jax.numpy as jnp
import numpy as np

MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, R, G, B in [0, 1]
STD = np.array([0.229, 0.224, 0.225], np.float32)
THRESHOLD = 0.7  # of the probability below which a pixel is background (published program)


def _channels(values: np.ndarray, like: jax.Array) -> jax.Array:
    return jnp.asarray(values).reshape((1,) * (like.ndim - 1) + (3,))


def to_network(image: jax.Array) -> jax.Array:
    """Pictures [..., 3] in [0, 1] less the mean, divided by the deviation."""
    image = jnp.asarray(image)
    return (image - _channels(MEAN, image)) / _channels(STD, image)


def from_network(image: jax.Array) -> jax.Array:
    """Network images [..., 3] as pictures; where the network overshoots, beyond [0, 1].

    The deviation is taken as 1 / (1 / (STD + 1e-7)), as the published program does.
    """
    image = jnp.asarray(image)
    std = np.float32(1.0) / (np.float32(1.0) / (STD + np.float32(1e-7)))
    return image * _channels(std, image) + _channels(MEAN, image)


def composite(
    picture: jax.Array, probability: jax.Array, background: float = 1.0, soft: bool = True
) -> jax.Array:
    """The foreground of pictures over a plain background, in [0, 1].

    Args:
      picture: [..., H, W, 3] in [0, 1] or slightly beyond.
      probability: [..., H, W, 1] of the foreground; below THRESHOLD it counts as 0.
      background: grey value.
      soft: weigh by the probability, as the published program does, which darkens towards the
        border; else by 0 or 1.

    Returns:
      [..., H, W, 3].
    """
    weight = jnp.where(probability < THRESHOLD, 0.0, probability if soft else 1.0)
    return jnp.clip(picture * weight + background * (weight == 0.0), 0.0, 1.0)


def legacy_double_mask(picture: jax.Array, probability: jax.Array) -> jax.Array:
    """What the published inference writes: over white, then over black, masked twice.

    Args: see `composite`.
    """
    once = composite(picture, probability, 1.0)
    weight = jnp.where(probability < THRESHOLD, 0.0, probability)
    return once * weight


def interpolate_codes(
    a: jax.Array, b: jax.Array, steps: int, correction: str = "published"
) -> jax.Array:
    """Codes between two, [steps, ...].

    Args:
      a, b: of equal shape.
      steps: 2 or more; the first is `a`, the last `b`.
      correction: 'none': (1 - w) a + w b. 'published': w becomes w / sqrt(w^2 + (1 - w)^2) first,
        which keeps the variance of Gaussian codes for `b` alone. 'spherical': both weights are
        divided by that root.
    """
    if correction not in ("none", "published", "spherical"):
        raise ValueError(f"correction is {correction!r}, wanted 'none', 'published' or 'spherical'")
    if steps < 2:
        raise ValueError(f"steps is {steps}, wanted 2 or more")
    w = jnp.linspace(0.0, 1.0, steps).reshape((-1,) + (1,) * jnp.ndim(a))
    root = jnp.sqrt(w**2 + (1.0 - w) ** 2)
    first, second = 1.0 - w, w
    if correction == "published":
        first, second = 1.0 - w / root, w / root
    elif correction == "spherical":
        first, second = first / root, second / root
    return first * jnp.asarray(a)[None] + second * jnp.asarray(b)[None]
