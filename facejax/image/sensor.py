"""From linear light to the picture that a camera stores: noise, exposure, colour, tone."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.image.color import linear_to_srgb, srgb_to_linear

LUMA = (0.2126, 0.7152, 0.0722)  # of linear light, ITU-R BT.709
_SHOULDER = 0.75  # linear value from which highlights are compressed
# CIE 1931 x of the Planckian locus in powers of 1e3 K / T, and y in powers of x: Kim, Jeong et al.
# 2002, "Design of advanced color temperature control system for HDTV applications".
_LOCUS_X = (
    (-0.2661239, -0.2343589, 0.8776956, 0.179910),
    (-3.0258469, 2.1070379, 0.2226347, 0.24039),
)
_LOCUS_Y = (
    (-1.1063814, -1.34811020, 2.18555832, -0.20219683),
    (-0.9549476, -1.37418593, 2.09137015, -0.16748867),
    (3.0817580, -5.87338670, 3.75112997, -0.37001483),
)
_RGB_FROM_XYZ = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def blackbody_rgb(kelvin: float | np.ndarray) -> np.ndarray:
    """Linear sRGB of a glowing body's light, of luminance 1; numpy.

    Args:
      kelvin: [...] 1667 to 25000: 2700 a warm bulb, 6500 nearly white, 9000 a blue sky.

    Returns:
      [..., 3] >= 0.

    Raises:
      ValueError: the temperature is outside the formula's range.
    """
    kelvin = np.asarray(kelvin, np.float64)
    if kelvin.size and not (1667 <= kelvin.min() and kelvin.max() <= 25000):
        raise ValueError(f"kelvin is {kelvin}, wanted 1667 to 25000")
    m = 1e3 / kelvin
    x = np.where(kelvin <= 4000, np.polyval(_LOCUS_X[0], m), np.polyval(_LOCUS_X[1], m))
    y = [np.polyval(c, x) for c in _LOCUS_Y]
    y = np.where(kelvin <= 2222, y[0], np.where(kelvin <= 4000, y[1], y[2]))
    rgb = np.stack([x / y, np.ones_like(x), (1 - x - y) / y], axis=-1) @ _RGB_FROM_XYZ.T
    rgb = np.maximum(rgb, 0.0)
    return rgb / (rgb @ np.array(LUMA))[..., None]


def grain(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random numbers of mean 0 and variance 1, nearly normal, within 3.5; cheap.

    Sums of four random bytes (the Irwin-Hall distribution).

    Args:
      key: a key.
      shape: of the result, float32.
    """
    bits = jax.random.bits(key, shape, jnp.uint32)
    total = sum(((bits >> np.uint32(s)) & np.uint32(255)).astype(jnp.int32) for s in (0, 8, 16, 24))
    return (total.astype(jnp.float32) - 510.0) / np.float32(np.sqrt(4 * (256**2 - 1) / 12))


def add_noise(linear: jax.Array, grain: jax.Array, read: jax.Array, shot: jax.Array) -> jax.Array:
    """Noise of a sensor: its variance has a constant part and one that grows with the signal.

    Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for single-image
    raw-data", equation 3.

    Args:
      linear: [..., H, W, C] linear light, 1 is white.
      grain: [..., H, W, C] of mean 0 and variance 1, see `grain`.
      read: [...] standard deviation at no light.
      shot: [...] variance per unit of light.

    Returns:
      [..., H, W, C], not clipped.
    """
    read, shot = (_per_image(x) for x in (read, shot))
    return linear + grain * jnp.sqrt(jnp.square(read) + shot * jnp.maximum(linear, 0.0))


def develop(
    linear: jax.Array,
    gain: jax.Array,
    *,
    midtones: jax.Array = 0.0,
    contrast: jax.Array = 1.0,
    saturation: jax.Array = 1.0,
) -> jax.Array:
    """The sRGB picture of linear light: exposure and white balance, highlights, tone, colour.

    Highlights from 0.75 on approach white slowly instead of being cut. With nothing brighter than
    that, a gain of 1 and the defaults, this is `linear_to_srgb`.

    Args:
      linear: [..., H, W, 3].
      gain: [..., 3] exposure times white balance of the channels, > 0.
      midtones: [...] in [-1, 1]: added to a stored value of 0.5, times 0.25; black and white stay.
      contrast: [...] factor on the distance of stored values from 0.5.
      saturation: [...] factor on the distance of stored colours from grey; 0 gives a grey picture.

    Returns:
      [..., H, W, 3] in [0, 1].
    """
    exposed = jnp.maximum(linear * jnp.asarray(gain, jnp.float32)[..., None, None, :], 0.0)
    room = 1.0 - _SHOULDER
    bent = 1.0 - room * jnp.exp(-jnp.maximum(exposed - _SHOULDER, 0.0) / room)
    stored = linear_to_srgb(jnp.where(exposed > _SHOULDER, bent, exposed))
    weights = np.array(LUMA, np.float32).reshape((1,) * (stored.ndim - 1) + (3,))
    grey = (stored * weights).sum(axis=-1, keepdims=True)
    stored = grey + _per_image(saturation) * (stored - grey)
    stored = jnp.clip(0.5 + _per_image(contrast) * (stored - 0.5), 0.0, 1.0)
    return stored + _per_image(midtones) * stored * (1.0 - stored)


def undevelop(stored: jax.Array) -> jax.Array:
    """The linear light that `develop` stores as these sRGB values, without changes of tone.

    Args:
      stored: [..., 3] sRGB in [0, 1]; white is taken for very bright, not for infinitely so.
    """
    linear = srgb_to_linear(stored)
    room = 1.0 - _SHOULDER
    left = jnp.clip((1.0 - linear) / room, 1e-3, 1.0)
    return jnp.where(linear > _SHOULDER, _SHOULDER - room * jnp.log(left), linear)


def _per_image(value):
    """[...] -> [..., 1, 1, 1]; a plain number for a single image or for all."""
    value = jnp.asarray(value, jnp.float32)
    return value[..., None, None, None] if value.ndim else value
