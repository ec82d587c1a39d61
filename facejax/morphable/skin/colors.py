"""Colours in linear light from coefficients: tone, hair, iris (jax). Scalars in, [3] out."""

import jax
import jax.numpy as jnp
import numpy as np

from facejax.morphable.skin.spectra import BLOODS, TONES, skin_table

# Absorption of the pigments of hair per unit of concentration (d'Eon et al. 2011, as in PBRT 4,
# section 9.9), and the factor of its square root in the logarithm of the albedo of hair of an
# azimuthal roughness of 0.3 (Chiang et al. 2016, equation 9).
_EUMELANIN, _PHEOMELANIN = (0.419, 0.697, 1.37), (0.187, 0.4, 1.05)
_ALBEDO = float(np.polyval([0.245, 5.574, -10.73, 2.532, -0.215, 5.969], 0.3))
_LIGHTEST, _DARKEST, _REDDEST = 0.025, 2.4, 0.6  # concentrations
_SURFACE = 0.006  # reflected before any pigment
_GREY_HAIR = np.array([168, 163, 155])  # sRGB
# sRGB of irises over equal steps of melanin; where there is none, structure gives blue or green
_IRIS = np.array([[112, 142, 168], [124, 132, 112], [128, 100, 60], [86, 53, 33], [46, 29, 21]])
_GREEN_IRIS = np.array([[116, 130, 108], [112, 118, 78], [124, 98, 56], [86, 53, 33], [46, 29, 21]])


def linear(srgb) -> np.ndarray:
    """Linear light of 8-bit sRGB values, float32."""
    value = np.asarray(srgb, np.float64) / 255
    out = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return out.astype(np.float32)


def ramp(table: np.ndarray, t: jax.Array) -> jax.Array:
    """[..., C]: a table [K, C] over equal steps, interpolated linearly at t [...], 0 to 1."""
    last = len(table) - 1
    place = jnp.clip(t, 0.0, 1.0) * last
    hats = [jnp.maximum(1.0 - jnp.abs(place - k), 0.0) for k in range(last + 1)]
    return jnp.stack(hats, axis=-1) @ jnp.asarray(table, jnp.float32)


def skin_tone(melanin: jax.Array, blood: jax.Array, carotene: jax.Array):
    """Colour of skin and how it changes, in the logarithm of linear sRGB.

    Args:
      melanin, blood, carotene: scalars, see `SkinPaint`.

    Returns:
      Logarithm [3]; its derivatives [3] with respect to melanin and to blood, taken over half the
      width of a freckle's or blush's change, so that they hold for what is painted with them.
    """

    def at(m, b):
        hats = [
            jnp.maximum(1.0 - jnp.abs(jnp.clip(v, 0.0, 1.0) * (n - 1) - jnp.arange(n)), 0.0)
            for v, n in ((m, TONES), (b, BLOODS))
        ]
        return jnp.einsum("i,j,ijc->c", *hats, jnp.asarray(skin_table()))

    step = 0.12
    low, high = jnp.clip(melanin - step, 0, 1), jnp.clip(melanin + step, 0, 1)
    by_melanin = (at(high, blood) - at(low, blood)) / (high - low)
    low, high = jnp.clip(blood - step, 0, 1), jnp.clip(blood + step, 0, 1)
    by_blood = (at(melanin, high) - at(melanin, low)) / (high - low)
    yellow = jnp.array([0.010, -0.010, -0.130], jnp.float32)
    return at(melanin, blood) + carotene * yellow, by_melanin, by_blood


def hair_tone(melanin: jax.Array, red: jax.Array, grey: jax.Array) -> jax.Array:
    """Hair in linear light, [..., 3], of coefficients [...]: `hair_melanin`, `_red`, `_grey`."""
    eumelanin = _LIGHTEST * (_DARKEST / _LIGHTEST) ** melanin * (1.0 - 0.75 * red)
    pheomelanin = _REDDEST * red * (0.3 + melanin)
    channels = []
    for k in range(3):
        absorption = eumelanin * _EUMELANIN[k] + pheomelanin * _PHEOMELANIN[k]
        own = _SURFACE + jnp.exp(-_ALBEDO * jnp.sqrt(absorption))
        channels.append(own + (float(linear(_GREY_HAIR)[k]) - own) * (0.95 * grey**1.5))
    return jnp.stack(channels, axis=-1)


def iris_tone(melanin: jax.Array, green: jax.Array) -> jax.Array:
    """Iris in linear light, [..., 3], of `iris_melanin` [...] and `iris_green` [...]."""
    blue, leaf = ramp(linear(_IRIS), melanin), ramp(linear(_GREEN_IRIS), melanin)
    return blue + (leaf - blue) * green[..., None]
